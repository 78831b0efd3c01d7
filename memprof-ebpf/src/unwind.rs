//! The walk of a call stack: for now along frame pointers, from a known first caller.
//!
//! Exact where the code keeps frame pointers; elsewhere the walk ends early and says so. Its
//! interface is what a walk by unwind tables needs too: registers of the first caller in, program
//! counters and the way it ended out. The walk's state lives in the thread's map value and not on
//! the BPF stack: the verifier follows numbers on the stack through every frame, 265,000
//! instructions of them, and not those in a map.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_loop, bpf_probe_read_user};
use memprof_common::event::{MAX_FRAMES, STACK_HEADER_WORDS, StackEnd};

use crate::{
    kernel::{hijacked_return_address, may_be_trampoline},
    pending::Thread,
    registers::{RETURN_SLOT, Registers},
};

/// Where a walk is, and at its end what it found beside the program counters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// The frame pointer to follow next.
    frame: u64,
    /// The stack's hash so far.
    pub hash: u64,
    /// Program counters so far.
    pub frames: u64,
    /// A `StackEnd`.
    pub end: u64,
}

/// Mixes one program counter into a stack's hash (Fibonacci hashing, folded).
#[inline(always)]
fn mix(hash: u64, pc: u64) -> u64 {
    let mixed = (hash ^ pc).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// What the callback of `bpf_loop` is handed: it may only point into the BPF stack.
struct Context {
    thread: *mut Thread,
}

/// Walks the stack of a function that has just returned to `caller`, into the thread's record:
/// the function itself, its caller, then along the frame pointers.
#[inline(always)]
pub fn walk(thread: *mut Thread, seed: u64, function: u64, caller: Registers) -> Walk {
    // SAFETY: `thread` points at this thread's map value, and the record has room for two.
    unsafe {
        (*thread).record[STACK_HEADER_WORDS] = function;
        (*thread).record[STACK_HEADER_WORDS + 1] = caller.instruction;
        (*thread).walk = Walk {
            frame: caller.frame,
            hash: mix(mix(seed, function), caller.instruction),
            frames: 2,
            end: StackEnd::TooDeep as u64,
        };
    }
    let mut context = Context { thread };
    // SAFETY: the callback has the signature that the helper calls it with; raw pointers only,
    // for what it changes must not be held across the call.
    unsafe {
        bpf_loop(
            MAX_FRAMES as u32 - 2,
            step as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        (*thread).walk
    }
}

/// One frame of a walk; 1 to stop.
unsafe extern "C" fn step(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `walk` passes its context, whose thread is a live map value.
    let thread = unsafe { (*context.cast::<Context>()).thread };
    // SAFETY: as above.
    match unsafe { follow(thread) } {
        None => 0,
        Some(end) => {
            // SAFETY: as above.
            unsafe { (*thread).walk.end = end as u64 };
            1
        }
    }
}

/// Follows one frame pointer; how the walk ended if it did.
#[inline(always)]
unsafe fn follow(thread: *mut Thread) -> Option<StackEnd> {
    // SAFETY: the caller's; fields of a live map value.
    let (frame, frames) = unsafe { ((*thread).walk.frame, (*thread).walk.frames) };
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    let Ok([outer, saved]) = (unsafe { bpf_probe_read_user(frame as *const [u64; 2]) }) else {
        return Some(ended_at(frame));
    };
    let mut pc = saved;
    if may_be_trampoline(pc) {
        pc = hijacked_return_address(frame + RETURN_SLOT);
    }
    if pc == 0 {
        return Some(StackEnd::Complete);
    }
    // SAFETY: the mask keeps the index below MAX_FRAMES, which the record has room for.
    unsafe {
        let pcs = (&raw mut (*thread).record)
            .cast::<u64>()
            .add(STACK_HEADER_WORDS);
        *pcs.add(frames as usize & (MAX_FRAMES - 1)) = pc;
        (*thread).walk.hash = mix((*thread).walk.hash, pc);
        (*thread).walk.frames = frames + 1;
        (*thread).walk.frame = outer;
    }
    // The stack grows down: an outer frame that is not further up is none.
    (outer <= frame).then(|| ended_at(outer))
}

/// A chain of frame pointers ends in 0; anything else that leads nowhere is a broken one.
#[inline(always)]
fn ended_at(frame: u64) -> StackEnd {
    if frame == 0 {
        StackEnd::Complete
    } else {
        StackEnd::Broken
    }
}
