//! What an exact look has shown, by its report.

use super::question::Question;
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
    /// Whether it is known what leaks: growth may still turn out to be that of a store.
    pub fn is_leak(&self) -> bool {
        matches!(self, Self::Find(FindKind::Leak, ..))
    }
}

/// Concludes from the report of a look that was to answer `question`; `min_growth` in bytes as of the
/// watch.
pub fn conclude(report: &Report, question: Question, min_growth: u64) -> Conclusion {
    let whole = &report.leak_detection;
    let of_whole = is_suspect(whole.verdict).then_some((whole.verdict, whole.confidence));
    let of_path = guiltiest(report).map(|one| (one.verdict, one.confidence));
    // A leak that is spread over many call paths is the whole's.
    let suspect = match of_path {
        Some((Verdict::Leak, _)) => of_path,
        _ => of_whole.or(of_path),
    };
    if let Some((verdict, confidence)) = suspect {
        let explains = question.is_explained_by(suspected_rate(report));
        let kind = match verdict {
            _ if !question.is_sure(confidence) || !explains => FindKind::Undecided,
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

/// How fast all grows that leaks or may leak, bytes per second.
pub fn suspected_rate(report: &Report) -> f64 {
    let whole = &report.leak_detection;
    let of_whole = whole.rate_bytes_per_second;
    let of_whole = of_whole.filter(|_| is_suspect(whole.verdict));
    let suspects = report
        .top_allocators
        .iter()
        .filter(|one| is_suspect(one.verdict));
    let of_paths: f64 = suspects.filter_map(|one| one.rate_bytes_per_second).sum();
    of_whole.map_or(of_paths, |rate| rate.max(of_paths))
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
