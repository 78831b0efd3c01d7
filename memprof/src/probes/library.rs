//! The code of an ELF file as the analyses want it: by file offset for the placement of entry
//! probes, by virtual address and with what is known of its functions for inner ones.

use std::{cell::OnceCell, collections::HashMap, fs::File};

use memprof_common::allocator::Arguments;

use super::{
    emulation::Emulated,
    families::OF_EXCEPTIONS,
    inner::{KNOWN_FUNCTIONS, Known, Library},
    placement::{Code, Function, MAX_INSTRUCTION_BYTES, Placement, place_entry_with},
    plan::{Anatomy, Definition},
    ways::{self, Exit, Exits, Handing, LinkedCode, Target},
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

/// A file's code as a plan asks for it: by file offset, with the words read when they are needed.
pub struct ElfAnatomy<'a, 'file> {
    code: ElfCode<'file>,
    facts: ElfFacts,
    reader: &'a ElfReader<'file>,
    emulated: Emulated,
    defines_exceptions: bool,
    words: OnceCell<HashMap<u64, Target>>,
}

impl<'a, 'file> ElfAnatomy<'a, 'file> {
    /// The anatomy of the file that has these definitions.
    ///
    /// # Errors
    /// If its headers can't be read.
    pub fn new(
        file: &'file File,
        reader: &'a ElfReader<'file>,
        definitions: &[Definition],
        emulated: Emulated,
    ) -> Result<Self, ElfError> {
        let facts = reader.facts()?;
        let mut symbols = definitions.iter().map(|one| &*one.symbol);
        Ok(Self {
            code: ElfCode::new(file, &facts),
            facts,
            reader,
            emulated,
            defines_exceptions: symbols.any(|symbol| OF_EXCEPTIONS.contains(&symbol)),
            words: OnceCell::new(),
        })
    }

    fn words(&self) -> &HashMap<u64, Target> {
        self.words.get_or_init(|| {
            // A file without dynamic symbols has none.
            let words = self.reader.linked_words().unwrap_or_default();
            let target = |own: Option<u64>, name| own.map_or(Target::Named(name), Target::Here);
            let words = words.into_iter();
            words
                .map(|word| (word.address, target(word.own, word.name)))
                .collect()
        })
    }

    fn offset(&self, target: Target) -> Option<Target> {
        Some(match target {
            Target::Here(address) => Target::Here(self.facts.file_offset_of(address)?),
            named @ Target::Named(_) => named,
        })
    }
}

/// By virtual address.
impl Code for ElfAnatomy<'_, '_> {
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
        let offset = self.facts.file_offset_of(address);
        offset.map_or(0, |offset| self.code.read(offset, into))
    }
}

impl LinkedCode for ElfAnatomy<'_, '_> {
    fn behind(&self, word: u64) -> Option<Target> {
        self.words().get(&word).cloned()
    }
}

impl Anatomy for ElfAnatomy<'_, '_> {
    fn place(&self, function: Function, arguments: Arguments) -> Placement {
        place_entry_with(&self.code, function, arguments, self.emulated)
    }

    fn hands_to(&self, start: u64) -> Option<Handing> {
        let start = self.facts.address_of(start)?;
        Some(match ways::hands_to(self, start)? {
            Handing::Forwards(target) => Handing::Forwards(self.offset(target)?),
            Handing::Calls(target) => Handing::Calls(self.offset(target)?),
        })
    }

    fn exits_of(&self, function: Function, drops_null: bool) -> Result<Vec<Exit>, String> {
        let outside = || "it is in no segment".to_owned();
        let start = self.facts.address_of(function.start).ok_or_else(outside)?;
        let exits = Exits::of(self, Function { start, ..function }, self.emulated)?;
        let mut places = exits.places(drops_null);
        for exit in &mut places {
            exit.at = self.facts.file_offset_of(exit.at).ok_or_else(outside)?;
        }
        Ok(places)
    }

    fn may_throw(&self) -> bool {
        let of_exceptions = |target: &Target| match target {
            // C++ lets exceptions pass where it does not say otherwise.
            Target::Named(name) => {
                let starts = ["_Z", "__cxa_throw", "__gxx_", "_Unwind_"];
                starts.iter().any(|start| name.starts_with(start))
            }
            Target::Here(_) => false,
        };
        self.defines_exceptions || self.words().values().any(of_exceptions)
    }
}
