//! Compressed sections: whether they unpack to what they claim.
//!
//! blazesym unpacks them whole, however much comes out, and a kilobyte can stand for gigabytes.
//! So what is not the system's own is unpacked once before, into nothing.

use std::fs::File;
use std::io::{self, Read};

use crate::target::elf::{DebugFacts, PackedSection, Packing};
use crate::target::part::FilePart;

/// Bytes that are unpacked at a time.
const STEP: usize = 64 << 10;
/// The largest Zstandard window, as a power of two: what `zstd` itself accepts unless told else.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How many bytes the compressed sections of a file unpack to in all; `None` if one of them is
/// broken or unpacks to anything else than it claims.
pub(super) fn unpacked_bytes(file: &File, debug: &DebugFacts) -> Option<u64> {
    if debug.bomb {
        return None;
    }
    let mut all = 0;
    for section in &debug.packed {
        if unpack(file, section).ok()? != section.claims {
            return None;
        }
        all += section.claims;
    }
    Some(all)
}

/// How many bytes a section unpacks to; at most one step more than it claims.
fn unpack(file: &File, section: &PackedSection) -> io::Result<u64> {
    let part = FilePart::new(file, section.bytes.clone());
    match section.packing {
        Packing::Zlib => count(flate2::read::ZlibDecoder::new(part), section.claims),
        Packing::Zstd => {
            let mut decoder = zstd::stream::Decoder::new(part)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            count(decoder, section.claims)
        }
    }
}

fn count(mut unpacked: impl Read, claims: u64) -> io::Result<u64> {
    let mut step = vec![0; STEP];
    let mut total = 0;
    while total <= claims {
        match unpacked.read(&mut step)? as u64 {
            0 => break,
            bytes => total += bytes,
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn section(packed: &[u8], packing: Packing, claims: u64) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(packed).unwrap();
        file.write_all(b"behind").unwrap();
        let debug = DebugFacts {
            packed: vec![PackedSection {
                bytes: 6..6 + packed.len() as u64,
                packing,
                claims,
            }],
            ..DebugFacts::default()
        };
        unpacked_bytes(&file, &debug)
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_section_must_unpack_to_what_it_claims() {
        let plain = b"what debug information there is".repeat(1000);
        let zstd = zstd::encode_all(&*plain, 3).unwrap();
        for (packed, packing) in [(zlib(&plain), Packing::Zlib), (zstd, Packing::Zstd)] {
            let size = plain.len() as u64;
            assert_eq!(section(&packed, packing, size), Some(size));
            for claims in [0, size - 1, size + 1, u64::MAX] {
                assert_eq!(section(&packed, packing, claims), None, "{packing:?}");
            }
            let half = &packed[..packed.len() / 2];
            assert_eq!(section(half, packing, size), None, "{packing:?}");
            assert_eq!(section(b"nonsense", packing, 8), None, "{packing:?}");
        }
    }

    #[test]
    fn a_bomb_goes_off_in_a_moment_and_in_no_space() {
        // 4 GiB of zeros: 4 MiB and 130 KiB.
        let zeros = vec![0; 64 << 20];
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..16 {
            encoder.write_all(&zeros).unwrap();
            zstd.write_all(&zeros).unwrap();
        }
        let bombs = [
            (encoder.finish().unwrap(), Packing::Zlib),
            (zstd.finish().unwrap(), Packing::Zstd),
        ];
        let started = std::time::Instant::now();
        for (bomb, packing) in bombs {
            assert_eq!(section(&bomb, packing, 1000), None);
        }
        assert!(started.elapsed().as_millis() < 500);
    }
}
