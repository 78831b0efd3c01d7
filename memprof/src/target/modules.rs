//! From a program counter in an address space to a place in a file, settled when a stack arrives:
//! what the process unmaps, replaces or deletes later, and its end, change nothing.
//!
//! Each mapped file is one [`Module`] with an open handle, shared by all processes that map it.

mod layout;
mod module;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

pub use self::layout::Region;
use self::layout::{Image, Layout};
pub use self::module::Module;
use self::module::Stamp;
use crate::events::event::{Pid, SpaceId};
use crate::target::elf::ElfError;
use crate::target::mappings::{Backing, FileId, MAX_MAPPINGS, Mapping, Mappings};
use crate::target::perf_map_file::{PerfMapFile, PerfMapIndex};

/// Modules of a whole run, each with an open file.
pub const MAX_MODULES: usize = 4096;
/// Names that mappings have for modules. One file may have several; further ones are forgotten.
const MAX_NAMES: usize = MAX_MODULES;
/// Regions of a space that are kept although they are not mapped any more, beside as many as are.
const UNMAPPED_KEPT: usize = 64;
/// Address spaces that are remembered at a time.
pub const MAX_SPACES: usize = 65_536;
/// Processes of a run whose perf maps are read.
pub const MAX_PERF_MAPS: usize = 1024;

/// The name of a [`Module`] in its [`AddressSpaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleIndex(u32);

/// Where a program counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file.
    File {
        /// Which.
        module: ModuleIndex,
        /// Where in it, in bytes.
        file_offset: u64,
    },
    /// In executable memory without a file: code made at run time.
    Jit,
    /// In the kernel's shared object, which could not be read.
    Vdso,
    /// In a file for which there was no room (see [`MAX_MODULES`]).
    TooManyModules,
    /// In no mapping that is known of this address space.
    NoMapping,
    /// As `NoMapping`, and the process is gone, so there is nobody to ask any more.
    Gone,
}

/// A program counter of a stack and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameAddress {
    /// As it was on the stack.
    pub pc: u64,
    /// It is the address to which a call returns, so the call itself is before it; else the
    /// address of the instruction itself.
    pub is_return_address: bool,
    /// Where it is.
    pub place: Place,
    /// Where the names of code that is in no ELF file would be.
    pub perf_map: Option<PerfMapIndex>,
}

impl FrameAddress {
    /// The module and the file offset of the pc itself, in bytes, if it is in a file.
    pub fn in_file(&self) -> Option<(ModuleIndex, u64)> {
        match self.place {
            Place::File {
                module,
                file_offset,
            } => Some((module, file_offset)),
            _ => None,
        }
    }
}

/// The places of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// One for each program counter, innermost first.
    pub frames: Vec<FrameAddress>,
    /// How many of them no known mapping covers: if any, [`AddressSpaces::observe`] again and
    /// resolve again, but not for each such stack.
    pub missed: usize,
}

/// A perf map of an address space.
pub struct FoundPerfMap {
    /// Where it is read.
    pub file: PerfMapFile,
    /// That of the address space as a copy of which this one began.
    pub inherited: Option<PerfMapIndex>,
}

#[derive(Clone, Debug, Default)]
struct Space {
    now: Arc<Layout>,
    /// The layout before: a stack may arrive after the library that it ran through was unloaded.
    before: Option<Arc<Layout>>,
    gone: bool,
    /// Where the names of its code without a file are, and whose file that is.
    perf_map: Option<(PerfMapIndex, Pid)>,
}

/// The modules of a run so far. Cheap to clone: what a clone names stays, whoever goes on.
#[derive(Clone, Default)]
pub struct Modules(Vec<Arc<Module>>);

impl Modules {
    /// The module of that name.
    pub fn get(&self, index: ModuleIndex) -> Option<&Module> {
        self.0.get(index.0 as usize).map(|module| &**module)
    }

    /// The module of that name, to be held on to.
    pub fn handle(&self, index: ModuleIndex) -> Option<Arc<Module>> {
        self.0.get(index.0 as usize).cloned()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ModuleIndex, &Module)> {
        (0..)
            .map(ModuleIndex)
            .zip(self.0.iter().map(|module| &**module))
    }
}

/// What a reading of a process's mappings does to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It takes its place: what is not in it is gone, what it says is so.
    Whole,
    /// It adds to it, where nothing was known. The process went on since the last change that was
    /// told; what else it changed will be told in its turn.
    Additions,
}

/// What a reading found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The process as it was known: the space's mappings are up to date.
    Read,
    /// Nobody, or another program: the process has left the space.
    Departed,
}

/// The mappings of all followed address spaces, and the modules of the whole run.
#[derive(Default)]
pub struct AddressSpaces {
    spaces: HashMap<SpaceId, Space>,
    modules: Modules,
    opened: HashMap<Stamp, ModuleIndex>,
    /// The latest module by what mappings call it: for a process that is gone, and whose files
    /// can't be opened through it any more.
    named: HashMap<(FileId, Arc<str>), ModuleIndex>,
    vdso: Option<ModuleIndex>,
    perf_maps: u16,
    new_perf_maps: Vec<FoundPerfMap>,
    perf_maps_left_out: u64,
}

impl AddressSpaces {
    /// Reads what `pid`, which lives in `space`, has mapped now.
    ///
    /// If the process is gone, or has left this space with an exec whose event is still on its
    /// way, what was known of the space stays. Errors are those of reading `/proc`; that the
    /// process does not exist is not one.
    pub fn observe(&mut self, space: SpaceId, pid: Pid) -> io::Result<()> {
        if self.read(space, pid, Reading::Whole)? == Observed::Departed {
            self.abandon(space);
        }
        Ok(())
    }

    /// Reads what `pid`, which lives in `space` perhaps with others, has mapped now.
    ///
    /// # Errors
    /// Those of reading `/proc`; that the process does not exist is not one.
    pub fn read(&mut self, space: SpaceId, pid: Pid, reading: Reading) -> io::Result<Observed> {
        let mappings = match Mappings::read(pid) {
            Ok(mappings) => mappings,
            // ESRCH: it ended between opening and reading.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::ESRCH) =>
            {
                Mappings::default()
            }
            Err(error) => return Err(error),
        };
        let executable = std::fs::metadata(format!("/proc/{}/exe", pid.0)).ok();
        let executable = executable.map(|metadata| (metadata.dev(), metadata.ino()));
        Ok(self.take_in(space, pid, &mappings, executable, reading))
    }

    fn take_in(
        &mut self,
        space: SpaceId,
        pid: Pid,
        mappings: &Mappings,
        executable: Option<(u64, u64)>,
        reading: Reading,
    ) -> Observed {
        let mut vdso = mappings.iter().filter(|m| m.backing == Backing::Vdso);
        let image = Image {
            vdso: vdso.next().map(|mapping| mapping.start),
            executable,
        };
        let known = self.spaces.get(&space).map(|space| Arc::clone(&space.now));
        let departed = mappings.iter().next().is_none()
            || known.as_ref().is_some_and(|known| known.image != image);
        if departed {
            return Observed::Departed;
        }
        let mut layout = Layout::of(image);
        for mapping in mappings.iter().filter(|mapping| mapping.executable) {
            let known = known.as_ref().map(|known| &known.modules);
            let region = self.region(pid, mapping, &mut layout.modules, known);
            layout.insert(region);
        }
        layout.vdso = self.vdso;
        let runs_without_elf = self.runs_without_elf(&layout, mappings);
        if known.is_some() || self.spaces.len() < MAX_SPACES {
            let entry = self.spaces.entry(space).or_default();
            entry.gone = false;
            match known {
                Some(mut known)
                    if reading == Reading::Additions && !is_outdated(&known, &layout) =>
                {
                    let additions = Arc::make_mut(&mut known);
                    additions.modules.extend(&layout.modules);
                    for region in layout.regions() {
                        additions.insert_if_free(*region);
                    }
                    entry.now = known;
                }
                known => {
                    entry.before = known;
                    entry.now = Arc::new(layout);
                }
            }
            if runs_without_elf {
                self.find_perf_map(space, pid);
            }
        }
        Observed::Read
    }

    /// Whether there is code that no ELF file has: a compiler may have made it.
    fn runs_without_elf(&self, layout: &Layout, mappings: &Mappings) -> bool {
        let mut code = mappings.iter().filter(|mapping| mapping.executable);
        code.any(|mapping| self.is_without_elf(layout, mapping))
    }

    /// Memory without a file, or with one that has no name and never had, as compilers use that
    /// map their memory twice.
    fn is_without_elf(&self, layout: &Layout, mapping: &Mapping) -> bool {
        match &mapping.backing {
            Backing::Anonymous => true,
            Backing::File { deleted: true, .. } => match layout.find(mapping.start) {
                Some(Place::File { module, .. }) => {
                    let facts = self.modules.get(module).and_then(Module::facts);
                    facts == Some(&Err(ElfError::NotElf))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Takes note of where the process's perf map is, unless that is known.
    fn find_perf_map(&mut self, space: SpaceId, pid: Pid) {
        let Some(space) = self.spaces.get_mut(&space) else {
            return;
        };
        if space.perf_map.is_some_and(|(_, owner)| owner == pid) {
            return;
        }
        if usize::from(self.perf_maps) >= MAX_PERF_MAPS {
            self.perf_maps_left_out += 1;
            return;
        }
        if let Some(file) = PerfMapFile::of(pid) {
            let inherited = space.perf_map.map(|(index, _)| index);
            space.perf_map = Some((PerfMapIndex(self.perf_maps), pid));
            self.perf_maps += 1;
            self.new_perf_maps.push(FoundPerfMap { file, inherited });
        }
    }

    /// The perf maps that were found since the last call, in the order of their indices.
    pub fn take_new_perf_maps(&mut self) -> Vec<FoundPerfMap> {
        std::mem::take(&mut self.new_perf_maps)
    }

    /// Processes past [`MAX_PERF_MAPS`].
    pub fn perf_maps_left_out(&self) -> u64 {
        self.perf_maps_left_out
    }

    /// Takes in that `pid`, which lives in `space`, has mapped code, as of now in the order of
    /// events; whether that changed what is known.
    pub fn map(&mut self, space: SpaceId, pid: Pid, mapping: &Mapping) -> bool {
        let Some(entry) = self.spaces.get_mut(&space) else {
            return false;
        };
        if entry.now.len() >= MAX_MAPPINGS {
            return false;
        }
        let mut now = std::mem::take(&mut entry.now);
        let layout = Arc::make_mut(&mut now);
        let mut modules = HashMap::new();
        let region = self.region(pid, mapping, &mut modules, Some(&layout.modules));
        layout.modules.extend(modules);
        let changed = layout.insert(region);
        let without_elf = changed && self.is_without_elf(layout, mapping);
        self.spaces.entry(space).or_default().now = now;
        if without_elf {
            self.find_perf_map(space, pid);
        }
        changed
    }

    /// The process that lived in `space` is not there any more, and nobody else to ask.
    pub fn abandon(&mut self, space: SpaceId) {
        let known = self.spaces.contains_key(&space);
        if known || self.spaces.len() < MAX_SPACES {
            self.spaces.entry(space).or_default().gone = true;
        }
    }

    /// The region of a mapping. `modules` are the open files of its layout so far, `known` those
    /// of the layout before, which may have been written to since.
    fn region(
        &mut self,
        pid: Pid,
        mapping: &Mapping,
        modules: &mut HashMap<FileId, ModuleIndex>,
        known: Option<&HashMap<FileId, ModuleIndex>>,
    ) -> Region {
        let place = match &mapping.backing {
            Backing::Anonymous => Place::Jit,
            Backing::Vdso => {
                self.read_vdso(pid, mapping);
                Place::Vdso
            }
            Backing::File { id, path, deleted } => {
                let again = modules.get(id).copied();
                let module = again
                    .or_else(|| {
                        known?
                            .get(id)
                            .copied()
                            .filter(|&one| self.is_as_it_was(one))
                    })
                    .or_else(|| self.module(pid, mapping, *id, path, *deleted));
                module.map_or(Place::TooManyModules, |module| {
                    // Without a handle the inode may come to be another file's.
                    if self
                        .modules
                        .get(module)
                        .is_some_and(|module| module.file().is_some())
                    {
                        modules.insert(*id, module);
                    }
                    Place::File {
                        module,
                        file_offset: mapping.file_offset,
                    }
                })
            }
        };
        Region {
            start: mapping.start,
            end: mapping.end,
            place,
        }
    }

    fn is_as_it_was(&self, module: ModuleIndex) -> bool {
        self.modules
            .get(module)
            .is_some_and(|module| !module.is_changed())
    }

    /// The module of a mapped file: one that is known, or a new one, if there is room.
    fn module(
        &mut self,
        pid: Pid,
        mapping: &Mapping,
        id: FileId,
        path: &Arc<str>,
        deleted: bool,
    ) -> Option<ModuleIndex> {
        let module = Module::of(pid, mapping, path, deleted);
        let name = (id, Arc::clone(path));
        let stamp = module.stamp();
        let known = match &stamp {
            Some(stamp) => self.opened.get(stamp).copied(),
            None => self.named.get(&name).copied(),
        };
        let index = match known {
            Some(known) => known,
            None if self.modules.0.len() >= MAX_MODULES => return None,
            None => {
                let index = ModuleIndex(u32::try_from(self.modules.0.len()).ok()?);
                self.modules.0.push(Arc::new(module));
                if let Some(stamp) = stamp {
                    self.opened.insert(stamp, index);
                }
                index
            }
        };
        if self.named.len() < MAX_NAMES || self.named.contains_key(&name) {
            self.named.insert(name, index);
        }
        Some(index)
    }

    /// Makes a module of the vdso, which is the same one in all processes.
    fn read_vdso(&mut self, pid: Pid, mapping: &Mapping) {
        if self.vdso.is_none()
            && self.modules.0.len() < MAX_MODULES
            && let Ok(index) = u32::try_from(self.modules.0.len())
            && let Ok(module) = Module::of_vdso(pid, mapping)
        {
            self.modules.0.push(Arc::new(module));
            self.vdso = Some(ModuleIndex(index));
        }
    }

    /// The executable mappings of a space as far as they are known, by address.
    pub fn regions(&self, space: SpaceId) -> impl Iterator<Item = &Region> {
        let space = self.spaces.get(&space);
        space.into_iter().flat_map(|space| space.now.regions())
    }

    /// `child` begins as a copy of `parent`, as after `fork`.
    pub fn inherit(&mut self, child: SpaceId, parent: SpaceId) {
        if let Some(parent) = self.spaces.get(&parent).cloned()
            && (self.spaces.len() < MAX_SPACES || self.spaces.contains_key(&child))
        {
            self.spaces.insert(child, parent);
        }
    }

    /// Forgets the mappings of a space in which nothing happens any more. Its modules stay.
    pub fn forget(&mut self, space: SpaceId) {
        self.spaces.remove(&space);
    }

    /// Where the program counters of a stack are: innermost first, the innermost the address of
    /// an instruction, the others return addresses.
    pub fn resolve(&self, space: SpaceId, pcs: &[u64]) -> Resolved {
        let space = self.spaces.get(&space);
        let perf_map = space.and_then(|space| Some(space.perf_map?.0));
        let mut missed = 0;
        let frames = pcs
            .iter()
            .enumerate()
            .map(|(index, &pc)| {
                let is_return_address = index > 0;
                let place = space.and_then(|space| place_of(space, pc, is_return_address));
                let place = place.unwrap_or_else(|| {
                    if space.is_some_and(|space| space.gone) {
                        Place::Gone
                    } else {
                        missed += 1;
                        Place::NoMapping
                    }
                });
                FrameAddress {
                    pc,
                    is_return_address,
                    place,
                    perf_map,
                }
            })
            .collect();
        Resolved { frames, missed }
    }

    /// All modules of the run so far.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }
}

/// Whether so much of what is known was unmapped since that it is time to forget that.
fn is_outdated(known: &Layout, read: &Layout) -> bool {
    known.len() > 2 * read.len() + UNMAPPED_KEPT
}

/// A call that never returns can be the last instruction of its mapping: what counts is where
/// the call is, not where it would return to.
fn place_of(space: &Space, pc: u64, is_return_address: bool) -> Option<Place> {
    let back = u64::from(is_return_address);
    let address = pc.checked_sub(back)?;
    let before = || space.before.as_ref()?.find(address);
    let place = space.now.find(address).or_else(before)?;
    Some(match place {
        Place::File {
            module,
            file_offset,
        } => Place::File {
            module,
            file_offset: file_offset.checked_add(back)?,
        },
        other => other,
    })
}
