//! What becomes of one file: its symbols, the plan of its probes, the probes, and what is covered.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use super::{
    emulation::Emulated,
    inner_plans::InnerPlans,
    kernel_side::{KernelSide, Scope},
    placement::place_entry,
    plan::{Definition, Plan, plan, wanted_symbols},
};
use crate::{
    identity::Pid,
    target::{
        elf::{ElfCode, ElfReader, ElfSymbol, SymbolKind},
        mappings::{FileId, Mapping, open_mapped_file},
    },
};

/// What is probed in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The file, as the target sees it.
    pub module: String,
    /// Which allocator it is, by its name.
    pub allocator: String,
    /// Functions whose calls are seen.
    pub attached: Vec<&'static str>,
    /// Functions of the family that are not there, or could not be probed.
    pub missing: Vec<&'static str>,
    /// Why a function that is there could not be probed.
    pub refusals: Vec<String>,
    /// Which instruction of each function is probed, and why.
    pub places: Vec<String>,
}

impl Coverage {
    /// Whether blocks are seen to come and to go.
    pub(super) fn is_usable(&self) -> bool {
        self.attached.contains(&"malloc") && self.attached.contains(&"free")
    }
}

pub(super) fn plan_file(file: &File, reader: &ElfReader<'_>, emulated: Emulated) -> Option<Plan> {
    let wanted: Vec<&str> = wanted_symbols().collect();
    let definitions = definitions(reader.symbols(&wanted).ok()?);
    let code = ElfCode::new(file, &reader.facts().ok()?);
    plan(&definitions, |function| {
        place_entry(&code, function, emulated)
    })
}

/// What it takes to probe a file.
pub(super) struct Probing<'a> {
    pub(super) side: &'a mut KernelSide,
    pub(super) inner: &'a mut InnerPlans,
    pub(super) pid: Pid,
    pub(super) scope: Scope,
}

impl Probing<'_> {
    /// Probes a mapped file; `None` if it is no allocator, or no file that can be read as one. Notes
    /// whether it is a Go program.
    pub(super) fn file(
        self,
        mapping: &Mapping,
        id: FileId,
        path: &str,
        go: &mut bool,
    ) -> Option<Coverage> {
        let file = open_mapped_file(self.pid, mapping).ok()?;
        let reader = ElfReader::new(&file);
        *go |= reader.facts().is_ok_and(|facts| facts.go);
        let emulated = self.side.emulated();
        let mut plan = plan_file(&file, &reader, emulated)?;
        self.inner.add_to(&mut plan, id, &file, &reader, emulated);
        let mut coverage = Coverage {
            module: path.to_owned(),
            allocator: allocator_name(path),
            attached: Vec::new(),
            missing: plan.missing,
            refusals: Vec::new(),
            places: Vec::new(),
        };
        let handle = handle_path(&file);
        for site in &plan.sites {
            let names = site.symbols.join(", ");
            match self.side.attach(&handle, site, self.scope) {
                Ok(reason) => {
                    coverage.attached.extend(&site.symbols);
                    coverage.places.push(format!("{names}: {reason}"));
                }
                Err(error) => {
                    coverage.missing.extend(&site.symbols);
                    coverage.refusals.push(format!("{names}: {error:#}"));
                }
            }
        }
        Some(coverage)
    }
}

/// A path to the very file that is open, whatever became of its name.
fn handle_path(file: &File) -> PathBuf {
    Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())
}

/// One definition a name: what other files can call comes before what they can't.
fn definitions(mut symbols: Vec<ElfSymbol>) -> Vec<Definition> {
    symbols.sort_by_key(|symbol| !symbol.global);
    symbols
        .into_iter()
        .map(|symbol| Definition {
            symbol: symbol.name,
            offset: symbol.file_offset,
            size: symbol.size,
            indirect: symbol.kind == SymbolKind::Ifunc,
        })
        .collect()
}

/// Which allocator a file is; its own name if it is none of the well-known ones.
fn allocator_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let known = [
        ("libjemalloc", "jemalloc"),
        ("libtcmalloc", "tcmalloc"),
        ("libmimalloc", "mimalloc"),
        ("libc.musl", "musl"),
        ("ld-musl", "musl"),
        ("libc.so.6", "glibc"),
        ("libc-2.", "glibc"),
        // Without a number it is musl's, but for a script that glibc's linker reads.
        ("libc.so", "musl"),
    ];
    known
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or(name, |(_, allocator)| allocator)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_called_by_the_allocator_that_they_are() {
        assert_eq!(allocator_name("/lib/x86_64-linux-gnu/libc.so.6"), "glibc");
        assert_eq!(allocator_name("/usr/lib/libjemalloc.so.2"), "jemalloc");
        assert_eq!(allocator_name("/lib/ld-musl-x86_64.so.1"), "musl");
        assert_eq!(allocator_name("/usr/lib/x86_64-linux-musl/libc.so"), "musl");
        assert_eq!(allocator_name("/usr/bin/server"), "server");
    }
}
