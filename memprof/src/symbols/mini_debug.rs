//! MiniDebugInfo: the symbol table that distributions such as Fedora leave in stripped files,
//! as an ELF file of its own, compressed with xz, in the section `.gnu_debugdata`.
//!
//! blazesym would unpack it without any bound. So it is unpacked here, into a file in memory, and
//! blazesym gets that, and for the rest a copy of the file in which it does not find the section.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::steady::{MAX_COPY_BYTES, steady_copy};
use crate::target::elf::MiniDebug;
use crate::target::memory_file::memory_file;
use crate::target::part::FilePart;

/// The largest compressed symbol table; a browser's has about 5 MiB.
pub(super) const MAX_PACKED_BYTES: u64 = 16 << 20;
/// The largest symbol table, unpacked, in bytes.
pub(super) const MAX_UNPACKED_BYTES: u64 = 64 << 20;
/// What unpacking may take: xz's own highest level asks for 65 MiB.
const MAX_DECODER_KIB: u32 = 80 << 10;
/// Bytes that are unpacked at a time.
const STEP: usize = 64 << 10;

/// The symbol table of a file, unpacked, and its size in bytes.
///
/// # Errors
/// If the section is broken or beyond the limits, or there is no memory.
pub(super) fn unpack(file: &File, mini: &MiniDebug) -> io::Result<(File, u64)> {
    if mini.bytes.end - mini.bytes.start > MAX_PACKED_BYTES {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let part = FilePart::new(file, mini.bytes.clone());
    let reader = lzma_rust2::XzReader::new_mem_limit(part, false, MAX_DECODER_KIB);
    // What a panic leaves behind is dropped with the reader.
    catch_unwind(AssertUnwindSafe(|| into_memory(reader)))
        .unwrap_or_else(|_| Err(ErrorKind::InvalidData.into()))
}

fn into_memory(mut unpacked: impl Read) -> io::Result<(File, u64)> {
    let copy = memory_file()?;
    let mut step = vec![0; STEP];
    let mut size = 0;
    loop {
        let count = unpacked.read(&mut step)?;
        let Some(part) = step.get(..count).filter(|part| !part.is_empty()) else {
            return Ok((copy, size));
        };
        if size + count as u64 > MAX_UNPACKED_BYTES {
            return Err(ErrorKind::FileTooLarge.into());
        }
        copy.write_all_at(part, size)?;
        size += count as u64;
    }
}

/// A copy of a file in which the section has no name, and its size in bytes.
///
/// # Errors
/// If the file is too large to be copied, or can't be read.
pub(super) fn copy_without(file: &File, mini: &MiniDebug) -> io::Result<(File, u64)> {
    let size = file.metadata()?.len();
    if size > MAX_COPY_BYTES {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let copy = steady_copy(file)?;
    // The header's first field is where the name is; the first name is empty.
    copy.write_all_at(&[0; 4], mini.header_at)?;
    Ok((copy, size))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// Compressed by xz itself.
    fn xz(bytes: &[u8], level: &str) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut command = Command::new("xz");
        let output = command.args(["-c", level]).stdin(Stdio::from(file));
        output.output().unwrap().stdout
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(packed).unwrap();
        file.write_all(b"behind").unwrap();
        let mini = MiniDebug {
            bytes: 6..6 + packed.len() as u64,
            header_at: 0,
        };
        let (copy, size) = unpack(&file, &mini)?;
        let mut bytes = vec![0; size as usize];
        copy.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    #[test]
    fn what_xz_packed_is_unpacked() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for level in ["-0", "-6", "-9e"] {
            assert_eq!(unpacked(&xz(&plain, level)).unwrap(), plain, "{level}");
        }
    }

    #[test]
    fn a_bomb_is_refused_in_a_moment() {
        let bomb = xz(&vec![0; 512 << 20], "-0");
        assert!(bomb.len() < 1 << 20);
        let started = Instant::now();
        let error = unpacked(&bomb).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(started.elapsed().as_secs() < 2);
    }

    #[test]
    fn broken_and_random_bytes_are_refused() {
        let plain: Vec<u8> = (0..30_000_u32).flat_map(u32::to_le_bytes).collect();
        let good = xz(&plain, "-6");
        assert!(unpacked(&[]).is_err() && unpacked(b"nonsense").is_err());
        for length in (0..good.len()).step_by(97) {
            assert!(unpacked(&good[..length]).is_err(), "{length}");
        }
        // xorshift64 (Marsaglia 2003).
        let mut state = 0x0123_4567_89ab_cdef_u64;
        for _ in 0..500 {
            let mut bad = good.clone();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let place = usize::try_from(state >> 16).unwrap() % bad.len();
                bad[place] = (state >> 8) as u8;
            }
            // A changed byte that still unpacks is what the checksums are against.
            if let Ok(bytes) = unpacked(&bad) {
                assert!(bytes == plain || bytes.is_empty());
            }
        }
    }
}
