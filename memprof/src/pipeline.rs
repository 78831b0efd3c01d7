//! Events in, totals out: live tables and sites of every address space, and the sums over them.
//! No I/O and no clock: a live run, a recording and a scripted test all end here.
//!
//! - `pipeline/space.rs`: one address space: members, live table, sites
//! - `pipeline/mapped.rs`: mappings, and who is charged with them
//! - `pipeline/touched.rs`: pages, and who touched them first
//! - `pipeline/moved.rs`: pages that `mremap` moves
//! - `pipeline/blocks.rs`: what allocations, frees and resizes do
//! - `pipeline/parallel.rs`: the same for many at a time, by several threads
//! - `pipeline/books.rs`: what is counted by site, by several threads
//! - `pipeline/workers.rs`: those threads
//! - `pipeline/resizes.rs`: the old blocks of `realloc`s that may still fail
//! - `pipeline/snapshot.rs`: what a report is made of
//! - `pipeline/windows.rs`: what was left between marks
//! - `pipeline/contents.rs`: what an address space holds, by address
//! - `pipeline/joined.rs`: blocks joined with pages
//! - `pipeline/judged.rs`: what is said of growth, by site and of the whole

mod blocks;
mod books;
mod contents;
mod joined;
mod judged;
mod mapped;
mod moved;
mod parallel;
mod resizes;
mod snapshot;
mod space;
mod touched;
mod windows;
mod workers;

use std::collections::VecDeque;

use hashbrown::HashMap;
use memprof_common::{event::PAGE_BYTES, sampling::Schedule};

use crate::events::event::{Event, Nanoseconds, Pid, SpaceId, StackEnd, StackId, What};
use crate::events::order::Sink;
use crate::growth::{Context, Course, DEFAULT_SHIFT, Judgement, Room, Ticks};
use crate::live::Division;
use crate::stacks::sites::MAX_SITES;
use crate::stacks::table::MAX_STACKS;
use crate::stacks::{SiteTotals, StackTable};
pub use contents::Contents;
pub use joined::{FirstTouched, JoinedSite, JoinedSpace, MAX_JOINED_BLOCKS, NotJoined};
pub use judged::{Judged, Subject};
pub use mapped::{MAX_MAPPED_PIECES, MappedTotals};
use mapped::{Mapped, Range};
pub(crate) use moved::{MAPPED_ALONE_BYTES, MAPPED_ALONE_OFFSET};
use resizes::Resizes;
pub use snapshot::{ProcessTotals, ShownFilter, SiteSnapshot, Snapshot};
use space::Space;
pub use touched::{FaultCounts, PageLimits, ToucherSnapshot};
use touched::{Touch, Touched};
pub use windows::{Cell, Windows};
pub use workers::{Hastened, LEAST_RUN, Workers};

/// The most live blocks over all spaces: about 3 GiB. A forked child's copies count, though they
/// take memory only as far as parent and child come to differ.
pub const MAX_LIVE_BLOCKS: usize = 1 << 27;

/// How many spaces without a process stay in reports one by one; then the oldest is retired into
/// a sum.
pub const MAX_ENDED_SPACES: usize = 4096;

/// Bounds of what a [`Pipeline`] keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// See [`MAX_LIVE_BLOCKS`].
    pub live_blocks: usize,
    /// See [`MAX_MAPPED_PIECES`].
    pub mappings: usize,
    /// See [`MAX_ENDED_SPACES`].
    pub ended_spaces: usize,
    /// Per space, see [`MAX_SITES`].
    pub sites: usize,
    /// See [`MAX_STACKS`].
    pub stacks: usize,
    /// Of pages.
    pub pages: PageLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            live_blocks: MAX_LIVE_BLOCKS,
            mappings: MAX_MAPPED_PIECES,
            ended_spaces: MAX_ENDED_SPACES,
            sites: MAX_SITES,
            stacks: MAX_STACKS,
            pages: PageLimits::default(),
        }
    }
}

/// What happened that an undisturbed run from a process's start would not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frees of addresses that no block is known at: allocated before attaching, or lost. Not
    /// counted once blocks are sampled.
    pub unknown_frees: u64,
    /// Allocations at an address that was live: its free was missed, the old block counts as
    /// freed.
    pub superseded: u64,
    /// Failed resizes whose beginning is not on record (any more).
    pub resize_failures_unmatched: u64,
    /// Failed resizes whose old block's address was live again: the newer block stayed.
    pub resize_failures_superseded: u64,
    /// Blocks that were not followed, because there were [`MAX_LIVE_BLOCKS`].
    pub overflowed: u64,
    /// Allocations that went to the common site, because their space had [`MAX_SITES`].
    pub overflowed_sites: u64,
    /// Ends of mappings in ranges where none is known: mapped before attaching, or lost.
    pub unknown_unmaps: u64,
    /// Failed ends of mappings whose beginning is not on record (any more).
    pub unmap_failures_unmatched: u64,
    /// Mappings that were not followed, because there were [`MAX_MAPPED_PIECES`].
    pub overflowed_mappings: u64,
    /// Spaces that events told of before any process did: a process event was lost.
    pub unannounced_spaces: u64,
    /// Forks into a space in use, exits and execs of processes that weren't where they left.
    pub unmatched_processes: u64,
    /// Ended spaces that are in the sums only, see [`MAX_ENDED_SPACES`].
    pub retired_spaces: u64,
}

/// Totals over all spaces since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The totals.
    pub totals: SiteTotals,
    /// The most bytes that were outstanding at one time.
    pub peak_outstanding_bytes: u64,
    /// When they were; the start if nothing ever was.
    pub peak_at: Nanoseconds,
}

/// The state of a run.
#[derive(Debug)]
pub struct Pipeline {
    start: Nanoseconds,
    seed: u64,
    limits: Limits,
    division: Division,
    spaces: Vec<Space>,
    indices: HashMap<SpaceId, usize>,
    /// The space of the last event and its index: the next event's most of the time.
    recent: Option<(SpaceId, usize)>,
    ended: VecDeque<SpaceId>,
    retired: SiteTotals,
    stacks: StackTable,
    resizes: Resizes,
    mapped: Mapped,
    touched: Touched,
    live_blocks: usize,
    ticks: Ticks,
    /// What all series may remember.
    room: Room,
    /// What growth is judged by.
    subject: Subject,
    /// The course of what is outstanding, or was touched and not given back; and of the targets' resident
    /// memory.
    outstanding: Course,
    resident: Course,
    /// The resident memory at the last look.
    resident_bytes: Option<u64>,
    sampling: Schedule,
    /// Not every block was taken, at some time of the run.
    is_sampled: bool,
    summary: Summary,
    /// The highest before growth was judged, and when.
    earlier_peak: (u64, Nanoseconds),
    counts: Counts,
}

impl Pipeline {
    /// Nothing has happened yet. `start`: a time not after the first event's; `seed` should be
    /// random, see [`crate::live::LiveTable::new`].
    pub fn new(start: Nanoseconds, seed: u64) -> Self {
        Self::with_limits(start, seed, Limits::default())
    }

    /// Like [`Pipeline::new`], within other limits.
    pub fn with_limits(start: Nanoseconds, seed: u64, limits: Limits) -> Self {
        Self {
            start,
            seed,
            limits,
            division: Division::default(),
            spaces: Vec::new(),
            indices: HashMap::new(),
            recent: None,
            ended: VecDeque::new(),
            retired: SiteTotals::default(),
            stacks: StackTable::with_limit(limits.stacks),
            resizes: Resizes::default(),
            mapped: Mapped::default(),
            touched: Touched::with_limits(limits.pages),
            live_blocks: 0,
            ticks: Ticks::new(start, DEFAULT_SHIFT),
            room: Room::default(),
            subject: Subject::default(),
            outstanding: Course::new(0),
            resident: Course::new(0),
            resident_bytes: None,
            sampling: Schedule::default(),
            is_sampled: false,
            summary: Summary {
                peak_at: start,
                ..Summary::default()
            },
            earlier_peak: (0, start),
            counts: Counts::default(),
        }
    }

    /// Divides the live tables of spaces to come, so that [`Pipeline::apply_run`] can have several
    /// threads work on one.
    pub fn divide(&mut self, division: Division) {
        self.division = division;
    }

    /// Makes a process known that is followed, or that joined a known space.
    pub fn add_process(&mut self, pid: Pid, space: SpaceId) {
        let at = match self.indices.get(&space) {
            Some(&at) => at,
            None => self.create(space),
        };
        self.spaces[at].join(pid);
    }

    /// How blocks are chosen from now on. What the schedule says of times that are past must be
    /// what the last one said.
    pub fn sample(&mut self, sampling: Schedule) {
        self.sampling = sampling;
        self.is_sampled |= sampling.before > 0 || sampling.after > 0;
    }

    /// Applies the next event; times must not decrease (see
    /// [`Order`](crate::events::order::Order)).
    #[inline]
    pub fn apply(&mut self, event: Event) {
        let Event { time, space, what } = event;
        match what {
            What::Alloc {
                address,
                size,
                stack,
            } => {
                self.allocate(time, space, address, size, stack);
                self.follow_block(space, address, size);
            }
            What::Free { address } => {
                self.free(time, space, address);
            }
            What::ResizeFree { address } => {
                let block = self.free(time, space, address);
                self.resizes.remember(space, address, block);
            }
            What::ResizeFailed { address } => self.undo_resize(time, space, address),
            What::Map {
                address,
                length,
                stack,
                kind,
                inner,
            } => {
                let range = Range {
                    address,
                    length,
                    stack,
                    kind,
                    inner,
                };
                self.map(time, space, &range);
            }
            What::Unmap { address, length } => self.unmap(time, space, address, length),
            What::UnmapFailed { address, length } => self.undo_unmap(time, space, address, length),
            What::Remap(remap) => {
                self.follow_remap(space, &remap);
                self.remap(time, space, &remap);
            }
            What::Touch {
                address,
                pages,
                stack,
                memory,
                by,
                how,
            } => {
                let touch = Touch {
                    address,
                    pages,
                    stack,
                    memory,
                    by,
                    how,
                };
                self.touch(space, &touch);
            }
            What::CopyPage { address, stack, by } => self.copy_page(space, address, stack, by),
            What::GiveBack { address, length } => self.give_back(space, address, length),
            What::GiveBackHeap { address } => self.give_back_heap(space, address),
            What::Stack(raw) => self.stacks.add(*raw),
            // Unwinding it takes files and time: what it gives comes by `continue_stack`.
            What::StackCopy(_) => {}
            What::Fork {
                pid: _,
                child,
                child_space,
            } => self.fork(time, space, child, child_space),
            What::Exec { pid, new_space } => self.exec(time, space, pid, new_space),
            What::Exit { pid } => self.exit(time, space, pid),
            What::Appear { pid } => self.add_process(pid, space),
        }
    }

    /// Takes in what the copy of a broken stack gave; see [`StackTable::continue_by_copy`].
    pub fn continue_stack(&mut self, id: StackId, pcs: &[u64], end: StackEnd) -> Option<usize> {
        self.stacks.continue_by_copy(id, pcs, end)
    }

    /// Fetches into the cache what [`Pipeline::apply`] will touch for an event that comes soon.
    #[inline]
    pub fn expect(&self, event: &Event) {
        let (What::Alloc { address, .. } | What::Free { address } | What::ResizeFree { address }) =
            event.what
        else {
            return;
        };
        let at = match self.recent {
            Some((recent, at)) if recent == event.space => at,
            _ => match self.indices.get(&event.space) {
                Some(&at) => at,
                None => return,
            },
        };
        self.spaces[at].table.prefetch(address);
    }

    /// Totals over all spaces.
    pub fn summary(&self) -> Summary {
        let mut summary = self.summary;
        let (bytes, at) = self.earlier_peak;
        if bytes >= summary.peak_outstanding_bytes {
            summary.peak_outstanding_bytes = bytes;
            summary.peak_at = at;
        }
        summary
    }

    /// The most bytes outstanding at one time since growth is judged.
    pub fn judged_peak_bytes(&self) -> u64 {
        self.summary.peak_outstanding_bytes
    }

    /// Judges growth from `now` on: what is outstanding by then stays in all totals, but no block of
    /// it counts as growth.
    pub fn judge_from(&mut self, now: Nanoseconds) {
        let whole = self.summary();
        self.earlier_peak = (whole.peak_outstanding_bytes, whole.peak_at);
        self.summary.peak_outstanding_bytes = whole.totals.outstanding_bytes();
        self.summary.peak_at = now;
        let tick = self.ticks.of(now);
        for space in &mut self.spaces {
            space.restart_series(tick, &mut self.room);
        }
        self.outstanding = Course::new(tick);
        self.resident = Course::new(tick);
    }

    /// Judges growth by something else from the start; see [`Subject`].
    pub fn judge_by(&mut self, subject: Subject) {
        self.subject = subject;
    }

    /// What was not as it should be.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The stacks behind the sites' ids.
    pub fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    /// The sum over the spaces that were retired. The spaces' totals and this make the summary's.
    pub fn retired(&self) -> SiteTotals {
        self.retired
    }

    /// Blocks in all live tables, forked copies included.
    pub fn live_blocks(&self) -> usize {
        self.live_blocks
    }

    /// Heap bytes of all live tables.
    pub fn table_bytes(&self) -> usize {
        let tables = self.spaces.iter().map(|space| space.table.memory_bytes());
        tables.sum()
    }

    /// Every space that is not retired: live ones and ended ones, in no order.
    pub fn processes(&self) -> impl Iterator<Item = ProcessTotals> {
        self.spaces.iter().map(ProcessTotals::of)
    }

    /// Notes how much is outstanding and resident now, for the course of both: several times a second.
    pub fn hold(&mut self, now: Nanoseconds, resident_bytes: Option<u64>) {
        let until = self.ticks.of(now).saturating_add(1);
        let (bytes, count) = match self.subject {
            Subject::Outstanding => {
                let totals = &self.summary.totals;
                (totals.outstanding_bytes(), totals.outstanding_count())
            }
            Subject::Resident => {
                let bytes = self.resident_now();
                (bytes, bytes / PAGE_BYTES)
            }
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.outstanding.hold(until, bytes as f64, count);
        if let Some(bytes) = resident_bytes {
            let pages = u32::try_from(bytes / PAGE_BYTES).unwrap_or(u32::MAX);
            self.resident.hold(until, bytes as f64, pages);
            self.resident_bytes = resident_bytes;
        }
        for space in &mut self.spaces {
            if space.ended_at.is_none() {
                space.hold(until, self.subject);
            }
        }
    }

    /// The grain of time in which growth is judged.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }

    /// Says of each call path, and of the whole, how it has grown up to `now`.
    pub fn judge(&self, now: Nanoseconds, context: &Context) -> Judged {
        match self.subject {
            Subject::Outstanding => judged::judge(
                &self.spaces,
                &self.outstanding,
                &self.resident,
                now,
                context,
            ),
            Subject::Resident => {
                let whole = match self.resident_bytes {
                    Some(bytes) => (&self.resident, bytes),
                    None => (&self.outstanding, self.resident_now()),
                };
                judged::judge_resident_memory(&self.spaces, whole, now, context)
            }
        }
    }

    /// What is said of one site, which a snapshot named; `None` if its blocks are gone with their
    /// program.
    pub fn judgement(
        &self,
        judged: &Judged,
        site: &SiteSnapshot,
        now: Nanoseconds,
        context: &Context,
    ) -> Option<Judgement> {
        let at = *self.indices.get(&site.space)?;
        judged.of_site(&self.spaces[at], site.site, now, context)
    }

    /// What is said of sites, of one call path, as one; `None` if their blocks are gone with their
    /// programs.
    pub fn judgement_together(
        &self,
        sites: &[(SpaceId, u32)],
        now: Nanoseconds,
        context: &Context,
    ) -> Option<Judgement> {
        judged::together(&self.spaces, &self.indices, sites, now, context)
    }

    /// Looks at every live block: what a report shows at the time `now`.
    pub fn snapshot(&self, now: Nanoseconds, filter: &ShownFilter) -> Snapshot {
        let mut snapshot = snapshot::take(&self.spaces, now, filter);
        snapshot.merge_twins(&self.stacks);
        snapshot
    }

    /// Divides what is outstanding by the times of `marks`, which must not decrease. The snapshot is
    /// of the same moment.
    pub fn windows(&self, marks: &[Nanoseconds], snapshot: &Snapshot) -> Windows {
        windows::take(&self.spaces, marks, snapshot)
    }

    /// The index of a space that an event named.
    #[inline]
    fn space_at(&mut self, id: SpaceId) -> usize {
        if let Some((recent, at)) = self.recent
            && recent == id
        {
            return at;
        }
        let at = match self.indices.get(&id) {
            Some(&at) => at,
            None => {
                self.counts.unannounced_spaces += 1;
                self.create(id)
            }
        };
        self.recent = Some((id, at));
        at
    }

    fn create(&mut self, id: SpaceId) -> usize {
        let at = self.spaces.len();
        let seed = self.seed ^ (u64::from(id.0) << 32);
        self.spaces.push(Space::new(
            id,
            self.start,
            seed,
            self.division,
            (self.limits.sites, self.limits.pages.sites),
        ));
        self.indices.insert(id, at);
        at
    }

    fn fork(&mut self, time: Nanoseconds, space: SpaceId, child: Pid, child_space: SpaceId) {
        let parent = self.space_at(space);
        if child_space == space {
            self.spaces[parent].join(child);
            return;
        }
        let at = match self.indices.get(&child_space) {
            Some(&at) => at,
            None => self.create(child_space),
        };
        self.spaces[at].join(child);
        if !self.spaces[at].is_unused() {
            self.counts.unmatched_processes += 1;
            return;
        }
        self.fork_pages(parent, at);
        let blocks = self.spaces[parent].table.len();
        if self.live_blocks + blocks > self.limits.live_blocks {
            self.counts.overflowed += blocks as u64;
            return;
        }
        if !self.has_room_to_fork(parent) {
            self.counts.overflowed += blocks as u64;
            self.counts.overflowed_mappings += self.spaces[parent].mappings.pieces() as u64;
            return;
        }
        let table = self.spaces[parent].table.fork();
        let sites = self.spaces[parent].sites.fork();
        let tick = self.ticks.of(time);
        let series = self.spaces[parent].series.iter();
        let series = series.map(|one| one.forked(tick)).collect();
        self.live_blocks += blocks;
        self.summary.totals.add(&sites.sum());
        self.note_peak(time);
        self.fork_mappings(parent, at);
        self.spaces[at].table = table;
        self.spaces[at].sites = sites;
        self.spaces[at].series = series;
    }

    fn exec(&mut self, time: Nanoseconds, space: SpaceId, pid: Pid, new_space: SpaceId) {
        if space == new_space {
            self.counts.unmatched_processes += 1;
            return;
        }
        let at = self.space_at(space);
        if !self.spaces[at].leave(pid) {
            self.counts.unmatched_processes += 1;
        }
        if self.spaces[at].is_ended() {
            self.live_blocks -= self.spaces[at].table.len();
            let before = self.spaces[at].sites.sum();
            self.summary.totals.discarded_bytes += before.outstanding_bytes();
            self.summary.totals.discarded_count += before.outstanding_count();
            self.discard_mappings(at);
            self.discard_pages(at);
            self.spaces[at].discard(self.start);
            self.spaces[at].forget_series(&mut self.room);
            self.resizes.forget(space);
            self.spaces[at].ended_at = Some(time);
            self.end(space);
        }
        self.add_process(pid, new_space);
    }

    fn exit(&mut self, time: Nanoseconds, space: SpaceId, pid: Pid) {
        let at = self.space_at(space);
        if !self.spaces[at].leave(pid) {
            self.counts.unmatched_processes += 1;
        }
        if self.spaces[at].is_ended() {
            self.spaces[at].ended_at = Some(time);
            self.keep_last_pages(at);
            self.end(space);
        }
    }

    /// Lines an ended space up for retirement, and retires the oldest if there are too many.
    fn end(&mut self, space: SpaceId) {
        if self.ended.contains(&space) {
            return;
        }
        self.ended.push_back(space);
        if self.ended.len() > self.limits.ended_spaces
            && let Some(oldest) = self.ended.pop_front()
            && let Some(&at) = self.indices.get(&oldest)
            && self.spaces[at].is_ended()
        {
            self.retire(oldest, at);
        }
    }

    fn retire(&mut self, id: SpaceId, at: usize) {
        let mut space = self.spaces.swap_remove(at);
        space.forget_series(&mut self.room);
        self.indices.remove(&id);
        if let Some(moved) = self.spaces.get(at) {
            self.indices.insert(moved.id, at);
        }
        self.recent = None;
        self.resizes.forget(id);
        self.live_blocks -= space.table.len();
        self.retire_mappings(&space);
        self.retire_pages(&mut space);
        self.retired.add(&space.sites.sum());
        self.counts.retired_spaces += 1;
    }
}

impl Sink for Pipeline {
    #[inline]
    fn expect(&self, event: &Event) {
        self.expect(event);
    }

    #[inline]
    fn apply(&mut self, event: Event) {
        self.apply(event);
    }
}
