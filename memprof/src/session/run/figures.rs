//! Figures of a report that need no more than numbers, and memprof's own.

use std::time::SystemTime;

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    },
    unistd::getpid,
};

use super::super::weight::Resident;
use crate::{
    events::event::MappingKind,
    identity::{Nanoseconds, Pid, seconds_since},
    pipeline::{self, MappedTotals},
    report::{Overhead, Summary, TimelinePoint},
    stacks::TouchTotals,
    target::process::resident_bytes,
};

/// The totals of a run.
pub(super) fn summary(
    totals: &pipeline::Summary,
    start: Nanoseconds,
    resident: Resident,
) -> Summary {
    let sums = &totals.totals;
    let growth = match (resident.start, resident.last) {
        (Some(start), Some(last)) => Some(last as i64 - start as i64),
        _ => None,
    };
    Summary {
        allocated_bytes: sums.allocated_bytes,
        allocated_count: sums.allocated_count,
        freed_bytes: sums.freed_bytes,
        freed_count: sums.freed_count,
        inherited_bytes: sums.inherited_bytes,
        inherited_count: sums.inherited_count,
        discarded_bytes: sums.discarded_bytes,
        discarded_count: sums.discarded_count,
        outstanding_bytes: sums.outstanding_bytes(),
        outstanding_count: sums.outstanding_count(),
        peak_outstanding_bytes: totals.peak_outstanding_bytes,
        peak_at_seconds: (totals.peak_outstanding_bytes > 0)
            .then(|| seconds_since(start, totals.peak_at)),
        rss_start_bytes: resident.start,
        rss_end_bytes: resident.last,
        rss_peak_bytes: resident.peak,
        unattributed_bytes: growth.map(|growth| growth - sums.outstanding_bytes() as i64),
        ..Summary::default()
    }
}

/// The same, with what of it is mapped.
pub(super) fn with_mappings(summary: Summary, mapped: &MappedTotals) -> Summary {
    let program = mapped.program();
    Summary {
        mapped_bytes: Some(program.bytes),
        mapped_count: Some(program.count),
        heap_bytes: Some(mapped.of(MappingKind::Heap).bytes),
        thread_stack_bytes: Some(mapped.of(MappingKind::ThreadStack).bytes),
        allocator_mapped_bytes: Some(mapped.allocators.bytes),
        file_mapped_bytes: Some(mapped.files.bytes),
        ..summary
    }
}

/// A point of the timeline.
pub(super) fn point(
    at_seconds: f64,
    totals: &pipeline::Summary,
    touched: Option<TouchTotals>,
    resident: Resident,
) -> TimelinePoint {
    TimelinePoint {
        at_seconds,
        outstanding_bytes: totals.totals.outstanding_bytes(),
        outstanding_count: totals.totals.outstanding_count(),
        touched_resident_bytes: touched.map(|touched| touched.resident_bytes()),
        rss_bytes: resident.last,
    }
}

/// Processor time that memprof has taken.
pub(in crate::session) fn own_cpu_seconds() -> Option<f64> {
    let used = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let microseconds = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    Some(microseconds as f64 / 1e6)
}

/// What memprof itself takes.
pub(super) fn weigh_self(overhead: &mut Overhead) {
    overhead.collector_cpu_seconds = own_cpu_seconds();
    overhead.collector_rss_bytes = resident_bytes(Pid(getpid().as_raw() as u32));
}

/// A moment as RFC 3339 in UTC, to the second.
pub(in crate::session) fn timestamp(moment: SystemTime) -> String {
    jiff::Timestamp::try_from(moment)
        .and_then(|moment| moment.round(jiff::Unit::Second))
        .map_or_else(|_| String::new(), |moment| moment.to_string())
}
