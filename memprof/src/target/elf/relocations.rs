//! Which words of a file the loader fills with the address that a resolver gives it: how calls of
//! a function that is chosen at run time go.

use object::LittleEndian;
use object::elf;
use object::read::elf::{Rela, SectionHeader};

use super::bounded::Bounded;
use super::{ENDIAN, ElfError, Sections};

/// Relocations of one file that are looked at; the rest is as if it were not there.
pub const MAX_RELOCATIONS: usize = 1 << 16;

/// A word that the loader fills with what a resolver returns (`R_X86_64_IRELATIVE`). Virtual
/// addresses, before relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedWord {
    /// Where the word is.
    pub address: u64,
    /// The resolver.
    pub resolver: u64,
}

/// The resolved words of a file for x86-64.
pub(super) fn resolved_words<'a, 'file>(
    sections: &Sections<'a, 'file>,
    data: Bounded<'a, 'file>,
) -> Result<Vec<ResolvedWord>, ElfError> {
    let mut left = MAX_RELOCATIONS;
    let mut words = Vec::new();
    for section in sections.iter() {
        if section.sh_type(ENDIAN) != elf::SHT_RELA
            || !section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC)
        {
            continue;
        }
        let entries: &[elf::Rela64<LittleEndian>] = section.data_as_array(ENDIAN, data)?;
        for entry in entries.iter().take(left) {
            if entry.r_type(ENDIAN, false) == elf::R_X86_64_IRELATIVE {
                words.push(ResolvedWord {
                    address: entry.r_offset(ENDIAN),
                    resolver: entry.r_addend(ENDIAN).cast_unsigned(),
                });
            }
        }
        left -= left.min(entries.len());
    }
    Ok(words)
}
