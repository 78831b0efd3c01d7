//! What `memprof check` decided, by which criteria, and why.

use serde::{Deserialize, Serialize};

use super::{Severity, TopAllocator};

/// The decision, with what led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The decision.
    pub outcome: Outcome,
    /// memprof's exit code: 0 passed, 3 failed, 4 not decided.
    pub exit_code: u8,
    /// How long growth was watched, the warm-up left out; `None` if the warm-up never ended.
    pub judged_seconds: Option<f64>,
    /// What failed, the weightiest first.
    pub failures: Vec<Failure>,
    /// What would have failed but for a suppression.
    pub suppressed: Vec<Excused>,
    /// What would have failed if the baseline did not have it too.
    pub in_baseline: Vec<Excused>,
    /// Suppressions that suppressed nothing.
    pub unused_suppressions: Vec<String>,
    /// Why some or all of it could not be judged, in plain sentences.
    pub not_judged: Vec<String>,
    /// What was asked for.
    pub criteria: Criteria,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing that was asked for was found.
    Passed,
    /// It leaks, or a threshold was passed.
    Failed,
    /// The evidence is not good enough.
    Undecided,
}

impl Outcome {
    /// memprof's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Passed => 0,
            Outcome::Failed => 3,
            Outcome::Undecided => 4,
        }
    }
}

/// One thing that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// By which criterion.
    pub criterion: Criterion,
    /// Why, in a plain sentence.
    pub reason: String,
    /// The call path; `None` if it is the whole that failed.
    pub allocator: Option<TopAllocator>,
}

/// A failure that does not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Excused {
    /// What would have failed.
    #[serde(flatten)]
    pub failure: Failure,
    /// Why it does not count.
    pub because: String,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The verdict is a leak.
    Leak,
    /// The verdict is growth, which may be a leak.
    Growing,
    /// `--max-growth`.
    MaxGrowth,
    /// `--max-outstanding`.
    MaxOutstanding,
    /// `--max-rss`.
    MaxRss,
    /// `--cycles`: nearly every one left something.
    Cycles,
}

impl Criterion {
    /// As the JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Criterion::Leak => "leak",
            Criterion::Growing => "growing",
            Criterion::MaxGrowth => "max_growth",
            Criterion::MaxOutstanding => "max_outstanding",
            Criterion::MaxRss => "max_rss",
            Criterion::Cycles => "cycles",
        }
    }
}

/// Which verdicts fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailOn {
    /// A leak.
    #[default]
    Leak,
    /// A leak, or growth that may be one.
    Growing,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Which verdicts.
    pub fail_on: FailOn,
    /// From which confidence on.
    pub confidence: f64,
    /// From which severity on.
    pub severity: Severity,
    /// The most growth of the outstanding bytes.
    pub max_growth_bytes_per_second: Option<f64>,
    /// The most bytes outstanding at any time after the warm-up.
    pub max_outstanding_bytes: Option<u64>,
    /// The most resident memory at any look after the warm-up.
    pub max_rss_bytes: Option<u64>,
    /// The share of the events that may be lost.
    pub max_lost: f64,
}
