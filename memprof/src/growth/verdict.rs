//! What is said of growth: a verdict with its evidence, and what it depends on.

use serde::{Deserialize, Serialize};

use super::least_squares::Line;
use super::losses::Losses;
use super::projection::Limit;
use super::severity::{Severity, SeverityBounds};
use super::theil_sen::Trend;
use super::ticks::Ticks;

/// What growth looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every generation of blocks leaves some that are never freed.
    Leak,
    /// A leak, or a store that is still filling.
    Growing,
    /// Growth at the start that has ended.
    WarmUp,
    /// Growth up to a bound that holds, while what is held is replaced.
    Bounded,
    /// Growth that is given back from time to time.
    Sawtooth,
    /// No growth.
    Stable,
    /// Nothing that could be judged.
    InsufficientData,
}

/// What a judgement depends on besides the series.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The run's grain of time.
    pub ticks: Ticks,
    /// What is missing from the record.
    pub losses: Losses,
    /// Where the degrees of severity begin.
    pub severity: SeverityBounds,
    /// The tightest limit on the process's memory, if it is known.
    pub limit: Option<Limit>,
}

impl Context {
    /// Nothing lost, the usual degrees, no limit.
    pub fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            losses: Losses::default(),
            severity: SeverityBounds::default(),
            limit: None,
        }
    }
}

/// A verdict with its evidence. What could not be found out is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What the growth looks like.
    pub verdict: Verdict,
    /// How sure that is, 0 to 1. For a leak it counts in that a store may still be filling.
    pub confidence: Option<f64>,
    /// The growth of what is outstanding, bytes per second: of a leak what stays for good; of what
    /// grew at the start its trend since; else the trend of the total.
    pub rate: Option<f64>,
    /// Its 95 % interval.
    pub rate_ci95: Option<[f64; 2]>,
    /// The straight line through the total: bytes, seconds since the series began.
    pub line: Option<Line>,
    /// Whether the judgement in common use would call it a leak: see
    /// [`line_rule`](super::line_rule).
    pub line_says_leak: bool,
    /// Theil and Sen's slope of the total, bytes per second, with the test of Mann and Kendall.
    pub trend: Option<Trend>,
    /// Outstanding bytes in 24 hours, if it goes on like this.
    pub projected_24h: Option<u64>,
    /// Seconds until the limit is met, if it goes on like this.
    pub seconds_to_limit: Option<f64>,
    /// Bytes that a leak has left for good so far; of other growth, what is outstanding.
    pub left: Option<u64>,
    /// How bad it is: [`Severity::None`] unless it is a leak or may be one.
    pub severity: Option<Severity>,
    /// What led to the verdict, in plain sentences, the weightiest first.
    pub reasons: Vec<String>,
    /// How strong the evidence is that it goes on and that nothing is freed, 0 to 1, whatever stores
    /// there may be; `None` if it does not grow so.
    pub(super) strength: Option<f64>,
    /// Whether there was too little of it to be judged alone, though it may count in a sum.
    pub sparse: bool,
}

impl Judgement {
    /// No judgement, for a reason.
    pub fn insufficient(reason: String) -> Self {
        Self {
            verdict: Verdict::InsufficientData,
            confidence: None,
            rate: None,
            rate_ci95: None,
            line: None,
            line_says_leak: false,
            trend: None,
            projected_24h: None,
            seconds_to_limit: None,
            left: None,
            severity: None,
            reasons: vec![reason],
            strength: None,
            sparse: true,
        }
    }
}
