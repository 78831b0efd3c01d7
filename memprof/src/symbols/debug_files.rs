//! Separate debug files: where distributions and people put them, by build id and by debug link;
//! and the packages of split DWARF.
//!
//! blazesym follows debug links itself, but takes the name from the file, opens whatever bears it
//! (a pipe would block it for ever) and gives up on the whole module when a checksum is wrong. So
//! the search is done here, and only files that the system owns, or that say what they are, go in.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::steady::is_roots_alone;
use crate::target::elf::{ElfFacts, ElfReader};
use crate::target::part::FilePart;

/// Where separate debug files are looked for.
pub const DEBUG_DIRS: [&str; 2] = ["/usr/lib/debug", "/lib/debug"];

/// Larger debug files of modules without a build id are not used: their bytes have to be summed.
pub(super) const MAX_SUMMED_BYTES: u64 = 1 << 30;
/// Bytes that are summed at a time.
const STEP: usize = 256 << 10;

/// A debug file that belongs to a module.
pub(super) struct DebugFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The handle that it was checked by.
    pub(super) file: File,
    /// What its headers say.
    pub(super) facts: ElfFacts,
    /// Only root can change it, or what its name stands for, and it is where debug files are: so
    /// what it refers to may be followed.
    pub(super) of_the_system: bool,
}

/// The debug file of the module at `module_path` (as seen from our own root): the first of the
/// module's build id with DWARF, or else with symbols. A module without a build id is taken at
/// its link's word, if the checksum there is right; a name alone proves nothing.
pub(super) fn find(module_path: &str, facts: &ElfFacts, dirs: &[PathBuf]) -> Option<DebugFile> {
    let build_id = facts.build_id.as_deref().filter(|id| id.len() >= 2);
    let by_build_id = build_id.into_iter().flat_map(|id| {
        let path = build_id_path(id);
        dirs.iter().map(move |dir| (dir.join(&path), true))
    });
    let folder = Path::new(module_path).parent();
    let link = facts.debug.link.as_ref();
    let by_link = link.zip(folder).into_iter().flat_map(|(link, folder)| {
        let relative = folder.strip_prefix("/").unwrap_or(folder);
        let beside = [
            folder.join(&link.name),
            folder.join(".debug").join(&link.name),
        ];
        let beside = beside.into_iter().map(|path| (path, false));
        dirs.iter()
            .map(move |dir| (dir.join(relative).join(&link.name), true))
            .chain(beside)
    });
    let mut with_symbols = None;
    for (path, in_dirs) in by_build_id.chain(by_link) {
        let Some(debug) = open(path, in_dirs) else {
            continue;
        };
        let belongs = match (build_id, link) {
            (Some(id), _) => debug.facts.build_id.as_deref() == Some(id),
            (None, Some(link)) => checksum(&debug.file).is_ok_and(|sum| sum == link.checksum),
            (None, None) => false,
        };
        if belongs && debug.facts.debug.inside {
            return Some(debug);
        }
        if belongs && debug.facts.debug.symtab {
            with_symbols.get_or_insert(debug);
        }
    }
    with_symbols
}

/// The DWARF package of the module at `module_path`: `NAME.dwp`, beside it or in the debug
/// directories. What is in it bears the marks of the units that it belongs to.
pub(super) fn find_package(module_path: &str, dirs: &[PathBuf]) -> Option<File> {
    let name = format!("{module_path}.dwp");
    let relative = name.trim_start_matches('/');
    let in_dirs = dirs.iter().map(|dir| dir.join(relative));
    let mut places = in_dirs.chain([PathBuf::from(&name)]);
    places.find_map(|path| Some(open(path, false)?.file))
}

/// Opens what may be a debug file, and reads its headers.
fn open(path: PathBuf, in_dirs: bool) -> Option<DebugFile> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(&path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    let folder = path.parent()?.metadata().ok()?;
    Some(DebugFile {
        of_the_system: in_dirs && is_roots_alone(&metadata) && is_roots_alone(&folder),
        facts: ElfReader::new(&file).facts().ok()?,
        path,
        file,
    })
}

/// The CRC-32 of a file's bytes.
fn checksum(file: &File) -> io::Result<u32> {
    let mut part = FilePart::new(file, 0..MAX_SUMMED_BYTES + 1);
    let mut hasher = crc32fast::Hasher::new();
    let mut step = vec![0; STEP];
    let mut size = 0;
    loop {
        let count = part.read(&mut step)?;
        let Some(bytes) = step.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(hasher.finalize());
        };
        size += count as u64;
        if size > MAX_SUMMED_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        hasher.update(bytes);
    }
}

/// `.build-id/ab/cdef….debug`, as GDB defines it.
fn build_id_path(build_id: &[u8]) -> PathBuf {
    let mut hex = String::new();
    for byte in build_id {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    let (first, rest) = hex.split_at(2);
    PathBuf::from(format!(".build-id/{first}/{rest}.debug"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::elf::DebugLink;

    #[test]
    fn the_path_of_a_build_id_is_gdbs() {
        let path = build_id_path(&[0xab, 0x0c, 0xef]);
        assert_eq!(path, Path::new(".build-id/ab/0cef.debug"));
    }

    #[test]
    fn without_a_build_id_a_file_of_the_right_name_is_not_enough() {
        let mut facts = ElfFacts::default();
        facts.debug.link = Some(DebugLink {
            name: "true".to_owned(),
            checksum: 0,
        });
        assert!(find("/bin/other", &facts, &[PathBuf::from("/")]).is_none());
    }
}
