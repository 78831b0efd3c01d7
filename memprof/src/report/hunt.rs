//! What a hunt found: who was watched, who grew, and the exact looks that had something to show.
//!
//! This is `memprof/hunt/v1`; the rules of the report hold for it too. Times are seconds from the
//! hunt's start.

use serde::{Deserialize, Serialize};

use super::{Host, Memprof, Report, TargetKind, Verdict};

/// A whole hunt; its JSON is `memprof/hunt/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// What this is.
    pub schema: HuntSchema,
    /// Who wrote it.
    pub memprof: Memprof,
    /// Where it ran.
    pub host: Host,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it lasted.
    pub duration_seconds: f64,
    /// Who was to be watched.
    pub scope: HuntScope,
    /// How many processes were watched at some time.
    pub processes_watched: u64,
    /// How many found no room among them, at the worst moment.
    pub processes_left_out: u64,
    /// Growth below this was not significant.
    pub min_growth_bytes: u64,
    /// How sure a verdict had to be to be a find of a leak.
    pub min_confidence: f64,
    /// How often a process was looked at closely.
    pub looks: u64,
    /// What it cost.
    pub overhead: HuntOverhead,
    /// The processes whose growth was significant at some time, the fastest first; of those that have
    /// ended the latest 256.
    pub growing: Vec<GrownProcess>,
    /// What was found, in the order of time.
    pub finds: Vec<Find>,
    /// How many more there were: they were told when they were made.
    pub finds_left_out: u64,
    /// What limits all this, in plain sentences.
    pub notes: Vec<String>,
}

/// The versions of the report of a hunt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HuntSchema {
    /// The first.
    #[default]
    #[serde(rename = "memprof/hunt/v1")]
    V1,
}

/// Who was to be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HuntScope {
    /// How it was named.
    pub kind: TargetKind,
    /// The ids that `--pid` gave.
    pub pids: Vec<u32>,
    /// The names that `--comm` gave.
    pub names: Vec<String>,
    /// The cgroups that `--cgroup` gave, by their paths below the root of the hierarchy.
    pub cgroups: Vec<String>,
}

/// What a hunt cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HuntOverhead {
    /// Processor time that memprof took, all in all.
    pub own_cpu_seconds: Option<f64>,
    /// Of that, what the watch took.
    pub watch_cpu_seconds: f64,
    /// How often probes were hit, in all exact looks.
    pub probe_hits: u64,
    /// What these took from the processes that were looked at, as far as it was measured.
    pub estimated_target_seconds: f64,
}

/// Growth that the watch took for significant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchedGrowth {
    /// By how much anonymous memory grew, along its trend.
    pub growth_bytes: u64,
    /// In how long.
    pub seconds: f64,
    /// How fast: Theil and Sen's slope.
    pub rate_bytes_per_second: f64,
    /// Its 95 % interval: lower end, upper end.
    pub rate_ci95_bytes_per_second: [f64; 2],
}

/// A process that grew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrownProcess {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
    /// The path of its executable.
    pub exe: Option<String>,
    /// Whether it has ended.
    pub has_ended: bool,
    /// When it was weighed first, and last.
    pub watched_seconds: [f64; 2],
    /// The anonymous memory that it had then: what is resident and what is swapped out.
    pub first_bytes: u64,
    /// What it had when it was weighed last.
    pub last_bytes: u64,
    /// The latest growth that was significant.
    pub growth: WatchedGrowth,
    /// Whether it still grew so at the end.
    pub grows: bool,
    /// How often it was looked at closely.
    pub looks: u32,
    /// What the last of these looks said, in one word.
    pub said: Option<String>,
}

/// What there is to say of a process that grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Find {
    /// When it was found.
    pub at_seconds: f64,
    /// The process's id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
    /// The path of its executable.
    pub exe: Option<String>,
    /// What it is.
    pub kind: FindKind,
    /// Why, in a plain sentence.
    pub why: String,
    /// The growth for which it was looked at.
    pub watched: WatchedGrowth,
    /// How long it was probed; `None` if it could not be.
    pub looked_for_seconds: Option<f64>,
    /// The verdict on its call path, or else on the whole.
    pub verdict: Verdict,
    /// How sure that is, 0 to 1.
    pub confidence: Option<f64>,
    /// The function to go and fix.
    pub function: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// The line in `file`.
    pub line: Option<u32>,
    /// All that the exact look has seen; `None` if there was none.
    pub report: Option<Box<Report>>,
}

/// Kinds of finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindKind {
    /// It leaks.
    Leak,
    /// It leaks, or fills a store.
    Growing,
    /// The blocks of its allocators don't explain the growth.
    Elsewhere,
    /// It grows, and the look could not say for what.
    Undecided,
    /// It grows, and can't be looked at.
    Unprobed,
}

impl FindKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            FindKind::Leak => "leak",
            FindKind::Growing => "growing",
            FindKind::Elsewhere => "elsewhere",
            FindKind::Undecided => "undecided",
            FindKind::Unprobed => "unprobed",
        }
    }
}
