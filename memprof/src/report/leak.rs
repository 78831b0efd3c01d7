//! The judgement: does the target leak, how sure is that, and what led to it.

use serde::{Deserialize, Serialize};

use crate::growth::Judgement;
pub use crate::growth::{Severity, Verdict};

/// The verdict on the whole target, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakDetection {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the verdict is a leak.
    pub leak_detected: bool,
    /// How sure the verdict is, 0 to 1.
    pub confidence: Option<f64>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// The growth of the outstanding bytes.
    pub rate_bytes_per_second: Option<f64>,
    /// The 95 % confidence interval of that rate: lower end, upper end.
    pub rate_ci95_bytes_per_second: Option<[f64; 2]>,
    /// How much of the growth a straight line explains, 0 to 1.
    pub r_squared: Option<f64>,
    /// The outstanding bytes in 24 hours, if it goes on like this.
    pub projected_24h_bytes: Option<u64>,
    /// The memory limit that the target runs under.
    pub limit_bytes: Option<u64>,
    /// When it would meet that limit.
    pub projected_oom_seconds: Option<f64>,
    /// What in the data led to the verdict, in plain sentences.
    pub reasons: Vec<String>,
}

impl LeakDetection {
    /// What growth was judged to be, of targets that run under a limit of so many bytes.
    pub fn judged(judgement: &Judgement, limit_bytes: Option<u64>) -> Self {
        LeakDetection {
            verdict: judgement.verdict,
            leak_detected: judgement.verdict == Verdict::Leak,
            confidence: judgement.confidence,
            severity: judgement.severity,
            rate_bytes_per_second: judgement.rate,
            rate_ci95_bytes_per_second: judgement.rate_ci95,
            r_squared: judgement.line.map(|line| line.r_squared),
            projected_24h_bytes: judgement.projected_24h,
            limit_bytes,
            projected_oom_seconds: judgement.seconds_to_limit,
            reasons: judgement.reasons.clone(),
        }
    }

    /// No judgement: `insufficient_data`, every figure unknown, and `reason` as the only reason.
    pub fn not_judged(reason: impl Into<String>) -> Self {
        LeakDetection {
            verdict: Verdict::InsufficientData,
            leak_detected: false,
            confidence: None,
            severity: None,
            rate_bytes_per_second: None,
            rate_ci95_bytes_per_second: None,
            r_squared: None,
            projected_24h_bytes: None,
            limit_bytes: None,
            projected_oom_seconds: None,
            reasons: vec![reason.into()],
        }
    }
}
