//! What a report is made of: every site's totals, and which of its blocks pass the filters.

use hashbrown::{HashMap, hash_map::Entry};

use super::space::Space;
use crate::events::event::{MappingKind, Nanoseconds, Pid, SpaceId, StackId};
use crate::identity::seconds_since;
use crate::stacks::{SiteTotals, StackTable, TouchTotals, weight::Uncertainty};

/// Which blocks are shown. Totals stay whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownFilter {
    /// Blocks of at least this age.
    pub min_age_ns: Nanoseconds,
    /// Blocks of at least this size, bytes.
    pub min_size: u64,
    /// Blocks of at most this size, bytes.
    pub max_size: u64,
}

impl Default for ShownFilter {
    fn default() -> Self {
        Self {
            min_age_ns: 0,
            min_size: 0,
            max_size: u64::MAX,
        }
    }
}

/// One call stack of one address space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteSnapshot {
    /// The address space.
    pub space: SpaceId,
    /// The site's index in its space: the same in every snapshot of a run.
    pub site: u32,
    /// The process that a report names for the space.
    pub pid: Option<Pid>,
    /// The call stack; `None` for the common site of a space with too many stacks.
    pub stack: Option<StackId>,
    /// What it maps; `None` if it allocates blocks.
    pub mapping: Option<MappingKind>,
    /// All that was allocated and what became of it.
    pub totals: SiteTotals,
    /// Outstanding bytes in blocks that pass the filters.
    pub shown_bytes: u64,
    /// Outstanding blocks that pass the filters.
    pub shown_count: u64,
    /// How far the outstanding bytes may be off.
    pub uncertainty: Uncertainty,
    /// When the oldest outstanding block, shown or not, was allocated (to 16.8 ms, rounded down).
    pub oldest_birth: Option<Nanoseconds>,
}

impl SiteSnapshot {
    /// Adds what another site holds: of the same call path, as far as is known.
    pub fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.shown_bytes += other.shown_bytes;
        self.shown_count += other.shown_count;
        self.uncertainty.join(&other.uncertainty);
        self.oldest_birth = match (self.oldest_birth, other.oldest_birth) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// All sites at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When.
    pub at: Nanoseconds,
    /// Every site that ever had a block, by space and site.
    pub sites: Vec<SiteSnapshot>,
    /// Sites that another one stands for.
    twins: HashMap<(SpaceId, u32), u32>,
}

impl Snapshot {
    /// Makes one site of those of a space whose stacks have the same program counters. Walks that
    /// broke down are told apart by more than these, one that a copy completed may have been walked
    /// whole at another time, and blocks of one stack may have been chosen in several ways. The site
    /// with the lowest index stands for all.
    pub(super) fn merge_twins(&mut self, stacks: &StackTable) {
        let mut first: HashMap<(SpaceId, StackId), usize> = HashMap::new();
        let mut merged: Vec<SiteSnapshot> = Vec::with_capacity(self.sites.len());
        for site in &self.sites {
            let Some(id) = site.stack.map(|id| stacks.whole_id(site.space, id)) else {
                merged.push(*site);
                continue;
            };
            match first.entry((site.space, id)) {
                Entry::Occupied(index) => {
                    let first = &mut merged[*index.get()];
                    first.add(site);
                    self.twins.insert((site.space, site.site), first.site);
                }
                Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push(*site);
                }
            }
        }
        self.sites = merged;
    }

    /// The site that stands for this one: itself, or a twin.
    pub fn representative(&self, space: SpaceId, site: u32) -> u32 {
        self.twins.get(&(space, site)).copied().unwrap_or(site)
    }

    /// A site, if it is in this snapshot.
    pub fn find(&self, space: SpaceId, site: u32) -> Option<&SiteSnapshot> {
        let found = self
            .sites
            .binary_search_by_key(&(space, site), |site| (site.space, site.site));
        self.sites.get(found.ok()?)
    }

    /// By how many bytes a second the site's outstanding bytes grew (or shrank) since an earlier
    /// snapshot of the same run, which the caller keeps; 0 if no time has passed.
    pub fn rate_since(&self, earlier: &Self, site: &SiteSnapshot) -> f64 {
        let seconds = seconds_since(earlier.at, self.at);
        if seconds == 0.0 {
            return 0.0;
        }
        let before = earlier
            .find(site.space, site.site)
            .map_or(0, |earlier| earlier.totals.outstanding_bytes());
        (site.totals.outstanding_bytes() as f64 - before as f64) / seconds
    }
}

/// One address space with its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTotals {
    /// The address space.
    pub space: SpaceId,
    /// The process that a report names: the first that lives here, or the last that did.
    pub pid: Option<Pid>,
    /// All that live here now: several after `vfork` or `CLONE_VM`, none once it has ended.
    pub members: Vec<Pid>,
    /// Whether the last process exited or left by exec; after an exit the totals are its final
    /// state.
    pub ended: bool,
    /// The sum over the space's sites.
    pub totals: SiteTotals,
    /// What it touched first.
    pub touched: TouchTotals,
}

impl ProcessTotals {
    pub(super) fn of(space: &Space) -> Self {
        Self {
            space: space.id,
            pid: space.pid(),
            members: space.members.clone(),
            ended: space.is_ended(),
            totals: space.sites.sum(),
            touched: space.touches.sum(),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Shown {
    /// Some blocks don't pass the filters.
    hides: bool,
    bytes: f64,
    count: f64,
    uncertainty: Uncertainty,
    oldest: Option<Nanoseconds>,
}

pub(super) fn take(spaces: &[Space], now: Nanoseconds, filter: &ShownFilter) -> Snapshot {
    let mut sites = Vec::new();
    let mut shown = Vec::new();
    for space in spaces {
        shown.clear();
        shown.resize(space.sites.len(), Shown::default());
        let blocks = space.table.iter().map(|(_, block)| block);
        for block in blocks.chain(space.mapped_blocks()) {
            let Some(shown) = shown.get_mut(block.site as usize) else {
                continue;
            };
            let weight = space.sites.weight(block.site, block.size);
            shown.uncertainty.add(weight);
            let oldest = shown.oldest.get_or_insert(block.birth);
            *oldest = block.birth.min(*oldest);
            if now.saturating_sub(block.birth) >= filter.min_age_ns
                && (filter.min_size..=filter.max_size).contains(&block.size)
            {
                shown.bytes += weight.bytes;
                shown.count += weight.count;
            } else {
                shown.hides = true;
            }
        }
        let pid = space.pid();
        for ((site, stack, totals), shown) in space.sites.iter().zip(&shown) {
            if *totals == SiteTotals::default() {
                continue;
            }
            let (shown_bytes, shown_count) = if shown.hides {
                (shown.bytes.round() as u64, shown.count.round() as u64)
            } else {
                // The same, but for what is rounded.
                (totals.outstanding_bytes(), totals.outstanding_count())
            };
            sites.push(SiteSnapshot {
                space: space.id,
                site,
                pid,
                stack,
                mapping: space.kinds.get(&site).copied(),
                totals: *totals,
                shown_bytes,
                shown_count,
                uncertainty: shown.uncertainty,
                oldest_birth: shown.oldest,
            });
        }
    }
    sites.sort_unstable_by_key(|site| (site.space, site.site));
    Snapshot {
        at: now,
        sites,
        twins: HashMap::new(),
    }
}
