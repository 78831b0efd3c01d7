//! Call paths that are the same in several processes: what tells them, and what they hold together.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{collector::State, roster::Followed};
use crate::{
    identity::SpaceId, pipeline::SiteSnapshot, report::GroupBy, target::modules::ModuleIndex,
};

/// What is the same of a call path in all processes that run the same files.
#[derive(PartialEq, Eq, Hash)]
pub enum PathKey {
    /// Files and offsets in them, else addresses.
    Places(Vec<(Option<ModuleIndex>, u64)>),
    /// Its frames are not known.
    Site(SpaceId, u32),
}

impl PathKey {
    /// Of one site.
    pub fn of(state: &State, site: &SiteSnapshot) -> Self {
        let places = site.stack.and_then(|stack| state.places.get(&stack));
        let Some(places) = places else {
            return Self::Site(site.space, site.site);
        };
        let places = places.iter().map(|frame| match frame.in_file() {
            Some((module, offset)) => (Some(module), offset),
            None => (None, frame.pc),
        });
        Self::Places(places.collect())
    }
}

/// What makes a process one of a group, as a report shows it; `None` if it is not known, or where the
/// group has no name.
pub fn group_name(process: Option<&Followed>, by: GroupBy) -> Option<String> {
    match by {
        GroupBy::Process | GroupBy::All => None,
        GroupBy::Comm => process?.facts.comm.clone(),
        GroupBy::Cgroup => process?.cgroup.clone(),
    }
}

/// A call path with what it holds in all processes of a group.
#[derive(Clone, Debug)]
pub struct Path {
    /// The sum; space, site and process are those of the member that holds most.
    pub site: SiteSnapshot,
    /// Where it is, in each process.
    pub members: Vec<(SpaceId, u32)>,
    /// The group's name.
    pub group: Option<String>,
    most: u64,
}

impl Path {
    /// A path of one process.
    pub fn alone(site: SiteSnapshot) -> Self {
        Self {
            members: vec![(site.space, site.site)],
            group: None,
            most: site.totals.outstanding_bytes(),
            site,
        }
    }

    /// How many processes have it.
    pub fn processes(&self) -> u64 {
        let spaces: HashSet<SpaceId> = self.members.iter().map(|member| member.0).collect();
        spaces.len() as u64
    }

    fn add(&mut self, site: &SiteSnapshot) {
        self.members.push((site.space, site.site));
        let held = site.totals.outstanding_bytes();
        if held > self.most {
            self.most = held;
            let mut sum = *site;
            sum.add(&self.site);
            self.site = sum;
        } else {
            self.site.add(site);
        }
    }
}

/// Adds up sites of one call path over the processes of each group.
pub fn add_up(state: &State, sites: Vec<SiteSnapshot>, by: GroupBy) -> Vec<Path> {
    if by == GroupBy::Process {
        return sites.into_iter().map(Path::alone).collect();
    }
    let mut paths: Vec<Path> = Vec::new();
    let mut known: HashMap<(Option<String>, PathKey), usize> = HashMap::new();
    for site in sites {
        let group = group_name(state.processes.of_space(site.space), by);
        match known.entry((group.clone(), PathKey::of(state, &site))) {
            Entry::Occupied(at) => paths[*at.get()].add(&site),
            Entry::Vacant(place) => {
                place.insert(paths.len());
                paths.push(Path {
                    group,
                    ..Path::alone(site)
                });
            }
        }
    }
    paths
}
