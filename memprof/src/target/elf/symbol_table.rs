//! Definitions of wanted names in the symbol tables of an ELF file.

use std::collections::HashSet;

use object::LittleEndian;
use object::elf;
use object::read::SymbolIndex;
use object::read::elf::{SectionHeader, Sym};

use super::bounded::Bounded;
use super::{ENDIAN, ElfError, ElfFacts, ElfSymbol, MAX_WANTED_SYMBOLS, Sections, SymbolKind};

/// What Rust's mangling puts before the names that its compiler makes: at most this many bytes.
const RUST_MANGLING_BYTES: usize = 48;

/// A definition and how much it is to be preferred to others of the same name.
struct Candidate {
    symbol: ElfSymbol,
    hidden_version: bool,
}

/// A search for wanted names through the tables of one file.
pub(super) struct Search<'a> {
    wanted: HashSet<&'a [u8]>,
    longest: usize,
    facts: &'a ElfFacts,
    found: Vec<Candidate>,
}

impl<'a> Search<'a> {
    pub(super) fn new(wanted: &[&'a str], facts: &'a ElfFacts) -> Self {
        Self {
            wanted: wanted.iter().map(|name| name.as_bytes()).collect(),
            longest: wanted.iter().map(|name| name.len()).max().unwrap_or(0),
            facts,
            found: Vec::new(),
        }
    }

    /// Goes through the first table of this kind.
    pub(super) fn table<'data, 'file>(
        &mut self,
        sections: &Sections<'data, 'file>,
        kind: elf::SectionType,
        data: Bounded<'data, 'file>,
    ) -> Result<(), ElfError> {
        let Some(section) = sections.iter().find(|s| s.sh_type(ENDIAN) == kind) else {
            return Ok(());
        };
        let symbols: &[elf::Sym64<LittleEndian>] = section.data_as_array(ENDIAN, data)?;
        // The whole string table at once: name by name would cost a system call each.
        let strings = sections.section(section.link(ENDIAN))?.data(ENDIAN, data)?;
        let versions = if kind == elf::SHT_DYNSYM {
            sections.gnu_versym(ENDIAN, data)?.map(|(table, _)| table)
        } else {
            None
        };
        for (index, symbol) in symbols.iter().enumerate() {
            let Some(name) = self.wanted_name(strings, symbol.st_name(ENDIAN)) else {
                continue;
            };
            let hidden_version = versions
                .and_then(|table| table.get(SymbolIndex(index).0))
                .is_some_and(|version| version.0.get(ENDIAN).is_hidden());
            if let Some(found) = self.definition(name, symbol) {
                self.found.push(Candidate {
                    symbol: found,
                    hidden_version,
                });
            }
            if self.found.len() >= MAX_WANTED_SYMBOLS {
                break;
            }
        }
        Ok(())
    }

    /// The wanted name at this offset of the string table; `malloc@@GLIBC_2.2.5`, as some static
    /// tables have it, is `malloc`.
    fn wanted_name(&self, strings: &[u8], offset: u32) -> Option<String> {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let rest = rest
            .get(..=self.longest + RUST_MANGLING_BYTES)
            .unwrap_or(rest);
        let end = rest.iter().position(|&byte| byte == 0 || byte == b'@')?;
        let name = unmangled(rest.get(..end)?);
        let wanted = name.len() <= self.longest && self.wanted.contains(name);
        wanted.then(|| String::from_utf8_lossy(name).into_owned())
    }

    fn definition(&self, name: String, symbol: &elf::Sym64<LittleEndian>) -> Option<ElfSymbol> {
        let address = symbol.st_value(ENDIAN);
        if symbol.is_undefined(ENDIAN) || address == 0 {
            return None;
        }
        let kind = match symbol.st_type() {
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_GNU_IFUNC => SymbolKind::Ifunc,
            elf::STT_NOTYPE => SymbolKind::Untyped,
            _ => return None,
        };
        Some(ElfSymbol {
            name,
            address,
            file_offset: self.facts.file_offset_of(address)?,
            size: symbol.st_size(ENDIAN),
            kind,
            global: !symbol.is_local(),
        })
    }

    /// What was found, without the versions and repetitions that don't count.
    pub(super) fn finish(self) -> Vec<ElfSymbol> {
        let default_names: Vec<String> = self
            .found
            .iter()
            .filter(|candidate| !candidate.hidden_version && candidate.symbol.global)
            .map(|candidate| candidate.symbol.name.clone())
            .collect();
        let mut symbols: Vec<ElfSymbol> = Vec::new();
        for Candidate {
            symbol,
            hidden_version,
        } in self.found
        {
            let superseded = hidden_version && default_names.contains(&symbol.name);
            let known = symbols
                .iter()
                .any(|other| other.name == symbol.name && other.address == symbol.address);
            if !superseded && !known {
                symbols.push(symbol);
            }
        }
        symbols
    }
}

/// `__rust_alloc` of `_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc`: a function that Rust's compiler makes
/// itself, in a crate named `__rustc` with a hash of its own. Any other name as it is.
fn unmangled(name: &[u8]) -> &[u8] {
    const CRATE: &[u8] = b"_7___rustc";
    if !name.starts_with(b"_RNvCs") {
        return name;
    }
    let Some(at) = name.windows(CRATE.len()).position(|part| part == CRATE) else {
        return name;
    };
    let rest = name.get(at + CRATE.len()..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A name that begins with an underscore has one more before it.
    rest.get(digits + 1..)
        .filter(|_| digits > 0)
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::unmangled;

    #[test]
    fn what_rusts_compiler_makes_is_known_by_its_plain_name() {
        let mangled = b"_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc";
        assert_eq!(unmangled(mangled), b"__rust_alloc");
        for other in [
            "malloc",
            "_RNvCs1_4core4main",
            "_RNvCs1_7___rustc",
            "_RNvCs1_7___rustc9",
        ] {
            assert_eq!(unmangled(other.as_bytes()), other.as_bytes());
        }
    }
}
