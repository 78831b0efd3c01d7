//! The kernel's own counters of a process's resident memory, read before and after a change.
//!
//! The tracepoint that tells of a change does not tell of how much: one page, a huge one, or as many of
//! a file as lay around. The counters do. Each is a sum and, for every CPU, what that one has not added
//! to the sum yet (`lib/percpu_counter.c`); a change is in this CPU's part, unless that had grown so
//! large that all of it went into the sum.

use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_get_smp_processor_id, bpf_probe_read_kernel, generated::bpf_get_current_task_btf,
    },
};
use memprof_common::event::PageMemory;

use crate::kernel::offset;

/// Counters of a process: files, anonymous, swapped, shared.
const COUNTERS: usize = 4;

/// Where the kernel has how far from a CPU-local variable's address each CPU's own is; 0 if that could
/// not be found out. Written by the loader.
#[unsafe(no_mangle)]
static PER_CPU_OFFSETS: u64 = 0;

/// What the counters of a process were on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counted {
    /// The process's memory descriptor; 0 if there is none.
    pub memory: u64,
    /// Of this CPU, one more; 0 if nothing could be read.
    cpu: u32,
    reserved: u32,
    /// Where this CPU's parts are.
    parts_at: u64,
    sums: [i64; COUNTERS],
    parts: [i32; COUNTERS],
}

/// The current process's memory descriptor; 0 for a thread of the kernel.
#[inline(always)]
pub fn current_memory() -> u64 {
    // SAFETY: no arguments; the kernel's own task, whose fields the verifier lets programs read.
    unsafe { field(bpf_get_current_task_btf().cast(), offset!(task_mm)) as u64 }
}

/// Whether the kernel is only trying to read the target's memory: a fault then fails.
#[inline(always)]
pub fn only_tries() -> bool {
    // SAFETY: as above.
    unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        let at = task.cast::<u8>().add(offset!(task_only_tries) as usize);
        at.cast::<i32>().read_volatile() != 0
    }
}

/// A field that is a pointer of the kernel's.
#[inline(always)]
unsafe fn field(structure: *const u8, offset: u64) -> *const u8 {
    // SAFETY: as the caller says.
    unsafe {
        structure
            .add(offset as usize)
            .cast::<*const u8>()
            .read_volatile()
    }
}

/// Notes the counters of the current process in `counted`.
#[inline(always)]
pub fn note(counted: *mut Counted) {
    // SAFETY: `counted` points into a map value; the task is the current one, and the verifier lets
    // programs read what its fields point at.
    unsafe {
        let cpu = bpf_get_smp_processor_id() + 1;
        let memory = field(bpf_get_current_task_btf().cast(), offset!(task_mm));
        if (*counted).memory != memory as u64 || (*counted).cpu != cpu {
            (*counted).memory = memory as u64;
            (*counted).cpu = cpu;
            let first = memory.add(offset!(mm_resident) as usize);
            let parts = first.add(offset!(counter_parts) as usize);
            (*counted).parts_at = on_this_cpu(parts.cast::<u64>().read_volatile(), cpu - 1);
        }
        let mut counter = memory.add(offset!(mm_resident) as usize);
        let mut at = 0;
        while at < COUNTERS {
            let sum = counter.add(offset!(counter_sum) as usize).cast::<i64>();
            (*counted).sums[at] = sum.read_volatile();
            counter = counter.add(offset!(counter_bytes) as usize);
            at += 1;
        }
        match parts(counted) {
            Some(parts) => (*counted).parts = parts,
            None => (*counted).cpu = 0,
        }
    }
}

#[inline(always)]
fn on_this_cpu(address: u64, cpu: u32) -> u64 {
    // SAFETY: a plain read of a static that nothing writes while programs run.
    let offsets = unsafe { core::ptr::read_volatile(&raw const PER_CPU_OFFSETS) };
    if offsets == 0 {
        return 0;
    }
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    match unsafe { bpf_probe_read_kernel((offsets + 8 * u64::from(cpu)) as *const u64) } {
        Ok(offset) => address.wrapping_add(offset),
        Err(_) => 0,
    }
}

#[inline(always)]
unsafe fn parts(counted: *const Counted) -> Option<[i32; COUNTERS]> {
    // SAFETY: `counted` points into a map value. The parts of a process's counters lie side by side
    // (`percpu_counter_init_many`); the helper checks the address.
    unsafe { bpf_probe_read_kernel((*counted).parts_at as *const [i32; COUNTERS]) }.ok()
}

/// By how many pages the counter of `memory` has changed since `counted` was noted in this process; `None`
/// if that can't be told.
#[inline(always)]
pub fn change_since(counted: *const Counted, memory: PageMemory) -> Option<i64> {
    let which = memory as usize;
    // SAFETY: as in `note`.
    unsafe {
        if (*counted).cpu != bpf_get_smp_processor_id() + 1 {
            return None;
        }
        let part = i64::from(parts(counted)?[which]);
        let change = part - i64::from((*counted).parts[which]);
        if part != 0 {
            return Some(change);
        }
        // All of the part has gone into the sum, if that has changed; so may another CPU's have.
        let now = field(bpf_get_current_task_btf().cast(), offset!(task_mm));
        let counter =
            now.add(offset!(mm_resident) as usize + which * offset!(counter_bytes) as usize);
        let sum = counter.add(offset!(counter_sum) as usize).cast::<i64>();
        Some(sum.read_volatile() - (*counted).sums[which] + change)
    }
}
