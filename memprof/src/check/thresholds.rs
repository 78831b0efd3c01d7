//! Growth, outstanding bytes and resident memory against their bounds. These are about the whole,
//! and know neither suppressions nor a baseline.

use super::{Policy, Watched};
use crate::report::{Criterion, Failure, Report};
use crate::units::{format_rate, format_size};

/// What the blocks on record say.
pub(super) fn of_blocks(report: &Report, watched: &Watched, policy: &Policy) -> Vec<Failure> {
    let mut failures = Vec::new();
    let growth = &report.leak_detection;
    if let (Some(most), Some(rate)) = (
        policy.criteria.max_growth_bytes_per_second,
        growth.rate_bytes_per_second,
    ) {
        // Growth that may be none is not growth.
        let is_sure = growth
            .rate_ci95_bytes_per_second
            .is_none_or(|[low, _]| low > 0.0);
        if rate > most && is_sure {
            let interval = growth.rate_ci95_bytes_per_second.map(|[low, high]| {
                format!(" (95 % {} to {})", format_rate(low), format_rate(high))
            });
            failures.push(of_whole(
                Criterion::MaxGrowth,
                format!(
                    "grows by {}{}, more than the {} of --max-growth",
                    per_hour(rate),
                    interval.unwrap_or_default(),
                    per_hour(most)
                ),
            ));
        }
    }
    let peak = watched.peak_outstanding_bytes;
    if let Some(most) = policy.criteria.max_outstanding_bytes
        && watched.seconds.is_some()
        && peak > most
    {
        failures.push(of_whole(
            Criterion::MaxOutstanding,
            format!(
                "{} were outstanding at once, more than the {} of --max-outstanding",
                format_size(peak),
                format_size(most)
            ),
        ));
    }
    failures
}

/// What needs no blocks.
pub(super) fn of_resident_memory(watched: &Watched, policy: &Policy) -> Option<Failure> {
    let most = policy.criteria.max_rss_bytes?;
    let peak = watched.peak_rss_bytes.filter(|peak| *peak > most)?;
    let reason = format!(
        "{} were resident at once, more than the {} of --max-rss",
        format_size(peak),
        format_size(most)
    );
    Some(of_whole(Criterion::MaxRss, reason))
}

/// Why a bound that was given could not be held against anything.
pub(super) fn unknown(report: &Report, watched: &Watched, policy: &Policy) -> Vec<String> {
    let mut unknown = Vec::new();
    let criteria = &policy.criteria;
    if criteria.max_growth_bytes_per_second.is_some()
        && report.leak_detection.rate_bytes_per_second.is_none()
        && report.summary.allocated_count > 0
    {
        unknown.push("--max-growth: how fast it grows is not known".to_owned());
    }
    if criteria.max_rss_bytes.is_some() && watched.peak_rss_bytes.is_none() {
        unknown.push("--max-rss: resident memory was not seen".to_owned());
    }
    unknown
}

fn per_hour(bytes_per_second: f64) -> String {
    format!("{}/h", format_size((bytes_per_second * 3600.0) as u64))
}

fn of_whole(criterion: Criterion, reason: String) -> Failure {
    Failure {
        criterion,
        reason,
        allocator: None,
    }
}
