//! From a walk to a stack id: the program counters go to the collector once, when the id is new.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_ringbuf_output};
use memprof_common::{
    counters::Counter,
    event::{MAX_FRAMES, STACK_HEADER_WORDS, pack_stack_head},
};

use crate::{
    emit::count,
    maps::{RARE, SENT_STACKS},
    pending::Thread,
    registers::Registers,
    unwind::walk,
};

/// The id of the stack on which `function` has just returned to `caller`.
///
/// The space is part of the id: equal program counters mean other code in another address space.
#[inline(always)]
pub fn stack_id(
    thread: *mut Thread,
    space: u32,
    function: u64,
    caller: Registers,
    time: u64,
) -> u64 {
    let walk = walk(thread, space, function, caller);
    if SENT_STACKS.get_ptr(walk.hash).is_none() {
        // SAFETY: `thread` points at this thread's map value.
        let record = unsafe { &raw mut (*thread).record }.cast::<u64>();
        let head = pack_stack_head(
            time,
            space,
            walk.end,
            walk.frames,
            walk.by_frame_pointer,
            walk.hash,
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
                u64::from(BPF_RB_NO_WAKEUP),
            )
        };
        if sent == 0 {
            // A failed insert only means that the stack is sent once more.
            let _ = SENT_STACKS.insert(walk.hash, 1, 0);
        } else {
            count(Counter::LostStack);
        }
    }
    walk.hash
}
