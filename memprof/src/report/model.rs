//! The report as a whole.

use serde::{Deserialize, Serialize};

use super::{
    Check, Cycles, Group, GroupBy, LeakDetection, Mark, ProcessTotals, Quality, Summary, Target,
    TimelinePoint, TopAllocator, TopToucher, Window,
};

/// A run's report; its JSON is `memprof/report/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What this is.
    pub schema: Schema,
    /// Who wrote it.
    pub memprof: Memprof,
    /// Where it ran.
    pub host: Host,
    /// Who was traced.
    pub target: Target,
    /// When tracing began, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it lasted, or has lasted.
    pub duration_seconds: f64,
    /// What was traced.
    pub events: Vec<EventKind>,
    /// The totals.
    pub summary: Summary,
    /// The judgement.
    pub leak_detection: LeakDetection,
    /// The stacks, in the order asked for.
    pub top_allocators: Vec<TopAllocator>,
    /// The stacks that touched memory first, in the order asked for; empty if page faults were not followed.
    #[serde(default)]
    pub top_touchers: Vec<TopToucher>,
    /// The totals by process, the most first.
    pub processes: Vec<ProcessTotals>,
    /// What the call paths were added up over.
    #[serde(default)]
    pub group_by: GroupBy,
    /// The totals by group, the most first; empty if each process is its own.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Named points.
    pub marks: Vec<Mark>,
    /// What was left between them.
    pub windows: Vec<Window>,
    /// What each cycle left (`--cycles`).
    #[serde(default)]
    pub cycles: Option<Cycles>,
    /// The course of the totals.
    pub timeline: Vec<TimelinePoint>,
    /// How far all this can be trusted.
    pub quality: Quality,
    /// What `memprof check` decided; not there in other reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

impl Report {
    /// Whether what is allocated or mapped was followed, and not page faults alone.
    pub fn follows_allocations(&self) -> bool {
        let faults_alone = [EventKind::Faults];
        self.events != faults_alone
    }
}

/// The versions of the report; a file of another one is refused by name when it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// The first.
    #[default]
    #[serde(rename = "memprof/report/v1")]
    V1,
}

/// The memprof that wrote a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memprof {
    /// Its version.
    pub version: String,
}

impl Memprof {
    /// The memprof that is running.
    pub fn this() -> Self {
        Memprof {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture, as `uname -m` names it.
    pub arch: String,
    /// The processors that are online.
    pub cpus: u32,
}

/// A kind of traced event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The allocator's functions.
    Malloc,
    /// Mappings.
    Mmap,
    /// Page faults.
    Faults,
}
