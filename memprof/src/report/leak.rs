//! The judgement: does the target leak, how sure is that, and what led to it.

use serde::{Deserialize, Serialize};

/// What the growth of a stack, or of the whole target, looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every generation of blocks leaves some that are never freed.
    Leak,
    /// A leak, or a store that is still filling.
    Growing,
    /// Growth at the start that has ended.
    WarmUp,
    /// Growth up to a bound that holds.
    Bounded,
    /// Growth that is given back from time to time.
    Sawtooth,
    /// No growth.
    Stable,
    /// Nothing that could be judged.
    InsufficientData,
}

/// How bad a leak is: the worse of what was left and of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Under 500 KB and under 1 MB/s.
    None,
    /// Up to 5 MB, or from 1 MB/s.
    Minor,
    /// Up to 20 MB, or from 2 MB/s.
    Moderate,
    /// Above 20 MB, or from 5 MB/s.
    Severe,
}

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
