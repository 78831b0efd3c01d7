//! Resident memory, taken apart by what is known of it.

use serde::{Deserialize, Serialize};

/// The targets' resident memory at one moment, in parts that make the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// When it was looked at, from the start of the run.
    pub at_seconds: f64,
    /// Pages in memory, of all processes that were looked at: pages that several share count for each.
    pub rss_bytes: u64,
    /// The same as the kernel counts it as a whole (`VmRSS`), which lags by some pages a thread, and
    /// leaves out what is the kernel's own; `None` if that could not be read.
    pub rss_counter_bytes: Option<u64>,
    /// What it is made of. Those that are known add up to `rss_bytes`.
    pub parts: Vec<Part>,
    /// What is not explained, of the whole: 0 to 1.
    pub unexplained_share: f64,
    /// If that is more than half: what it may be, and what to try next.
    pub reasons: Vec<String>,
    /// The same by process, those with most resident memory first.
    pub processes: Vec<ReconciledProcess>,
    /// Living processes that were not looked at: there were too many, or they could not be read.
    pub processes_left_out: u64,
}

/// The resident memory of one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReconciledProcess {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
    /// Its pages in memory.
    pub rss_bytes: u64,
    /// The same as the kernel counts it.
    pub rss_counter_bytes: Option<u64>,
    /// What it is made of.
    pub parts: Vec<Part>,
    /// What is not explained.
    pub unexplained_share: f64,
}

/// A part of resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Which.
    pub part: PartKind,
    /// How much; `None` if it can't be told: what there is of it is in what is not explained then.
    pub bytes: Option<u64>,
    /// How much of the whole: 0 to 1.
    pub share: Option<f64>,
    /// How that is known.
    pub known_by: PartKnownBy,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Bytes of outstanding blocks.
    Held,
    /// Allocators' memory on pages that blocks lie on: headers, rounding, and gaps that these blocks
    /// keep from being given back.
    SlackWithSurvivors,
    /// Allocators' memory on pages without any block: free, and kept.
    SlackFree,
    /// Both together, where blocks are sampled; allocators' memory as a whole, where none is seen.
    Slack,
    /// What the program mapped itself, if mappings are followed.
    MappedByProgram,
    /// In memory when memprof attached, and of no block that was seen since.
    BeforeAttaching,
    /// Stacks of threads.
    Stacks,
    /// Code, constants and variables of files, what is read by mapping, and the kernel's own pages.
    MappedFiles,
    /// Memory that processes can share.
    Shared,
    /// What remains.
    Unexplained,
}

impl PartKind {
    /// Every part, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::Held,
        Self::SlackWithSurvivors,
        Self::SlackFree,
        Self::Slack,
        Self::MappedByProgram,
        Self::BeforeAttaching,
        Self::Stacks,
        Self::MappedFiles,
        Self::Shared,
        Self::Unexplained,
    ];
}

/// How a part is known. The later ones say less; a sum is known as its weakest part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKnownBy {
    /// Launched by memprof: there is none.
    Launch,
    /// Page by page.
    Pages,
    /// By the names and permissions of mappings.
    Name,
    /// By the system calls that mapped it.
    Events,
    /// In part by what mappings look like: a guess.
    Shape,
    /// Estimated from a sample of the blocks.
    Sample,
    /// It is what the others leave.
    Rest,
    /// It was not followed, or is beyond what memprof keeps.
    Unknown,
}
