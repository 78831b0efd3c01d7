//! What probing and symbolizing must know of an ELF file: build id, interpreter, the addresses
//! and file offsets of wanted symbols, whether it is Go, where its debug information is.
//!
//! The files belong to the target and are hostile. They are read with bounded `pread`s and never
//! mapped: a mapped file that its owner truncates kills the reader with SIGBUS.

mod bounded;
mod code;
mod debug_sections;
mod relocations;
mod symbol_table;
#[cfg(test)]
mod tests;
mod unwind_section;
mod usdt;

use std::cell::Cell;
use std::fmt;
use std::fs::File;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::read::{ReadCache, ReadRef};

use self::bounded::{Bounded, Pread};
pub use self::code::{ElfCode, MAX_CODE_PAGES};
pub use self::debug_sections::{
    DebugFacts, DebugLink, MAX_PACKED_SECTIONS, MAX_UNPACKED_BYTES, MiniDebug, PackedSection,
    Packing,
};
pub use self::relocations::{LinkedWord, MAX_RELOCATIONS, ResolvedWord};
use self::symbol_table::Search;
pub use self::unwind_section::{MAX_UNWIND_BYTES, UnwindSection, unwind_section_of_image};
pub use self::usdt::{MAX_USDT_NOTES, MAX_USDT_PROBES, Semaphore, UsdtProbe};

/// Bytes that one [`ElfReader`] reads in all before it calls the file broken. The largest symbol
/// tables in use (browsers with full symbols) take a few hundred MiB.
pub const MAX_ELF_BYTES_READ: u64 = 512 << 20;
/// Section headers of one file; `ld -r` with a section per function stays below.
pub const MAX_SECTIONS: usize = 1 << 18;
/// A build id is 20 bytes (SHA-1) in practice; longer ones are cut.
pub const MAX_BUILD_ID_BYTES: usize = 64;
/// Paths inside an ELF file (interpreter, debug link) longer than this are not taken.
pub const MAX_ELF_PATH_BYTES: usize = 4096;
/// Definitions of wanted names that are kept.
pub const MAX_WANTED_SYMBOLS: usize = 4096;

const ENDIAN: LittleEndian = LittleEndian;

type Header = elf::FileHeader64<LittleEndian>;
type Sections<'a, 'file> = SectionTable<'a, Header, Bounded<'a, 'file>>;

/// Why an ELF file was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// The file is not ELF at all.
    NotElf,
    /// An ELF file, but not 64 bits, little-endian, x86-64 or aarch64.
    Unsupported(&'static str),
    /// Broken, truncated or larger than the limits.
    Broken(String),
}

impl fmt::Display for ElfError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => out.write_str("not an ELF file"),
            Self::Unsupported(what) => write!(out, "unsupported ELF file: {what}"),
            Self::Broken(why) => write!(out, "broken ELF file: {why}"),
        }
    }
}

impl std::error::Error for ElfError {}

impl From<object::read::Error> for ElfError {
    fn from(error: object::read::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// One `PT_LOAD` segment. Offsets and sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSegment {
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Bytes of it that come from the file.
    pub file_size: u64,
    /// Its first virtual address, before relocation.
    pub address: u64,
    /// Whether it is executable.
    pub executable: bool,
}

/// What the headers and notes of a file say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// The GNU build id, at most [`MAX_BUILD_ID_BYTES`].
    pub build_id: Option<Vec<u8>>,
    /// The dynamic loader that the file asks for; none in a static executable or a library.
    pub interpreter: Option<String>,
    /// Built by the Go toolchain; with no interpreter, it does not use libc's allocator.
    pub go: bool,
    /// The segments that are mapped.
    pub segments: Vec<LoadSegment>,
    /// Where line information may be.
    pub debug: DebugFacts,
}

impl ElfFacts {
    /// The file offset behind a virtual address (unrelocated), if the file has its bytes.
    pub fn file_offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.file_size).then(|| segment.file_offset.checked_add(within))?
        })
    }

    /// The virtual address (unrelocated) of a file offset; executable segments win, because
    /// segments may share a page of the file.
    pub fn address_of(&self, file_offset: u64) -> Option<u64> {
        let find = |executable: bool| {
            self.segments
                .iter()
                .filter(move |segment| segment.executable == executable)
                .find_map(|segment| {
                    let within = file_offset.checked_sub(segment.file_offset)?;
                    (within < segment.file_size).then(|| segment.address.checked_add(within))?
                })
        };
        find(true).or_else(|| find(false))
    }
}

/// What a symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// A function.
    Function,
    /// A resolver that returns the function's address at run time: not itself the function.
    Ifunc,
    /// Code without a type, as hand-written assembly has.
    Untyped,
}

/// A definition of a wanted name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfSymbol {
    /// The name without its version.
    pub name: String,
    /// Its virtual address, before relocation.
    pub address: u64,
    /// Where its first byte is in the file.
    pub file_offset: u64,
    /// Its size in bytes; 0 is unknown.
    pub size: u64,
    /// What it stands for.
    pub kind: SymbolKind,
    /// Visible to other files: false for a local symbol, which other code of the same name
    /// may exist beside.
    pub global: bool,
}

/// Reads one open ELF file on demand. Keeps what it has read: make one, ask, drop it.
pub struct ElfReader<'file> {
    cache: ReadCache<Pread<'file>>,
    budget: Cell<u64>,
}

impl<'file> ElfReader<'file> {
    /// A reader of a regular file. Nothing is read yet.
    pub fn new(file: &'file File) -> Self {
        let source = Pread { file, position: 0 };
        Self {
            cache: ReadCache::new(source),
            budget: Cell::new(MAX_ELF_BYTES_READ),
        }
    }

    /// The executable segments, without the rest of what [`Self::facts`] reads; the first few, if
    /// there are more than linkers make.
    pub fn code_segments(&self) -> Result<Vec<LoadSegment>, ElfError> {
        let (header, data) = self.header()?;
        let segments = header.program_headers(ENDIAN, data)?.iter();
        let segments = segments.filter_map(load_segment);
        let executable = segments.filter(|segment| segment.executable);
        Ok(executable.take(unwind_section::MAX_CODE_SEGMENTS).collect())
    }

    /// Headers, notes and the list of sections.
    pub fn facts(&self) -> Result<ElfFacts, ElfError> {
        let (header, data) = self.header()?;
        let mut facts = ElfFacts::default();
        for segment in header.program_headers(ENDIAN, data)? {
            if let Some(segment) = load_segment(segment) {
                facts.segments.push(segment);
            } else if segment.p_type(ENDIAN) == elf::PT_INTERP
                && segment.p_filesz(ENDIAN) <= MAX_ELF_PATH_BYTES as u64
            {
                // In separate debug files the segments' contents are not there.
                let path = segment.interpreter(ENDIAN, data).ok().flatten();
                facts.interpreter = path.map(|path| String::from_utf8_lossy(path).into_owned());
            } else if let Ok(Some(notes)) = segment.notes(ENDIAN, data) {
                read_notes(notes, &mut facts);
            }
        }
        // A file without (usable) section headers still runs: what only sections tell is unknown.
        if let Ok(sections) = self.sections(header, data) {
            for (index, section) in sections.iter().enumerate() {
                read_section(&sections, section, data, &mut facts);
                let header_at = header_place(header, index);
                facts.debug.read(&sections, section, header_at, data);
            }
        }
        Ok(facts)
    }

    /// The definitions of the wanted names, from `.dynsym` and `.symtab`, in no order.
    ///
    /// One entry for each pair of name and address: several functions may bear one name (local
    /// symbols), several names may share an address (aliases). Of versioned symbols with the same
    /// name only the default version counts, if there is one. Imports are not definitions.
    pub fn symbols(&self, wanted: &[&str]) -> Result<Vec<ElfSymbol>, ElfError> {
        let (header, data) = self.header()?;
        let facts = self.facts()?;
        let sections = self.sections(header, data)?;
        let mut search = Search::new(wanted, &facts);
        search.table(&sections, elf::SHT_DYNSYM, data)?;
        search.table(&sections, elf::SHT_SYMTAB, data)?;
        Ok(search.finish())
    }

    /// The unwind information of an x86-64 file; `None` if it has none.
    pub fn unwind_section(&self) -> Result<Option<UnwindSection<'_>>, ElfError> {
        let (header, data) = self.header()?;
        unwind_section::find(header, data)
    }

    /// The contents of `.debug_frame`, unwind information for debuggers; `None` if the file has none
    /// or has it compressed.
    pub fn debug_frame(&self) -> Result<Option<&[u8]>, ElfError> {
        let (header, data) = self.header()?;
        unwind_section::debug_frame(header, data)
    }

    /// The USDT probes whose provider and name `wanted` takes; none if the file's sections can't be
    /// read.
    ///
    /// # Errors
    /// If the file's headers can't be read.
    pub fn usdt_probes(
        &self,
        wanted: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<UsdtProbe>, ElfError> {
        let (header, data) = self.header()?;
        let sections = self.sections(header, data)?;
        let has_notes = sections.section_by_name(ENDIAN, b".note.stapsdt").is_some();
        if !has_notes {
            return Ok(Vec::new());
        }
        Ok(usdt::probes(&sections, data, &self.facts()?, wanted))
    }

    /// The words that the loader fills with what a resolver returns, of an x86-64 file.
    pub fn resolved_words(&self) -> Result<Vec<ResolvedWord>, ElfError> {
        let (header, data) = self.header()?;
        let sections = self.sections(header, data)?;
        relocations::resolved_words(&sections, data)
    }

    /// The words that the loader fills with the address of a symbol, of an x86-64 file.
    pub fn linked_words(&self) -> Result<Vec<LinkedWord>, ElfError> {
        let (header, data) = self.header()?;
        let sections = self.sections(header, data)?;
        relocations::linked_words(&sections, data)
    }

    fn header(&self) -> Result<(&Header, Bounded<'_, 'file>), ElfError> {
        parse_header(Bounded {
            cache: &self.cache,
            budget: &self.budget,
        })
    }

    fn sections<'a>(
        &'a self,
        header: &'a Header,
        data: Bounded<'a, 'file>,
    ) -> Result<Sections<'a, 'file>, ElfError> {
        let sections = header.sections(ENDIAN, data)?;
        if sections.len() > MAX_SECTIONS {
            return Err(ElfError::Broken("too many sections".to_owned()));
        }
        Ok(sections)
    }
}

fn parse_header<'data, R: ReadRef<'data>>(data: R) -> Result<(&'data Header, R), ElfError> {
    let magic = data.read_bytes_at(0, 6).map_err(|()| ElfError::NotElf)?;
    if magic.get(..4) != Some(&elf::ELFMAG) {
        return Err(ElfError::NotElf);
    }
    let header = Header::parse(data)
        .map_err(|_| ElfError::Unsupported("not 64 bits, or another byte order"))?;
    if !header.is_little_endian() {
        return Err(ElfError::Unsupported("another byte order"));
    }
    Ok((header, data))
}

fn load_segment(segment: &elf::ProgramHeader64<LittleEndian>) -> Option<LoadSegment> {
    (segment.p_type(ENDIAN) == elf::PT_LOAD).then(|| LoadSegment {
        file_offset: segment.p_offset(ENDIAN),
        file_size: segment.p_filesz(ENDIAN),
        address: segment.p_vaddr(ENDIAN),
        executable: segment.p_flags(ENDIAN).contains(elf::PF_X),
    })
}

fn read_notes(mut notes: object::read::elf::NoteIterator<'_, Header>, facts: &mut ElfFacts) {
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(ENDIAN) == elf::NT_GNU_BUILD_ID {
            let id = note.desc();
            let id = id.get(..MAX_BUILD_ID_BYTES).unwrap_or(id);
            facts.build_id.get_or_insert_with(|| id.to_vec());
        } else if note.name() == b"Go" {
            facts.go = true;
        }
    }
}

fn read_section<'a, 'file>(
    sections: &Sections<'a, 'file>,
    section: &elf::SectionHeader64<LittleEndian>,
    data: Bounded<'a, 'file>,
    facts: &mut ElfFacts,
) {
    match sections.section_name(ENDIAN, section) {
        Ok(b".go.buildinfo" | b".note.go.buildid") => facts.go = true,
        // Files without segments (separate debug files) have their notes in sections only.
        Ok(_) => {
            if let Ok(Some(notes)) = section.notes(ENDIAN, data) {
                read_notes(notes, facts);
            }
        }
        Err(_) => {}
    }
}

/// Where in the file a section's header stands.
fn header_place(header: &Header, index: usize) -> u64 {
    let size = u64::from(header.e_shentsize(ENDIAN));
    let offset = (index as u64).saturating_mul(size);
    header.e_shoff(ENDIAN).saturating_add(offset)
}
