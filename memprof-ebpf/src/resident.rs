//! The kernel's own counters of a process's resident memory, read before and after a change.
//!
//! The tracepoint that tells of a change does not tell of how much: one page, a huge one, or as many of
//! a file as lay around. The counters do. Each is a sum and, for every CPU, what that one has not added
//! to the sum yet (`lib/percpu_counter.c`); a change is in this CPU's part, unless that had grown so
//! large that all of it went into the sum.

use aya_ebpf::{
    bindings::task_struct,
    helpers::{
        bpf_get_smp_processor_id, bpf_probe_read_kernel,
        generated::{self, bpf_get_current_task_btf},
    },
};
use memprof_common::event::PageMemory;

use crate::{
    kernel::offset,
    maps::HERE,
    pending::Thread,
    window::{self, scratch},
};

/// Counters of a process: files, anonymous, swapped, shared.
const COUNTERS: usize = 4;

/// What the counters of a process were on one CPU.
#[repr(C)]
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

/// A word of a structure of the kernel's that a program may read as it is.
#[inline(always)]
fn word(structure: *const u8, offset: u64) -> u64 {
    // SAFETY: the verifier proves that the structure has a word there.
    unsafe { structure.add(offset as usize).cast::<u64>().read_volatile() }
}

/// The current process's memory descriptor; null for a thread of the kernel.
#[inline(always)]
fn memory() -> *const u8 {
    let at = offset!(task_mm) as usize;
    // SAFETY: as in `word`. It stays a pointer, whose structure the verifier knows.
    unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        task.cast::<u8>()
            .add(at)
            .cast::<*const u8>()
            .read_volatile()
    }
}

/// Where that is; 0 for a thread of the kernel.
#[inline(always)]
pub fn current_memory() -> u64 {
    memory() as u64
}

/// Whether the kernel is only trying to read the target's memory: a fault then fails.
#[inline(always)]
pub fn only_tries() -> bool {
    let at = offset!(task_only_tries) as usize;
    // SAFETY: as in `word`.
    unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        task.cast::<u8>().add(at).cast::<i32>().read_volatile() != 0
    }
}

/// Where the counter number `which` of the current process begins in its memory descriptor.
#[inline(always)]
fn counter(which: usize) -> u64 {
    offset!(mm_resident) + which as u64 * offset!(counter_bytes)
}

/// Notes the counters of the current process in `counted`, which is of `thread`.
#[inline(always)]
pub fn note(thread: *mut Thread, counted: *mut Counted) {
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() } + 1;
    let memory = memory();
    let (to_parts, to_sum) = (offset!(counter_parts), offset!(counter_sum));
    // SAFETY: `counted` points into a map value.
    unsafe {
        if (*counted).memory != memory as u64 || (*counted).cpu != cpu {
            (*counted).memory = memory as u64;
            let parts = word(memory, counter(0) + to_parts);
            (*counted).parts_at = parts.wrapping_add(distance_of_this_cpu(thread));
        }
        let mut which = 0;
        while which < COUNTERS {
            (*counted).sums[which] = word(memory, counter(which) + to_sum) as i64;
            which += 1;
        }
        (*counted).cpu = match parts(counted) {
            Some(parts) => {
                (*counted).parts = parts;
                cpu
            }
            None => 0,
        };
    }
}

/// How far this CPU's own variables are from the addresses that stand for those of all CPUs.
///
/// No helper tells it. So it is the distance from where a map's values are to where this CPU's is: the one
/// stands in the map's own structure, the other is found as usual. Addresses become numbers on the way
/// through a map's value.
#[inline(always)]
fn distance_of_this_cpu(thread: *mut Thread) -> u64 {
    let Some(here) = HERE.get_ptr_mut(0) else {
        return 0;
    };
    let offset = offset!(map_values);
    let scratch = scratch(thread);
    window::clear(thread);
    // SAFETY: the scratch is of this thread's map value, and larger than what is before that field.
    unsafe {
        let found = generated::bpf_probe_read_kernel(
            scratch.cast(),
            offset as u32 + 8,
            (&raw const HERE).cast(),
        );
        if found != 0 {
            return 0;
        }
        let everyones = scratch
            .cast::<u8>()
            .add(offset as usize)
            .cast::<u64>()
            .read_volatile();
        scratch.cast::<*mut u64>().write_volatile(here);
        scratch.read_volatile().wrapping_sub(everyones)
    }
}

#[inline(always)]
fn parts(counted: *const Counted) -> Option<[i32; COUNTERS]> {
    // SAFETY: `counted` points into a map value. The parts of a process's counters lie side by side
    // (`percpu_counter_init_many`); the helper checks the address.
    unsafe { bpf_probe_read_kernel((*counted).parts_at as *const [i32; COUNTERS]) }.ok()
}

/// By how many pages the counter of `memory` has changed since `counted` was noted in this process; `None`
/// if that can't be told.
#[inline(always)]
pub fn change_since(counted: *const Counted, memory: PageMemory) -> Option<i64> {
    let which = memory as usize;
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() } + 1;
    // SAFETY: `counted` points into a map value.
    let (noted_cpu, part_before, sum_before) = unsafe {
        (
            (*counted).cpu,
            (*counted).parts[which],
            (*counted).sums[which],
        )
    };
    if noted_cpu != cpu {
        return None;
    }
    let part = parts(counted)?[which];
    let change = i64::from(part) - i64::from(part_before);
    if part != 0 {
        return Some(change);
    }
    // All of the part has gone into the sum, if that has changed; so may another CPU's have.
    let sum = match memory {
        PageMemory::File => sum_of(PageMemory::File),
        PageMemory::Anonymous => sum_of(PageMemory::Anonymous),
        PageMemory::Shared => sum_of(PageMemory::Shared),
    };
    Some(sum - sum_before + change)
}

/// The common sum of one counter.
#[inline(always)]
fn sum_of(which: PageMemory) -> i64 {
    word(memory(), counter(which as usize) + offset!(counter_sum)) as i64
}
