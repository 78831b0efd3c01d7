//! Who holds how much: by process, and by groups of them.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// What one process holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessTotals {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
    /// The path of its cgroup.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// The container that it is in, where the cgroup's path tells: `docker:1f2e3d4c5b6a`.
    #[serde(default)]
    pub container: Option<String>,
    /// Whether it has ended; its totals are its final state then.
    #[serde(default)]
    pub ended: bool,
    /// Bytes that it asked for and got.
    pub allocated_bytes: u64,
    /// Its successful allocations.
    pub allocated_count: u64,
    /// Bytes that it freed.
    pub freed_bytes: u64,
    /// Blocks that it freed.
    pub freed_count: u64,
    /// Bytes that it holds, or held when it exited.
    pub outstanding_bytes: u64,
    /// Blocks that it holds, or held when it exited.
    pub outstanding_count: u64,
    /// Bytes that became resident as it touched them (`--events faults`; `None` without, here and below).
    #[serde(default)]
    pub touched_bytes: Option<u64>,
    /// Bytes that are resident of what it touched, inherited or copied, or were when it exited.
    #[serde(default)]
    pub touched_resident_bytes: Option<u64>,
    /// Of those, its own memory.
    #[serde(default)]
    pub touched_anonymous_bytes: Option<u64>,
    /// Of those, files' contents.
    #[serde(default)]
    pub touched_file_bytes: Option<u64>,
    /// Of those, shared memory.
    #[serde(default)]
    pub touched_shared_bytes: Option<u64>,
    /// Its resident memory; `None` once it has ended.
    pub rss_bytes: Option<u64>,
    /// Its share of that, pages that it shares with others counted in part. Read for a last report only,
    /// of the processes with most resident memory.
    #[serde(default)]
    pub pss_bytes: Option<u64>,
    /// What its growth looks like; `None` if it ended before the others.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// How sure that is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How fast what it holds grows.
    #[serde(default)]
    pub rate_bytes_per_second: Option<f64>,
    /// The 95 % confidence interval of that rate.
    #[serde(default)]
    pub rate_ci95_bytes_per_second: Option<[f64; 2]>,
    /// The allocators that it has and that are probed: none, if nothing of what it allocates is seen;
    /// `None` if it was gone before it could be looked at. `quality.coverage` says which functions.
    #[serde(default)]
    pub coverage: Option<Vec<ProcessCoverage>>,
}

/// An allocator of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessCoverage {
    /// The file, as the first process that had it saw it.
    pub module: String,
    /// Which allocator it is.
    pub allocator: String,
}

/// What makes processes a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// Each is its own.
    #[default]
    Process,
    /// Their name.
    Comm,
    /// Their cgroup.
    Cgroup,
    /// All are one.
    All,
}

/// What the processes of a group hold together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The name or the cgroup that they share; `None` if it is not known, or for all.
    pub name: Option<String>,
    /// The container, where the cgroup's path tells.
    pub container: Option<String>,
    /// How many there were.
    pub processes: u64,
    /// How many of them have not ended.
    pub living: u64,
    /// Bytes that they asked for and got.
    pub allocated_bytes: u64,
    /// Their successful allocations.
    pub allocated_count: u64,
    /// Bytes that they freed.
    pub freed_bytes: u64,
    /// Blocks that they freed.
    pub freed_count: u64,
    /// Bytes that they hold, or held when they exited.
    pub outstanding_bytes: u64,
    /// Blocks that they hold, or held when they exited.
    pub outstanding_count: u64,
    /// Bytes that are resident of what they touched, inherited or copied (`--events faults`).
    #[serde(default)]
    pub touched_resident_bytes: Option<u64>,
    /// The resident memory of those that live: pages that several share count for each.
    pub rss_bytes: Option<u64>,
    /// Their shares of it; `None` unless that of each is known.
    pub pss_bytes: Option<u64>,
    /// The worst of their verdicts.
    pub verdict: Option<Verdict>,
    /// How sure that one is.
    pub confidence: Option<f64>,
    /// How fast what they hold grows, all rates that are known together.
    pub rate_bytes_per_second: Option<f64>,
}
