//! Who was traced.

use serde::{Deserialize, Serialize};

/// How the target was named on the command line, and the processes that it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// How it was named.
    pub kind: TargetKind,
    /// Every process that was followed, in the order in which they were met.
    pub processes: Vec<Process>,
}

/// The kind of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// `--pid`.
    Pid,
    /// `--comm`.
    Comm,
    /// `--cgroup`.
    Cgroup,
    /// `--all`.
    All,
    /// Launched: `-- COMMAND`.
    Command,
}

/// One followed process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
    /// The path of its executable.
    pub exe: Option<String>,
    /// Its arguments, the program's name first.
    pub cmdline: Option<Vec<String>>,
    /// Its exit status; `None` while it runs, if a signal ended it, or if it is not known.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub exit_signal: Option<i32>,
}

/// The totals of one process, where several were followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessTotals {
    /// Its id.
    pub pid: u32,
    /// Its short name.
    pub comm: Option<String>,
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
    /// Its resident memory, or when last seen.
    pub rss_bytes: Option<u64>,
}

impl Target {
    /// The short name of the process `pid`; of several lives of that id, the last one's.
    pub fn comm_of(&self, pid: u32) -> Option<&str> {
        self.processes
            .iter()
            .rev()
            .find(|process| process.pid == pid)?
            .comm
            .as_deref()
    }
}
