//! What code each followed process has mapped, at each moment of the stream of events: told by the
//! kernel as it happens, read from `/proc` where it was not told, and passed on to the kernel side.

use std::collections::{HashMap, HashSet, VecDeque};

use super::collector::monotonic;
use crate::{
    identity::{Nanoseconds, Pid, SpaceId},
    target::{
        mappings::{Backing, FileId},
        mmap_events::Look,
        mmap_records::{CodeChange, CodeEvent},
        modules::{AddressSpaces, FoundPerfMap, FrameAddress, Modules, Observed, Reading, Region},
    },
    unwind::{
        mapped::choose,
        worker::{Mapped, TableLoader},
    },
};

/// The mappings of a space are read again at most this often, however many stacks have an address
/// that is not known.
const REREAD_PERIOD: Nanoseconds = 20_000_000;
/// Where reading them takes long, the collector spends at most one part in this many on it.
const READING_SHARE: Nanoseconds = 10;
/// Changes of a space's mappings after which they are read again, beside as many as it has: what
/// was unmapped is told by nobody.
const CHANGES_KEPT: usize = 64;
/// A space with more executable mappings than `MANY` is passed on only so often that looking
/// through them, at some 50 ns each, takes one part in ten of the time.
const MANY: usize = 1024;
const PAUSE_PER_MAPPING: Nanoseconds = 500;
/// Changes that wait for their turn; with more, all are dropped and everything is read again.
const MAX_TOLD: usize = 65_536;
/// Files that are remembered as seen; code of further ones is not told as new.
const MAX_FILES: usize = 65_536;
/// Processes of a space that are asked for its mappings.
const MAX_ASKED: usize = 8;

/// How current a space's mappings are.
#[derive(Clone, Copy, Debug, Default)]
struct Currency {
    /// When they may be read again.
    next_reading: Nanoseconds,
    /// When they may be passed on again.
    next_publishing: Nanoseconds,
    /// How often they were changed since they were read.
    changes: usize,
    /// Changes after which they are read again.
    most_changes: usize,
}

/// Who passes mappings on to the kernel side.
pub trait Publisher {
    /// `space` has this mapped from now on.
    fn publish(&mut self, space: SpaceId, mapped: Mapped);
    /// Nothing happens in `space` any more.
    fn forget(&mut self, space: SpaceId);
}

impl Publisher for TableLoader {
    fn publish(&mut self, space: SpaceId, mapped: Mapped) {
        TableLoader::publish(self, space, mapped);
    }

    fn forget(&mut self, space: SpaceId) {
        TableLoader::forget(self, space);
    }
}

/// What code each followed process has mapped.
pub struct CodeMaps<P = TableLoader> {
    spaces: AddressSpaces,
    tables: P,
    /// Where each followed process lives.
    homes: HashMap<Pid, SpaceId>,
    members: HashMap<SpaceId, Vec<Pid>>,
    currency: HashMap<SpaceId, Currency>,
    /// Told, and waiting for its turn among the events.
    told: VecDeque<CodeEvent>,
    /// Processes that have left their program, and whose new one is not announced yet. What they
    /// map is the new one's, in a space that is not theirs yet.
    between: HashSet<Pid>,
    /// Spaces that the kernel side does not know as they are.
    changed: HashSet<SpaceId>,
    /// Spaces whose changes were not all told.
    missed: HashSet<SpaceId>,
    /// Files whose code somebody has mapped, as far as that was told.
    files: HashSet<FileId>,
    /// Who mapped one that nobody had before.
    new_code: Vec<Pid>,
    /// Why changes are not told at all, if they are not.
    deafness: Option<String>,
    lost: u64,
}

impl<P: Publisher> CodeMaps<P> {
    /// Nobody followed yet. If there is a reason why changes are not told, mappings are read when
    /// an address is not known.
    pub fn new(tables: P, deafness: Option<String>) -> Self {
        Self {
            spaces: AddressSpaces::default(),
            tables,
            homes: HashMap::new(),
            members: HashMap::new(),
            currency: HashMap::new(),
            told: VecDeque::new(),
            between: HashSet::new(),
            changed: HashSet::new(),
            missed: HashSet::new(),
            files: HashSet::new(),
            new_code: Vec::new(),
            deafness,
            lost: 0,
        }
    }

    /// All modules of the run so far.
    pub fn modules(&self) -> &Modules {
        self.spaces.modules()
    }

    /// The perf maps that were found since the last call, in the order of their indices.
    pub fn take_new_perf_maps(&mut self) -> Vec<FoundPerfMap> {
        self.spaces.take_new_perf_maps()
    }

    /// Processes whose perf maps are not read, for want of room.
    pub fn perf_maps_left_out(&self) -> u64 {
        self.spaces.perf_maps_left_out()
    }

    /// What code a space has mapped, by address.
    pub fn regions(&self, space: SpaceId) -> Vec<Region> {
        self.spaces.regions(space).copied().collect()
    }

    /// Who passes mappings on.
    pub fn tables(&self) -> &P {
        &self.tables
    }

    /// Why changes are not told as they happen, if they are not.
    pub fn deafness(&self) -> Option<&str> {
        self.deafness.as_deref()
    }

    /// Changes that were lost on their way, and made up for by reading everything again.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// A process is followed, in a space that is new.
    pub fn add(&mut self, space: SpaceId, pid: Pid) {
        self.homes.insert(pid, space);
        self.members.entry(space).or_default().push(pid);
        self.read(space, Reading::Whole);
        self.publish(space);
    }

    /// A followed process has made another, which shares its space or has a copy of it.
    pub fn forked(&mut self, space: SpaceId, child_space: SpaceId, child: Pid) {
        self.homes.insert(child, child_space);
        self.members.entry(child_space).or_default().push(child);
        if child_space != space {
            self.spaces.inherit(child_space, space);
            if let Some(currency) = self.currency.get(&space).copied() {
                self.currency.insert(child_space, currency);
            }
            // The kernel side has made a copy too, of what it knew at that moment.
            self.publish(child_space);
        }
    }

    /// A process runs another program, in a space that is new.
    pub fn executed(&mut self, space: SpaceId, new_space: SpaceId, pid: Pid) {
        self.between.remove(&pid);
        self.leave(space, pid);
        self.add(new_space, pid);
    }

    /// A process has ended.
    pub fn exited(&mut self, space: SpaceId, pid: Pid) {
        self.between.remove(&pid);
        self.homes.remove(&pid);
        self.leave(space, pid);
    }

    /// Processes that were told to have mapped the code of a file that nobody had mapped before, since
    /// the last call.
    pub fn take_new_code(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.new_code)
    }

    /// Takes a process out of its space; nobody left, nothing will happen there any more.
    fn leave(&mut self, space: SpaceId, pid: Pid) {
        let Some(members) = self.members.get_mut(&space) else {
            return;
        };
        members.retain(|member| *member != pid);
        if members.is_empty() {
            self.members.remove(&space);
            self.currency.remove(&space);
            self.changed.remove(&space);
            self.missed.remove(&space);
            self.tables.forget(space);
            self.spaces.forget(space);
        }
    }

    /// Changes that were told, of whomever.
    pub fn hear(&mut self, events: Vec<CodeEvent>, look: Look) {
        self.lost += look.lost;
        let too_many = self.told.len() + events.len() > MAX_TOLD;
        if too_many {
            self.lost += self.told.len() as u64;
            self.told.clear();
        }
        if look.incomplete || too_many {
            self.missed.extend(self.members.keys());
        }
        if !events.is_empty() {
            self.told.extend(events);
            let told = self.told.make_contiguous();
            told.sort_by_key(|event| event.time);
        }
    }

    /// Everything up to `time` has happened, but for changes of code.
    pub fn advance(&mut self, time: Nanoseconds) {
        while self.told.front().is_some_and(|event| event.time <= time) {
            if let Some(event) = self.told.pop_front() {
                self.apply(&event);
            }
        }
    }

    fn apply(&mut self, event: &CodeEvent) {
        let Some(&space) = self.homes.get(&event.pid) else {
            return;
        };
        match &event.change {
            CodeChange::Replaced => {
                self.between.insert(event.pid);
            }
            CodeChange::Mapped(mapping) => {
                if mapping.executable
                    && let Backing::File { id, .. } = &mapping.backing
                    && self.files.len() < MAX_FILES
                    && self.files.insert(*id)
                {
                    self.new_code.push(event.pid);
                }
                if mapping.executable
                    && !self.between.contains(&event.pid)
                    && self.spaces.map(space, event.pid, mapping)
                {
                    self.changed.insert(space);
                    self.currency.entry(space).or_default().changes += 1;
                }
            }
        }
    }

    /// Reads again what was not told, and passes on what has changed.
    pub fn catch_up(&mut self, now: Nanoseconds) {
        let due = |space: &SpaceId| {
            let currency = self.currency.get(space).copied().unwrap_or_default();
            let worn = currency.changes > currency.most_changes;
            (now >= currency.next_reading).then_some(worn)
        };
        let changed = self.changed.iter();
        let worn: Vec<SpaceId> = changed
            .filter(|one| due(one) == Some(true))
            .copied()
            .collect();
        let missed: Vec<SpaceId> = self
            .missed
            .iter()
            .filter(|one| due(one).is_some())
            .copied()
            .collect();
        for space in worn {
            self.read(space, Reading::Additions);
        }
        for space in missed {
            self.missed.remove(&space);
            self.read(space, Reading::Whole);
        }
        let changed: Vec<SpaceId> = self
            .changed
            .iter()
            .filter(|space| {
                let currency = self.currency.get(space);
                currency.is_none_or(|currency| now >= currency.next_publishing)
            })
            .copied()
            .collect();
        for space in changed {
            self.publish(space);
        }
    }

    /// Reads what a space has mapped. Of a process that is gone already nothing is to be read, and
    /// its frames will say so.
    fn read(&mut self, space: SpaceId, reading: Reading) {
        let start = monotonic();
        let members = self.members.get(&space).map_or(&[][..], Vec::as_slice);
        let mut departed = true;
        for pid in members.iter().take(MAX_ASKED) {
            // Refused: whoever else lives there may be asked.
            if let Ok(observed) = self.spaces.read(space, *pid, reading)
                && observed == Observed::Read
            {
                departed = false;
                break;
            }
        }
        if departed {
            self.spaces.abandon(space);
        }
        let end = monotonic();
        let rest = REREAD_PERIOD.max(READING_SHARE * end.saturating_sub(start));
        let currency = self.currency.entry(space).or_default();
        currency.next_reading = end + rest;
        currency.changes = 0;
        currency.most_changes = CHANGES_KEPT + self.spaces.regions(space).count();
        self.changed.insert(space);
    }

    /// Tells the kernel side what a space has mapped.
    fn publish(&mut self, space: SpaceId) {
        self.changed.remove(&space);
        if !self.members.contains_key(&space) {
            return;
        }
        let regions = self.spaces.regions(space);
        let (code, left_out) = choose(regions, self.spaces.modules());
        let currency = self.currency.entry(space).or_default();
        let many = currency.most_changes + currency.changes;
        if many > MANY {
            currency.next_publishing = monotonic() + PAUSE_PER_MAPPING * many as Nanoseconds;
        }
        let mapped = Mapped { code, left_out };
        self.tables.publish(space, mapped);
    }

    /// Where the frames of a new stack are, reading the mappings again if need be.
    pub fn resolve(&mut self, space: SpaceId, pcs: &[u64]) -> Box<[FrameAddress]> {
        let resolved = self.spaces.resolve(space, pcs);
        if resolved.missed == 0 {
            return resolved.frames.into();
        }
        let currency = self.currency.entry(space).or_default();
        if monotonic() < currency.next_reading {
            return resolved.frames.into();
        }
        let reading = match self.deafness {
            None => Reading::Additions,
            Some(_) => Reading::Whole,
        };
        self.read(space, reading);
        self.spaces.resolve(space, pcs).frames.into()
    }
}

#[cfg(test)]
mod tests;
