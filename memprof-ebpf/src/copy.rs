//! The stack of a walk that broke down, for the collector to unwind: registers, and up to four pages
//! as they are.
//!
//! A copy costs the target some microseconds and the collector more, so there is a budget. What is
//! refused is made up for at one of the stack's next uses, if it has any.

use core::intrinsics::{AtomicOrdering::SeqCst, atomic_xadd};

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use memprof_common::{
    counters::Counter,
    event::{
        CopiedRegisters, RareWords, STACK_COPY_HEADER_WORDS, STACK_COPY_PAGES, STACK_COPY_WORDS,
        STACK_PAGE_BYTES, pack_stack_copy_head,
    },
    settings::{COPY_BURST, COPY_PERIOD_NS, COPY_REACH, COPY_RING_BYTES},
};

use crate::{
    emit::{count, now, wakeup},
    maps::{COPIES, COPY_BUDGET},
    registers::CallerRegisters,
    unwind::Walk,
};

/// How many copies may be made.
#[repr(C)]
pub struct Budget {
    /// When copies were saved up last: a period's number since boot.
    period: u64,
    /// Copies that may be made; below 0 if several CPUs made the last one.
    copies: i64,
}

/// Copies the stack on which `walk` broke down, from an allocator's return to `caller`.
///
/// Whole pages, from the one that the stack pointer is in: every read has a fixed size and place,
/// and none runs over the end of the stack but by a page of its own.
#[inline(always)]
pub fn send_copy(space: u32, walk: &Walk, caller: &impl CallerRegisters, id: u64) {
    let time = now();
    if !spend(time) {
        return count(Counter::RefusedStackCopies);
    }
    let Some(mut entry) = COPIES.reserve::<[u64; STACK_COPY_WORDS]>(0) else {
        return count(Counter::RefusedStackCopies);
    };
    let call = caller.preserved();
    // From the call all registers are known, and the collector may know more code by now than the
    // walk did; but it has to reach the frame where the walk broke down.
    let from = if walk.stack.wrapping_sub(call[1]) < COPY_REACH {
        call[1]
    } else {
        walk.stack
    };
    let first_page = from & !(STACK_PAGE_BYTES as u64 - 1);
    let record = entry.as_mut_ptr().cast::<u64>();
    let mut pages = 0;
    while pages < STACK_COPY_PAGES {
        let at = STACK_COPY_HEADER_WORDS + pages * (STACK_PAGE_BYTES / 8);
        // SAFETY: a whole page of the record's; the helper checks the address.
        let read = unsafe {
            bpf_probe_read_user(
                record.add(at).cast(),
                STACK_PAGE_BYTES as u32,
                (first_page + (pages * STACK_PAGE_BYTES) as u64) as *const core::ffi::c_void,
            )
        };
        if read != 0 {
            break;
        }
        pages += 1;
    }
    let head = pack_stack_copy_head(
        time,
        space,
        pages as u64,
        walk.frames,
        1 - walk.returned,
        id,
        first_page,
    );
    // SAFETY: the head and the registers are the first words of the record.
    unsafe {
        *record.cast::<RareWords>() = head;
        *record.add(4).cast::<CopiedRegisters>() = CopiedRegisters {
            call,
            broken: [walk.pc, walk.stack, walk.frame],
            reserved: 0,
        };
    }
    let longest = 8 * STACK_COPY_WORDS as u64;
    entry.submit(wakeup(&COPIES, u64::from(COPY_RING_BYTES / 2), longest));
}

/// Takes a copy from the budget, if there is one. CPUs that come at once may save up the same
/// period twice.
#[inline(always)]
fn spend(time: u64) -> bool {
    let Some(budget) = COPY_BUDGET.get_ptr_mut(0) else {
        return false;
    };
    let period = time / COPY_PERIOD_NS;
    // SAFETY: a live map value; copies are taken by one atomic instruction.
    unsafe {
        let passed = period.wrapping_sub((*budget).period);
        // A CPU whose clock is behind another's saves up nothing.
        if passed != 0 && passed < u64::MAX / 2 {
            (*budget).period = period;
            let left = (*budget).copies.max(0) as u64;
            (*budget).copies = (left + passed).min(COPY_BURST) as i64;
        }
        if (*budget).copies <= 0 {
            return false;
        }
        atomic_xadd::<i64, i64, { SeqCst }>(&raw mut (*budget).copies, -1) > 0
    }
}
