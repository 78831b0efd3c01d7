//! The comparison as plain data. Its JSON is `memprof/diff/v1`: field names, order and nesting are
//! that contract, and fields are only ever added. Sizes are bytes; what is not known is `None`.

use serde::Serialize;

use crate::report::{Frame, Memprof, TopAllocator, Verdict};

/// What changed from one report to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff<'a> {
    /// What this is.
    pub schema: DiffSchema,
    /// Who wrote it.
    pub memprof: Memprof,
    /// The first report.
    pub before: Side<'a>,
    /// The second.
    pub after: Side<'a>,
    /// By how much the outstanding bytes differ.
    pub outstanding_bytes_change: i64,
    /// By how much the outstanding blocks differ.
    pub outstanding_count_change: i64,
    /// Whether the verdict on the whole changed.
    pub verdict_changed: bool,
    /// How many call paths changed in which way.
    pub counts: Counts,
    /// The call paths that changed, most first, as many as asked for.
    pub stacks: Vec<StackChange<'a>>,
    /// What limits the comparison, in plain sentences.
    pub notes: Vec<String>,
}

/// The versions of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DiffSchema {
    /// The first.
    #[serde(rename = "memprof/diff/v1")]
    V1,
}

/// One of the two reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side<'a> {
    /// Where it was read.
    pub path: String,
    /// When its run began.
    pub started_at: &'a str,
    /// How long it lasted.
    pub duration_seconds: f64,
    /// Bytes outstanding at its end.
    pub outstanding_bytes: u64,
    /// Blocks outstanding at its end.
    pub outstanding_count: u64,
    /// The verdict on the whole.
    pub verdict: Verdict,
    /// How sure that is.
    pub confidence: Option<f64>,
    /// Whether its numbers are exact.
    pub complete: bool,
    /// Call paths that it lists.
    pub stacks_listed: u64,
    /// Whether these hold all that is outstanding: else a call path that is not listed may hold
    /// something all the same.
    pub lists_every_stack: bool,
}

/// How many call paths changed in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// They hold something now and held nothing before.
    pub new: u64,
    /// They held something before and hold nothing now.
    pub gone: u64,
    /// They hold more.
    pub grown: u64,
    /// They hold less.
    pub shrunk: u64,
    /// They hold the same.
    pub unchanged: u64,
    /// Listed now; the first report does not list all, so what they held before is not known.
    pub not_listed_before: u64,
    /// Listed before; the second report does not list all, so what they hold is not known.
    pub not_listed_after: u64,
    /// Call paths of another verdict than before.
    pub verdict_changed: u64,
}

/// In which way a call path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It holds something now and held nothing before.
    New,
    /// It held something before and holds nothing now.
    Gone,
    /// More bytes, or as many in more blocks.
    Grown,
    /// Fewer bytes, or as many in fewer blocks.
    Shrunk,
    /// As many bytes and blocks.
    Unchanged,
    /// The first report does not list it, nor everything.
    NotListedBefore,
    /// The second report does not list it, nor everything.
    NotListedAfter,
}

/// What one report says of a call path, summed over its processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Amounts {
    /// Bytes outstanding.
    pub outstanding_bytes: u64,
    /// Blocks outstanding.
    pub outstanding_count: u64,
    /// Bytes ever allocated.
    pub allocated_bytes: u64,
    /// Blocks ever allocated.
    pub allocated_count: u64,
    /// Of several processes' verdicts the worst.
    pub verdict: Verdict,
    /// How sure that is.
    pub confidence: Option<f64>,
    /// How fast the outstanding bytes grow.
    pub rate_bytes_per_second: Option<f64>,
}

/// One call path in both reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackChange<'a> {
    /// 1 for the first in the chosen order.
    pub rank: u32,
    /// In which way it changed.
    pub change: Change,
    /// By how much the outstanding bytes differ; `None` if one side is not known.
    pub outstanding_bytes_change: Option<i64>,
    /// By how much the outstanding blocks differ.
    pub outstanding_count_change: Option<i64>,
    /// Whether both reports judged it, differently.
    pub verdict_changed: bool,
    /// What the first report says; `None` if it does not list it.
    pub before: Option<Amounts>,
    /// What the second report says; `None` if it does not list it.
    pub after: Option<Amounts>,
    /// The function that a person would go and fix.
    pub function: Option<&'a str>,
    /// Its source file.
    pub file: Option<&'a str>,
    /// The line in `file`.
    pub line: Option<u32>,
    /// The file that holds its code.
    pub module: Option<&'a str>,
    /// All frames, innermost first, of the second report if it lists the call path.
    pub stack: &'a [Frame],
    /// The row that these were taken from.
    #[serde(skip)]
    pub row: &'a TopAllocator,
}
