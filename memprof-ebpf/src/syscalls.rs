//! Memory that programs map themselves: mmap, munmap, mremap and brk, by the tracepoints that every
//! system call passes. They are attached only if mappings are followed, for all of them pay.
//!
//! What is mapped is told at the exit, what is unmapped at the entry, so that an address is never
//! used again before its end is on record; a system call that fails takes that back.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use memprof_common::{
    counters::Counter,
    event::{Kind, MapRequest, Remapping, SIZE_BITS, pack_map, pack_remap, pack_unmap},
};

use crate::{
    emit::{count, now, send},
    filter::{Caller, caller},
    kernel::heap_end,
    pending::{Thread, is_inside_call},
    registers::{CallerRegisters, InSystemCall},
    stack::stack_id,
    unwind::Innermost,
    window,
};

const MMAP: u64 = 9;
const MUNMAP: u64 = 11;
const BRK: u64 = 12;
const MREMAP: u64 = 25;

const PAGE: u64 = 4096;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_HUGETLB: u64 = 0x4_0000;
/// Where the flags of a mapping have the size of its huge pages, as a power of two; 0 for 2 MiB.
const HUGE_SHIFT: u32 = 26;
const MREMAP_DONTUNMAP: u64 = 4;
/// What a failed system call returns is one of the last so many numbers.
const ERRORS: u64 = 4095;

/// What the entry of a system call leaves for its exit.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SystemCall {
    /// 0 for none.
    number: u64,
    /// Where the range starts whose end was told; of `brk` where the heap ended.
    address: u64,
    /// Bytes of that range; 0 if none was told.
    length: u64,
    /// What was mapped, at the exit: where, bytes, how.
    mapped: u64,
    mapped_length: u64,
    request: MapRequest,
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall_entered(ctx: RawTracePointContext) -> i32 {
    let number: u64 = ctx.arg(1);
    if matches!(number, MUNMAP | BRK | MREMAP) {
        entered(InSystemCall::of(ctx.arg(0)), number);
    }
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn syscall_left(ctx: RawTracePointContext) -> i32 {
    let call = InSystemCall::of(ctx.arg(0));
    let number = call.number();
    if matches!(number, MMAP | MUNMAP | BRK | MREMAP) {
        left(call, number, ctx.arg(1));
    }
    0
}

#[inline(always)]
fn entered(call: InSystemCall, number: u64) -> Option<()> {
    let caller = caller()?;
    if !call.is_64_bit() {
        return None;
    }
    let thread = caller.thread;
    if thread.is_null() {
        count(Counter::LostUnmap);
        return None;
    }
    let [first, second, _, fourth, _] = call.arguments();
    let (address, length) = match number {
        BRK => (heap_end()?, 0),
        // The old range of a mremap that leaves it mapped does not end.
        MREMAP if fourth & MREMAP_DONTUNMAP != 0 => (first, 0),
        _ => (first, pages(second, PAGE)),
    };
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        (*thread).system_call.number = number;
        (*thread).system_call.address = address;
        (*thread).system_call.length = 0;
    }
    // What can't be unmapped is not told of: an address within a page, a length of nothing.
    if length == 0 || length >> SIZE_BITS != 0 || address & (PAGE - 1) != 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*thread).system_call.length = length };
    send_unmap(Kind::Unmap, caller, address, length, Counter::LostUnmap);
    Some(())
}

#[inline(always)]
fn left(call: InSystemCall, number: u64, result: u64) -> Option<()> {
    let caller = caller()?;
    if !call.is_64_bit() {
        return None;
    }
    let thread = caller.thread;
    if thread.is_null() {
        count(Counter::LostMap);
        return None;
    }
    let failed = result.wrapping_neg().wrapping_sub(1) < ERRORS;
    // SAFETY: `thread` points at this thread's map value.
    let begun = unsafe { &raw mut (*thread).system_call };
    // SAFETY: as above.
    let (begun_number, begun_at, begun_length) =
        unsafe { ((*begun).number, (*begun).address, (*begun).length) };
    // Of one that began before the gate opened the entry was not seen.
    let was_seen = begun_number == number;
    // SAFETY: as above.
    unsafe { (*begun).number = 0 };
    let range = match number {
        MMAP if !failed => mapped(&call, result),
        BRK if was_seen => moved_heap(caller, begun_at, result)?,
        MREMAP if !failed && was_seen => Range {
            address: result,
            length: pages(call.arguments()[2], PAGE),
            request: MapRequest::default(),
        },
        MUNMAP | MREMAP if failed && was_seen && begun_length != 0 => {
            let kind = Kind::UnmapFailed;
            send_unmap(kind, caller, begun_at, begun_length, Counter::LostMap);
            return None;
        }
        _ => return None,
    };
    if range.length >> SIZE_BITS != 0 {
        count(Counter::LostMap);
        return None;
    }
    let request = MapRequest {
        inner: is_inside_call(thread, call.registers().stack),
        ..range.request
    };
    // SAFETY: as above. Volatile, or they would come by registers.
    unsafe {
        (&raw mut (*begun).number).write_volatile(number);
        (&raw mut (*begun).mapped).write_volatile(range.address);
        (&raw mut (*begun).mapped_length).write_volatile(range.length);
        (&raw mut (*begun).request).write_volatile(request);
    }
    send_mapped(thread, caller.space, call.regs);
    Some(())
}

/// Sends what the exit found mapped, and how. All that is known of it lies in the thread's map value: the
/// verifier follows numbers that it knows through the walk, each way here by itself.
#[inline(never)]
fn send_mapped(thread: *mut Thread, space: u32, regs: u64) -> u32 {
    let time = now();
    window::clear(thread);
    let call = InSystemCall::of(regs);
    let stack = stack_id(thread, space, Innermost::Instruction, &call, time);
    // SAFETY: `thread` points at this thread's map value.
    let found = unsafe { (&raw const (*thread).system_call).read_volatile() };
    // SAFETY: as above.
    unsafe { (*thread).system_call.number = 0 };
    // For the verifier, which knows nothing of a number that lives in a map.
    let length = found.mapped_length & ((1 << SIZE_BITS) - 1);
    if found.number == MREMAP {
        let remapping = Remapping {
            old_address: found.address,
            old_length: found.length,
            address: found.mapped,
            length,
            copies: found.length == 0,
            inner: found.request.inner,
        };
        let record = pack_remap(time, space, stack, &remapping);
        send(record, Counter::LostMap);
    } else {
        let record = pack_map(time, space, found.mapped, length, stack, found.request);
        send(record, Counter::LostMap);
    }
    0
}

/// What was mapped.
struct Range {
    address: u64,
    length: u64,
    request: MapRequest,
}

#[inline(always)]
fn mapped(call: &InSystemCall, address: u64) -> Range {
    let [_, length, protection, flags, _] = call.arguments();
    let page = if flags & (MAP_HUGETLB | MAP_ANONYMOUS) == MAP_HUGETLB | MAP_ANONYMOUS {
        match (flags >> HUGE_SHIFT) & 0x3f {
            0 => 2 << 20,
            shift => 1 << shift,
        }
    } else {
        PAGE
    };
    Range {
        address,
        length: pages(length, page),
        request: MapRequest {
            flags: flags as u32,
            protection: protection as u8,
            inner: false,
            heap: false,
        },
    }
}

/// The heap ended at `old` and ends at `new`; a `brk` that fails moves nothing. What it grew by; what it
/// shrank by is told.
#[inline(always)]
fn moved_heap(caller: Caller, old: u64, new: u64) -> Option<Range> {
    if new < old {
        send_unmap(Kind::Unmap, caller, new, old - new, Counter::LostUnmap);
    }
    (new > old).then(|| Range {
        address: old,
        length: new - old,
        request: MapRequest {
            heap: true,
            ..MapRequest::default()
        },
    })
}

#[inline(always)]
fn send_unmap(kind: Kind, caller: Caller, address: u64, length: u64, lost: Counter) {
    send(pack_unmap(kind, now(), caller.space, address, length), lost);
}

/// Whole pages; what overflows does so in the kernel too, which refuses it.
#[inline(always)]
fn pages(length: u64, page: u64) -> u64 {
    length.wrapping_add(page - 1) & !(page - 1)
}
