//! What a process has open, by what the links in `/proc/PID/fd` say.

use std::fs;

use procfs::process::{LimitValue, Process};

use super::super::model::OpenFiles;
use super::refusal;
use crate::identity::Pid;

/// Descriptors of which the kind is looked at; further ones count as `other`.
const MAX_LOOKED_AT: u64 = 65_536;

/// How many of which kind; `None`, and a note of why, if that can't be read.
pub(super) fn count(pid: Pid, process: &Process, notes: &mut Vec<String>) -> Option<OpenFiles> {
    let directory = format!("/proc/{}/fd", pid.0);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            notes.push(format!("open files can't be read: {}", refusal(&error)));
            return None;
        }
    };
    let limit = process.limits().ok().map(|limits| limits.max_open_files);
    let mut found = OpenFiles {
        limit: limit.and_then(|limit| match limit.soft_limit {
            LimitValue::Value(most) => Some(most),
            LimitValue::Unlimited => None,
        }),
        ..OpenFiles::default()
    };
    for entry in entries.flatten() {
        let is_looked_at = found.count < MAX_LOOKED_AT;
        let link = is_looked_at.then(|| fs::read_link(entry.path()));
        match link {
            // Closed since it was listed.
            Some(Err(_)) => continue,
            Some(Ok(link)) => sort(&link.to_string_lossy(), &mut found),
            None => found.other += 1,
        }
        found.count += 1;
    }
    Some(found)
}

/// Counts one by its link, but for the sum.
fn sort(link: &str, found: &mut OpenFiles) {
    if link.starts_with("socket:") {
        found.sockets += 1;
    } else if link.starts_with("pipe:") {
        found.pipes += 1;
    } else if link.starts_with("/memfd:") {
        found.memory += 1;
    } else if link.starts_with('/') {
        found.files += 1;
        found.deleted += u64::from(link.ends_with(" (deleted)"));
    } else {
        found.other += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_is_of_one_kind() {
        let mut found = OpenFiles::default();
        for link in [
            "/etc/hosts",
            "/tmp/x (deleted)",
            "/memfd:pool (deleted)",
            "socket:[12]",
            "pipe:[13]",
            "anon_inode:[eventpoll]",
            "net:[4026531840]",
            "",
        ] {
            sort(link, &mut found);
        }
        let expected = OpenFiles {
            files: 2,
            deleted: 1,
            sockets: 1,
            pipes: 1,
            memory: 1,
            other: 3,
            ..OpenFiles::default()
        };
        assert_eq!(found, expected);
    }
}
