//! What probing and symbolizing must know of an ELF file: build id, interpreter, the addresses
//! and file offsets of wanted symbols, whether it is Go, where its debug information is.
//!
//! The files belong to the target and are hostile. They are read with bounded `pread`s and never
//! mapped: a mapped file that its owner truncates kills the reader with SIGBUS.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::read::{ReadCache, ReadCacheOps, ReadRef, SymbolIndex};

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
/// A compressed section that claims to unpack to more than this is a bomb.
pub const MAX_UNPACKED_SECTION_BYTES: u64 = 2 << 30;

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

/// Where the debug information of a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugFacts {
    /// DWARF in the file itself.
    pub inside: bool,
    /// A symbol table (`.symtab`) with at least one entry: the file is not stripped.
    pub symtab: bool,
    /// The file name in `.gnu_debuglink`, if it is a name without directories as it must be.
    pub link: Option<String>,
    /// The file refers to another one by a name that it chooses (`.gnu_debuglink`,
    /// `.gnu_debugaltlink`, `.debug_sup`).
    pub refers_elsewhere: bool,
    /// A compressed section claims to unpack to more than [`MAX_UNPACKED_SECTION_BYTES`].
    pub bomb: bool,
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

    /// Headers, notes and the list of sections.
    pub fn facts(&self) -> Result<ElfFacts, ElfError> {
        let (header, data) = self.header()?;
        let mut facts = ElfFacts::default();
        for segment in header.program_headers(ENDIAN, data)? {
            if segment.p_type(ENDIAN) == elf::PT_LOAD {
                facts.segments.push(LoadSegment {
                    file_offset: segment.p_offset(ENDIAN),
                    file_size: segment.p_filesz(ENDIAN),
                    address: segment.p_vaddr(ENDIAN),
                    executable: segment.p_flags(ENDIAN).contains(elf::PF_X),
                });
            } else if segment.p_type(ENDIAN) == elf::PT_INTERP
                && segment.p_filesz(ENDIAN) <= MAX_ELF_PATH_BYTES as u64
            {
                let path = segment.interpreter(ENDIAN, data)?.unwrap_or_default();
                facts.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            } else if let Ok(Some(notes)) = segment.notes(ENDIAN, data) {
                read_notes(notes, &mut facts);
            }
        }
        // A file without (usable) section headers still runs: what only sections tell is unknown.
        if let Ok(sections) = self.sections(header, data) {
            for section in sections.iter() {
                read_section(&sections, section, data, &mut facts);
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
        let mut search = Search {
            wanted,
            longest: wanted.iter().map(|name| name.len()).max().unwrap_or(0),
            facts: &facts,
            found: Vec::new(),
        };
        search.table(&sections, elf::SHT_DYNSYM, data)?;
        search.table(&sections, elf::SHT_SYMTAB, data)?;
        Ok(search.finish())
    }

    fn header(&self) -> Result<(&Header, Bounded<'_, 'file>), ElfError> {
        let data = Bounded {
            cache: &self.cache,
            budget: &self.budget,
        };
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
    let packed = section.sh_flags(ENDIAN).contains(elf::SHF_COMPRESSED);
    if packed
        && let Some((offset, size)) = section.file_range(ENDIAN)
        && size >= size_of::<elf::CompressionHeader64<LittleEndian>>() as u64
        && let Ok(head) = data.read_at::<elf::CompressionHeader64<LittleEndian>>(offset)
    {
        facts.debug.bomb |= head.ch_size.get(ENDIAN) > MAX_UNPACKED_SECTION_BYTES;
    }
    if section.sh_type(ENDIAN) == elf::SHT_SYMTAB {
        // The first entry of a symbol table is the null symbol.
        facts.debug.symtab |= section.sh_size(ENDIAN) > section.sh_entsize(ENDIAN);
    }
    let Ok(name) = sections.section_name(ENDIAN, section) else {
        return;
    };
    match name {
        b".go.buildinfo" | b".note.go.buildid" => facts.go = true,
        b".debug_info" | b".zdebug_info" => facts.debug.inside = true,
        b".gnu_debugaltlink" | b".debug_sup" => facts.debug.refers_elsewhere = true,
        b".gnu_debuglink" => {
            facts.debug.refers_elsewhere = true;
            if section.sh_size(ENDIAN) <= MAX_ELF_PATH_BYTES as u64
                && let Ok(bytes) = section.data(ENDIAN, data)
            {
                facts.debug.link = link_name(bytes);
            }
        }
        // Files without segments (separate debug files) have their notes in sections only.
        _ => {
            if let Ok(Some(notes)) = section.notes(ENDIAN, data) {
                read_notes(notes, facts);
            }
        }
    }
}

/// The file name in a `.gnu_debuglink` section: NUL-terminated, "with any leading directory
/// components removed" (GDB manual, "Separate Debug Files"); a name with a directory in it would
/// lead the reader to a file of the target's choice.
fn link_name(section: &[u8]) -> Option<String> {
    let end = section.iter().position(|&byte| byte == 0)?;
    let name = std::str::from_utf8(section.get(..end)?).ok()?;
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    plain.then(|| name.to_owned())
}

/// A definition and how much it is to be preferred to others of the same name.
struct Candidate {
    symbol: ElfSymbol,
    hidden_version: bool,
}

struct Search<'a> {
    wanted: &'a [&'a str],
    longest: usize,
    facts: &'a ElfFacts,
    found: Vec<Candidate>,
}

impl Search<'_> {
    fn table<'a, 'file>(
        &mut self,
        sections: &Sections<'a, 'file>,
        kind: elf::SectionType,
        data: Bounded<'a, 'file>,
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

    fn finish(self) -> Vec<ElfSymbol> {
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

/// `pread` as [`ReadCache`] wants it. No shared file position: the handle is shared by others.
struct Pread<'file> {
    file: &'file File,
    position: u64,
}

impl ReadCacheOps for Pread<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file.metadata().map(|data| data.len()).map_err(|_| ())
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let count = self.file.read_at(buffer, self.position).map_err(|_| ())?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.file
            .read_exact_at(buffer, self.position)
            .map_err(|_| ())?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

/// A reference to the cache that stops when the budget is spent: [`ReadCache`] itself would grow
/// with every overlapping read that a malformed file asks for.
#[derive(Clone, Copy)]
struct Bounded<'a, 'file> {
    cache: &'a ReadCache<Pread<'file>>,
    budget: &'a Cell<u64>,
}

impl Bounded<'_, '_> {
    fn spend(self, bytes: u64) -> Result<(), ()> {
        let left = self.budget.get().checked_sub(bytes).ok_or(())?;
        self.budget.set(left);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Bounded<'a, '_> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // What ReadCache reads at a time when it looks for the end of a string.
        self.spend(256)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;
    use std::process::Command;

    use crate::events::event::Pid;
    use crate::target::mappings::{Mappings, open_mapped_file};

    fn gcc(folder: &Path, source: &str, flags: &[&str]) -> File {
        let input = folder.join("source.c");
        std::fs::write(&input, source).unwrap();
        let output = folder.join("output");
        let status = Command::new("gcc")
            .args(flags)
            .arg("-o")
            .args([&output, &input])
            .status()
            .unwrap();
        assert!(status.success());
        File::open(output).unwrap()
    }

    /// The C library that this test runs with.
    fn own_libc() -> (File, u64) {
        let pid = Pid(std::process::id());
        let malloc = libc::malloc as *const () as usize as u64;
        let mappings = Mappings::read(pid).unwrap();
        let mapping = mappings.find(malloc).unwrap();
        let file = open_mapped_file(pid, mapping).unwrap();
        (file, mapping.file_offset_of(malloc).unwrap())
    }

    fn names(symbols: &[ElfSymbol]) -> Vec<&str> {
        let mut names: Vec<&str> = symbols.iter().map(|s| &*s.name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn libc_symbols_are_where_the_running_libc_has_them() {
        let (file, malloc_offset) = own_libc();
        let reader = ElfReader::new(&file);
        let symbols = reader.symbols(&["malloc", "free", "memalign", "no_such_function"]);
        let symbols = symbols.unwrap();
        assert_eq!(names(&symbols), ["free", "malloc", "memalign"]);
        let malloc = symbols.iter().find(|s| s.name == "malloc").unwrap();
        assert_eq!(malloc.file_offset, malloc_offset);
        assert_eq!(malloc.kind, SymbolKind::Function);
        assert!(malloc.size > 16 && malloc.global);
        let facts = reader.facts().unwrap();
        assert_eq!(facts.file_offset_of(malloc.address), Some(malloc_offset));
        assert_eq!(facts.address_of(malloc_offset), Some(malloc.address));
        assert_eq!(facts.build_id.map(|id| id.len()), Some(20));
        assert!(!facts.go);
    }

    #[test]
    fn ifuncs_are_told_from_functions() {
        let (file, _) = own_libc();
        let symbols = ElfReader::new(&file).symbols(&["strlen"]).unwrap();
        assert_eq!(symbols.len(), 1, "{symbols:?}");
        assert_eq!(symbols[0].kind, SymbolKind::Ifunc);
    }

    #[test]
    fn the_default_version_wins() {
        let folder = tempfile::tempdir().unwrap();
        let versions = "V1 { global: old; }; V2 { global: f; new; local: *; } V1;";
        std::fs::write(folder.path().join("map"), versions).unwrap();
        let script = format!("-Wl,--version-script={}/map", folder.path().display());
        let source = "__asm__(\".symver old,f@V1\"); __asm__(\".symver new,f@@V2\");\n\
            int old(void) { return 1; } int new(void) { return 2; }";
        let file = gcc(folder.path(), source, &["-shared", "-fPIC", "-s", &script]);
        let symbols = ElfReader::new(&file).symbols(&["f", "old", "new"]).unwrap();
        let address_of = |name: &str| -> Vec<u64> {
            let bearers = symbols.iter().filter(|s| s.name == name);
            bearers.map(|s| s.address).collect()
        };
        assert_eq!(address_of("new").len(), 1);
        assert_ne!(address_of("old"), address_of("new"));
        assert_eq!(address_of("f"), address_of("new"));
    }

    #[test]
    fn imports_are_not_definitions_and_local_symbols_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let source = "#include <stdlib.h>\n\
            static __attribute__((noinline)) void *xmalloc(size_t n) { return malloc(n); }\n\
            int main(int c, char **v) { (void)v; free(xmalloc(c)); return 0; }";
        let file = gcc(folder.path(), source, &["-O1"]);
        let reader = ElfReader::new(&file);
        let symbols = reader.symbols(&["malloc", "xmalloc", "main"]).unwrap();
        assert_eq!(names(&symbols), ["main", "xmalloc"]);
        for symbol in &symbols {
            assert_eq!(symbol.global, symbol.name == "main");
        }
        let facts = reader.facts().unwrap();
        assert!(facts.interpreter.unwrap().contains("ld-linux"));
        assert!(facts.debug.symtab && !facts.debug.inside);
    }

    #[test]
    fn a_static_stripped_program_has_no_interpreter_and_no_symtab() {
        let folder = tempfile::tempdir().unwrap();
        let file = gcc(
            folder.path(),
            "int main(void) { return 0; }",
            &["-static", "-s"],
        );
        let facts = ElfReader::new(&file).facts().unwrap();
        assert_eq!(facts.interpreter, None);
        assert!(!facts.debug.symtab && !facts.segments.is_empty());
    }

    #[test]
    fn go_is_known_by_its_section() {
        let folder = tempfile::tempdir().unwrap();
        let source = "__attribute__((section(\".go.buildinfo\"), used)) static char info[16] = \
            \"Go\"; int main(void) { return 0; }";
        let file = gcc(folder.path(), source, &[]);
        assert!(ElfReader::new(&file).facts().unwrap().go);
    }

    #[test]
    fn a_debug_link_with_directories_is_not_followed() {
        assert_eq!(
            link_name(b"a.debug\0\0\0\0\0\0"),
            Some("a.debug".to_owned())
        );
        for name in [
            &b"../../dev/mem\0"[..],
            b"/etc/shadow\0",
            b"..\0",
            b"\0",
            b"endless",
        ] {
            assert_eq!(link_name(name), None);
        }
    }

    #[test]
    fn truncated_and_scrambled_files_give_errors_not_panics() {
        let folder = tempfile::tempdir().unwrap();
        let source = "#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }";
        gcc(folder.path(), source, &["-g"]);
        let good = std::fs::read(folder.path().join("output")).unwrap();
        let probe = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let reader = ElfReader::new(&file);
            (reader.facts(), reader.symbols(&["main"]))
        };
        assert_eq!(probe(b"#!/bin/sh\n").0, Err(ElfError::NotElf));
        assert_eq!(probe(b"").0, Err(ElfError::NotElf));
        for length in (0..good.len()).step_by(97) {
            let (_, symbols) = probe(&good[..length]);
            assert!(symbols.is_err() || symbols == Ok(Vec::new()), "{length}");
        }
        // xorshift64 (Marsaglia 2003): headers and tables full of random bytes.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..400 {
            let mut bad = good.clone();
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let near_start = state & 1 == 0;
                let span = if near_start { 1024 } else { bad.len() };
                let place = usize::try_from(state >> 16).unwrap() % span;
                bad[place] = (state >> 8) as u8;
            }
            let (facts, _) = probe(&bad);
            if let Ok(facts) = facts {
                assert!(facts.segments.len() < 1 << 16);
            }
        }
    }

    #[test]
    fn reading_stops_at_the_budget() {
        let (file, _) = own_libc();
        let reader = ElfReader::new(&file);
        reader.budget.set(1000);
        assert!(reader.symbols(&["malloc"]).is_err());
    }

    #[test]
    fn a_sparse_giant_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = gcc(folder.path(), "int main(void) { return 0; }", &[]);
        drop(file);
        let path = folder.path().join("output");
        let file = File::options().read(true).write(true).open(path).unwrap();
        let reader = ElfReader::new(&file);
        let sections = {
            let (header, _) = reader.header().unwrap();
            (
                header.e_shoff.get(ENDIAN),
                u64::from(header.e_shnum.get(ENDIAN)),
            )
        };
        // Every section claims a TiB, and the file is long enough for it.
        for index in 0..sections.1 {
            let size_field = sections.0 + index * 64 + 32;
            file.write_all_at(&(1_u64 << 40).to_le_bytes(), size_field)
                .unwrap();
        }
        file.set_len(2 << 40).unwrap();
        assert!(ElfReader::new(&file).symbols(&["main"]).is_err());
    }
}
