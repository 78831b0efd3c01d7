//! From a process's mappings to probes in its allocators: each file once, whoever maps it.

use std::collections::HashMap;

use anyhow::Result;

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
        mappings::{Backing, FileId, Mappings, open_mapped_file},
    },
};

/// A file that was looked at.
enum Seen {
    Allocator(Coverage),
    NoAllocator,
}

impl Seen {
    fn is_usable_allocator(&self) -> bool {
        matches!(self, Self::Allocator(coverage) if coverage.is_usable())
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
}

/// Files that are remembered; further ones are looked at again each time.
const MAX_FILES: usize = 65_536;

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
        for mapping in Mappings::read(pid)?.iter() {
            let Backing::File { id, path, .. } = &mapping.backing else {
                continue;
            };
            if !mapping.executable || is_loader(path) {
                continue;
            }
            if let Some(seen) = self.files.get(id) {
                found.allocators += usize::from(seen.is_usable_allocator());
                continue;
            }
            let probing = Probing {
                side: &mut *side,
                plans: &mut *plans,
                pid,
                scope,
            };
            let seen = match probing.file(mapping, *id, path, &mut found.go) {
                Some(coverage) => {
                    if coverage.is_usable() {
                        found.allocators += 1;
                    } else {
                        found.refused += 1;
                    }
                    found.new_sites += coverage.attached.len();
                    Seen::Allocator(coverage)
                }
                None => Seen::NoAllocator,
            };
            if self.files.len() < MAX_FILES {
                self.files.insert(*id, seen);
            }
        }
        Ok(found)
    }

    /// What is probed, by path.
    pub fn coverage(&self) -> Vec<&Coverage> {
        let mut all: Vec<&Coverage> = self
            .files
            .values()
            .filter_map(|seen| match seen {
                Seen::Allocator(coverage) => Some(coverage),
                Seen::NoAllocator => None,
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
fn is_loader(path: &str) -> bool {
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
