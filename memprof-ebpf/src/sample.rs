//! Whether a block is reported: all are, or those that a sample falls into
//! (`memprof_common::sampling`).

use aya_ebpf::helpers::bpf_get_prandom_u32;

use crate::{maps::SAMPLING, pending::Thread};

/// Whether the block of `size` bytes that `thread` was given at `time` is reported.
#[inline(always)]
pub fn takes(thread: *mut Thread, size: u64, time: u64) -> bool {
    let Some(schedule) = SAMPLING.get_ptr(0) else {
        return true;
    };
    // SAFETY: a live map value; the collector changes a word at a time, each in a moment when it
    // makes no difference.
    let mean = unsafe { schedule.read_volatile() }.mean_at(time);
    if mean == 0 {
        return true;
    }
    // SAFETY: `thread` points at this thread's map value. The helper has no arguments.
    unsafe {
        (*thread)
            .sampler
            .takes(size, mean, || bpf_get_prandom_u32())
    }
}
