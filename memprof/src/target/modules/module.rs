//! One mapped file: an open handle, and what its headers say.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, OnceLock};

use crate::events::event::Pid;
use crate::target::elf::{ElfError, ElfFacts, ElfReader};
use crate::target::mappings::{Mapping, OpenError, open_mapped_file};
use crate::target::memory_file::memory_file;

/// The largest vdso that is read; the kernel's has two pages of code.
const MAX_VDSO_BYTES: u64 = 1 << 20;

/// Which file, in which version. An open handle keeps the inode from being used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
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

/// A file with code that a process has mapped, held open so that it can be read when it is gone.
pub struct Module {
    path: Arc<str>,
    deleted: bool,
    opened: Result<Opened, OpenError>,
}

struct Opened {
    file: File,
    stamp: Stamp,
    /// Read when somebody asks: who opens the file is in a hurry.
    facts: OnceLock<Result<ElfFacts, ElfError>>,
}

impl Opened {
    fn stamped(file: File) -> Result<Self, OpenError> {
        let stamp = Stamp::of(&file.metadata().map_err(OpenError::Io)?);
        let facts = OnceLock::new();
        Ok(Self { file, stamp, facts })
    }

    fn facts(&self) -> &Result<ElfFacts, ElfError> {
        self.facts
            .get_or_init(|| ElfReader::new(&self.file).facts())
    }
}

impl Module {
    /// Opens the file behind a mapping of `pid`; failing is data, too.
    pub(super) fn of(pid: Pid, mapping: &Mapping, path: &Arc<str>, deleted: bool) -> Self {
        Self {
            path: Arc::clone(path),
            deleted,
            opened: open_mapped_file(pid, mapping).and_then(Opened::stamped),
        }
    }

    /// The kernel's shared object, copied out of a process's memory.
    pub(super) fn of_vdso(pid: Pid, mapping: &Mapping) -> io::Result<Self> {
        let size = mapping
            .end
            .saturating_sub(mapping.start)
            .min(MAX_VDSO_BYTES);
        let mut image = vec![0; size as usize];
        let memory = File::open(format!("/proc/{}/mem", pid.0))?;
        memory.read_exact_at(&mut image, mapping.start)?;
        let file = memory_file()?;
        file.write_all_at(&image, 0)?;
        Ok(Self {
            path: Arc::from("[vdso]"),
            deleted: false,
            opened: Opened::stamped(file),
        })
    }

    /// A module of any file, as if somebody had mapped it.
    #[cfg(test)]
    pub(crate) fn of_file(path: &str, file: File) -> Self {
        Self {
            path: Arc::from(path),
            deleted: false,
            opened: Opened::stamped(file),
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
        self.opened.as_ref().ok().map(Opened::facts)
    }

    /// Why the file could not be opened.
    pub fn open_error(&self) -> Option<&OpenError> {
        self.opened.as_ref().err()
    }

    /// The size of the file in bytes when it was opened.
    pub fn size(&self) -> Option<u64> {
        self.stamp().map(|stamp| stamp.size)
    }

    /// Device and inode of the open file.
    pub fn file_key(&self) -> Option<(u64, u64)> {
        self.stamp().map(|stamp| (stamp.device, stamp.inode))
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.opened.as_ref().ok().map(|opened| opened.stamp)
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
