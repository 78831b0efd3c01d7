//! Which code is an allocator's own: what is mapped from there is given out in blocks, and counts
//! where these are given.
//!
//! Known whether it is probed or not, so that mappings can be followed alone. Of an allocator in a
//! file of its own everything is; of a C library, or of a program that has one linked in, the
//! functions that a program calls: whatever they call maps on their behalf.
//!
//! The targets' files are looked at before they are traced, those that they map later when a stack
//! goes through them.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::unix::fs::MetadataExt as _,
};

use anyhow::Result;

use super::{
    attach::is_loader,
    emulation::Emulated,
    families::Families,
    file_plan::{plan_file, well_known},
};
use crate::{
    identity::Pid,
    target::{
        elf::ElfReader,
        mappings::{Backing, FileId, Mappings, open_mapped_file},
    },
};

/// Allocators whose files hold nothing else.
const WHOLE_FILES: [&str; 3] = ["jemalloc", "tcmalloc", "mimalloc"];
/// Files that are remembered; further ones are looked at again each time.
const MAX_FILES: usize = 65_536;
/// Bytes of a function whose size its symbol does not say.
const UNSIZED: u64 = 16;

/// A file, as a module names it too: device and inode of what is open.
pub type FileKey = (u64, u64);

/// Functions that such files put before the C library's for programs to call: what is mapped through
/// these is the caller's.
const PASSAGES: [&str; 6] = ["mmap", "mmap64", "mremap", "brk", "sbrk", "pthread_create"];

/// From the first byte in a file to the one behind the last.
type Range = (u64, u64);

/// What of one file is an allocator's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ground {
    Whole { passages: Vec<Range> },
    Functions(Vec<Range>),
}

/// What some code of an allocator's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Land {
    /// It maps for the allocator.
    Own,
    /// It maps for its caller.
    Passage,
}

/// The allocators' code of the files that were looked at.
#[derive(Clone, Debug, Default)]
pub struct Territory(HashMap<FileKey, Option<Ground>>);

impl Territory {
    /// Whether a file was looked at.
    pub fn knows(&self, file: FileKey) -> bool {
        self.0.contains_key(&file)
    }

    /// What is at the byte `offset` of a file, if it is an allocator's.
    pub fn land_at(&self, file: FileKey, offset: u64) -> Option<Land> {
        let is_in = |ranges: &[Range]| {
            let mut ranges = ranges.iter();
            ranges.any(|(start, end)| (*start..*end).contains(&offset))
        };
        match self.0.get(&file)?.as_ref()? {
            Ground::Whole { passages } if is_in(passages) => Some(Land::Passage),
            Ground::Whole { .. } => Some(Land::Own),
            Ground::Functions(ranges) => is_in(ranges).then_some(Land::Own),
        }
    }

    /// Takes in what else was found.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether nothing was looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at a file, which was mapped by this path.
    pub fn look_at(&mut self, families: &Families, file: &File, path: &str) {
        if let Ok(metadata) = file.metadata() {
            let key = (metadata.dev(), metadata.ino());
            self.0.insert(key, Ground::of(families, file, path));
        }
    }
}

impl Ground {
    fn of(families: &Families, file: &File, path: &str) -> Option<Self> {
        if is_loader(path) {
            return None;
        }
        let reader = ElfReader::new(file);
        let plan = plan_file(families, file, &reader, Emulated::NONE)?;
        if well_known(path).is_some_and(|name| WHOLE_FILES.contains(&name)) {
            let symbols = reader.symbols(&PASSAGES).unwrap_or_default();
            let passages = symbols.iter();
            let passages = passages.map(|one| range(one.file_offset, one.size));
            return Some(Self::Whole {
                passages: passages.collect(),
            });
        }
        let sites = plan.sites.iter();
        let functions = sites.map(|site| range(site.offset, site.size));
        Some(Self::Functions(functions.collect()))
    }
}

fn range(start: u64, size: u64) -> Range {
    let size = if size == 0 { UNSIZED } else { size };
    (start, start.saturating_add(size))
}

/// Finds the allocators that processes map.
#[derive(Default)]
pub struct Surveyor {
    families: Families,
    seen: HashSet<FileId>,
}

impl Surveyor {
    /// One that looks for these.
    pub fn new(families: Families) -> Self {
        Self {
            families,
            seen: HashSet::new(),
        }
    }

    /// What is new in the files that `pid` maps now.
    ///
    /// # Errors
    /// If the process's mappings cannot be read: it is gone, or not ours to look at.
    pub fn look_at(&mut self, pid: Pid) -> Result<Territory> {
        let mut found = Territory::default();
        for mapping in Mappings::read(pid)?.iter() {
            let Backing::File { id, path, .. } = &mapping.backing else {
                continue;
            };
            if !mapping.executable || self.seen.contains(id) {
                continue;
            }
            if self.seen.len() < MAX_FILES {
                self.seen.insert(*id);
            }
            if let Ok(file) = open_mapped_file(pid, mapping) {
                found.look_at(&self.families, &file, path);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_malloc_is_an_allocators_and_its_printf_is_not() {
        let found = Surveyor::default()
            .look_at(Pid(std::process::id()))
            .expect("one's own mappings can be read");
        let library = found.0.values().flatten().find_map(|ground| match ground {
            Ground::Functions(ranges) => Some(ranges.clone()),
            Ground::Whole { .. } => None,
        });
        // memprof's own tests may be linked with an allocator, but the C library has one too.
        let ranges = library.expect("a C library");
        assert!(ranges.len() > 5, "{ranges:?}");
        assert!(ranges.iter().all(|(start, end)| start < end));
    }

    #[test]
    fn code_is_an_allocators_by_its_file_and_place() {
        let functions = Ground::Functions(vec![(100, 200), (300, 310)]);
        let whole = Ground::Whole {
            passages: vec![(50, 60)],
        };
        let files = [
            ((1, 2), Some(functions)),
            ((1, 3), Some(whole)),
            ((1, 4), None),
        ];
        let mut territory = Territory::default();
        territory.extend(Territory(HashMap::from(files)));
        let own = Some(Land::Own);
        for (offset, land) in [(99, None), (100, own), (199, own), (200, None), (305, own)] {
            assert_eq!(territory.land_at((1, 2), offset), land, "{offset}");
        }
        assert_eq!(territory.land_at((1, 3), 49), own);
        assert_eq!(territory.land_at((1, 3), 55), Some(Land::Passage));
        assert_eq!(territory.land_at((1, 4), 100), None);
        assert_eq!(territory.land_at((2, 2), 100), None);
        assert!(territory.knows((1, 4)) && !territory.knows((2, 2)));
    }
}
