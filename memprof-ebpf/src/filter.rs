//! Whose calls count: the gate, then the thread, or its process if the thread is new.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use memprof_common::counters::Counter;

use crate::{
    emit::count,
    maps::{GATE, PROCESSES},
    pending::Thread,
    scope::discover,
    threads,
};

/// A thread whose calls are wanted.
#[derive(Clone, Copy)]
pub struct Caller {
    /// What is remembered of it; null if the table of threads is full.
    ///
    /// A raw pointer: programs of one thread never run at once, but a reference held across helper
    /// calls would promise the compiler more than that.
    pub thread: *mut Thread,
    pub space: u32,
}

/// The calling thread, if the gate is open and its process is followed.
///
/// A thread has a space on record only while its process is followed (`process.rs` sees to it), so
/// the look-up of the process is left to its first call.
#[inline(always)]
pub fn caller() -> Option<Caller> {
    if *GATE.get(0)? == 0 {
        return None;
    }
    let thread = threads::current();
    let space = if thread.is_null() {
        0
    } else {
        // SAFETY: what is remembered of a thread stays while its programs run.
        unsafe { (*thread).space }
    };
    let caller = if space == 0 {
        first_call()?
    } else {
        Caller { thread, space }
    };
    count(Counter::ProbeHits);
    Some(caller)
}

/// A thread that has no space on record, if its process is followed.
#[inline(always)]
fn first_call() -> Option<Caller> {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let process = match PROCESSES.get_ptr(pid) {
        Some(process) => process,
        None => discover(pid)?,
    };
    // SAFETY: a map value stays readable for the length of a program, even if removed.
    let space = unsafe { (*process).space };
    let thread = threads::remember();
    if thread.is_null() {
        count(Counter::UntrackedThreads);
    } else {
        // SAFETY: what is remembered of a thread stays while its programs run.
        unsafe { (*thread).space = space };
    }
    Some(Caller { thread, space })
}
