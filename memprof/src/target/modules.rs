//! From a program counter in an address space to a place in a file, settled when a stack arrives:
//! what the process unmaps, replaces or deletes later, and its end, change nothing.
//!
//! Each mapped file is one [`Module`] with an open handle, shared by all processes that map it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::events::event::{Pid, SpaceId};
use crate::target::elf::{ElfError, ElfFacts, ElfReader};
use crate::target::mappings::{Backing, FileId, Mapping, Mappings, OpenError, open_mapped_file};

/// Modules of a whole run, each with an open file.
pub const MAX_MODULES: usize = 4096;
/// Address spaces that are remembered at a time.
pub const MAX_SPACES: usize = 65_536;

/// The name of a [`Module`] in its [`AddressSpaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleIndex(u32);

/// Which file, in which version. An open handle keeps the inode from being used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file with code that a process has mapped, and what was learnt of it while it was there.
pub struct Module {
    path: Arc<str>,
    deleted: bool,
    opened: Result<Opened, OpenError>,
}

struct Opened {
    file: File,
    stamp: Stamp,
    facts: Result<ElfFacts, ElfError>,
}

impl Module {
    /// Opens and reads the file behind a mapping of `pid`; failing is data, too.
    fn of(pid: Pid, mapping: &Mapping, path: &Arc<str>, deleted: bool) -> Self {
        let opened = open_mapped_file(pid, mapping).and_then(|file| {
            let stamp = Stamp::of(&file.metadata().map_err(OpenError::Io)?);
            let facts = ElfReader::new(&file).facts();
            Ok(Opened { file, stamp, facts })
        });
        Self {
            path: Arc::clone(path),
            deleted,
            opened,
        }
    }

    /// The path as the target saw it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the file had lost its name when it was opened.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The GNU build id.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.facts()?.as_ref().ok()?.build_id.as_deref()
    }

    /// The open file, unless opening it failed.
    pub fn file(&self) -> Option<&File> {
        self.opened.as_ref().ok().map(|opened| &opened.file)
    }

    /// What its headers say, or why they could not be read; `None` if it was not opened.
    pub fn facts(&self) -> Option<&Result<ElfFacts, ElfError>> {
        self.opened.as_ref().ok().map(|opened| &opened.facts)
    }

    /// Why the file could not be opened.
    pub fn open_error(&self) -> Option<&OpenError> {
        self.opened.as_ref().err()
    }

    /// Whether somebody wrote to the file since it was opened: then its symbols are no longer
    /// those of the code that ran.
    pub fn is_changed(&self) -> bool {
        self.opened.as_ref().is_ok_and(|opened| {
            let now = opened.file.metadata();
            now.map_or(true, |metadata| Stamp::of(&metadata) != opened.stamp)
        })
    }
}

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
    /// In the kernel's shared object.
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

/// An executable mapping and where its addresses are.
#[derive(Clone, Debug)]
struct Region {
    start: u64,
    end: u64,
    place: Place,
}

/// The executable mappings of one address space at one moment.
#[derive(Debug, Default)]
struct Layout {
    regions: Vec<Region>,
    modules: HashMap<FileId, ModuleIndex>,
    image: Image,
}

/// What stays as it is until an exec: the vdso never moves, the executable never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Image {
    vdso: Option<u64>,
    executable: Option<(u64, u64)>,
}

impl Layout {
    fn find(&self, address: u64) -> Option<Place> {
        let after = self.regions.partition_point(|r| r.start <= address);
        let region = self.regions.get(after.checked_sub(1)?)?;
        let within = (address < region.end).then(|| address - region.start)?;
        Some(match region.place {
            Place::File {
                module,
                file_offset,
            } => Place::File {
                module,
                file_offset: file_offset.checked_add(within)?,
            },
            other => other,
        })
    }
}

#[derive(Clone, Debug, Default)]
struct Space {
    now: Arc<Layout>,
    /// The layout before: a stack may arrive after the library that it ran through was unloaded.
    before: Option<Arc<Layout>>,
    gone: bool,
}

/// The mappings of all followed address spaces, and the modules of the whole run.
#[derive(Default)]
pub struct AddressSpaces {
    spaces: HashMap<SpaceId, Space>,
    modules: Vec<Module>,
    opened: HashMap<Stamp, ModuleIndex>,
    unopened: HashMap<(FileId, Arc<str>), ModuleIndex>,
}

impl AddressSpaces {
    /// Reads what `pid`, which lives in `space`, has mapped now.
    ///
    /// If the process is gone, or has left this space with an exec whose event is still on its
    /// way, what was known of the space stays. Errors are those of reading `/proc`; that the
    /// process does not exist is not one.
    pub fn observe(&mut self, space: SpaceId, pid: Pid) -> io::Result<()> {
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
        self.update(space, pid, &mappings, executable);
        Ok(())
    }

    fn update(
        &mut self,
        space: SpaceId,
        pid: Pid,
        mappings: &Mappings,
        executable: Option<(u64, u64)>,
    ) {
        let mut vdso = mappings.iter().filter(|m| m.backing == Backing::Vdso);
        let image = Image {
            vdso: vdso.next().map(|mapping| mapping.start),
            executable,
        };
        let known = self.spaces.get(&space).map(|space| Arc::clone(&space.now));
        let departed = mappings.iter().next().is_none()
            || known.as_ref().is_some_and(|known| known.image != image);
        if departed {
            if known.is_some() || self.spaces.len() < MAX_SPACES {
                self.spaces.entry(space).or_default().gone = true;
            }
            return;
        }
        let layout = self.lay_out(pid, mappings, image, known.as_deref());
        if known.is_some() || self.spaces.len() < MAX_SPACES {
            let entry = self.spaces.entry(space).or_default();
            entry.before = known;
            entry.now = Arc::new(layout);
            entry.gone = false;
        }
    }

    fn lay_out(
        &mut self,
        pid: Pid,
        mappings: &Mappings,
        image: Image,
        known: Option<&Layout>,
    ) -> Layout {
        let mut layout = Layout {
            image,
            ..Layout::default()
        };
        for mapping in mappings.iter().filter(|mapping| mapping.executable) {
            let place = match &mapping.backing {
                Backing::Anonymous => Place::Jit,
                Backing::Vdso => Place::Vdso,
                Backing::File { id, path, deleted } => {
                    let again = layout.modules.get(id);
                    let again = again.or_else(|| known.and_then(|known| known.modules.get(id)));
                    let module = again
                        .copied()
                        .or_else(|| self.module(pid, mapping, *id, path, *deleted));
                    module.map_or(Place::TooManyModules, |module| {
                        // Without a handle the inode may come to be another file's.
                        if self.modules[module.0 as usize].file().is_some() {
                            layout.modules.insert(*id, module);
                        }
                        Place::File {
                            module,
                            file_offset: mapping.file_offset,
                        }
                    })
                }
            };
            layout.regions.push(Region {
                start: mapping.start,
                end: mapping.end,
                place,
            });
        }
        layout
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
        let stamp = module.opened.as_ref().ok().map(|opened| opened.stamp);
        let unopened = (id, Arc::clone(path));
        let known = match &stamp {
            Some(stamp) => self.opened.get(stamp),
            None => self.unopened.get(&unopened),
        };
        if let Some(&known) = known {
            return Some(known);
        }
        if self.modules.len() >= MAX_MODULES {
            return None;
        }
        let index = ModuleIndex(u32::try_from(self.modules.len()).ok()?);
        self.modules.push(module);
        match stamp {
            Some(stamp) => self.opened.insert(stamp, index),
            None => self.unopened.insert(unopened, index),
        };
        Some(index)
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
                }
            })
            .collect();
        Resolved { frames, missed }
    }

    /// The module of that name.
    pub fn module_at(&self, index: ModuleIndex) -> Option<&Module> {
        self.modules.get(index.0 as usize)
    }

    /// All modules of the run so far.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleIndex, &Module)> {
        (0..).map(ModuleIndex).zip(&self.modules)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SpaceId = SpaceId(1);

    fn own_pid() -> Pid {
        Pid(std::process::id())
    }

    fn here() -> u64 {
        here as fn() -> u64 as usize as u64
    }

    /// Mappings that stand in no real process; no file of theirs can be opened.
    fn made_up(text: &str) -> Mappings {
        Mappings::parse(text.as_bytes()).unwrap()
    }

    const BEFORE: &str = "\
1000-2000 r-xp 00005000 fe:01 4294967001 /no/such/a
2000-3000 rwxp 00000000 00:00 0 
3000-4000 r-xp 00000000 fe:01 4294967002 /no/such/b
8000-9000 r-xp 00000000 00:00 0          [vdso]
";

    #[test]
    fn our_own_code_is_in_our_executable_whatever_happens_later() {
        let mut spaces = AddressSpaces::default();
        spaces.observe(SPACE, own_pid()).unwrap();
        let resolved = spaces.resolve(SPACE, &[here(), here() + 1]);
        assert_eq!(resolved.missed, 0);
        let (module, offset) = resolved.frames[0].in_file().unwrap();
        assert_eq!(resolved.frames[1].in_file(), Some((module, offset + 1)));
        let module = spaces.module_at(module).unwrap();
        let exe = std::fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(module.path(), exe.to_str().unwrap());
        assert!(module.facts().unwrap().is_ok() && !module.is_changed());
    }

    #[test]
    fn processes_share_modules() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut spaces = AddressSpaces::default();
        spaces.observe(SPACE, own_pid()).unwrap();
        let ours = spaces.modules().count();
        // Wait for the exec: until then the child has our own image.
        let exe = format!("/proc/{}/exe", child.id());
        while !std::fs::read_link(&exe).unwrap().ends_with("sleep") {
            std::thread::yield_now();
        }
        let libc_loaded = || {
            let mappings = Mappings::read(Pid(child.id())).unwrap();
            mappings.iter().any(|m| match &m.backing {
                Backing::File { path, .. } => m.executable && path.contains("libc.so"),
                _ => false,
            })
        };
        while !libc_loaded() {
            std::thread::yield_now();
        }
        spaces.observe(SpaceId(2), Pid(child.id())).unwrap();
        let libcs = spaces
            .modules()
            .filter(|(_, m)| m.path().contains("libc.so"));
        assert_eq!(libcs.count(), 1);
        assert!(spaces.modules().count() > ours);
        child.kill().unwrap();
        child.wait().unwrap();
        // Dead by now, and still known; new addresses are `Gone`, not worth another look.
        spaces.observe(SpaceId(2), Pid(child.id())).unwrap();
        let resolved = spaces.resolve(SpaceId(2), &[0x10]);
        assert_eq!(
            (resolved.frames[0].place, resolved.missed),
            (Place::Gone, 0)
        );
    }

    #[test]
    fn places_are_told_apart_and_misses_counted() {
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
        let resolved = spaces.resolve(SPACE, &[0x2000, 0x8010, 0x5000, 0x2000]);
        let places: Vec<Place> = resolved.frames.iter().map(|f| f.place).collect();
        assert_eq!(places[..3], [Place::Jit, Place::Vdso, Place::NoMapping]);
        assert_eq!(resolved.missed, 1);
        // A return address just behind a mapping belongs to the call at that mapping's end.
        let (module, offset) = resolved.frames[3].in_file().unwrap();
        assert_eq!(offset, 0x6000);
        let module = spaces.module_at(module).unwrap();
        assert_eq!(module.path(), "/no/such/a");
        assert!(module.open_error().is_some() && module.build_id().is_none());
    }

    #[test]
    fn an_unknown_space_is_a_miss() {
        let resolved = AddressSpaces::default().resolve(SPACE, &[1, 2]);
        assert_eq!(resolved.missed, 2);
    }

    #[test]
    fn a_forked_child_starts_with_its_parents_mappings_and_keeps_them() {
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
        spaces.inherit(SpaceId(2), SPACE);
        spaces.forget(SPACE);
        assert_eq!(spaces.resolve(SpaceId(2), &[0x1000]).missed, 0);
        assert_eq!(spaces.resolve(SPACE, &[0x1000]).missed, 1);
    }

    #[test]
    fn a_library_unloaded_a_moment_ago_is_still_known() {
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
        let unloaded: String = BEFORE.lines().skip(1).map(|l| format!("{l}\n")).collect();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(&unloaded), None);
        assert_eq!(spaces.resolve(SPACE, &[0x1000, 0x2001]).missed, 0);
    }

    #[test]
    fn a_re_read_after_an_exec_does_not_put_the_new_program_into_the_old_space() {
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), Some((1, 10)));
        let before = spaces.resolve(SPACE, &[0x1000]);
        let moved = BEFORE
            .replace("8000-9000", "a000-b000")
            .replace("/a", "/other");
        spaces.update(SPACE, Pid(u32::MAX), &made_up(&moved), Some((1, 10)));
        assert_eq!(spaces.resolve(SPACE, &[0x1000]), before);
        let replaced = BEFORE.replace("/a", "/other");
        spaces.update(SPACE, Pid(u32::MAX), &made_up(&replaced), Some((1, 11)));
        assert_eq!(spaces.resolve(SPACE, &[0x1000]), before);
        assert_eq!(
            spaces.resolve(SPACE, &[0x7000]).frames[0].place,
            Place::Gone
        );
    }

    #[test]
    fn the_number_of_modules_is_bounded() {
        let text: String = (1..=MAX_MODULES + 3)
            .map(|n| {
                format!(
                    "{:x}-{:x} r-xp 0 fe:01 {} /no/{n}\n",
                    n << 12,
                    (n + 1) << 12,
                    1_u64 << 40 | n as u64
                )
            })
            .collect();
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, Pid(u32::MAX), &made_up(&text), None);
        assert_eq!(spaces.modules().count(), MAX_MODULES);
        let last = (MAX_MODULES as u64 + 2) << 12;
        assert_eq!(
            spaces.resolve(SPACE, &[last]).frames[0].place,
            Place::TooManyModules
        );
    }

    #[test]
    fn a_file_written_to_since_is_known_as_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let line = format!("1000-2000 r-xp 0 fe:01 {inode} {}\n", path.display());
        let mut spaces = AddressSpaces::default();
        spaces.update(SPACE, own_pid(), &made_up(&line), None);
        let (_, module) = spaces.modules().next().unwrap();
        assert!(matches!(module.facts(), Some(Err(ElfError::NotElf))) && !module.is_changed());
        std::fs::write(&path, "longer").unwrap();
        assert!(module.is_changed());
    }
}
