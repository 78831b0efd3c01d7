//! Processes come and go: who is followed, and in which address space they live.
//!
//! These run whether the gate is open or not, or a process that forks while the probes go in
//! would be missed.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use memprof_common::{
    counters::Counter,
    event::{Kind, pack_process},
    settings::FollowedProcess,
};

use crate::{
    emit::{count, now, send_process},
    kernel::{living_threads, memory_of, process_of},
    maps::{MAPPINGS, OUTSIDERS, PROCESSES, THREADS},
    scope::{enrol, is_wide, new_space, takes_current},
};

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_forked(ctx: RawTracePointContext) -> i32 {
    forked(ctx.arg(0), ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_executed(ctx: RawTracePointContext) -> i32 {
    executed(ctx.arg::<u64>(1) as u32);
    0
}

/// Attached where cgroups make the scope.
#[raw_tracepoint(tracepoint = "cgroup_attach_task")]
pub fn process_moved(ctx: RawTracePointContext) -> i32 {
    moved(ctx.arg(2));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exited(_ctx: RawTracePointContext) -> i32 {
    exited();
    0
}

/// Tells of a process; what finds no room is counted.
pub fn tell(kind: Kind, pid: u32, child: u32, space: u32, new_space: u32) {
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
    let follow_children = followed.follow_children != 0 || is_wide();
    let (space, follow_exec) = match (shares_memory, follow_children) {
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

/// The calling thread goes on as the only one of its process, under that one's id; `old_tid` was
/// its own before.
#[inline(always)]
fn executed(old_tid: u32) -> Option<()> {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // A process that is not followed has no entry, and neither has its thread.
    let Some(followed) = PROCESSES.get_ptr_mut(pid) else {
        return reconsider(pid);
    };
    let _ = THREADS.remove(old_tid);
    let _ = THREADS.remove(pid);
    // SAFETY: a map value stays valid for the length of a program, even if removed.
    let old = unsafe { *followed };
    let stays = old.follow_children != 0 || !is_wide() || takes_current(pid);
    if old.follow_exec == 0 || !stays {
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

/// A process that is not followed runs another program, and may be in the scope by that.
#[inline(always)]
fn reconsider(pid: u32) -> Option<()> {
    if !is_wide() {
        return None;
    }
    let _ = OUTSIDERS.remove(pid);
    if takes_current(pid) {
        enrol(pid);
    }
    Some(())
}

/// A task has a new cgroup: its process is looked at again. One that is followed stays so.
#[inline(always)]
fn moved(task: u64) -> Option<()> {
    let _ = OUTSIDERS.remove(process_of(task)?);
    Some(())
}

#[inline(always)]
fn exited() -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let pid = (pid_tgid >> 32) as u32;
    // Whatever is known of its process: another one may get the thread's id.
    let _ = THREADS.remove(pid_tgid as u32);
    let Some(followed) = PROCESSES.get_ptr(pid) else {
        if is_wide() {
            // Another process may get the id. The first thread to end takes it out, and others that
            // go on are looked at again.
            let _ = OUTSIDERS.remove(pid);
        }
        return None;
    };
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
