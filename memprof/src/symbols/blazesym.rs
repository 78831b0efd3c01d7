//! The one file that knows blazesym: functions and lines at the addresses of one module.
//!
//! Each module has symbolizers of its own, so a broken file harms no other, and blazesym's cache,
//! which goes by path, never takes one `/proc/self/fd/N` for another.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source as BlazesymSource};
use blazesym::symbolize::{CodeInfo, Input, Reason, Symbolized, Symbolizer};

use super::debug_files;
use super::demangle::demangle;
use super::frame::{Function, Unknown};
use super::mini_debug;
use super::packed::unpacked_bytes;
use super::plumbing::role_of;
use super::steady::{bytes_to_copy, steady_copy};
use crate::target::elf::{DebugFacts, ElfError, ElfReader};
use crate::target::modules::Module;

/// Functions inlined into one another at one address that are kept.
pub(super) const MAX_INLINED: usize = 256;
/// Source paths longer than this are left out.
pub(super) const MAX_SOURCE_PATH_BYTES: usize = 4096;

/// The symbols of one module. Holds what blazesym has mapped and parsed of it.
#[derive(Default)]
pub(super) struct ModuleSymbols {
    /// Where to look, in this order.
    sources: Vec<Source>,
    /// Keep each `/proc/self/fd/N` in `sources` what it is.
    handles: Vec<File>,
    copied: u64,
}

/// One way to look into one file.
struct Source {
    symbolizer: Symbolizer,
    elf: BlazesymSource<'static>,
    /// Which file: further ways to look into the same one know no further symbols.
    file: usize,
}

impl Source {
    fn new(path: &Path, lines: bool, file: usize) -> Self {
        let no_dirs: Option<[&Path; 0]> = Some([]);
        let symbolizer = Symbolizer::builder()
            .enable_auto_reload(false)
            .enable_code_info(true)
            .enable_inlined_fns(true)
            // In bounded space: see demangle.rs.
            .enable_demangling(false)
            .set_debug_dirs(no_dirs)
            .build();
        let mut elf = Elf::new(path);
        elf.debug_syms = lines;
        Self {
            symbolizer,
            elf: BlazesymSource::Elf(elf),
            file,
        }
    }

    fn find(&self, address: u64) -> Result<Vec<Function>, Unknown> {
        let input = Input::VirtOffset(address);
        match self.symbolizer.symbolize_single(&self.elf, input) {
            Ok(Symbolized::Sym(symbol)) => {
                let mut functions: Vec<Function> = symbol
                    .inlined
                    .iter()
                    .rev()
                    .take(MAX_INLINED)
                    .map(|inlined| function(&inlined.name, inlined.code_info.as_ref(), true))
                    .collect();
                functions.push(function(&symbol.name, symbol.code_info.as_deref(), false));
                Ok(functions)
            }
            Ok(Symbolized::Unknown(Reason::MissingSyms)) => Err(Unknown::Stripped),
            Ok(Symbolized::Unknown(_)) => Err(Unknown::NoSymbol),
            Err(_) => Err(Unknown::Unsymbolizable),
        }
    }
}

impl ModuleSymbols {
    /// Prepares the symbols of a module; separate debug files are looked for in `debug_dirs`.
    pub(super) fn open(module: &Module, debug_dirs: &[PathBuf]) -> Result<Self, Unknown> {
        let file = module.file().ok_or(Unknown::Unreadable)?;
        let facts = match module.facts() {
            Some(Ok(facts)) => facts,
            Some(Err(ElfError::NotElf)) => return Err(Unknown::NotElf),
            Some(Err(_)) => return Err(Unknown::Unsymbolizable),
            None => return Err(Unknown::Unreadable),
        };
        if module.is_changed() {
            return Err(Unknown::Changed);
        }
        let mut symbols = Self::default();
        let package = debug_files::find_package(module.path(), debug_dirs);
        if let Some(debug) = debug_files::find(module.path(), facts, debug_dirs) {
            if debug.of_the_system {
                symbols.look_into(&debug.path, true);
                symbols.look_for_names_too(&debug.path);
            } else {
                symbols.add(debug.file, package.as_ref())?;
            }
        }
        let file = file.try_clone().map_err(|_| Unknown::Unreadable)?;
        let mini = facts.debug.mini.as_ref().filter(|_| !facts.debug.symtab);
        let Some(mini) = mini else {
            symbols.add(file, package.as_ref())?;
            return Ok(symbols);
        };
        // With a section that it can't unpack, blazesym finds no symbol in the whole file. The
        // exported ones are in no other table.
        if let Ok((copy, bytes)) = mini_debug::copy_without(&file, mini) {
            symbols.copied += bytes;
            symbols.add(copy, package.as_ref())?;
        }
        if let Ok((unpacked, bytes)) = mini_debug::unpack(&file, mini) {
            symbols.copied += bytes;
            symbols.look_into(&fd_path(&unpacked), false);
            symbols.handles.push(unpacked);
        }
        Ok(symbols)
    }

    /// Looks into a file that may be anybody's.
    fn add(&mut self, file: File, package: Option<&File>) -> Result<(), Unknown> {
        let file = steady(file, &mut self.copied)?;
        let path = fd_path(&file);
        // What counts is what is in the copy, not what was in the file when it was looked at.
        let unpacked = unpacked_debug(&file, |debug| debug.inside && !debug.refers_elsewhere);
        let lines = unpacked.is_some();
        self.copied += unpacked.unwrap_or(0);
        let package = package.filter(|_| lines);
        match package.and_then(|package| self.with_package(&file, package)) {
            Some(source) => self.sources.push(source),
            None => self.look_into(&path, lines),
        }
        if lines {
            self.look_for_names_too(&path);
        }
        self.handles.push(file);
        Ok(())
    }

    /// Looks into the last file for names alone, in case its DWARF is broken.
    fn look_for_names_too(&mut self, path: &Path) {
        let file = self.sources.last().map_or(0, |source| source.file);
        self.sources.push(Source::new(path, false, file));
    }

    fn look_into(&mut self, path: &Path, lines: bool) {
        let file = self.sources.last().map_or(0, |source| source.file + 1);
        self.sources.push(Source::new(path, lines, file));
    }

    /// A file together with its DWARF package, which blazesym takes from beside it, by name. It
    /// keeps both open, so the names may go at once.
    fn with_package(&mut self, file: &File, package: &File) -> Option<Source> {
        let package = steady(package.try_clone().ok()?, &mut self.copied).ok()?;
        self.copied += unpacked_debug(&package, |_| true)?;
        let folder = tempfile::tempdir().ok()?;
        let path = folder.path().join("module");
        symlink(fd_path(file), &path).ok()?;
        symlink(fd_path(&package), folder.path().join("module.dwp")).ok()?;
        let number = self.sources.last().map_or(0, |source| source.file + 1);
        let source = Source::new(&path, true, number);
        let opened = catch_unwind(AssertUnwindSafe(|| source.find(0)));
        opened
            .is_ok_and(|found| found != Err(Unknown::Unsymbolizable))
            .then_some(source)
    }

    /// Bytes of memory that copies of files and unpacked sections take.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// The functions at a virtual address of the file: those inlined there, innermost first, then
    /// the real one.
    pub(super) fn find(&mut self, address: u64) -> Result<Vec<Function>, Unknown> {
        let mut broken = Vec::new();
        let mut answer = Err(Unknown::Unsymbolizable);
        let mut answered = None;
        for (index, source) in self.sources.iter().enumerate() {
            if answered == Some(source.file) {
                continue;
            }
            // What a panic leaves behind is not used again: the source is dropped below.
            match catch_unwind(AssertUnwindSafe(|| source.find(address))) {
                Ok(Ok(found)) => {
                    answer = Ok(found);
                    break;
                }
                // Broken here, perhaps not in the next.
                Ok(Err(Unknown::Unsymbolizable)) => {}
                Ok(Err(why)) => {
                    answered = Some(source.file);
                    // A file with symbols elsewhere says more than one without any.
                    if answer != Err(Unknown::NoSymbol) {
                        answer = Err(why);
                    }
                }
                Err(_) => broken.push(index),
            }
        }
        for index in broken.into_iter().rev() {
            self.sources.remove(index);
        }
        answer
    }
}

/// The file itself, if nobody but root can truncate it, else a copy, whose size is added.
fn steady(file: File, copied: &mut u64) -> Result<File, Unknown> {
    let bytes = bytes_to_copy(&file).map_err(|_| Unknown::Unreadable)?;
    if bytes == 0 {
        return Ok(file);
    }
    *copied += bytes;
    steady_copy(&file).map_err(|_| Unknown::Unreadable)
}

/// How many bytes the compressed sections of a file unpack to, if its debug information is wanted
/// and can be unpacked.
fn unpacked_debug(file: &File, is_wanted: impl Fn(&DebugFacts) -> bool) -> Option<u64> {
    let facts = ElfReader::new(file).facts().ok()?;
    let wanted = is_wanted(&facts.debug);
    wanted.then(|| unpacked_bytes(file, &facts.debug))?
}

fn fd_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn function(raw: &str, place: Option<&CodeInfo<'_>>, inlined: bool) -> Function {
    let name = demangle(raw);
    let file = place
        .map(|place| place.to_path())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.is_empty() && path.len() <= MAX_SOURCE_PATH_BYTES);
    Function {
        role: role_of(raw, &name, file.as_deref(), inlined),
        name: Arc::from(name),
        file: file.map(Arc::from),
        // DWARF says 0 for code that comes from no line.
        line: place.and_then(|place| place.line).filter(|&line| line > 0),
        inlined,
    }
}
