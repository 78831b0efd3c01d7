//! Processes come and go: who is followed, and in which address space they live.
//!
//! These run whether the gate is open or not, or a process that forks while the probes go in
//! would be missed.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};
use memprof_common::{
    counters::Counter,
    event::{Kind, SPACE_BITS, pack_process},
    settings::FollowedProcess,
};

use crate::{
    emit::{count, now, send_process},
    kernel::{living_threads, memory_of, process_of},
    maps::{MAPPINGS, NEXT_SPACE, PROCESSES},
    pending::begin_anew,
    threads,
};

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_forked(ctx: RawTracePointContext) -> i32 {
    forked(ctx.arg(0), ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_executed(_ctx: RawTracePointContext) -> i32 {
    executed();
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exited(_ctx: RawTracePointContext) -> i32 {
    exited();
    0
}

/// A number for a new address space; `None` when all are used up.
#[inline(always)]
fn new_space() -> Option<u32> {
    let next = NEXT_SPACE.get_ptr_mut(0)?;
    // The target has no read-modify-write atomics in `core::sync::atomic`, only the intrinsic; and
    // of a relaxed one LLVM drops the value that it fetches.
    // SAFETY: the map's value is a u64 that only this counter and the loader write.
    let space = unsafe { atomic_xadd::<u64, u64, { SeqCst }>(next, 1) };
    (space >> SPACE_BITS == 0).then_some(space as u32)
}

fn tell(kind: Kind, pid: u32, child: u32, space: u32, new_space: u32) {
    if !send_process(pack_process(kind, now(), pid, child, space, new_space)) {
        count(Counter::LostProcess);
    }
}

#[inline(always)]
fn forked(parent_task: u64, child_task: u64) -> Option<()> {
    let parent = process_of(parent_task)?;
    let followed = PROCESSES.get_ptr(parent)?;
    // SAFETY: a map value stays readable for the length of a program, even if removed.
    let followed = unsafe { *followed };
    let child = process_of(child_task)?;
    if child == parent {
        return None;
    }
    // What shares the memory allocates in it: such a child is followed, up to its exec, even
    // where children are not.
    let shares_memory = memory_of(parent_task)? == memory_of(child_task)?;
    let (space, follow_exec) = match (shares_memory, followed.follow_children != 0) {
        (true, follow_children) => (followed.space, follow_children),
        (false, true) => {
            let Some(space) = new_space() else {
                count(Counter::LostProcess);
                return None;
            };
            (space, true)
        }
        (false, false) => return None,
    };
    let entry = FollowedProcess {
        space,
        follow_children: followed.follow_children,
        follow_exec: u32::from(follow_exec),
    };
    if PROCESSES.insert(child, entry, 0).is_err() {
        count(Counter::LostProcess);
        return None;
    }
    if space != followed.space
        && let Some(mappings) = MAPPINGS.get_ptr(followed.space)
    {
        // The child has its parent's mappings from its first call on.
        // SAFETY: a map value stays readable for the length of a program.
        let _ = MAPPINGS.insert(space, unsafe { &*mappings }, 0);
    }
    tell(Kind::Fork, parent, child, followed.space, space);
    Some(())
}

/// The calling thread goes on as the only one of its process, under that one's id.
#[inline(always)]
fn executed() -> Option<()> {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // A process that is not followed has no entry, and neither has its thread.
    let followed = PROCESSES.get_ptr_mut(pid)?;
    let thread = threads::current();
    if !thread.is_null() {
        begin_anew(thread);
    }
    // SAFETY: a map value stays valid for the length of a program, even if removed.
    let old = unsafe { *followed };
    if old.follow_exec == 0 {
        let _ = PROCESSES.remove(pid);
        tell(Kind::Exit, pid, 0, old.space, 0);
        return None;
    }
    let Some(space) = new_space() else {
        count(Counter::LostProcess);
        let _ = PROCESSES.remove(pid);
        return None;
    };
    // SAFETY: as above; no other thread of this process is left to read it.
    unsafe { (*followed).space = space };
    tell(Kind::Exec, pid, 0, old.space, space);
    Some(())
}

#[inline(always)]
fn exited() -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let pid = (pid_tgid >> 32) as u32;
    // Whatever is known of its process.
    threads::forget();
    let followed = PROCESSES.get_ptr(pid)?;
    // SAFETY: no arguments; returns the current task's address.
    if living_threads(unsafe { bpf_get_current_task() })? != 0 {
        return None;
    }
    // SAFETY: a map value stays readable for the length of a program, even if removed.
    let space = unsafe { (*followed).space };
    // Two last threads may both get here; the one that removes the entry reports.
    if PROCESSES.remove(pid).is_ok() {
        tell(Kind::Exit, pid, 0, space, 0);
    }
    Some(())
}
