//! Whose calls count: the gate, then the table of followed processes.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use memprof_common::counters::Counter;

use crate::{
    emit::count,
    maps::{GATE, PROCESSES},
};

/// A thread whose calls are wanted.
#[derive(Clone, Copy)]
pub struct Caller {
    pub tid: u32,
    pub space: u32,
}

/// The calling thread, if the gate is open and its process is followed.
#[inline(always)]
pub fn caller() -> Option<Caller> {
    if *GATE.get(0)? == 0 {
        return None;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let process = PROCESSES.get_ptr((pid_tgid >> 32) as u32)?;
    count(Counter::ProbeHits);
    Some(Caller {
        tid: pid_tgid as u32,
        // SAFETY: a map value stays readable for the length of a program, even if removed.
        space: unsafe { (*process).space },
    })
}
