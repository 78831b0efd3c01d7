//! Where the debug information of an ELF file is, and what that claims of itself.

use std::ops::Range;

use object::LittleEndian;
use object::elf;
use object::read::ReadRef;
use object::read::elf::SectionHeader;

use super::bounded::Bounded;
use super::{ENDIAN, MAX_ELF_PATH_BYTES, Sections};

/// What the compressed sections of one file may claim to unpack to, bytes in all; beyond it the
/// file is a bomb. The debug information of a browser unpacks to about 2 GB.
pub const MAX_UNPACKED_BYTES: u64 = 2 << 30;
/// Compressed sections of one file; there are some twenty kinds of them. Beyond it the file is a
/// bomb.
pub const MAX_PACKED_SECTIONS: usize = 64;

/// Where the debug information of a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFacts {
    /// DWARF in the file itself.
    pub inside: bool,
    /// A symbol table (`.symtab`) with at least one entry: the file is not stripped.
    pub symtab: bool,
    /// What `.gnu_debuglink` says, if the name is one without directories as it must be.
    pub link: Option<DebugLink>,
    /// The file refers to another one by a name that it chooses (`.gnu_debuglink`,
    /// `.gnu_debugaltlink`, `.debug_sup`).
    pub refers_elsewhere: bool,
    /// The sections that are compressed.
    pub packed: Vec<PackedSection>,
    /// They claim to unpack to more than [`MAX_UNPACKED_BYTES`], or there are more than
    /// [`MAX_PACKED_SECTIONS`].
    pub bomb: bool,
    /// A compressed symbol table (`.gnu_debugdata`).
    pub mini: Option<MiniDebug>,
}

/// A separate debug file, as `.gnu_debuglink` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// Its name, without directories.
    pub name: String,
    /// The CRC-32 of its bytes (that of Ethernet and zlib).
    pub checksum: u32,
}

/// A compressed section (`SHF_COMPRESSED`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedSection {
    /// Where its compressed bytes are in the file.
    pub bytes: Range<u64>,
    /// How they are compressed.
    pub packing: Packing,
    /// How many bytes they claim to unpack to.
    pub claims: u64,
}

/// A way of compressing a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// zlib (RFC 1950).
    Zlib,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A `.gnu_debugdata` section: an ELF file with a symbol table, compressed with xz (GDB manual,
/// "MiniDebugInfo").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniDebug {
    /// Where its compressed bytes are in the file.
    pub bytes: Range<u64>,
    /// Where the header of the section is in the file.
    pub header_at: u64,
}

impl DebugFacts {
    /// Takes note of one section, whose header is at `header_at` in the file.
    pub(super) fn read<'a, 'file>(
        &mut self,
        sections: &Sections<'a, 'file>,
        section: &elf::SectionHeader64<LittleEndian>,
        header_at: u64,
        data: Bounded<'a, 'file>,
    ) {
        self.read_packing(section, data);
        if section.sh_type(ENDIAN) == elf::SHT_SYMTAB {
            // The first entry of a symbol table is the null symbol.
            self.symtab |= section.sh_size(ENDIAN) > section.sh_entsize(ENDIAN);
        }
        let Ok(name) = sections.section_name(ENDIAN, section) else {
            return;
        };
        match name {
            b".debug_info" | b".zdebug_info" => self.inside |= section.sh_size(ENDIAN) > 0,
            b".gnu_debugaltlink" | b".debug_sup" => self.refers_elsewhere = true,
            b".gnu_debugdata" => {
                self.mini = file_range(section).map(|bytes| MiniDebug { bytes, header_at });
            }
            b".gnu_debuglink" => {
                self.refers_elsewhere = true;
                if section.sh_size(ENDIAN) <= MAX_ELF_PATH_BYTES as u64
                    && let Ok(bytes) = section.data(ENDIAN, data)
                {
                    self.link = debug_link(bytes);
                }
            }
            _ => {}
        }
    }

    fn read_packing(
        &mut self,
        section: &elf::SectionHeader64<LittleEndian>,
        data: Bounded<'_, '_>,
    ) {
        if !section.sh_flags(ENDIAN).contains(elf::SHF_COMPRESSED) {
            return;
        }
        let Some(bytes) = file_range(section) else {
            return;
        };
        let Ok(head) = data.read_at::<elf::CompressionHeader64<LittleEndian>>(bytes.start) else {
            return;
        };
        let packing = match head.ch_type.get(ENDIAN) {
            elf::ELFCOMPRESS_ZLIB => Packing::Zlib,
            elf::ELFCOMPRESS_ZSTD => Packing::Zstd,
            // Nobody unpacks those.
            _ => return,
        };
        let after_head = size_of::<elf::CompressionHeader64<LittleEndian>>() as u64;
        self.packed.push(PackedSection {
            bytes: bytes.start.saturating_add(after_head).min(bytes.end)..bytes.end,
            packing,
            claims: head.ch_size.get(ENDIAN),
        });
        let claims = self.packed.iter().map(|section| section.claims);
        let unpacked = claims.fold(0_u64, u64::saturating_add);
        if unpacked > MAX_UNPACKED_BYTES || self.packed.len() > MAX_PACKED_SECTIONS {
            self.bomb = true;
            self.packed.clear();
        }
    }
}

fn file_range(section: &elf::SectionHeader64<LittleEndian>) -> Option<Range<u64>> {
    let (start, size) = section.file_range(ENDIAN)?;
    Some(start..start.checked_add(size)?)
}

/// The contents of a `.gnu_debuglink` section: a file name, NUL-terminated, "with any leading
/// directory components removed", and at the next multiple of four bytes a checksum (GDB manual,
/// "Separate Debug Files"). A name with a directory in it would lead the reader to a file of the
/// target's choice.
pub(super) fn debug_link(section: &[u8]) -> Option<DebugLink> {
    let end = section.iter().position(|&byte| byte == 0)?;
    let name = std::str::from_utf8(section.get(..end)?).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let checksum = section
        .get((end + 1).next_multiple_of(4)..)?
        .first_chunk()?;
    plain.then(|| DebugLink {
        name: name.to_owned(),
        checksum: u32::from_le_bytes(*checksum),
    })
}
