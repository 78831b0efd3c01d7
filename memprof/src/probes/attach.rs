//! From a process's mappings to probes in its allocators: each file once, whoever maps it.

use std::{collections::HashMap, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::Result;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use super::{
    emulation::Emulated,
    families::Families,
    file_plan::{Coverage, FilePlans, Probing, plan_file},
    kernel_side::{KernelSide, Scope},
    plan::Plan,
};
use crate::{
    identity::Pid,
    target::{
        elf::ElfReader,
        mappings::{Backing, FileId, Mapping, Mappings, open_mapped_file},
    },
};

/// A file that was looked at.
enum Seen {
    Allocator(Coverage),
    NoAllocator,
    /// Another mount shows this file too.
    SameAs(FileId),
}

impl Seen {
    fn is_usable_allocator(&self) -> bool {
        matches!(self, Self::Allocator(coverage) if coverage.is_usable())
    }
}

/// A file that an overlay shows, by what is the same on every mount that shows it. The kernel probes the
/// file below, whatever the path; so each must be probed once, or its calls count twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Below {
    inode: u64,
    bytes: u64,
    /// When it was changed last, and its inode: seconds and nanoseconds.
    changes: [i64; 4],
}

impl Below {
    /// `None` for a file that is on no overlay.
    fn of(pid: Pid, mapping: &Mapping) -> Option<Self> {
        let file = open_mapped_file(pid, mapping).ok()?;
        if fstatfs(&file).ok()?.filesystem_type() != OVERLAYFS_SUPER_MAGIC {
            return None;
        }
        let metadata = file.metadata().ok()?;
        Some(Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            changes: [
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        })
    }
}

/// What one look at a process's mappings found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Allocators that the process maps, new or known.
    pub allocators: usize,
    /// Probes that went in.
    pub new_sites: usize,
    /// A Go program: it brings its own allocator.
    pub go: bool,
    /// Allocators of which the kernel refused `malloc` or `free`: nothing can be said of them.
    pub refused: usize,
}

/// The files looked at so far.
#[derive(Default)]
pub struct Probed {
    files: HashMap<FileId, Seen>,
    /// Files on an overlay, by what tells the file below: several mounts may show one, and its probes
    /// are everyone's who maps it.
    below: HashMap<Below, FileId>,
    /// Which allocators each process was found to have.
    by_process: HashMap<Pid, Vec<FileId>>,
}

/// Files that are remembered; further ones are not looked at.
const MAX_FILES: usize = 65_536;
/// Processes whose allocators are remembered; with more, those that are gone are forgotten.
const MAX_REMEMBERED: usize = 16_384;

impl Probed {
    /// Looks at what `pid` maps now, and probes the allocators that are new.
    ///
    /// # Errors
    /// If the process's mappings cannot be read: it is gone, or not ours to look at.
    pub fn look_at(
        &mut self,
        side: &mut KernelSide,
        plans: &mut FilePlans,
        pid: Pid,
        scope: Scope,
    ) -> Result<Found> {
        let mut found = Found::default();
        let mut allocators = Vec::new();
        for mapping in Mappings::read(pid)?.iter() {
            let Backing::File { id, path, .. } = &mapping.backing else {
                continue;
            };
            if !mapping.executable || is_loader(path) {
                continue;
            }
            if !self.files.contains_key(id) {
                let probing = Probing {
                    side: &mut *side,
                    plans: &mut *plans,
                    pid,
                    scope,
                };
                self.see(probing, mapping, *id, path, &mut found);
            }
            let id = self.same_as(*id);
            let seen = self.files.get(&id);
            if matches!(seen, Some(Seen::Allocator(_))) && !allocators.contains(&id) {
                found.allocators += usize::from(seen.is_some_and(Seen::is_usable_allocator));
                allocators.push(id);
            }
        }
        self.remember(pid, allocators);
        Ok(found)
    }

    /// Looks at a file that is new, and probes it if it is an allocator.
    fn see(
        &mut self,
        probing: Probing<'_>,
        mapping: &Mapping,
        id: FileId,
        path: &str,
        found: &mut Found,
    ) {
        if self.files.len() >= MAX_FILES {
            // What can't be remembered would be probed anew each time.
            return;
        }
        if let Some(below) = Below::of(probing.pid, mapping) {
            let first = *self.below.entry(below).or_insert(id);
            if first != id {
                self.files.insert(id, Seen::SameAs(first));
                return;
            }
        }
        let seen = match probing.file(mapping, id, path, &mut found.go) {
            Some(coverage) => {
                found.refused += usize::from(!coverage.is_usable());
                found.new_sites += coverage.attached.len();
                Seen::Allocator(coverage)
            }
            None => Seen::NoAllocator,
        };
        self.files.insert(id, seen);
    }

    /// The file that stands for this one: itself, unless another mount shows it too.
    fn same_as(&self, id: FileId) -> FileId {
        match self.files.get(&id) {
            Some(Seen::SameAs(first)) => *first,
            _ => id,
        }
    }

    fn remember(&mut self, pid: Pid, allocators: Vec<FileId>) {
        if self.by_process.len() >= MAX_REMEMBERED {
            self.by_process
                .retain(|pid, _| Path::new("/proc").join(pid.0.to_string()).exists());
        }
        if self.by_process.len() < MAX_REMEMBERED {
            self.by_process.insert(pid, allocators);
        }
    }

    /// A child has what its parent has.
    pub fn inherit(&mut self, parent: Pid, child: Pid) {
        if let Some(allocators) = self.by_process.get(&parent) {
            self.remember(child, allocators.clone());
        }
    }

    /// What is probed in one process; `None` if it was not looked at.
    pub fn of_process(&self, pid: Pid) -> Option<impl Iterator<Item = &Coverage>> {
        let files = self.by_process.get(&pid)?.iter();
        Some(files.filter_map(|id| match self.files.get(id)? {
            Seen::Allocator(coverage) => Some(coverage),
            Seen::NoAllocator | Seen::SameAs(_) => None,
        }))
    }

    /// What is probed, by path.
    pub fn coverage(&self) -> Vec<&Coverage> {
        let mut all: Vec<&Coverage> = self
            .files
            .values()
            .filter_map(|seen| match seen {
                Seen::Allocator(coverage) => Some(coverage),
                Seen::NoAllocator | Seen::SameAs(_) => None,
            })
            .collect();
        all.sort_by(|a, b| a.module.cmp(&b.module));
        all
    }
}

/// What would be probed in `pid`, by path, without probing it.
///
/// # Errors
/// If the process's mappings cannot be read.
pub fn survey(pid: Pid) -> Result<Vec<(String, Plan)>> {
    let families = Families::default();
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for mapping in Mappings::read(pid)?.iter() {
        let Backing::File { id, path, .. } = &mapping.backing else {
            continue;
        };
        if !mapping.executable || is_loader(path) || seen.contains(id) {
            continue;
        }
        seen.push(*id);
        if let Ok(file) = open_mapped_file(pid, mapping)
            && let Some(plan) = plan_file(&families, &file, &ElfReader::new(&file), Emulated::NONE)
        {
            found.push((path.to_string(), plan));
        }
    }
    Ok(found)
}

/// The loader of older C libraries defines a `malloc` of its own, for itself alone.
pub(super) fn is_loader(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("ld-linux") || name.starts_with("ld-2.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_own_malloc_is_left_alone() {
        assert!(is_loader("/lib64/ld-linux-x86-64.so.2"));
        assert!(is_loader("/lib/x86_64-linux-gnu/ld-2.31.so"));
        assert!(!is_loader("/lib/ld-musl-x86_64.so.1"));
    }
}
