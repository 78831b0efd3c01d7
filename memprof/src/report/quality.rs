//! How far the numbers can be trusted: what was lost, what could not be named, what it cost.

use serde::{Deserialize, Serialize};

use super::FaultQuality;

/// What limits the numbers of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Whether `outstanding` is exact: nothing lost that could not be reconciled.
    pub complete: bool,
    /// Events that were lost, by kind.
    pub lost: Lost,
    /// Frees of blocks that were not on record: those allocated before attaching.
    pub unknown_frees: u64,
    /// Ends of mappings in ranges where none was on record: those mapped before attaching.
    #[serde(default)]
    pub unknown_unmaps: u64,
    /// Allocator calls that were left without returning (longjmp, an abandoned coroutine): what
    /// they may have taken is in no total.
    #[serde(default)]
    pub abandoned_calls: u64,
    /// Processes that ended so long ago that they are in the totals only, and in no list.
    #[serde(default)]
    pub unlisted_processes: u64,
    /// Missed frees that were reconciled: the address was allocated anew.
    pub superseded: u64,
    /// What limits the figures of page faults; `None` if they were not followed.
    #[serde(default)]
    pub faults: Option<FaultQuality>,
    /// How the stacks were walked.
    #[serde(default)]
    pub stacks: StackWays,
    /// Stacks that end before the thread's first function.
    pub truncated_stacks: u64,
    /// Stacks whose walk met something that it could not follow.
    pub unwind_errors: u64,
    /// Distinct frames in the report's stacks.
    pub frames_total: u64,
    /// Of those, the frames without a function name.
    pub frames_unsymbolized: u64,
    /// Whether every allocation was followed.
    pub sampling: Sampling,
    /// What was done to hold the cost of tracing down (`--max-overhead`), in order.
    #[serde(default)]
    pub governor: Vec<GovernorStep>,
    /// Which allocator functions were followed, by module.
    pub coverage: Vec<Coverage>,
    /// What the tracing cost.
    pub overhead: Overhead,
    /// What else limits these numbers, in plain sentences.
    pub notes: Vec<String>,
}

/// How the distinct stacks of a run were walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackWays {
    /// All of them.
    pub total: u64,
    /// By unwind tables alone.
    pub by_tables: u64,
    /// With a step by frame pointer, through code without unwind information.
    pub by_frame_pointer: u64,
    /// As far as the kernel side came, and on from a copy of the stack.
    #[serde(default)]
    pub by_copy: u64,
    /// Copies of stacks that were due and not made or not unwound: too many at a time. A stack that
    /// goes on being used is copied later.
    #[serde(default)]
    pub copies_refused: u64,
}

/// Events lost between the kernel and the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Allocations: what they hold is missing from the totals.
    pub alloc: u64,
    /// Frees: their blocks may look outstanding.
    pub free: u64,
    /// Stacks: their allocations are counted under an unknown stack.
    pub stack: u64,
    /// Mappings: what they hold is missing from the totals.
    #[serde(default)]
    pub map: u64,
    /// Ends of mappings: they may look outstanding.
    #[serde(default)]
    pub unmap: u64,
    /// Process events: forks, execs, exits.
    pub process: u64,
}

impl Lost {
    /// All lost events.
    pub fn total(&self) -> u64 {
        self.alloc
            .saturating_add(self.free)
            .saturating_add(self.stack)
            .saturating_add(self.map)
            .saturating_add(self.unmap)
            .saturating_add(self.process)
    }
}

/// How allocations were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The way.
    pub mode: SamplingMode,
    /// The mean distance between samples; `None` if every allocation is followed.
    pub mean_bytes: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            mode: SamplingMode::All,
            mean_bytes: None,
        }
    }
}

/// A way of choosing allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingMode {
    /// Every allocation.
    All,
    /// A Poisson process over the allocated bytes, weighted in the totals.
    Poisson,
}

/// A step to hold the cost of tracing down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GovernorStep {
    /// When, from the start.
    pub at_seconds: f64,
    /// What was done.
    pub action: GovernorAction,
    /// The share of the targets' processor time that tracing had taken, as estimated.
    pub share: f64,
}

/// What can be done to hold the cost of tracing down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GovernorAction {
    /// Blocks are sampled from then on.
    Sample,
    /// The probes were taken out: what was freed later is not known.
    Detach,
}

/// What of one allocator was probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The path of the mapped file.
    pub module: String,
    /// The allocator that it holds: `glibc`, `musl`, `jemalloc`, …
    pub allocator: String,
    /// The functions that were probed.
    pub attached: Vec<String>,
    /// The functions that are in the file and could not be probed.
    pub missing: Vec<String>,
}

/// What the tracing cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overhead {
    /// Probe runs for followed processes.
    pub probe_hits: Option<u64>,
    /// The time that these took from the target, estimated from the measured cost of a hit.
    pub estimated_target_seconds: Option<f64>,
    /// By how much that may be wrong.
    #[serde(default)]
    pub estimated_target_seconds_error: Option<f64>,
    /// The processor time of memprof itself.
    pub collector_cpu_seconds: Option<f64>,
    /// The resident memory of memprof itself.
    pub collector_rss_bytes: Option<u64>,
    /// What the rings between kernel and collector take beside it.
    #[serde(default)]
    pub ring_bytes: Option<u64>,
    /// How many threads applied the events: more than one where one could not keep up.
    #[serde(default)]
    pub collector_threads: Option<u64>,
}
