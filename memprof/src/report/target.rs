//! Who was traced.

use serde::{Deserialize, Serialize};

/// How the target was named on the command line, and the processes that it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// How it was named.
    pub kind: TargetKind,
    /// The names that `--comm` gave.
    #[serde(default)]
    pub names: Vec<String>,
    /// The cgroups that `--cgroup` gave, by their paths below the root of the hierarchy.
    #[serde(default)]
    pub cgroups: Vec<String>,
    /// The processes that were followed, in the order in which they were met; of those that have ended
    /// the latest 4,096.
    pub processes: Vec<Process>,
    /// How many were followed.
    #[serde(default)]
    pub processes_met: Option<u64>,
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
