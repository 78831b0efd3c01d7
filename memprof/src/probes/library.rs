//! The code of an ELF file as the analyses want it: by file offset for the placement of entry
//! probes, by virtual address and with what is known of its functions for inner ones.

use std::{collections::HashMap, fs::File};

use super::{
    inner::{KNOWN_FUNCTIONS, Known, Library},
    placement::{Code, MAX_INSTRUCTION_BYTES},
};
use crate::target::elf::{ElfCode, ElfError, ElfFacts, ElfReader};

/// Code by file offset: within a segment, jumps keep their distances.
impl Code for ElfCode<'_> {
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
        self.read(address, into)
    }
}

/// A file's code by virtual address, before relocation.
pub struct ElfLibrary<'file> {
    code: ElfCode<'file>,
    facts: ElfFacts,
    known: HashMap<u64, Known>,
    resolvers: HashMap<u64, u64>,
}

impl<'file> ElfLibrary<'file> {
    /// Reads what is known of the functions of `file`.
    ///
    /// # Errors
    /// If its tables can't be read.
    pub fn new(file: &'file File, reader: &ElfReader<'_>) -> Result<Self, ElfError> {
        let facts = reader.facts()?;
        let symbols = reader.symbols(&KNOWN_FUNCTIONS.map(|(name, _)| name))?;
        let known = symbols.iter().filter(|symbol| symbol.global);
        let known = known.filter_map(|symbol| {
            let mut functions = KNOWN_FUNCTIONS.iter();
            let (_, known) = functions.find(|(name, _)| *name == symbol.name)?;
            Some((symbol.address, *known))
        });
        let words = reader.resolved_words()?;
        Ok(Self {
            code: ElfCode::new(file, &facts),
            known: known.collect(),
            resolvers: words
                .iter()
                .map(|word| (word.address, word.resolver))
                .collect(),
            facts,
        })
    }
}

impl Code for ElfLibrary<'_> {
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
        let offset = self.facts.file_offset_of(address);
        offset.map_or(0, |offset| self.code.read(offset, into))
    }
}

impl Library for ElfLibrary<'_> {
    fn known(&self, address: u64) -> Option<Known> {
        self.known.get(&address).copied()
    }

    fn known_by_slot(&self, address: u64) -> Option<Known> {
        self.known(*self.resolvers.get(&address)?)
    }

    fn code_ranges(&self) -> Vec<(u64, u64)> {
        let segments = self.facts.segments.iter();
        segments
            .filter(|segment| segment.executable)
            .map(|segment| (segment.address, segment.file_size))
            .collect()
    }
}
