//! What is known of one frame of a stack.

use std::fmt;
use std::sync::Arc;

pub use super::plumbing::Role;
use crate::target::modules::{ModuleIndex, Place};

/// What stands for the path of a module where the code was made at run time.
pub const JIT_MODULE: &str = "[jit]";

/// Why a frame has no function name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unknown {
    /// The file has no symbol table, and no separate debug file was found.
    Stripped,
    /// The file has symbols, but none covers this address.
    NoSymbol,
    /// The code was made at run time, and no perf map names it.
    Jit,
    /// The process was gone before its mappings could be read.
    Gone,
    /// No mapping of the process covers the address.
    NoMapping,
    /// The code is the kernel's, in its shared object, which could not be read.
    Vdso,
    /// The file was written to after it was mapped.
    Changed,
    /// The file could not be opened or read.
    Unreadable,
    /// The mapped file is not an ELF file.
    NotElf,
    /// The file is broken, or its symbols are beyond what the libraries can take.
    Unsymbolizable,
    /// More files are mapped than memprof keeps open.
    TooManyModules,
}

impl Unknown {
    /// The word for it in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stripped => "stripped",
            Self::NoSymbol => "no_symbol",
            Self::Jit => "jit",
            Self::Gone => "gone",
            Self::NoMapping => "no_mapping",
            Self::Vdso => "vdso",
            Self::Changed => "changed",
            Self::Unreadable => "unreadable",
            Self::NotElf => "not_elf",
            Self::Unsymbolizable => "unsymbolizable",
            Self::TooManyModules => "too_many_modules",
        }
    }

    /// The reason why code at this place can have no name; `None` in a file.
    pub(super) fn of_place(place: Place) -> Option<Self> {
        match place {
            Place::File { .. } => None,
            Place::Jit => Some(Self::Jit),
            Place::Vdso => Some(Self::Vdso),
            Place::TooManyModules => Some(Self::TooManyModules),
            Place::NoMapping => Some(Self::NoMapping),
            Place::Gone => Some(Self::Gone),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A function at an address, with the line that was running or calling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled, at most [`super::MAX_NAME_BYTES`] long.
    pub name: Arc<str>,
    /// The source file as the compiler knew it, with its directory where that is on record.
    pub file: Option<Arc<str>>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// It was inlined into the function of the next frame.
    pub inlined: bool,
    /// Whether it is plumbing.
    pub role: Role,
}

/// One frame of a symbolized stack: a real one, or a function inlined into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The program counter as it was on the stack; inlined frames repeat that of the real one.
    pub pc: u64,
    /// The file that the code is in.
    pub module: Option<ModuleIndex>,
    /// Its path as the target saw it; [`JIT_MODULE`] for a function that was made at run time.
    pub module_path: Option<Arc<str>>,
    /// Where `pc` is in that file, in bytes.
    pub file_offset: Option<u64>,
    /// The virtual address in that file, before relocation, by which a function is looked up: of
    /// the call, where `pc` is the address to which it returns.
    pub elf_address: Option<u64>,
    /// The function, or why it has no name.
    pub function: Result<Function, Unknown>,
}

impl Frame {
    /// The function's name.
    pub fn name(&self) -> Option<&str> {
        self.function.as_ref().ok().map(|function| &*function.name)
    }
}
