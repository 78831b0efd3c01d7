//! What tells one broken walk from another where both have come to the same code at the same depth:
//! the words above, on the stack, that look like return addresses.
//!
//! Some of them are the callers that the walk could not get to, others are left over from calls
//! long done. So they are good for a stack's id, and not for its frames: ways that differ get
//! different ids, and if leftovers make two ids of one way, the collector finds both equal.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use memprof_common::event::mix;

use crate::{pending::Thread, registers::RETURN_SLOT, unwind::is_behind_call, window};

/// Words that are looked at.
const MOST_WORDS: u32 = 64;
/// Return addresses after which no more are looked for.
const MOST_FOUND: u64 = 4;
/// Above the lowest page that a process can map, below the end of its half of the address space.
const ADDRESSES: core::ops::Range<u64> = 0x1_0000..1 << 47;
/// Words this close above the stack pointer point into the stack.
const STACK_REACH: u64 = 16 << 20;

/// Where the search is, and what it has found.
#[repr(C)]
pub struct Trail {
    at: u64,
    hash: u64,
    found: u64,
}

/// A hash of the return addresses on the stack of `thread` from `stack` on.
#[inline(always)]
pub fn hash(thread: *mut Thread, stack: u64) -> u64 {
    // SAFETY: `thread` points at this thread's map value; raw pointers only, for the callback,
    // which has the signature that the helper calls it with, changes it.
    unsafe {
        (*thread).trail = Trail {
            at: stack,
            hash: 0,
            found: 0,
        };
        let mut context = thread;
        bpf_loop(
            MOST_WORDS,
            look_at_word as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        (*thread).trail.hash
    }
}

/// One word; 1 to stop.
unsafe extern "C" fn look_at_word(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `hash` passes the thread's map value.
    let thread = unsafe { *context.cast::<*mut Thread>() };
    // SAFETY: as above.
    let trail = unsafe { &raw mut (*thread).trail };
    // SAFETY: as above.
    let at = unsafe { (*trail).at };
    let Some(word) = window::read(thread, at) else {
        return 1;
    };
    // SAFETY: as above.
    unsafe { (*trail).at = at + RETURN_SLOT };
    let may_be_code = ADDRESSES.contains(&word) && word.wrapping_sub(at) > STACK_REACH;
    if !may_be_code || !is_behind_call(word) {
        return 0;
    }
    // SAFETY: as above.
    unsafe {
        (*trail).hash = mix((*trail).hash, word);
        (*trail).found += 1;
        u64::from((*trail).found >= MOST_FOUND)
    }
}
