//! Records into the rings, without waking the reader; what finds a ring full is counted.
//!
//! A wakeup costs the target some 3 µs, so the reader polls. It is woken only when a ring
//! passes its half: once, by the record that crosses the line.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, generated::bpf_ringbuf_query},
};
use memprof_common::counters::{COUNTERS as COUNTER_COUNT, Counter};

use crate::maps::{COUNTERS, RARE, RINGS};

/// Half of a ring's bytes; written by the loader, who makes the rings.
#[unsafe(no_mangle)]
static HALF_RING_BYTES: u64 = 0;

/// Longer than any frequent record, so that no ring fills past the line without a wakeup.
const LINE_WIDTH: u64 = 64;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no effects.
    unsafe { bpf_ktime_get_ns() }
}

/// Adds one to this CPU's `counter`.
#[inline(always)]
pub fn count(counter: Counter) {
    const { assert!((Counter::PlacelessChanges as usize) < COUNTER_COUNT) };
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: in bounds as asserted. A program that preempts this one may lose a count of the
        // same CPU between the read and the write; exact counting would cost an atomic per hit.
        unsafe { (*counters)[counter as usize] += 1 };
    }
}

/// Sends a frequent record through this CPU's ring.
#[inline(always)]
pub fn send<const WORDS: usize>(record: [u64; WORDS], lost: Counter) {
    // SAFETY: no arguments, no effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(ring) = RINGS.get(cpu) else {
        return count(lost);
    };
    let Some(mut entry) = ring.reserve_untyped::<[u64; WORDS]>(0) else {
        return count(lost);
    };
    entry.write(record);
    // SAFETY: a plain read of a static that nothing writes while programs run.
    let line = unsafe { core::ptr::read_volatile(&raw const HALF_RING_BYTES) };
    entry.submit(wakeup(ring, line, LINE_WIDTH));
}

/// The flag that wakes the reader of `ring`, a ring map of whichever type, if `line` bytes wait
/// there, up to `width` more: no less than the longest record has, so that one of them meets the
/// line.
#[inline(always)]
pub fn wakeup<R>(ring: &R, line: u64, width: u64) -> u64 {
    // SAFETY: the helper only reads the map's positions; the verifier refuses any other map.
    let waiting = unsafe {
        bpf_ringbuf_query(
            core::ptr::from_ref(ring).cast_mut().cast(),
            u64::from(BPF_RB_AVAIL_DATA),
        )
    };
    u64::from(if waiting.wrapping_sub(line) < width {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Sends a process event and wakes the reader, who has to look at the process while it is there;
/// whether it found room.
#[inline(always)]
pub fn send_process<const WORDS: usize>(record: [u64; WORDS]) -> bool {
    let Some(mut entry) = RARE.reserve::<[u64; WORDS]>(0) else {
        return false;
    };
    entry.write(record);
    entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    true
}
