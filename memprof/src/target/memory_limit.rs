//! The tightest limit on a process's memory: of its cgroup or one of that one's ancestors (version 1 or
//! 2), or the machine's memory.

use std::{collections::HashSet, fs, path::Path};

use procfs::{Current as _, Meminfo, process::Process};

use crate::identity::Pid;

/// Where the hierarchies are mounted, version 2, and the one of version 1 for memory.
const VERSION_2: &str = "/sys/fs/cgroup";
const VERSION_1: &str = "/sys/fs/cgroup/memory";
/// Ancestors that are looked at.
const MAX_DEPTH: usize = 64;

/// A limit, and what is in use of it, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The most that may be in use.
    pub bytes: u64,
    /// What is in use, by everyone that the limit holds for.
    pub used: u64,
}

impl MemoryLimit {
    fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.used)
    }
}

/// The limit of which the least is left for any of these processes; `None` if nothing can be read.
pub fn tightest(pids: impl Iterator<Item = Pid>) -> Option<MemoryLimit> {
    let groups: HashSet<Group> = pids.flat_map(groups_of).collect();
    let limits = groups.iter().flat_map(Group::limits);
    limits.chain(of_machine()).min_by_key(MemoryLimit::left)
}

/// A cgroup with a say in memory. Many processes share one.
#[derive(PartialEq, Eq, Hash)]
struct Group {
    is_version_2: bool,
    path: String,
}

impl Group {
    fn limits(&self) -> Vec<MemoryLimit> {
        let (root, files) = if self.is_version_2 {
            (VERSION_2, ["memory.max", "memory.current"])
        } else {
            (
                VERSION_1,
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            )
        };
        along(Path::new(root), &self.path, files)
    }
}

/// None for a process that is gone, or whose cgroups can't be read.
fn groups_of(pid: Pid) -> Vec<Group> {
    let process = i32::try_from(pid.0).ok().map(Process::new);
    let groups = process.and_then(|process| process.and_then(|one| one.cgroups()).ok());
    let groups = groups.into_iter().flatten();
    groups
        .filter_map(|group| {
            let is_version_2 = group.hierarchy == 0;
            let counts = is_version_2 || group.controllers.iter().any(|name| name == "memory");
            counts.then_some(Group {
                is_version_2,
                path: group.pathname,
            })
        })
        .collect()
}

/// The limits of a cgroup and its ancestors. Where the path leads nowhere (another namespace's), what
/// is above it counts.
fn along(root: &Path, group: &str, [most, used]: [&str; 2]) -> Vec<MemoryLimit> {
    let inside = group.trim_start_matches('/');
    // A path out of the hierarchy is none that the kernel makes.
    if inside.split('/').any(|part| part == "..") {
        return Vec::new();
    }
    let deepest = root.join(inside);
    let levels = deepest.ancestors().take(MAX_DEPTH);
    levels
        .take_while(|level| level.starts_with(root))
        .filter_map(|level| {
            Some(MemoryLimit {
                bytes: number(&level.join(most))?,
                used: number(&level.join(used))?,
            })
        })
        .collect()
}

/// The number in a file; `None` for `max`, which is none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn of_machine() -> Option<MemoryLimit> {
    let memory = Meminfo::current().ok()?;
    Some(MemoryLimit {
        bytes: memory.mem_total,
        used: memory.mem_total.saturating_sub(memory.mem_available?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(dir: &Path, most: &str, used: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("memory.max"), most).unwrap();
        fs::write(dir.join("memory.current"), used).unwrap();
    }

    const FILES: [&str; 2] = ["memory.max", "memory.current"];

    #[test]
    fn the_limits_of_ancestors_hold_too_and_max_is_none() {
        let root = tempfile::tempdir().unwrap();
        group(root.path(), "max\n", "900\n");
        group(&root.path().join("a"), "1000\n", "400\n");
        group(&root.path().join("a/b"), "max\n", "100\n");
        group(&root.path().join("a/b/c"), "800\n", "50\n");
        let limits = along(root.path(), "/a/b/c", FILES);
        let expected = [(800, 50), (1000, 400)];
        let expected = expected.map(|(bytes, used)| MemoryLimit { bytes, used });
        assert_eq!(limits, expected);
        let tightest = limits.iter().min_by_key(|limit| limit.left()).unwrap();
        assert_eq!(tightest.bytes, 1000);
        assert_eq!(along(root.path(), "/a/gone/c", FILES), expected[1..]);
        assert_eq!(along(root.path(), "/../etc", FILES), []);
    }

    #[test]
    fn there_is_a_limit_for_this_process_if_only_the_machines() {
        let limit = tightest([Pid(std::process::id())].into_iter()).unwrap();
        let machine = of_machine().unwrap();
        assert!(limit.bytes > 0 && limit.bytes <= machine.bytes.max(limit.used));
    }
}
