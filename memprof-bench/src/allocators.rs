//! The allocators that a target maps, and where in them a probe costs least.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use memprof::identity;
use memprof::probes::emulation::Emulated;
use memprof::probes::placement::{Function, Placement, place_entry};
use memprof::target::elf::{ElfCode, ElfReader, SymbolKind};
use memprof::target::mappings::{Backing, Mappings, open_mapped_file};
use memprof_common::allocator::{LIBC, Shape};
use nix::unistd::Pid;

/// The functions that everything which attaches here probes.
const FUNCTIONS: [&str; 4] = ["malloc", "calloc", "realloc", "free"];

/// A library with an allocator.
pub(crate) struct Allocator {
    /// Its path.
    pub(crate) path: PathBuf,
    /// The very file that is mapped.
    pub(crate) file: File,
    /// Those of the functions that it has.
    pub(crate) functions: Vec<Probed>,
}

/// A function to probe.
pub(crate) struct Probed {
    pub(crate) name: &'static str,
    /// Where its first instruction is in the file, bytes.
    pub(crate) offset: u64,
    /// Where memprof would put its entry probe.
    pub(crate) placement: Placement,
}

/// The allocators that `pid` maps, on a kernel that emulates these instructions.
///
/// # Errors
/// If there are none, or its mappings can't be read.
pub(crate) fn of_process(pid: Pid, emulated: Emulated) -> Result<Vec<Allocator>> {
    let pid = identity::Pid(pid.as_raw().unsigned_abs());
    let mut seen = Vec::new();
    let mut allocators = Vec::new();
    for mapping in Mappings::read(pid)
        .context("the program's mappings")?
        .iter()
    {
        let Backing::File { id, path, .. } = &mapping.backing else {
            continue;
        };
        if !mapping.executable || seen.contains(id) {
            continue;
        }
        seen.push(*id);
        let Ok(file) = open_mapped_file(pid, mapping) else {
            continue;
        };
        let functions = functions_of(&file, emulated);
        let has = |name| functions.iter().any(|function| function.name == name);
        if has("malloc") && has("free") {
            allocators.push(Allocator {
                path: PathBuf::from(&**path),
                file,
                functions,
            });
        }
    }
    if allocators.is_empty() {
        bail!("the program maps no allocator");
    }
    Ok(allocators)
}

/// The functions that a file has for others to call; none if it is no file with code.
fn functions_of(file: &File, emulated: Emulated) -> Vec<Probed> {
    let reader = ElfReader::new(file);
    let (Ok(symbols), Ok(facts)) = (reader.symbols(&FUNCTIONS), reader.facts()) else {
        return Vec::new();
    };
    let code = ElfCode::new(file, &facts);
    let find = |name| {
        let is_it = |symbol: &&memprof::target::elf::ElfSymbol| {
            symbol.name == name && symbol.global && symbol.kind != SymbolKind::Ifunc
        };
        let symbol = symbols.iter().find(is_it)?;
        let function = Function {
            start: symbol.file_offset,
            size: symbol.size,
            shape: shape_of(name)?,
        };
        Some(Probed {
            name,
            offset: symbol.file_offset,
            placement: place_entry(&code, function, emulated),
        })
    };
    FUNCTIONS.into_iter().filter_map(find).collect()
}

fn shape_of(name: &str) -> Option<Shape> {
    let function = LIBC.iter().find(|function| function.symbol == name)?;
    Some(function.shape)
}
