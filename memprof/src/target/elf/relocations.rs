//! Which words of a file the loader fills with the address of a function, and of which: how calls
//! go that leave a file, or may.

use object::LittleEndian;
use object::elf;
use object::read::SymbolIndex;
use object::read::elf::{Rela, SectionHeader, Sym};

use super::bounded::Bounded;
use super::{ENDIAN, ElfError, Sections};

/// Relocations of one file that are looked at; the rest is as if it were not there.
pub const MAX_RELOCATIONS: usize = 1 << 16;
/// Bytes of a linked symbol's name that are kept: those that matter are shorter.
const MAX_LINKED_NAME: usize = 128;

/// A word that the loader fills with what a resolver returns (`R_X86_64_IRELATIVE`). Virtual
/// addresses, before relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedWord {
    /// Where the word is.
    pub address: u64,
    /// The resolver.
    pub resolver: u64,
}

/// A word that the loader fills with the address of a symbol (`R_X86_64_JUMP_SLOT`,
/// `R_X86_64_GLOB_DAT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWord {
    /// Where the word is: a virtual address, before relocation.
    pub address: u64,
    /// The symbol's name.
    pub name: String,
    /// The address of this file's own definition; `None` if another file has it.
    pub own: Option<u64>,
}

/// The linked words of a file for x86-64.
pub(super) fn linked_words<'a, 'file>(
    sections: &Sections<'a, 'file>,
    data: Bounded<'a, 'file>,
) -> Result<Vec<LinkedWord>, ElfError> {
    let symbols = sections.symbols(ENDIAN, data, elf::SHT_DYNSYM)?;
    let strings = symbols.strings();
    let mut words = Vec::new();
    each_relocation(sections, data, |entry| {
        let kind = entry.r_type(ENDIAN, false);
        if kind != elf::R_X86_64_JUMP_SLOT && kind != elf::R_X86_64_GLOB_DAT {
            return;
        }
        let index = SymbolIndex(entry.r_sym(ENDIAN, false) as usize);
        let Ok(symbol) = symbols.symbol(index) else {
            return;
        };
        let Ok(name) = symbol.name(ENDIAN, strings) else {
            return;
        };
        let name = name.get(..MAX_LINKED_NAME).unwrap_or(name);
        let defined = !symbol.is_undefined(ENDIAN) && symbol.st_type() == elf::STT_FUNC;
        words.push(LinkedWord {
            address: entry.r_offset(ENDIAN),
            name: String::from_utf8_lossy(name).into_owned(),
            own: defined.then(|| symbol.st_value(ENDIAN)),
        });
    })?;
    Ok(words)
}

/// The resolved words of a file for x86-64.
pub(super) fn resolved_words<'a, 'file>(
    sections: &Sections<'a, 'file>,
    data: Bounded<'a, 'file>,
) -> Result<Vec<ResolvedWord>, ElfError> {
    let mut words = Vec::new();
    each_relocation(sections, data, |entry| {
        if entry.r_type(ENDIAN, false) == elf::R_X86_64_IRELATIVE {
            words.push(ResolvedWord {
                address: entry.r_offset(ENDIAN),
                resolver: entry.r_addend(ENDIAN).cast_unsigned(),
            });
        }
    })?;
    Ok(words)
}

/// Shows the relocations of what is mapped, the first [`MAX_RELOCATIONS`].
fn each_relocation<'a, 'file>(
    sections: &Sections<'a, 'file>,
    data: Bounded<'a, 'file>,
    mut see: impl FnMut(&elf::Rela64<LittleEndian>),
) -> Result<(), ElfError> {
    let mut left = MAX_RELOCATIONS;
    for section in sections.iter() {
        if section.sh_type(ENDIAN) != elf::SHT_RELA
            || !section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC)
        {
            continue;
        }
        let entries: &[elf::Rela64<LittleEndian>] = section.data_as_array(ENDIAN, data)?;
        entries.iter().take(left).for_each(&mut see);
        left -= left.min(entries.len());
    }
    Ok(())
}
