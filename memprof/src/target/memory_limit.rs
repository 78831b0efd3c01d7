//! The tightest limit on a process's memory: of its cgroup or one of that one's ancestors (version 1 or
//! 2), or the machine's memory.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use procfs::{Current as _, Meminfo, process::Process};

use crate::identity::Pid;

/// Where the hierarchies are mounted, version 2, and the one of version 1 for memory.
const VERSION_2: &str = "/sys/fs/cgroup";
const VERSION_1: &str = "/sys/fs/cgroup/memory";
/// From here on a limit of version 1 is none: there it is a number too large for any machine.
const NO_LIMIT: u64 = 1 << 62;
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
        let (root, files) = self.place();
        along(Path::new(root), &self.path, files)
    }

    /// Where its hierarchy is, and the files that tell the most and what is used.
    fn place(&self) -> (&'static str, [&'static str; 2]) {
        if self.is_version_2 {
            (VERSION_2, ["memory.max", "memory.current"])
        } else {
            (
                VERSION_1,
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            )
        }
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

/// What the cgroup that accounts for a process's memory uses, and may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// Its path below the root of its hierarchy.
    pub path: String,
    /// The version of the hierarchy.
    pub version: u8,
    /// What is in use, by all its processes; `None` if that can't be read.
    pub used: Option<u64>,
    /// Its own limit or an ancestor's, that of which the least is left, with its path.
    pub tightest: Option<(String, MemoryLimit)>,
}

/// The cgroup that accounts for a process's memory: of version 1 if that has a hierarchy for memory, else
/// of version 2. `None` if there is none, or it can't be read.
pub fn accounted(pid: Pid) -> Option<Accounted> {
    let group = groups_of(pid)
        .into_iter()
        .min_by_key(|group| group.is_version_2)?;
    let (root, files) = group.place();
    Some(accounted_along(Path::new(root), group, files))
}

fn accounted_along(root: &Path, group: Group, files: [&str; 2]) -> Accounted {
    let inside = group.path.trim_start_matches('/');
    let tightest = levels(root, &group.path, files)
        .filter(|(_, limit)| limit.bytes < NO_LIMIT)
        .min_by_key(|(_, limit)| limit.left());
    Accounted {
        used: number(&root.join(inside).join(files[1])),
        version: if group.is_version_2 { 2 } else { 1 },
        tightest: tightest.map(|(level, limit)| {
            let inside = level.strip_prefix(root).unwrap_or(&level);
            (format!("/{}", inside.display()), limit)
        }),
        path: group.path,
    }
}

/// The limits of a cgroup and its ancestors. Where the path leads nowhere (another namespace's), what
/// is above it counts.
fn along(root: &Path, group: &str, files: [&str; 2]) -> Vec<MemoryLimit> {
    levels(root, group, files).map(|(_, limit)| limit).collect()
}

/// The same, with the directories that have them.
fn levels<'a>(
    root: &'a Path,
    group: &str,
    [most, used]: [&'a str; 2],
) -> impl Iterator<Item = (PathBuf, MemoryLimit)> + use<'a> {
    let inside = group.trim_start_matches('/');
    // A path out of the hierarchy is none that the kernel makes.
    let is_outside = inside.split('/').any(|part| part == "..");
    let deepest = (!is_outside).then(|| root.join(inside));
    let parents = std::iter::successors(deepest, |level| level.parent().map(Path::to_owned));
    parents
        .take(MAX_DEPTH)
        .take_while(move |level| level.starts_with(root))
        .filter_map(move |level| {
            let limit = MemoryLimit {
                bytes: number(&level.join(most))?,
                used: number(&level.join(used))?,
            };
            Some((level, limit))
        })
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
    fn what_a_cgroup_uses_is_its_own_and_the_limit_may_be_an_ancestors() {
        let root = tempfile::tempdir().unwrap();
        group(root.path(), "9223372036854771712\n", "900\n");
        group(&root.path().join("a"), "1000\n", "400\n");
        group(&root.path().join("a/b"), "9223372036854771712\n", "100\n");
        let of = |path: &str| {
            let group = Group {
                is_version_2: false,
                path: path.to_owned(),
            };
            accounted_along(root.path(), group, FILES)
        };
        let found = of("/a/b");
        assert_eq!((found.used, found.version), (Some(100), 1));
        let (path, limit) = found.tightest.unwrap();
        assert_eq!((&*path, limit.bytes, limit.used), ("/a", 1000, 400));
        assert_eq!(of("/").tightest, None);
        assert_eq!(of("/a/gone").used, None);
        assert_eq!(of("/../etc").tightest, None);
    }

    #[test]
    fn there_is_a_limit_for_this_process_if_only_the_machines() {
        let limit = tightest([Pid(std::process::id())].into_iter()).unwrap();
        let machine = of_machine().unwrap();
        assert!(limit.bytes > 0 && limit.bytes <= machine.bytes.max(limit.used));
    }
}
