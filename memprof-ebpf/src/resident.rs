//! The kernel's own counters of a process's resident memory, read around a change.
//!
//! The tracepoint that tells of a change does not tell of how much: one page, a huge one, or as many of
//! a file as lay around. The counters do. Each is a sum and, for every CPU, what that one has not added
//! to the sum yet (`lib/percpu_counter.c`); a change is in this CPU's part, unless that had grown so
//! large that all of it went into the sum. The tracepoint comes with every change, so what a CPU's parts
//! were before one is what they were after the last, as long as the CPU saw no other process's. If it did, a
//! thread still knows what they were at its fault, as long as it stays on its CPU.

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
    maps::{COUNTED, HERE},
    pending::Thread,
    window::{self, scratch},
};

/// Pages of a huge one.
const HUGE_PAGE: i64 = 512;
/// Counters of a process: files, anonymous, swapped, shared.
const COUNTERS: usize = 4;

/// 1 if the kernel was set up so; written by the loader.
#[unsafe(no_mangle)]
static TWO_PAGE_SIZES: u32 = 0;

/// What the counters of a process were: by a CPU the last that it saw, by a thread those of its own process
/// at its last fault.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Counted {
    /// Its memory descriptor; 0 if there was none.
    memory: u64,
    cpu: u32,
    reserved: u32,
    /// Where the parts of all CPUs are, as the descriptor has it.
    everyones: u64,
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

/// Whether `of` is the current process's memory descriptor.
#[inline(always)]
pub fn is_current(of: u64) -> bool {
    memory() as u64 == of
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

/// Takes note of the counters of the current process, for this CPU and for `thread`, the calling one.
#[inline(always)]
pub fn watch(thread: *mut Thread) {
    let Some(counted) = COUNTED.get_ptr_mut(0) else {
        return;
    };
    refresh(thread, counted);
    // SAFETY: live map values.
    unsafe {
        let noted = &raw mut (*thread).counted;
        (*noted).memory = (*counted).memory;
        (*noted).cpu = (*counted).cpu;
        (*noted).parts_at = (*counted).parts_at;
        (*noted).sums = (*counted).sums;
        (*noted).parts = (*counted).parts;
    }
}

#[inline(always)]
fn refresh(thread: *mut Thread, counted: *mut Counted) {
    let memory = memory();
    let everyones = word(memory, counter(0) + offset!(counter_parts));
    let to_sum = offset!(counter_sum);
    // SAFETY: a live map value of this CPU's.
    unsafe {
        let mut which = 0;
        while which < COUNTERS {
            (*counted).sums[which] = word(memory, counter(which) + to_sum) as i64;
            which += 1;
        }
        if (*counted).memory == memory as u64 && (*counted).everyones == everyones {
            return;
        }
        (*counted).cpu = bpf_get_smp_processor_id();
        (*counted).parts_at = everyones.wrapping_add(distance_of_this_cpu(thread));
        (*counted).everyones = everyones;
        (*counted).memory = match parts(counted) {
            Some(parts) => {
                (*counted).parts = parts;
                memory as u64
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

/// Keeps what this CPU knows up with a change of the counter `which` of the memory descriptor `of`; by how
/// many pages it changed, or `None` if that CPU has seen another process since.
#[inline(always)]
pub fn keep_up(of: u64, which: PageMemory) -> Option<i64> {
    let counted = COUNTED.get_ptr_mut(0)?;
    // SAFETY: a live map value of this CPU's.
    if unsafe { (*counted).memory } != of {
        return None;
    }
    let now = parts(counted)?;
    // SAFETY: as above.
    let mut change = unsafe { change_to(counted, now, which) };
    // SAFETY: as above.
    unsafe { (*counted).parts = now };
    if is_current(of) {
        let sum = sum_of(which);
        // SAFETY: as above.
        unsafe {
            if now[which as usize] == 0 {
                change += sum - (*counted).sums[which as usize];
            }
            (*counted).sums[which as usize] = sum;
        }
    }
    Some(change)
}

/// By how many pages this CPU's part of a counter has changed to what it is `now`.
#[inline(always)]
unsafe fn change_to(counted: *const Counted, now: [i32; COUNTERS], which: PageMemory) -> i64 {
    // SAFETY: as the caller says, `counted` points into a map value.
    i64::from(now[which as usize]) - i64::from(unsafe { (*counted).parts[which as usize] })
}

/// By how many pages the counter `which` of the current process rose in the fault of `thread` that is under
/// way, where the CPU did not keep up: exactly, or else whether it was one page or a huge one.
#[inline(always)]
pub fn rise_in_fault(of: u64, thread: *mut Thread, which: PageMemory) -> Result<i64, Guess> {
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: `thread` points at this thread's map value.
    let counted = unsafe { &raw const (*thread).counted };
    // SAFETY: as above.
    if unsafe { (*counted).memory } != of {
        return Err(Guess(1));
    }
    // SAFETY: as above.
    let added = sum_of(which) - unsafe { (*counted).sums[which as usize] };
    // SAFETY: as above.
    if unsafe { (*counted).cpu } == cpu
        && let Some(now) = parts(counted)
    {
        // SAFETY: as above.
        let change = unsafe { change_to(counted, now, which) };
        return Ok(match now[which as usize] {
            0 => change + added,
            _ => change,
        });
    }
    // A huge page goes into the sum at once.
    if added > HUGE_PAGE / 2 {
        Err(Guess(HUGE_PAGE))
    } else {
        Err(Guess(1))
    }
}

/// Whether anonymous memory comes in pages and in huge pages, and in no size between.
#[inline(always)]
pub fn has_two_sizes() -> bool {
    // SAFETY: a plain read of a static that nothing writes while programs run.
    unsafe { core::ptr::read_volatile(&raw const TWO_PAGE_SIZES) != 0 }
}

/// By how many pages the anonymous memory of the current process rose, where it [`has_two_sizes`]. The sum
/// tells them apart, which costs no call: a huge page goes into it at once, of single ones some dozens do.
#[inline(always)]
pub fn rise_of_anonymous(of: u64, thread: *mut Thread) -> Result<i64, Guess> {
    let sum = sum_of(PageMemory::Anonymous);
    let at = PageMemory::Anonymous as usize;
    // SAFETY: `thread` points at this thread's map value.
    let counted = unsafe { &raw mut (*thread).counted };
    // SAFETY: as above.
    let (noted, before) = unsafe { ((*counted).memory, (*counted).sums[at]) };
    // SAFETY: as above.
    unsafe { (*counted).sums[at] = sum };
    if noted != of {
        return Err(Guess(1));
    }
    if sum - before <= HUGE_PAGE / 2 {
        return Ok(1);
    }
    // Or the thread was off its CPU, and others touched as many single pages meanwhile.
    match parts(counted) {
        Some(parts) if parts[at] != 0 => Ok(1),
        _ => Ok(HUGE_PAGE),
    }
}

/// The common sum of one counter of the current process. The verifier wants to know which one.
#[inline(always)]
fn sum_of(which: PageMemory) -> i64 {
    let sum =
        |which: PageMemory| word(memory(), counter(which as usize) + offset!(counter_sum)) as i64;
    match which {
        PageMemory::File => sum(PageMemory::File),
        PageMemory::Anonymous => sum(PageMemory::Anonymous),
        PageMemory::Shared => sum(PageMemory::Shared),
    }
}

/// Pages that probably became resident.
#[derive(Clone, Copy)]
pub struct Guess(pub i64);
