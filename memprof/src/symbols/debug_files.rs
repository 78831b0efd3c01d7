//! Separate debug files: where distributions put them, by build id and by debug link.
//!
//! blazesym follows debug links itself, but takes the name from the file, opens whatever bears it
//! (a pipe would block it for ever) and gives up on the whole module when a checksum is wrong. So
//! the search is done here, and only files that the system owns, or that say what they are, go in.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::target::elf::{ElfFacts, ElfReader};

/// Where separate debug files are looked for.
pub const DEBUG_DIRS: [&str; 2] = ["/usr/lib/debug", "/lib/debug"];

/// A debug file that belongs to a module.
pub(super) struct DebugFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The handle that it was checked by.
    pub(super) file: File,
    /// It is in one of the system's directories, so what it refers to may be followed.
    pub(super) of_the_system: bool,
}

/// The debug file of the module at `module_path` (as seen from our own root): the first that has
/// the module's build id and DWARF. A module without a build id has none: a name alone proves
/// nothing.
pub(super) fn find(module_path: &str, facts: &ElfFacts, dirs: &[PathBuf]) -> Option<DebugFile> {
    let build_id = facts.build_id.as_deref().filter(|id| id.len() >= 2)?;
    let by_build_id = dirs
        .iter()
        .map(|dir| (dir.join(build_id_path(build_id)), true));
    let folder = Path::new(module_path).parent();
    let by_link = facts.debug.link.as_deref().zip(folder);
    let by_link = by_link.into_iter().flat_map(|(link, folder)| {
        let relative = folder.strip_prefix("/").unwrap_or(folder);
        dirs.iter()
            .map(move |dir| (dir.join(relative).join(link), true))
            .chain([
                (folder.join(link), false),
                (folder.join(".debug").join(link), false),
            ])
    });
    by_build_id
        .chain(by_link)
        .find_map(|(path, of_the_system)| {
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
                .open(&path)
                .ok()?;
            if !file.metadata().ok()?.is_file() {
                return None;
            }
            let found = ElfReader::new(&file).facts().ok()?;
            let safe = of_the_system || (!found.debug.refers_elsewhere && !found.debug.bomb);
            let fits = found.build_id.as_deref() == Some(build_id) && found.debug.inside && safe;
            fits.then_some(DebugFile {
                path,
                file,
                of_the_system,
            })
        })
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

    #[test]
    fn the_path_of_a_build_id_is_gdbs() {
        let path = build_id_path(&[0xab, 0x0c, 0xef]);
        assert_eq!(path, Path::new(".build-id/ab/0cef.debug"));
    }

    #[test]
    fn without_a_build_id_no_file_is_taken() {
        let mut facts = ElfFacts::default();
        facts.debug.link = Some("source".to_owned());
        assert!(find("/bin/true", &facts, &[PathBuf::from("/")]).is_none());
    }
}
