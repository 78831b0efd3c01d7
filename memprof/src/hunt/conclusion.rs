//! What an exact look has shown, by its report.

use crate::report::{FindKind, LeakDetection, Report, TopAllocator, Verdict};

/// Growth of resident memory is elsewhere if blocks explain less than this share of it.
const EXPLAINED: f64 = 0.5;

/// What there is to say of a process after an exact look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conclusion {
    /// A find, with its verdict and how sure that is.
    Find(FindKind, Verdict, Option<f64>),
    /// Its blocks don't grow, nor does anything else.
    Innocent(Verdict),
}

impl Conclusion {
    /// Whether it is known what leaks.
    pub fn is_leak(&self) -> bool {
        matches!(self, Self::Find(FindKind::Leak | FindKind::Growing, ..))
    }
}

/// Concludes from the report of a look; `min_growth` in bytes as of the watch.
pub fn conclude(report: &Report, min_confidence: f64, min_growth: u64) -> Conclusion {
    let whole = &report.leak_detection;
    let of_whole = is_suspect(whole.verdict).then_some((whole.verdict, whole.confidence));
    let of_path = guiltiest(report).map(|one| (one.verdict, one.confidence));
    // A leak that is spread over many call paths is the whole's.
    let suspect = match of_path {
        Some((Verdict::Leak, _)) => of_path,
        _ => of_whole.or(of_path),
    };
    if let Some((verdict, confidence)) = suspect {
        let is_sure = confidence.is_some_and(|sure| sure >= min_confidence);
        let kind = match verdict {
            _ if !is_sure => FindKind::Undecided,
            Verdict::Leak => FindKind::Leak,
            _ => FindKind::Growing,
        };
        return Conclusion::Find(kind, verdict, confidence);
    }
    let LeakDetection {
        verdict,
        confidence,
        ..
    } = *whole;
    let kind = match verdict {
        Verdict::InsufficientData => FindKind::Undecided,
        _ if grows_elsewhere(report, min_growth) => FindKind::Elsewhere,
        _ => return Conclusion::Innocent(verdict),
    };
    Conclusion::Find(kind, verdict, confidence)
}

/// The call path to go and fix: of those that leak, or else grow, the fastest.
pub fn guiltiest(report: &Report) -> Option<&TopAllocator> {
    let suspects = report
        .top_allocators
        .iter()
        .filter(|one| is_suspect(one.verdict));
    suspects.max_by(|one, other| {
        let key = |path: &TopAllocator| {
            let rate = path.rate_bytes_per_second.unwrap_or(0.0);
            (path.verdict == Verdict::Leak, rate)
        };
        let (one, other) = (key(one), key(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    })
}

fn is_suspect(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Leak | Verdict::Growing)
}

/// Whether resident memory grew by what blocks don't explain.
fn grows_elsewhere(report: &Report, min_growth: u64) -> bool {
    let summary = &report.summary;
    let (Some(start), Some(end)) = (summary.rss_start_bytes, summary.rss_end_bytes) else {
        return false;
    };
    let grown = end.saturating_sub(start);
    let unexplained = summary.unattributed_bytes.unwrap_or(0);
    grown >= min_growth && unexplained as f64 > (1.0 - EXPLAINED) * grown as f64
}
