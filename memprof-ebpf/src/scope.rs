//! Which processes are followed without having been named by id: all, or those of a name or a cgroup.
//!
//! A process is looked at when it first calls an allocator and when it runs another program, and what
//! was found is remembered: an outsider pays two look-ups a call beside the trap.

use aya_ebpf::helpers::{bpf_get_current_task, generated::bpf_get_current_ancestor_cgroup_id};
use memprof_common::{
    counters::Counter,
    event::{Kind, SPACE_BITS},
    settings::{FollowedProcess, MAX_SCOPE_ENTRIES, NAME_BYTES, WideScope},
};

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};

use crate::{
    emit::count,
    kernel::name_of,
    maps::{NEXT_SPACE, OUTSIDERS, PROCESSES},
    process::tell,
};

/// Written by the loader before the programs are loaded.
#[unsafe(no_mangle)]
static SCOPE: WideScope = WideScope {
    is_wide: 0,
    own_pid: 0,
    children: 0,
    names: 0,
    cgroups: 0,
    reserved: 0,
    name: [[0; NAME_BYTES / 8]; MAX_SCOPE_ENTRIES],
    cgroup: [0; MAX_SCOPE_ENTRIES],
};

/// Levels of cgroups that are looked through, from the root down.
const MAX_CGROUP_DEPTH: i32 = 32;
/// `BPF_NOEXIST`: of several threads that add a process, one does.
const NEW: u64 = 1;

/// A setting; volatile, for the loader changes what the compiler would take for a constant.
macro_rules! setting {
    ($($place:tt)*) => {
        // SAFETY: a plain read of a static that nothing writes while programs run.
        unsafe { core::ptr::read_volatile(&raw const SCOPE.$($place)*) }
    };
}

/// Whether processes are found by what they are.
#[inline(always)]
pub fn is_wide() -> bool {
    setting!(is_wide) != 0
}

/// Whether the current process, `pid`, is in a wide scope.
#[inline(always)]
pub fn takes_current(pid: u32) -> bool {
    pid != setting!(own_pid) && has_wanted_name() && is_in_wanted_cgroup()
}

#[inline(always)]
fn has_wanted_name() -> bool {
    let names = setting!(names);
    if names == 0 {
        return true;
    }
    // SAFETY: no arguments; returns the current task's address.
    let Some([low, high]) = name_of(unsafe { bpf_get_current_task() }) else {
        return false;
    };
    for index in 0..MAX_SCOPE_ENTRIES {
        if index as u32 >= names {
            break;
        }
        if setting!(name[index][0]) == low && setting!(name[index][1]) == high {
            return true;
        }
    }
    false
}

#[inline(always)]
fn is_in_wanted_cgroup() -> bool {
    let cgroups = setting!(cgroups);
    if cgroups == 0 {
        return true;
    }
    for level in 0..MAX_CGROUP_DEPTH {
        // SAFETY: no pointers; 0 for a level that the process's cgroup has not.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if id == 0 {
            return false;
        }
        for index in 0..MAX_SCOPE_ENTRIES {
            if (index as u32) < cgroups && setting!(cgroup[index]) == id {
                return true;
            }
        }
    }
    false
}

/// The current process, `pid`, which is not followed: its entry if it is in the scope, from now on.
#[inline(always)]
pub fn discover(pid: u32) -> Option<*const FollowedProcess> {
    if !is_wide() || OUTSIDERS.get_ptr(pid).is_some() {
        return None;
    }
    if !takes_current(pid) {
        // Refused: then it is looked at again.
        let _ = OUTSIDERS.insert(pid, 1, 0);
        return None;
    }
    enrol(pid);
    // By this thread, or by another one that was faster.
    PROCESSES.get_ptr(pid)
}

/// Follows the current process, `pid`, in a space of its own.
#[inline(always)]
pub fn enrol(pid: u32) -> Option<()> {
    let Some(space) = new_space() else {
        count(Counter::LostProcess);
        return None;
    };
    let entry = FollowedProcess {
        space,
        follow_children: setting!(children),
        follow_exec: 1,
    };
    if PROCESSES.insert(pid, entry, NEW).is_ok() {
        tell(Kind::Appear, pid, 0, space, 0);
    } else if PROCESSES.get_ptr(pid).is_none() {
        count(Counter::LostProcess);
    }
    Some(())
}

/// A number for a new address space; `None` when all are used up.
#[inline(always)]
pub fn new_space() -> Option<u32> {
    let next = NEXT_SPACE.get_ptr_mut(0)?;
    // The target has no read-modify-write atomics in `core::sync::atomic`, only the intrinsic; and
    // of a relaxed one LLVM drops the value that it fetches.
    // SAFETY: the map's value is a u64 that only this counter writes.
    let space = unsafe { atomic_xadd::<u64, u64, { SeqCst }>(next, 1) };
    (space >> SPACE_BITS == 0).then_some(space as u32)
}
