//! One address space: who lives in it, which blocks, whose they are.

use hashbrown::HashMap;
use memprof_common::event::PAGE_BYTES;

use super::judged::Subject;
use crate::events::event::{MappingKind, Nanoseconds, Pid, SpaceId};
use crate::growth::{Course, Room, Series, Tick, Ticks};
use crate::live::{Block, DividedTable, Division, mappings::Mappings, pages::PageTable};
use crate::stacks::{Sites, Touches, weight::Amount};

#[derive(Debug)]
pub(super) struct Space {
    pub(super) id: SpaceId,
    /// Processes that live in it, the first first.
    pub(super) members: Vec<Pid>,
    /// The process that joined or left last.
    last_seen: Option<Pid>,
    seed: u64,
    division: Division,
    pub(super) table: DividedTable,
    /// Its place among the spaces of the chunk that is being routed, see `parallel.rs`.
    pub(super) place: Option<u32>,
    pub(super) sites: Sites,
    pub(super) mappings: Mappings,
    /// What the sites of mappings map.
    pub(super) kinds: HashMap<u32, MappingKind>,
    /// Which pages are resident, and who touched them first.
    pub(super) pages: PageTable,
    pub(super) touches: Touches,
    /// Pages were resident that are no longer on record, for want of room.
    pub(super) pages_forgotten: bool,
    /// How each site's blocks come and go, by the sites' indices.
    pub(super) series: Vec<Series>,
    /// The course of what is outstanding, from the first look at it on.
    pub(super) course: Option<Course>,
    /// When the last process left.
    pub(super) ended_at: Option<Nanoseconds>,
    had_exit: bool,
}

impl Space {
    pub(super) fn new(
        id: SpaceId,
        start: Nanoseconds,
        seed: u64,
        division: Division,
        (max_sites, max_touchers): (usize, usize),
    ) -> Self {
        Self {
            id,
            members: Vec::new(),
            last_seen: None,
            seed,
            division,
            table: DividedTable::new(start, seed, division),
            place: None,
            sites: Sites::with_limit(max_sites),
            mappings: Mappings::default(),
            kinds: HashMap::new(),
            pages: PageTable::default(),
            touches: Touches::with_limit(max_touchers),
            pages_forgotten: false,
            series: Vec::new(),
            course: None,
            ended_at: None,
            had_exit: false,
        }
    }

    /// The process that a report names: the first that lives here, or the last that did.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.members.first().copied().or(self.last_seen)
    }

    /// No process is left, though there was one.
    pub(super) fn is_ended(&self) -> bool {
        self.had_exit && self.members.is_empty()
    }

    /// Nothing was ever allocated, touched or inherited here.
    pub(super) fn is_unused(&self) -> bool {
        self.sites.is_empty() && self.touches.is_empty()
    }

    pub(super) fn join(&mut self, pid: Pid) {
        if !self.members.contains(&pid) {
            self.members.push(pid);
        }
        self.last_seen = Some(pid);
    }

    /// Whether the process was a member. One that wasn't ends a space without members all the
    /// same: its start was lost.
    pub(super) fn leave(&mut self, pid: Pid) -> bool {
        let before = self.members.len();
        self.members.retain(|&member| member != pid);
        let was_member = self.members.len() < before;
        if was_member || before == 0 {
            self.last_seen = Some(pid);
            self.had_exit = true;
        }
        was_member
    }

    /// Counts a block of a site that was allocated in `tick`.
    #[inline]
    pub(super) fn born(&mut self, site: u32, size: u64, tick: Tick, room: &mut Room) -> Amount {
        self.begin_series(site, tick);
        let index = site as usize;
        self.series[index].born(tick, self.sites.bytes_of(site, size), room);
        self.sites.allocate(site, size)
    }

    /// Sees to it that a site has a series before its first block counts, which is of `tick`.
    #[inline]
    pub(super) fn begin_series(&mut self, site: u32, tick: Tick) {
        let index = site as usize;
        if self.series.len() <= index {
            self.series.resize_with(index + 1, || Series::new(tick));
        }
    }

    /// Counts the end of a block in `tick`.
    #[inline]
    pub(super) fn died(
        &mut self,
        block: &Block,
        ticks: &Ticks,
        tick: Tick,
        room: &mut Room,
    ) -> Amount {
        let bytes = self.sites.bytes_of(block.site, block.size);
        if let Some(series) = self.series.get_mut(block.site as usize) {
            series.died(ticks.of(block.birth), tick, bytes, room);
        }
        self.sites.free(block.site, block.size)
    }

    /// Takes a [`Space::died`] back.
    pub(super) fn revived(
        &mut self,
        block: &Block,
        ticks: &Ticks,
        tick: Tick,
        room: &mut Room,
    ) -> Amount {
        let bytes = self.sites.bytes_of(block.site, block.size);
        if let Some(series) = self.series.get_mut(block.site as usize) {
            series.revived(ticks.of(block.birth), tick, bytes, room);
        }
        self.sites.unfree(block.site, block.size)
    }

    /// Forgets how blocks came and went.
    pub(super) fn forget_series(&mut self, room: &mut Room) {
        room.give_back(self.series.iter().filter(|one| one.has_history()).count());
        self.series = Vec::new();
    }

    /// Forgets how blocks came and went before `tick`: what lives by then is there from the start.
    pub(super) fn restart_series(&mut self, tick: Tick, room: &mut Room) {
        let fresh = self.series.iter().map(|one| one.forked(tick)).collect();
        self.forget_series(room);
        self.series = fresh;
        self.course = None;
    }

    /// Notes how much of the subject there is until the tick `until`.
    pub(super) fn hold(&mut self, until: Tick, subject: Subject) {
        let (bytes, count) = match subject {
            Subject::Outstanding => {
                let totals = self.sites.sum();
                (totals.outstanding_bytes(), totals.outstanding_count())
            }
            Subject::Resident => {
                let bytes = self.touches.sum().resident_bytes();
                (bytes, bytes / PAGE_BYTES)
            }
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let bytes = bytes as f64;
        let course = self
            .course
            .get_or_insert_with(|| Course::new(until.saturating_sub(1)));
        course.hold(until, bytes, count);
    }

    /// The program is gone and its blocks with it; the totals stay.
    pub(super) fn discard(&mut self, start: Nanoseconds) {
        self.table = DividedTable::new(start, self.seed, self.division);
        self.sites.discard();
    }
}
