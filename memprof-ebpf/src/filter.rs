//! Whose calls count: the gate, then the thread, or its process if the thread is new.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use memprof_common::counters::Counter;

use crate::{
    emit::count,
    maps::{GATE, NEW_THREAD, PROCESSES, THREADS},
    pending::Thread,
    scope::discover,
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
/// A thread is on record only while its process is followed (`process.rs` sees to it), so a
/// second look-up, of the process, is left to its first call.
#[inline(always)]
pub fn caller() -> Option<Caller> {
    if *GATE.get(0)? == 0 {
        return None;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    let caller = match THREADS.get_ptr_mut(tid) {
        Some(thread) => Caller {
            thread,
            // SAFETY: a map value stays readable for the length of a program, even if removed.
            space: unsafe { (*thread).space },
        },
        None => first_call((pid_tgid >> 32) as u32, tid)?,
    };
    count(Counter::ProbeHits);
    Some(caller)
}

/// A thread that is not on record, if its process is followed.
#[inline(always)]
fn first_call(pid: u32, tid: u32) -> Option<Caller> {
    let process = match PROCESSES.get_ptr(pid) {
        Some(process) => process,
        None => discover(pid)?,
    };
    // SAFETY: a map value stays readable for the length of a program, even if removed.
    let space = unsafe { (*process).space };
    let mut thread = core::ptr::null_mut();
    if THREADS.insert(tid, NEW_THREAD.get(0)?, 0).is_ok()
        && let Some(new) = THREADS.get_ptr_mut(tid)
    {
        // SAFETY: as above.
        unsafe { (*new).space = space };
        thread = new;
    } else {
        count(Counter::UntrackedThreads);
    }
    Some(Caller { thread, space })
}
