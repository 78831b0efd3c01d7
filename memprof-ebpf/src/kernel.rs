//! Fields of kernel structures, at the offsets that the loader read from the running kernel's BTF.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use memprof_common::settings::{KernelOffsets, NAME_BYTES};

/// Written by the loader before the programs are loaded.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: KernelOffsets = KernelOffsets {
    known: 0,
    task_utask: 0,
    task_mm: 0,
    mm_brk: 0,
    mm_resident: 0,
    counter_bytes: 0,
    counter_sum: 0,
    counter_parts: 0,
    map_values: 0,
    task_only_tries: 0,
    task_tgid: 0,
    task_thread_pointer: 0,
    task_leader: 0,
    task_comm: 0,
    task_signal: 0,
    signal_live: 0,
    utask_return_instances: 0,
    return_instance_stack: 0,
    return_instance_address: 0,
    return_instance_next: 0,
};

/// Calls of return-probed functions that a thread may have open at one time, as the kernel
/// limits them (`MAX_URETPROBE_DEPTH`).
const MAX_RETURN_INSTANCES: u32 = 64;

/// An offset; volatile, for the loader changes what the compiler would take for a constant.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a plain read of a static that nothing writes while programs run.
        (unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$field) }) as u64
    };
}
pub(crate) use offset;

#[inline(always)]
fn word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.ok()
}

#[inline(always)]
fn half(address: u64) -> Option<u32> {
    // SAFETY: as in `word`.
    unsafe { bpf_probe_read_kernel(address as *const u32) }.ok()
}

/// The process id of a `task_struct`.
#[inline(always)]
pub fn process_of(task: u64) -> Option<u32> {
    half(task + offset!(task_tgid))
}

/// The address of a `task_struct`'s memory descriptor: equal means shared memory.
#[inline(always)]
pub fn memory_of(task: u64) -> Option<u64> {
    word(task + offset!(task_mm))
}

/// Where the heap of the current process ends, which `brk` moves.
#[inline(always)]
pub fn heap_end() -> Option<u64> {
    // SAFETY: no arguments; returns the current task's address.
    let task = unsafe { bpf_get_current_task() };
    word(memory_of(task)? + offset!(mm_brk))
}

/// The current thread's pointer to itself (`fs` on x86-64): where it was when the kernel was told
/// or last switched to another thread. C libraries put it at the top of a new thread's stack. 0 if
/// there is none.
#[inline(always)]
pub fn thread_pointer() -> u64 {
    if offset!(known) == 0 {
        return 0;
    }
    // SAFETY: no arguments; returns the current task's address.
    let task = unsafe { bpf_get_current_task() };
    word(task + offset!(task_thread_pointer)).unwrap_or(0)
}

/// The name of a task's process: of its first thread.
#[inline(always)]
pub fn name_of(task: u64) -> Option<[u64; NAME_BYTES / 8]> {
    let leader = word(task + offset!(task_leader))?;
    let name = (leader + offset!(task_comm)) as *const [u64; NAME_BYTES / 8];
    // SAFETY: as in `word`.
    unsafe { bpf_probe_read_kernel(name) }.ok()
}

/// Threads of a task's process that have not begun to exit.
#[inline(always)]
pub fn living_threads(task: u64) -> Option<u32> {
    let signal = word(task + offset!(task_signal))?;
    half(signal + offset!(signal_live))
}

/// The return address that a return probe replaced in the stack slot at `slot`; 0 if none did.
///
/// While a function with a return probe runs, its slot holds the address of the kernel's
/// trampoline; the kernel keeps the real one in a list at `task->utask->return_instances`.
#[inline(never)]
pub fn hijacked_return_address(slot: u64) -> u64 {
    if offset!(known) == 0 {
        return 0;
    }
    // SAFETY: no arguments; returns the current task's address.
    let task = unsafe { bpf_get_current_task() };
    let Some(utask) = word(task + offset!(task_utask)) else {
        return 0;
    };
    let Some(mut instance) = word(utask + offset!(utask_return_instances)) else {
        return 0;
    };
    let mut left = MAX_RETURN_INSTANCES;
    while left > 0 && instance != 0 {
        let Some(stack) = word(instance + offset!(return_instance_stack)) else {
            return 0;
        };
        if stack == slot {
            return word(instance + offset!(return_instance_address)).unwrap_or(0);
        }
        let Some(next) = word(instance + offset!(return_instance_next)) else {
            return 0;
        };
        instance = next;
        left -= 1;
    }
    0
}

/// Whether a word in a return slot may be the trampoline: it starts a page, as code hardly does.
#[inline(always)]
pub fn may_be_trampoline(return_address: u64) -> bool {
    return_address & 0xfff == 0 && return_address != 0
}
