//! From a walk to a stack id: the program counters go to the collector once, when the id is new.
//!
//! A walk that broke down knows only the inner part of its stack, and many stacks may have that
//! part in common. They are told apart by depth: where on the stack the walk broke down, from the
//! thread pointer, which is as far from the first frame in every thread that the C library
//! starts, and by what return addresses lie above (`trail`). The collector is sent a copy of such a
//! stack and may find the rest of it there. Two ways that are equal in all this still share an id;
//! so the stack is copied again at its second, fourth, eighth, … use, and the collector drops what
//! the copies don't have in common. A way that no copy met is taken for the one that was.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use memprof_common::{
    counters::Counter,
    event::{MAX_FRAMES, STACK_HEADER_WORDS, StackEnd, mix, pack_stack_head},
    settings::{LATELY_SENT_ENTRIES, MAX_BROKEN_STACKS, RARE_RING_BYTES},
};

use crate::{
    copy::send_copy,
    emit::{count, wakeup},
    kernel::thread_pointer,
    maps::{BROKEN_WALKS, LATELY_SENT, RARE, SENT_STACKS},
    memo,
    pending::Thread,
    registers::CallerRegisters,
    trail,
    unwind::{Innermost, Walk, walk},
};

/// Bytes of a stack's record with all its frames.
const LONGEST_RECORD: u64 = 8 * (STACK_HEADER_WORDS + MAX_FRAMES) as u64;

/// The id of the stack that `innermost` and the registers `caller` begin.
///
/// The space is part of the id: equal program counters mean other code in another address space.
#[inline(always)]
pub fn stack_id(
    thread: *mut Thread,
    space: u32,
    innermost: Innermost,
    caller: &impl CallerRegisters,
    time: u64,
) -> u64 {
    let walk = walk(thread, space, innermost, caller.registers());
    if walk.end == StackEnd::Broken as u64 {
        return broken_stack_id(thread, space, &walk, caller, time);
    }
    if !was_sent_lately(walk.hash)
        && (SENT_STACKS.get_ptr(walk.hash).is_some()
            || send_stack(thread, space, &walk, walk.hash, time))
    {
        remember_sent(walk.hash);
    }
    walk.hash
}

/// The id of the stack that begins at the very instruction of `caller`: most likely the one that the
/// thread was last asked for.
#[inline(always)]
pub fn repeated_stack_id(
    thread: *mut Thread,
    space: u32,
    caller: &impl CallerRegisters,
    time: u64,
) -> u64 {
    if let Some(id) = memo::recall(thread, space, caller.registers()) {
        return id;
    }
    let id = stack_id(thread, space, Innermost::Instruction, caller, time);
    memo::end(thread, was_sent_lately(id).then_some(id));
    id
}

/// Whether this CPU has found `id` among the sent stacks: a word of an array costs a tenth of a
/// look-up there.
#[inline(always)]
fn was_sent_lately(id: u64) -> bool {
    // SAFETY: a live map value, read as one word.
    LATELY_SENT
        .get_ptr(id as u32 & (LATELY_SENT_ENTRIES - 1))
        .is_some_and(|sent| unsafe { sent.read_volatile() } == id)
}

#[inline(always)]
fn remember_sent(id: u64) {
    if let Some(sent) = LATELY_SENT.get_ptr_mut(id as u32 & (LATELY_SENT_ENTRIES - 1)) {
        // SAFETY: a live map value, written as one word.
        unsafe { sent.write_volatile(id) };
    }
}

#[inline(always)]
fn broken_stack_id(
    thread: *mut Thread,
    space: u32,
    walk: &Walk,
    caller: &impl CallerRegisters,
    time: u64,
) -> u64 {
    // A step by frame pointer may have led anywhere; where the call was made is sure.
    let place = if walk.by_frame_pointer == 0 {
        walk.stack
    } else {
        caller.registers().stack
    };
    let depth = mix(walk.hash, place.wrapping_sub(thread_pointer()));
    let id = mix(depth, trail::hash(thread, place));
    if let Some(uses) = SENT_STACKS.get_ptr_mut(id) {
        // SAFETY: a live map value. Uses on two CPUs at once may count as one.
        let now = unsafe {
            *uses = (*uses).wrapping_add(1);
            *uses
        };
        if now & now.wrapping_sub(1) == 0 {
            send_copy(space, walk, caller, id);
        }
        return id;
    }
    if !is_worth_telling(walk.hash) {
        if SENT_STACKS.get_ptr(walk.hash).is_none() {
            send_stack(thread, space, walk, walk.hash, time);
        }
        return walk.hash;
    }
    if send_stack(thread, space, walk, id, time) {
        send_copy(space, walk, caller, id);
    }
    id
}

/// Whether a broken walk is told from others once more: frames of ever other sizes, or a
/// walk that went astray, must not make stacks without end.
#[inline(always)]
fn is_worth_telling(hash: u64) -> bool {
    let Some(depths) = BROKEN_WALKS.get_ptr_mut(hash) else {
        // A failed insert only means that the count begins later.
        let _ = BROKEN_WALKS.insert(hash, 1, 0);
        return true;
    };
    // SAFETY: a live map value. Threads that meet it at once may pass the limit by a few.
    unsafe {
        if *depths >= MAX_BROKEN_STACKS {
            return false;
        }
        *depths += 1;
    }
    true
}

/// Sends the program counters of `walk` as those of `id`; whether they found room.
#[inline(always)]
fn send_stack(thread: *mut Thread, space: u32, walk: &Walk, id: u64, time: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value.
    let record = unsafe { &raw mut (*thread).record }.cast::<u64>();
    let head = pack_stack_head(
        time,
        space,
        walk.end,
        walk.frames,
        walk.by_frame_pointer,
        id,
    );
    // SAFETY: the head is the first words of the record.
    unsafe { *record.cast::<[u64; STACK_HEADER_WORDS]>() = head };
    // For the verifier, which knows nothing of a number that lives in a map.
    let frames = walk.frames.min(MAX_FRAMES as u64);
    let bytes = (STACK_HEADER_WORDS as u64 + frames) * 8;
    // SAFETY: `bytes` of the record are in bounds, and RARE is a ring buffer.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const RARE).cast_mut().cast(),
            record.cast(),
            bytes,
            wakeup(&RARE, u64::from(RARE_RING_BYTES / 2), LONGEST_RECORD),
        )
    };
    if sent != 0 {
        count(Counter::LostStack);
        return false;
    }
    // A failed insert only means that the stack is sent once more.
    let _ = SENT_STACKS.insert(id, 1, 0);
    true
}
