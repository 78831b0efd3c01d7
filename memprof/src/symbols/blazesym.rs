//! The one file that knows blazesym: functions and lines at the addresses of one module.
//!
//! Each module has symbolizers of its own, so a broken file harms no other, and blazesym's cache,
//! which goes by path, never takes one `/proc/self/fd/N` for another.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Reason, Symbolized, Symbolizer};

use super::debug_files;
use super::demangle::demangle;
use super::frame::{Function, Unknown};
use super::plumbing::role_of;
use super::steady::{bytes_to_copy, steady_copy};
use crate::target::elf::{ElfError, ElfFacts};
use crate::target::modules::Module;

/// Functions inlined into one another at one address that are kept.
pub(super) const MAX_INLINED: usize = 256;
/// Source paths longer than this are left out.
pub(super) const MAX_SOURCE_PATH_BYTES: usize = 4096;

/// The symbols of one module. Holds what blazesym has mapped and parsed of it.
pub(super) struct ModuleSymbols {
    facts: ElfFacts,
    /// Where to look, in this order.
    sources: Vec<OneFile>,
    /// Keep each `/proc/self/fd/N` in `sources` what it is.
    _handles: Vec<File>,
    copied: u64,
}

struct OneFile {
    symbolizer: Symbolizer,
    source: Source<'static>,
}

impl OneFile {
    fn new(path: &Path, lines: bool) -> Self {
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
            source: Source::Elf(elf),
        }
    }

    fn find(&self, address: u64) -> Result<Vec<Function>, Unknown> {
        let input = Input::VirtOffset(address);
        match self.symbolizer.symbolize_single(&self.source, input) {
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
            Some(Ok(facts)) => facts.clone(),
            Some(Err(ElfError::NotElf)) => return Err(Unknown::NotElf),
            Some(Err(_)) => return Err(Unknown::Unsymbolizable),
            None => return Err(Unknown::Unreadable),
        };
        if module.is_changed() {
            return Err(Unknown::Changed);
        }
        let mut sources = Vec::new();
        let mut handles = Vec::new();
        let mut copied = 0;
        if let Some(debug) = debug_files::find(module.path(), &facts, debug_dirs) {
            if debug.of_the_system {
                sources.push(OneFile::new(&debug.path, true));
            } else {
                let file = steady(debug.file, &mut copied)?;
                sources.push(OneFile::new(&fd_path(&file), true));
                handles.push(file);
            }
        }
        let file = file.try_clone().map_err(|_| Unknown::Unreadable)?;
        let file = steady(file, &mut copied)?;
        let path = fd_path(&file);
        handles.push(file);
        let debug = &facts.debug;
        if debug.inside && !debug.refers_elsewhere && !debug.bomb {
            sources.push(OneFile::new(&path, true));
        }
        // Names alone, in case the DWARF is broken or there is none.
        sources.push(OneFile::new(&path, false));
        Ok(Self {
            facts,
            sources,
            _handles: handles,
            copied,
        })
    }

    /// Bytes of memory that copies of files take.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// The functions at a file offset: those inlined there, innermost first, then the real one.
    pub(super) fn find(&mut self, file_offset: u64) -> Result<Vec<Function>, Unknown> {
        let address = self.facts.address_of(file_offset);
        let address = address.ok_or(Unknown::NoSymbol)?;
        let mut broken = Vec::new();
        let mut answer = Err(Unknown::Unsymbolizable);
        for (index, source) in self.sources.iter().enumerate() {
            // What a panic leaves behind is not used again: the source is dropped below.
            match catch_unwind(AssertUnwindSafe(|| source.find(address))) {
                // Broken here, perhaps not in the next.
                Ok(Err(Unknown::Unsymbolizable)) => {}
                Ok(found) => {
                    answer = found;
                    break;
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
