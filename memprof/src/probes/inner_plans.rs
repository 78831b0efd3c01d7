//! From a file that defines an allocator to the inner probes of its functions: found by analysis,
//! then tried in a child; once per file.

use std::{collections::HashMap, fs::File};

use memprof_common::allocator::Shape;

use super::{
    emulation::Emulated,
    inner::{InnerSite, Jumps, describe, find},
    library::ElfLibrary,
    placement::Function,
    plan::{End, Plan},
    proof::{Subject, prove},
};
use crate::{
    identity::Pid,
    target::{
        elf::ElfReader,
        mappings::{Backing, FileId, Mappings},
    },
};

/// The functions worth it: the frequent ones.
const FREQUENT: [&str; 2] = ["malloc", "calloc"];

/// Inner probes of one function, or why it has none.
type Found = Result<Vec<InnerSite>, String>;

/// What was found of the files so far: by the function's offset in the file.
pub struct InnerPlans {
    entry_probes: bool,
    files: HashMap<FileId, HashMap<u64, Found>>,
}

impl InnerPlans {
    /// Nothing is found yet, nor ever if `entry_probes` alone are wanted.
    pub fn new(entry_probes: bool) -> Self {
        Self {
            entry_probes,
            files: HashMap::new(),
        }
    }

    /// Gives the sites of `plan` their inner probes, where that can be proved.
    pub fn add_to(
        &mut self,
        plan: &mut Plan,
        id: FileId,
        file: &File,
        reader: &ElfReader<'_>,
        emulated: Emulated,
    ) {
        if self.entry_probes {
            return;
        }
        let found = match OwnMapping::of(id) {
            // So as many are remembered as memprof itself has mapped, at the most.
            Some(own) => self
                .files
                .entry(id)
                .or_insert_with(|| find_all(plan, &own, file, reader, emulated)),
            None => &refuse_all(
                &frequent(plan),
                "memprof runs on another file, and so can't try it",
            ),
        };
        for site in &mut plan.sites {
            match found.get(&site.offset) {
                Some(Ok(sites)) => site.inner.clone_from(sites),
                Some(Err(why)) => {
                    let reason = &mut site.placement.reason;
                    reason.push_str("; not one trap: ");
                    reason.push_str(why);
                }
                None => {}
            }
        }
    }
}

/// Start and shape of the frequent functions.
fn frequent(plan: &Plan) -> Vec<(u64, Shape)> {
    let sites = plan.sites.iter();
    sites
        .filter(|site| site.end == End::Return)
        .filter(|site| {
            site.symbols
                .iter()
                .any(|symbol| FREQUENT.contains(&&**symbol))
        })
        .map(|site| (site.offset, site.shape))
        .collect()
}

fn refuse_all(functions: &[(u64, Shape)], why: &str) -> HashMap<u64, Found> {
    let refused = functions.iter();
    refused
        .map(|(offset, _)| (*offset, Err(why.to_owned())))
        .collect()
}

fn find_all(
    plan: &Plan,
    own: &OwnMapping,
    file: &File,
    reader: &ElfReader<'_>,
    emulated: Emulated,
) -> HashMap<u64, Found> {
    let offset_of = |symbol: &str| {
        let mut sites = plan.sites.iter();
        Some(
            sites
                .find(|site| site.symbols.iter().any(|one| one == symbol))?
                .offset,
        )
    };
    let wanted = frequent(plan);
    let (Ok(facts), Ok(library)) = (reader.facts(), ElfLibrary::new(file, reader)) else {
        return refuse_all(&wanted, "its file can't be read");
    };
    let jumps = Jumps::of(&library);
    let siblings: Vec<u64> = plan
        .sites
        .iter()
        .filter_map(|site| facts.address_of(site.offset))
        .collect();
    let mut found: HashMap<u64, Found> = HashMap::new();
    for &(offset, shape) in &wanted {
        let site = plan.sites.iter().find(|site| site.offset == offset);
        let size = site.map_or(0, |site| site.size);
        let sites = facts
            .address_of(offset)
            .ok_or_else(|| "it is in no segment".to_owned())
            .and_then(|start| {
                let function = Function { start, size, shape };
                let jumps = jumps.as_ref().map_err(String::clone)?;
                find(&library, jumps, &siblings, function, emulated)
            });
        found.insert(offset, sites);
    }
    let free = offset_of("free").and_then(|offset| own.address_of(offset));
    try_out(&mut found, &wanted, own, free);
    found
}

/// Tries what was found, and strikes out what fails.
fn try_out(
    found: &mut HashMap<u64, Found>,
    wanted: &[(u64, Shape)],
    own: &OwnMapping,
    free: Option<u64>,
) {
    loop {
        let candidates: Vec<(u64, Shape)> = wanted
            .iter()
            .filter(|(offset, _)| matches!(found.get(offset), Some(Ok(_))))
            .copied()
            .collect();
        let subjects: Vec<Subject> = candidates
            .iter()
            .filter_map(|&(offset, shape)| {
                let sites = found.get(&offset)?.as_ref().ok()?.clone();
                let start = own.address_of(offset)?;
                Some(Subject {
                    start,
                    shape,
                    sites,
                })
            })
            .collect();
        if subjects.is_empty() {
            return;
        }
        let tried = match free {
            Some(free) if subjects.len() == candidates.len() => prove(&subjects, free),
            _ => return strike(found, &candidates, "memprof has not mapped all of it"),
        };
        let Err(refusal) = tried else { return };
        match refusal.subject.and_then(|number| candidates.get(number)) {
            Some(candidate) => strike(found, &[*candidate], &refusal.reason),
            None => return strike(found, &candidates, &refusal.reason),
        }
    }
}

fn strike(found: &mut HashMap<u64, Found>, functions: &[(u64, Shape)], why: &str) {
    for (offset, _) in functions {
        if let Some(Ok(sites)) = found.get(offset) {
            let refused = format!("{why} ({})", describe(sites));
            found.insert(*offset, Err(refused));
        }
    }
}

/// Where this process has mapped the code of a file.
struct OwnMapping {
    /// First address, file offset, bytes.
    parts: Vec<(u64, u64, u64)>,
}

impl OwnMapping {
    fn of(id: FileId) -> Option<Self> {
        let mappings = Mappings::read(Pid(std::process::id())).ok()?;
        let parts: Vec<(u64, u64, u64)> = mappings
            .iter()
            .filter(|mapping| mapping.executable)
            .filter(
                |mapping| matches!(&mapping.backing, Backing::File { id: own, .. } if *own == id),
            )
            .map(|mapping| {
                (
                    mapping.start,
                    mapping.file_offset,
                    mapping.end - mapping.start,
                )
            })
            .collect();
        (!parts.is_empty()).then_some(Self { parts })
    }

    fn address_of(&self, offset: u64) -> Option<u64> {
        self.parts.iter().find_map(|(start, first, bytes)| {
            let within = offset.checked_sub(*first)?;
            (within < *bytes).then_some(start + within)
        })
    }
}
