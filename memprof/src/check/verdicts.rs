//! Which call paths fail by their verdict, or the whole by its own.

use super::baseline::Pace;
use super::{Policy, Suppressions};
use crate::report::{
    Criterion, Excused, FailOn, Failure, LeakDetection, Report, Severity, TopAllocator, Verdict,
};
use crate::units::{format_rate, format_size};

/// Of many call paths one may look like a leak by chance, which the verdict on the whole counts in.
/// Where the whole is none, a path must be this sure by itself.
const SURE_ALONE: f64 = 0.8;

/// What the verdicts come to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) failures: Vec<Failure>,
    pub(super) suppressed: Vec<Excused>,
    pub(super) in_baseline: Vec<Excused>,
    /// By suppression: whether it matched anything.
    pub(super) used: Vec<bool>,
}

pub(super) fn find(report: &Report, policy: &Policy) -> Found {
    let mut found = Found {
        used: vec![false; policy.suppressions.len()],
        ..Found::default()
    };
    let whole = &report.leak_detection;
    let mut accused: Vec<&TopAllocator> = report
        .top_allocators
        .iter()
        .filter(|one| is_accused(one, whole, policy))
        .collect();
    let rate = |one: &TopAllocator| one.rate_bytes_per_second.unwrap_or(0.0);
    accused.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    let explained = !accused.is_empty();
    accused.retain(|one| !found.suppress(one, &failure_of(one), &policy.suppressions));
    let known = match &policy.baseline {
        Some(baseline) => baseline.known(&accused),
        None => vec![None; accused.len()],
    };
    let mut news = Vec::new();
    for (one, because) in accused.into_iter().zip(known) {
        match because {
            Some(because) => found.in_baseline.push(Excused {
                failure: failure_of(one),
                because,
            }),
            None => news.push(one),
        }
    }
    let least = policy.criteria.severity;
    let bad = |one: &&TopAllocator| one.severity.unwrap_or(Severity::None) >= least;
    found.failures = news.iter().copied().filter(bad).map(failure_of).collect();
    if found.failures.is_empty() && together(&news, policy) >= least {
        // Each is small, all together are not; without a bound none is left here.
        found.failures = news.iter().copied().map(failure_of).collect();
    }
    if !explained {
        found.judge_whole(whole, policy);
    }
    found
}

impl Found {
    /// Whether a call path may fail; notes what says so.
    pub(super) fn suppress(
        &mut self,
        one: &TopAllocator,
        failure: &Failure,
        suppressions: &Suppressions,
    ) -> bool {
        let matching = suppressions.matching(one);
        for &index in &matching {
            self.used[index] = true;
        }
        let first = matching.first().and_then(|&index| suppressions.get(index));
        let Some(suppression) = first else {
            return false;
        };
        self.suppressed.push(Excused {
            failure: failure.clone(),
            because: suppression.reason.clone(),
        });
        true
    }

    /// Growth of the whole that no single call path shows: a leak that is spread over many.
    fn judge_whole(&mut self, whole: &LeakDetection, policy: &Policy) {
        let severity = whole.severity.unwrap_or(Severity::None);
        if !fails(whole.verdict, policy)
            || whole.confidence.unwrap_or(0.0) < policy.criteria.confidence
            || severity < policy.criteria.severity
        {
            return;
        }
        let (rate, ci95) = (
            whole.rate_bytes_per_second,
            whole.rate_ci95_bytes_per_second,
        );
        let mut reason = sentence(whole.verdict, rate, ci95, whole.confidence, whole.severity);
        reason.push_str("; no single call path shows it");
        let failure = Failure {
            criterion: criterion(whole.verdict),
            reason,
            allocator: None,
        };
        let baseline = policy.baseline.as_ref();
        match baseline.and_then(|baseline| baseline.known_whole(Pace::new(rate, ci95))) {
            Some(because) => self.in_baseline.push(Excused { failure, because }),
            None => self.failures.push(failure),
        }
    }
}

fn fails(verdict: Verdict, policy: &Policy) -> bool {
    match verdict {
        Verdict::Leak => true,
        Verdict::Growing => policy.criteria.fail_on == FailOn::Growing,
        _ => false,
    }
}

fn is_accused(one: &TopAllocator, whole: &LeakDetection, policy: &Policy) -> bool {
    let least = if fails(whole.verdict, policy) {
        policy.criteria.confidence
    } else {
        policy.criteria.confidence.max(SURE_ALONE)
    };
    fails(one.verdict, policy) && one.confidence.is_some_and(|confidence| confidence >= least)
}

/// How bad they are together.
fn together(paths: &[&TopAllocator], policy: &Policy) -> Severity {
    let left = paths.iter().filter_map(|one| one.left_bytes);
    let left = left.fold(0u64, u64::saturating_add);
    let rates = paths.iter().filter_map(|one| one.rate_bytes_per_second);
    policy.bounds.of(left, rates.sum())
}

fn failure_of(one: &TopAllocator) -> Failure {
    let mut reason = sentence(
        one.verdict,
        one.rate_bytes_per_second,
        one.rate_ci95_bytes_per_second,
        one.confidence,
        one.severity,
    );
    if let Some(left) = one.left_bytes {
        reason.push_str(&format!(", {} so far", format_size(left)));
    }
    Failure {
        criterion: criterion(one.verdict),
        reason,
        allocator: Some(one.clone()),
    }
}

fn criterion(verdict: Verdict) -> Criterion {
    match verdict {
        Verdict::Leak => Criterion::Leak,
        _ => Criterion::Growing,
    }
}

fn sentence(
    verdict: Verdict,
    rate: Option<f64>,
    ci95: Option<[f64; 2]>,
    confidence: Option<f64>,
    severity: Option<Severity>,
) -> String {
    let mut text = match verdict {
        Verdict::Leak => "leaks".to_owned(),
        _ => "grows, which may be a leak".to_owned(),
    };
    if let Some(rate) = rate {
        text.push_str(&format!(", {}", format_rate(rate)));
    }
    if let Some([low, high]) = ci95 {
        text.push_str(&format!(
            " (95 % {} to {})",
            format_rate(low),
            format_rate(high)
        ));
    }
    if let Some(confidence) = confidence {
        text.push_str(&format!(", confidence {confidence:.2}"));
    }
    if let Some(severity) = severity.filter(|severity| *severity != Severity::None) {
        text.push_str(&format!(", severity {}", severity.name()));
    }
    text
}
