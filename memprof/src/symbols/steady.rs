//! Files that can be mapped without fear.
//!
//! blazesym maps what it reads, and a mapped file that somebody truncates kills the reader with
//! SIGBUS. Only the owner of a file, or who may write to it, can do that: so the files of anybody
//! but root are copied into memory of our own first.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::target::memory_file::memory_file;

/// Larger files are mapped as they are: to copy them would cost more than the risk is worth.
pub(super) const MAX_COPY_BYTES: u64 = 256 << 20;

/// Whether nobody but root can write to it.
pub(super) fn is_roots_alone(metadata: &Metadata) -> bool {
    metadata.uid() == 0 && metadata.mode() & 0o022 == 0
}

/// How many bytes [`steady_copy`] would copy of this file: 0 if nobody but root can truncate it.
pub(super) fn bytes_to_copy(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let copied = !is_roots_alone(&metadata) && metadata.len() <= MAX_COPY_BYTES;
    Ok(if copied { metadata.len() } else { 0 })
}

/// A copy of a file in memory, without a name.
pub(super) fn steady_copy(file: &File) -> io::Result<File> {
    let copy = memory_file()?;
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    // A file that grows meanwhile is cut, not followed.
    while position < MAX_COPY_BYTES {
        let count = file.read_at(&mut buffer, position)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            break;
        };
        copy.write_all_at(part, position)?;
        position += count as u64;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_files_that_others_can_truncate_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 300 << 10]).unwrap();
        let file = File::open(&path).unwrap();
        for (mode, is_open_to_others) in [(0o755, false), (0o775, true), (0o757, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let ours = file.metadata().unwrap().uid() == 0 && !is_open_to_others;
            let expected = if ours { 0 } else { 300 << 10 };
            assert_eq!(bytes_to_copy(&file).unwrap(), expected, "{mode:o}");
        }
    }

    #[test]
    fn a_copy_does_not_change_with_its_original() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content).unwrap();
        let copy = steady_copy(&File::open(&path).unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        let mut read = vec![0; content.len()];
        copy.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, content);
        assert_eq!(copy.metadata().unwrap().len(), content.len() as u64);
    }
}
