//! What an action left behind each time that it was done.

use serde::{Deserialize, Serialize};

use super::TopAllocator;

/// The cycles of a run (`--cycles`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cycles {
    /// What a cycle was.
    pub kind: CycleKind,
    /// The command of the action.
    pub command: Vec<String>,
    /// Cycles that were asked for.
    pub requested: u32,
    /// Cycles that were done.
    pub completed: u32,
    /// Of those, the ones whose command failed.
    pub failed: u32,
    /// Of those, the first ones that don't count.
    pub warm_up: u32,
    /// Median bytes allocated in a cycle after the warm-up and outstanding at the end of the run.
    pub left_bytes_per_cycle: Option<f64>,
    /// Median blocks.
    pub left_count_per_cycle: Option<f64>,
    /// Growth of the outstanding bytes from one cycle to the next.
    pub growth_bytes_per_cycle: Option<f64>,
    /// Its 95 % confidence interval.
    pub growth_bytes_per_cycle_ci95: Option<[f64; 2]>,
    /// Whether some call path was left something by nearly every cycle; `None` if that can't be
    /// told.
    pub leaks: Option<bool>,
    /// Why, in plain sentences.
    pub reasons: Vec<String>,
    /// One by one, the warm-up included.
    pub cycles: Vec<Cycle>,
    /// The call paths that the cycles after the warm-up left most at.
    pub top_allocators: Vec<LeftPerCycle>,
}

/// What a cycle was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CycleKind {
    /// A command that made the traced program do something.
    Action,
    /// The traced program itself, from its start to its end.
    Launch,
}

/// One cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    /// 1 for the first.
    pub number: u32,
    /// When it was over, from the start of the run.
    pub at_seconds: f64,
    /// How long its command ran.
    pub command_seconds: f64,
    /// What its command returned; `None` if a signal ended it.
    pub exit_status: Option<i32>,
    /// Bytes allocated in it and outstanding at the end of the run.
    pub left_bytes: u64,
    /// Blocks allocated in it and outstanding at the end of the run.
    pub left_count: u64,
    /// All bytes outstanding when it was over.
    pub outstanding_bytes: u64,
    /// All blocks outstanding when it was over.
    pub outstanding_count: u64,
}

/// What the cycles left at one call path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftPerCycle {
    /// Median bytes.
    pub left_bytes_per_cycle: f64,
    /// Median blocks.
    pub left_count_per_cycle: f64,
    /// Cycles after the warm-up that left something.
    pub cycles: u32,
    /// Whether nearly every one did; `None` for too few cycles.
    pub leaks: Option<bool>,
    /// The call path; `shown_bytes` and `shown_count` are what these cycles left there.
    pub allocator: TopAllocator,
}
