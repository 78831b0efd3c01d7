//! What is remembered of each thread, kept by the kernel with the thread itself: found without a
//! search, gone with it, and never another thread's that has its id.
//!
//! Per thread and not per CPU: a uprobe program may be preempted, and another thread's must not find
//! its scratch.

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type},
    helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_delete, bpf_task_storage_get},
    macros::btf_map,
};
use memprof_common::settings::MAX_THREADS;

use crate::{maps::THREADS_KEPT, pending::Thread};

/// A map of the kernel's task storage, as BTF describes it to the loader. aya has no type for it.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: placeholders that tell the loader what to make; nothing is ever read through them.
unsafe impl<T> Sync for TaskStorage<T> {}

#[btf_map]
static THREADS: TaskStorage<Thread> = TaskStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
};

/// What is remembered of the calling thread; null if nothing is.
#[inline(always)]
pub fn current() -> *mut Thread {
    get(0)
}

/// What is remembered of the calling thread, from now on if nothing was: all zero then. Null if there
/// are too many threads, or no memory.
#[inline(always)]
pub fn remember() -> *mut Thread {
    let thread = current();
    if !thread.is_null() {
        return thread;
    }
    if add(1) < MAX_THREADS as i64 {
        let thread = get(u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE));
        if !thread.is_null() {
            return thread;
        }
    }
    add(-1);
    core::ptr::null_mut()
}

/// Forgets the calling thread, which makes no calls any more.
#[inline(always)]
pub fn forget() {
    if current().is_null() {
        return;
    }
    // Refused while another thread of this CPU is interrupted in its own: then it goes with the thread.
    // SAFETY: the map is task storage, the task the current one.
    let _ = unsafe { bpf_task_storage_delete(map(), bpf_get_current_task_btf()) };
    add(-1);
}

/// Changes how many threads are remembered; how many were.
#[inline(always)]
fn add(number: i64) -> i64 {
    match THREADS_KEPT.get_ptr_mut(0) {
        // SAFETY: a live map value that is only changed atomically.
        Some(kept) => unsafe { atomic_xadd::<i64, i64, { SeqCst }>(kept, number) },
        None => i64::MAX,
    }
}

#[inline(always)]
fn get(flags: u64) -> *mut Thread {
    // SAFETY: the map is task storage, the task the current one.
    unsafe {
        bpf_task_storage_get(
            map(),
            bpf_get_current_task_btf(),
            core::ptr::null_mut(),
            flags,
        )
        .cast()
    }
}

#[inline(always)]
fn map() -> *mut core::ffi::c_void {
    (&raw const THREADS).cast_mut().cast()
}
