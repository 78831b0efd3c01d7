//! Processes that are chosen by what they are: all, or those of a name or in a cgroup.

use std::fmt;

use anyhow::Result;
use memprof_common::settings::{self, MAX_SCOPE_ENTRIES, NAME_BYTES};
use procfs::process::all_processes;

use super::{
    cgroups::Cgroup,
    process::{ProcessFacts, comm, require_traceable},
};
use crate::{bad_input, identity::Pid};

/// The name of a process as the kernel keeps it: at most 15 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessName(String);

impl ProcessName {
    /// What the kernel keeps of a name.
    ///
    /// # Errors
    /// Bad input for none, or one that no process can have.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() || text.contains(['\0', '/']) {
            return Err(bad_input!(
                "--comm {text:?} is no name of a process: see `ps -e -o comm`"
            ));
        }
        let mut end = text.len().min(NAME_BYTES - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Ok(Self(text[..end].to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn words(&self) -> [u64; NAME_BYTES / 8] {
        let mut bytes = [0; NAME_BYTES];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|index| u64::from_le_bytes(words[index]))
    }
}

/// Which processes: those that have one of the names and are in one of the cgroups. Without names any
/// name will do, without cgroups any cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WideScope {
    /// Names.
    pub names: Vec<ProcessName>,
    /// Cgroups, each with what is below.
    pub cgroups: Vec<Cgroup>,
}

impl WideScope {
    /// The processes in this scope now, by id; memprof is none of them.
    pub fn processes(&self) -> Vec<ProcessFacts> {
        self.processes_but(|_| false)
    }

    /// The same without those that are known: of them nothing is read.
    pub fn processes_but(&self, is_known: impl Fn(Pid) -> bool) -> Vec<ProcessFacts> {
        let all = all_processes().into_iter().flatten().flatten();
        let pids = all.map(|process| Pid(process.pid.unsigned_abs()));
        let mut found: Vec<ProcessFacts> = pids
            .filter(|pid| !is_known(*pid) && self.takes(*pid))
            .filter_map(|pid| require_traceable(pid).ok())
            .collect();
        found.sort_by_key(|facts| facts.pid.0);
        found
    }

    fn takes(&self, pid: Pid) -> bool {
        let named = self.names.is_empty()
            || comm(pid).is_ok_and(|comm| self.names.iter().any(|name| name.0 == comm));
        named && (self.cgroups.is_empty() || self.cgroups.iter().any(|group| group.has(pid)))
    }

    /// What the kernel side is told of it.
    pub fn settings(&self, own: Pid, children: bool) -> settings::WideScope {
        let mut told = settings::WideScope {
            is_wide: 1,
            own_pid: own.0,
            children: u32::from(children),
            names: self.names.len().min(MAX_SCOPE_ENTRIES) as u32,
            cgroups: self.cgroups.len().min(MAX_SCOPE_ENTRIES) as u32,
            ..settings::WideScope::default()
        };
        for (place, name) in told.name.iter_mut().zip(&self.names) {
            *place = name.words();
        }
        for (place, group) in told.cgroup.iter_mut().zip(&self.cgroups) {
            *place = group.id;
        }
        told
    }
}

impl fmt::Display for WideScope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(ProcessName::as_str).collect();
        let cgroups: Vec<&str> = self.cgroups.iter().map(|one| one.path.as_str()).collect();
        match (names.is_empty(), cgroups.is_empty()) {
            (true, true) => out.write_str("of this machine"),
            (false, true) => write!(out, "called {}", names.join(" or ")),
            (true, false) => write!(out, "in {}", cgroups.join(" or ")),
            (false, false) => write!(
                out,
                "called {} in {}",
                names.join(" or "),
                cgroups.join(" or ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_as_the_kernel_cuts_it() {
        let name = ProcessName::new("kworker-and-much-more").unwrap();
        assert_eq!(name.as_str(), "kworker-and-muc");
        assert_eq!(name.words()[1] >> 56, 0, "the last byte ends it");
        let split = ProcessName::new("fourteen-bytesé").unwrap();
        assert_eq!(split.as_str(), "fourteen-bytes");
        assert_eq!(
            ProcessName::new("ab").unwrap().words(),
            [u64::from_le_bytes(*b"ab\0\0\0\0\0\0"), 0]
        );
        assert!(ProcessName::new("").is_err() && ProcessName::new("a/b").is_err());
    }

    #[test]
    fn everybody_is_in_a_scope_without_conditions_but_memprof() {
        let all = WideScope::default().processes();
        assert!(all.iter().any(|facts| facts.pid == Pid(1)));
        assert!(all.iter().all(|facts| facts.pid.0 != std::process::id()));
        let nobody = WideScope {
            names: vec![ProcessName::new("nobody-has-this").unwrap()],
            cgroups: Vec::new(),
        };
        assert_eq!(nobody.processes(), []);
        let others = WideScope::default().processes_but(|pid| pid == Pid(1));
        assert!(others.iter().all(|facts| facts.pid != Pid(1)));
    }
}
