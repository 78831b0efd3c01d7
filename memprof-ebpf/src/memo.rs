//! The last walk of a thread, and the words of its stack that led it: where those are the same, so is
//! the stack. Programs touch one page after the other from one place, so this finds most stacks of page
//! faults for one read of the stack and a few comparisons.

use memprof_common::event::StackEnd;

use crate::{
    pending::Thread,
    registers::Registers,
    unwind::generation_of,
    window::{self, WINDOW_WORDS},
};

/// Words that are remembered: those of some ten frames. Longer walks are made anew each time.
const MOST_WORDS: usize = 24;

/// A walk, and what it read.
#[repr(C)]
pub struct Memo {
    /// Whether a walk is under way that is to be remembered.
    records: bool,
    /// Where it began.
    pc: u64,
    stack: u64,
    frame: u64,
    /// That of the mappings it was made by.
    generation: u64,
    /// The stack's id; 0 for none.
    id: u64,
    /// Words read so far.
    count: u64,
    /// Bytes from the stack pointer on in which they lie.
    bytes: u64,
    /// How far from the stack pointer each was, and what it was.
    offsets: [u64; MOST_WORDS],
    words: [u64; MOST_WORDS],
}

/// The id of the stack that begins at `start`, if all is as it was at the thread's last remembered walk.
/// Else the next walk is to be remembered.
#[inline(always)]
pub fn recall(thread: *mut Thread, space: u32, start: Registers) -> Option<u64> {
    let generation = generation_of(thread, space);
    // SAFETY: `thread` points at this thread's map value.
    let memo = unsafe { &raw mut (*thread).memo };
    // SAFETY: as above.
    let same = unsafe {
        (*memo).id != 0
            && (*memo).pc == start.instruction
            && (*memo).stack == start.stack
            && (*memo).frame == start.frame
            && (*memo).generation == generation
    };
    if same && reads_the_same(thread, start.stack) {
        // SAFETY: as above.
        return Some(unsafe { (*memo).id });
    }
    // SAFETY: as above.
    unsafe {
        (*memo).records = true;
        (*memo).id = 0;
        (*memo).pc = start.instruction;
        (*memo).stack = start.stack;
        (*memo).frame = start.frame;
        (*memo).generation = generation;
        (*memo).count = 0;
        (*memo).bytes = 0;
    }
    None
}

/// Whether the stack still has the remembered words.
#[inline(always)]
fn reads_the_same(thread: *mut Thread, stack: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value; the masks keep the indices in bounds.
    unsafe {
        let memo = &raw const (*thread).memo;
        if !window::read_at_once(thread, stack, (*memo).bytes) {
            return false;
        }
        let words = window::scratch(thread);
        let mut left = (*memo).count;
        let mut offset = (&raw const (*memo).offsets).cast::<u64>();
        let mut word = (&raw const (*memo).words).cast::<u64>();
        let mut at = 0;
        while at < MOST_WORDS {
            if left == 0 {
                return true;
            }
            let index = (*offset >> 3) as usize & (WINDOW_WORDS - 1);
            if *words.add(index) != *word {
                return false;
            }
            offset = offset.add(1);
            word = word.add(1);
            left -= 1;
            at += 1;
        }
        left == 0
    }
}

/// Takes note of a word that a walk has read.
#[inline(always)]
pub fn note(thread: *mut Thread, address: u64, word: u64) {
    // SAFETY: `thread` points at this thread's map value; the index is in bounds.
    unsafe {
        let memo = &raw mut (*thread).memo;
        if !(*memo).records {
            return;
        }
        let at = (*memo).count as usize;
        let offset = address.wrapping_sub((*memo).stack);
        if at >= MOST_WORDS || offset >= (WINDOW_WORDS * 8) as u64 {
            return forget(thread);
        }
        (*memo).offsets[at] = offset;
        (*memo).words[at] = word;
        (*memo).count += 1;
        (*memo).bytes = (*memo).bytes.max(offset + 8);
    }
}

/// The walk under way can't be told by the words that it reads, nor the last any more.
#[inline(always)]
pub fn forget(thread: *mut Thread) {
    // SAFETY: as above.
    unsafe {
        (*thread).memo.records = false;
        (*thread).memo.id = 0;
    }
}

/// The walk is over. If the collector knows its stack, by this id, it may be recalled.
#[inline(always)]
pub fn end(thread: *mut Thread, id: Option<u64>) {
    // SAFETY: as above.
    unsafe {
        let walk = (*thread).walk;
        let plain = walk.end == StackEnd::Complete as u64 && walk.by_frame_pointer == 0;
        if let Some(id) = id
            && plain
            && (*thread).memo.records
        {
            (*thread).memo.id = id;
        }
        (*thread).memo.records = false;
    }
}
