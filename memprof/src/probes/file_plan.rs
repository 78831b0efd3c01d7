//! What becomes of one file: its symbols, the plan of its probes, the probes, and what is covered.

use std::{
    collections::HashSet,
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use super::{
    emulation::Emulated,
    families::{Demand, Families},
    inner_plans::InnerPlans,
    kernel_side::{KernelSide, Scope},
    library::ElfAnatomy,
    plan::{Definition, Plan, plan},
    usdt,
};
use crate::{
    identity::Pid,
    target::{
        elf::{ElfReader, ElfSymbol, SymbolKind},
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
    pub attached: Vec<String>,
    /// Functions of the family that are not there, or could not be probed.
    pub missing: Vec<String>,
    /// Why a function that is there could not be probed.
    pub refusals: Vec<String>,
    /// Which instruction of each function is probed, and why.
    pub places: Vec<String>,
    /// Whether blocks are seen to come and to go, or else what was asked for.
    usable: bool,
}

impl Coverage {
    /// Whether anything can be said of the file's blocks.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }
}

/// What it takes to plan the probes of files, and what was found of them so far.
pub struct FilePlans {
    families: Families,
    inner: InnerPlans,
    /// What the user asked for and some file has.
    met: HashSet<Demand>,
}

impl FilePlans {
    /// Looks for these, with inner probes as `inner` has them.
    pub fn new(families: Families, inner: InnerPlans) -> Self {
        Self {
            families,
            inner,
            met: HashSet::new(),
        }
    }

    /// What is looked for.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// What the user asked for and no file so far has.
    pub fn unmet(&self) -> Option<Demand> {
        let mut demands = self.families.demands();
        demands.find(|demand| !self.met.contains(demand))
    }
}

/// The plan of one file; `None` if it is no allocator, or no file that can be read as one.
pub(super) fn plan_file<'file>(
    families: &Families,
    file: &'file File,
    reader: &ElfReader<'file>,
    emulated: Emulated,
) -> Option<Plan> {
    let by_functions = plan_functions(families, file, reader, emulated);
    let providers = families.providers();
    let is_ours = |provider: &[u8]| providers.iter().any(|(one, _)| one.as_bytes() == provider);
    let probes = reader
        .usdt_probes(&|provider, name| is_ours(provider) && usdt::is_wanted(name))
        .unwrap_or_default();
    if probes.is_empty() {
        return by_functions;
    }
    let alone = by_functions.is_none();
    let mut plan = by_functions.unwrap_or_default();
    usdt::add_to(&mut plan, &probes, providers);
    (!alone || !plan.allocators.is_empty()).then_some(plan)
}

fn plan_functions<'file>(
    families: &Families,
    file: &'file File,
    reader: &ElfReader<'file>,
    emulated: Emulated,
) -> Option<Plan> {
    let definitions = definitions(reader.symbols(&families.symbols()).ok()?);
    if definitions.is_empty() {
        return None;
    }
    let anatomy = ElfAnatomy::new(file, reader, &definitions, emulated).ok()?;
    plan(families, &definitions, &anatomy)
}

/// What it takes to probe a file.
pub(super) struct Probing<'a> {
    pub(super) side: &'a mut KernelSide,
    pub(super) plans: &'a mut FilePlans,
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
        let mut plan = plan_file(&self.plans.families, &file, &reader, emulated)?;
        let inner = &mut self.plans.inner;
        inner.add_to(&mut plan, id, &file, &reader, emulated);
        let mut coverage = Coverage {
            module: path.to_owned(),
            allocator: allocator_name(path, &plan.allocators),
            attached: Vec::new(),
            missing: plan.missing,
            refusals: plan.refusals,
            places: Vec::new(),
            usable: false,
        };
        let asked = !plan.met.is_empty();
        self.plans.met.extend(plan.met);
        let (mut gives, mut takes) = (false, false);
        let handle = handle_path(&file);
        for site in &plan.sites {
            let names = site.symbols.join(", ");
            match self.side.attach(&handle, site, self.scope) {
                Ok(reason) => {
                    gives |= site.shape.returns_block();
                    takes |= !site.shape.returns_block();
                    coverage.attached.extend_from_slice(&site.symbols);
                    coverage.places.push(format!("{names}: {reason}"));
                }
                Err(error) => {
                    coverage.missing.extend_from_slice(&site.symbols);
                    coverage.refusals.push(format!("{names}: {error:#}"));
                }
            }
        }
        for site in &plan.usdt {
            let name = &site.name;
            match self.side.attach_usdt(&handle, site, self.scope) {
                Ok(reason) => {
                    gives |= site.gives();
                    takes |= !site.gives();
                    if !coverage.attached.contains(name) {
                        coverage.attached.push(name.clone());
                    }
                    coverage.places.push(format!("{name}: {reason}"));
                }
                Err(error) => coverage.refusals.push(format!("{name}: {error:#}")),
            }
        }
        for site in &plan.usdt {
            if !coverage.attached.contains(&site.name) && !coverage.missing.contains(&site.name) {
                coverage.missing.push(site.name.clone());
            }
        }
        coverage.attached.extend(plan.seen_elsewhere);
        coverage.usable = gives && takes || asked && (gives || takes);
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

/// Which allocators a file holds: by its name if that is well known, by its symbols, or else that
/// name.
fn allocator_name(path: &str, found: &[String]) -> String {
    let mut names: Vec<&str> = well_known(path).into_iter().collect();
    for one in found.iter().filter(|one| !one.is_empty()) {
        if !names.contains(&&**one) {
            names.push(one);
        }
    }
    if names.is_empty() {
        return path.rsplit('/').next().unwrap_or(path).to_owned();
    }
    names.join(" and ")
}

/// The allocator that a library of this name is.
pub(super) fn well_known(path: &str) -> Option<&'static str> {
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
    let by_name = known.iter().find(|(prefix, _)| name.starts_with(prefix));
    by_name.map(|(_, allocator)| *allocator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_called_by_the_allocator_that_they_are() {
        let name = |path, found: &[&str]| {
            let found: Vec<String> = found.iter().map(|one| (*one).to_owned()).collect();
            allocator_name(path, &found)
        };
        assert_eq!(name("/lib/x86_64-linux-gnu/libc.so.6", &["glibc"]), "glibc");
        assert_eq!(name("/usr/lib/libjemalloc.so.2", &[""]), "jemalloc");
        assert_eq!(name("/lib/ld-musl-x86_64.so.1", &[""]), "musl");
        assert_eq!(name("/usr/lib/x86_64-linux-musl/libc.so", &[""]), "musl");
        assert_eq!(name("/usr/bin/server", &[""]), "server");
        let both = name("/usr/bin/server", &["glibc", "jemalloc, je_"]);
        assert_eq!(both, "glibc and jemalloc, je_");
    }
}
