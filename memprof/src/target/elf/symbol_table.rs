//! Definitions of wanted names in the symbol tables of an ELF file.

use object::LittleEndian;
use object::elf;
use object::read::SymbolIndex;
use object::read::elf::{SectionHeader, Sym};

use super::bounded::Bounded;
use super::{ENDIAN, ElfError, ElfFacts, ElfSymbol, MAX_WANTED_SYMBOLS, Sections, SymbolKind};

/// A definition and how much it is to be preferred to others of the same name.
struct Candidate {
    symbol: ElfSymbol,
    hidden_version: bool,
}

/// A search for wanted names through the tables of one file.
pub(super) struct Search<'a> {
    wanted: &'a [&'a str],
    longest: usize,
    facts: &'a ElfFacts,
    found: Vec<Candidate>,
}

impl<'a> Search<'a> {
    pub(super) fn new(wanted: &'a [&'a str], facts: &'a ElfFacts) -> Self {
        Self {
            wanted,
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
        let rest = rest.get(..=self.longest).unwrap_or(rest);
        let end = rest.iter().position(|&byte| byte == 0 || byte == b'@')?;
        let name = rest.get(..end)?;
        self.wanted
            .iter()
            .find(|wanted| wanted.as_bytes() == name)
            .map(|wanted| (*wanted).to_owned())
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
