//! Pages that become resident, and who touched them first.
//!
//! Who touched memory first is not who holds it: a pool's pages are first touched by whoever got its
//! blocks then. So none of this is in what is outstanding, and no call path is judged by it.

use std::ops::Range;

use hashbrown::{HashMap, hash_map::Entry};
use memprof_common::event::PAGE_BYTES;

use super::{Pipeline, space::Space};
use crate::events::event::{PageMemory, PageToucher, Pid, SpaceId, StackId, TouchHow};
use crate::live::pages::{MAX_PAGE_REGIONS, Page, PageTable, REGION_PAGES};
use crate::stacks::{TouchTotals, touches::MAX_TOUCHERS};

/// Pages around the one that was touched that the kernel may map with it, if a file has them
/// (`fault_around_bytes`).
const AROUND: u64 = 16;

/// Bounds of what is kept of pages.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// See [`MAX_PAGE_REGIONS`].
    pub regions: usize,
    /// Per space, see [`MAX_TOUCHERS`].
    pub sites: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self {
            regions: MAX_PAGE_REGIONS,
            sites: MAX_TOUCHERS,
        }
    }
}

/// What limits the figures of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Pages of touches of which it is not known how many became resident.
    pub guessed_pages: u64,
    /// Pages that became resident around one that was touched, it is not known which: the next ones were
    /// taken.
    pub around_pages: u64,
    /// Pages that system calls were to make resident: at most those did.
    pub populated_pages: u64,
    /// Bytes that became resident it is not known where, so that nothing can give them back.
    pub unplaced_bytes: u64,
    /// Pages that were touched first again: nobody saw that they were given back.
    pub superseded_pages: u64,
    /// Pages that others say are gone, though nobody saw that they were given back.
    pub found_gone_pages: u64,
    /// Pages that were not followed, because there were [`MAX_PAGE_REGIONS`].
    pub not_followed_pages: u64,
    /// Touches that went to the common site, because their space had [`MAX_TOUCHERS`].
    pub overflowed_sites: u64,
}

/// What a pipeline knows of pages beside those of each space.
#[derive(Debug)]
pub(super) struct Touched {
    /// How many more regions there may be.
    pub(super) room: usize,
    /// Ended spaces whose pages are still on record.
    ended: usize,
    retired: TouchTotals,
    counts: FaultCounts,
}

impl Touched {
    pub(super) fn with_limits(limits: PageLimits) -> Self {
        Self {
            room: limits.regions,
            ended: 0,
            retired: TouchTotals::default(),
            counts: FaultCounts::default(),
        }
    }
}

/// Memory that became resident, as of an event.
pub(super) struct Touch {
    pub(super) address: u64,
    pub(super) pages: u32,
    pub(super) stack: StackId,
    pub(super) memory: PageMemory,
    pub(super) by: PageToucher,
    pub(super) how: TouchHow,
}

/// One call stack of one address space, with what it touched first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToucherSnapshot {
    /// The address space.
    pub space: SpaceId,
    /// The site's index in its space, apart from those of blocks.
    pub site: u32,
    /// The process that a report names for the space.
    pub pid: Option<Pid>,
    /// The call stack; `None` for the common site of a space with too many stacks.
    pub stack: Option<StackId>,
    /// What was touched, and what became of it.
    pub totals: TouchTotals,
}

impl Pipeline {
    /// What was touched first since the start, over all spaces.
    pub fn touched(&self) -> TouchTotals {
        let mut sum = self.touched.retired;
        for space in &self.spaces {
            sum.add(&space.touches.sum());
        }
        sum
    }

    /// Of what was resident, bytes of processes that have ended: it was when they did.
    pub fn touched_and_ended_bytes(&self) -> u64 {
        let ended = self.spaces.iter().filter(|space| space.ended_at.is_some());
        let ended = ended.map(|space| space.touches.sum().resident_bytes());
        ended.fold(self.touched.retired.resident_bytes(), u64::saturating_add)
    }

    /// Bytes that are resident in processes that live.
    pub(super) fn resident_now(&self) -> u64 {
        let resident = self.touched().resident_bytes();
        resident.saturating_sub(self.touched_and_ended_bytes())
    }

    /// What limits the figures of pages.
    pub fn fault_counts(&self) -> FaultCounts {
        self.touched.counts
    }

    /// Every call stack that ever touched a page first, by space and site. Of a space, those whose stacks
    /// have the same program counters are one, as in [`Pipeline::snapshot`].
    pub fn touchers(&self) -> Vec<ToucherSnapshot> {
        let mut first: HashMap<(SpaceId, StackId), usize> = HashMap::new();
        let mut touchers: Vec<ToucherSnapshot> = Vec::new();
        for space in &self.spaces {
            for (site, stack, totals) in space.touches.iter() {
                if *totals == TouchTotals::default() {
                    continue;
                }
                let toucher = ToucherSnapshot {
                    space: space.id,
                    site,
                    pid: space.pid(),
                    stack,
                    totals: *totals,
                };
                let Some(id) = stack.map(|stack| self.stacks.whole_id(space.id, stack)) else {
                    touchers.push(toucher);
                    continue;
                };
                match first.entry((space.id, id)) {
                    Entry::Occupied(at) => touchers[*at.get()].totals.add(totals),
                    Entry::Vacant(place) => {
                        place.insert(touchers.len());
                        touchers.push(toucher);
                    }
                }
            }
        }
        touchers.sort_unstable_by_key(|one| (one.space, one.site));
        touchers
    }

    /// How many bytes of a range are resident, by the stacks that touched them first.
    pub fn touchers_in(
        &self,
        space: SpaceId,
        start: u64,
        length: u64,
    ) -> Vec<(Option<StackId>, u64)> {
        let Some(&at) = self.indices.get(&space) else {
            return Vec::new();
        };
        let space = &self.spaces[at];
        let sites = space.pages.sites_in(start, length).into_iter();
        sites
            .map(|(site, bytes)| (space.touches.stack_of(site), bytes))
            .collect()
    }

    /// Drops the pages of a space that `is_resident` denies, by their numbers, which ascend: nobody saw
    /// that they were given back. See [`Pipeline::placed_runs`] for those that may be asked for.
    pub fn drop_gone_pages(&mut self, space: SpaceId, is_resident: impl FnMut(u64) -> bool) {
        let Some(&at) = self.indices.get(&space) else {
            return;
        };
        let space = &mut self.spaces[at];
        let (touches, counts) = (&mut space.touches, &mut self.touched.counts);
        space
            .pages
            .retain(is_resident, &mut self.touched.room, &mut |page, pages| {
                counts.found_gone_pages += pages;
                touches.change(page.site, |totals| totals.give_back(page, pages));
            });
    }

    /// The runs of pages of a space that are on record as resident, by their numbers, ascending.
    pub fn resident_runs(&self, space: SpaceId) -> Vec<Range<u64>> {
        let at = self.indices.get(&space);
        at.map_or_else(Vec::new, |&at| self.spaces[at].pages.runs().collect())
    }

    pub(super) fn touch(&mut self, space: SpaceId, touch: &Touch) {
        let at = self.space_at(space);
        let site = self.toucher(at, touch.stack);
        let pages = u64::from(touch.pages);
        if touch.how == TouchHow::Guessed {
            self.touched.counts.guessed_pages += pages;
        }
        if touch.address == 0 {
            let bytes = pages * PAGE_BYTES;
            let unplaced = &mut self.touched.counts.unplaced_bytes;
            *unplaced = unplaced.saturating_add(bytes);
            let touches = &mut self.spaces[at].touches;
            touches.change(site, |totals| totals.touch_unplaced(touch.memory, bytes));
            return;
        }
        let page = Page {
            site,
            memory: touch.memory,
            is_huge: pages >= REGION_PAGES && touch.how != TouchHow::Populated,
            by_kernel: touch.by == PageToucher::Kernel,
        };
        let first = touch.address / PAGE_BYTES;
        match touch.how {
            TouchHow::Populated => self.populate(at, first..first + pages, page),
            _ => self.touch_around(at, first, pages, page),
        }
    }

    /// A page and those around it that became resident with it.
    fn touch_around(&mut self, at: usize, first: u64, pages: u64, page: Page) {
        let is_aligned = page.memory == PageMemory::Anonymous || pages >= REGION_PAGES;
        if pages.is_power_of_two() && (is_aligned || pages == 1) {
            let start = first & !(pages - 1);
            return self.put_all(at, start..start + pages, page);
        }
        self.touched.counts.around_pages += pages.saturating_sub(1);
        if pages > AROUND {
            let start = first & !(pages.next_power_of_two() - 1);
            let start = start.max((first + 1).saturating_sub(pages));
            return self.put_all(at, start..start + pages, page);
        }
        // The window begins at its own multiple, or where the mapping does, which is not known: then it
        // ends as much later.
        let start = first & !(AROUND - 1);
        let (mut unknown, mut replaceable) = (0u32, 0u32);
        for number in (start..first + AROUND).filter(|number| *number != first) {
            let bit = 1 << (number - start);
            match self.spaces[at].pages.get(number) {
                None => unknown |= bit,
                // Of the unknown ones too few are left if some were given back unseen. Anonymous memory is
                // not: where each of its pages is was told.
                Some(known) if known.memory != PageMemory::Anonymous => replaceable |= bit,
                Some(_) => {}
            }
        }
        let of_window = |wanted: u32| {
            let indices = (0..2 * AROUND).filter(move |index| wanted >> index & 1 != 0);
            indices.map(|index| start + index)
        };
        let others = of_window(unknown).chain(of_window(replaceable));
        for number in [first].into_iter().chain(others).take(pages as usize) {
            self.put_all(at, number..number + 1, page);
        }
    }

    /// What a system call was to make resident. What is known stays whose it is.
    fn populate(&mut self, at: usize, range: Range<u64>, page: Page) {
        for number in range.clone() {
            if self.spaces[at].pages.get(number).is_some() {
                continue;
            }
            if self.put(at, number..number + 1, page) == 0 {
                self.touched.counts.not_followed_pages += range.end - number;
                return;
            }
            self.touched.counts.populated_pages += 1;
        }
    }

    fn put_all(&mut self, at: usize, range: Range<u64>, page: Page) {
        let put = self.put(at, range.clone(), page);
        self.touched.counts.not_followed_pages += range.end - range.start - put;
    }

    /// How many of the pages found room.
    fn put(&mut self, at: usize, range: Range<u64>, page: Page) -> u64 {
        let (touched, space) = (&mut self.touched, &mut self.spaces[at]);
        let (touches, counts) = (&mut space.touches, &mut touched.counts);
        let mut replace = |before: Page, pages| {
            counts.superseded_pages += pages;
            touches.change(before.site, |totals| totals.give_back(before, pages));
        };
        let room = &mut touched.room;
        let put = space.pages.put_all(range.clone(), page, room, &mut replace);
        touches.change(page.site, |totals| totals.touch(page, put));
        let rest = range.start + put..range.end;
        if !rest.is_empty() && self.touched.ended > 0 {
            self.forget_ended_pages();
            return put + self.put(at, rest, page);
        }
        put
    }

    pub(super) fn copy_page(
        &mut self,
        space: SpaceId,
        address: u64,
        stack: StackId,
        by: PageToucher,
    ) {
        let at = self.space_at(space);
        let site = self.toucher(at, stack);
        let space = &mut self.spaces[at];
        let by_kernel = by == PageToucher::Kernel;
        let copied = space.pages.copy(address / PAGE_BYTES, site, by_kernel);
        if let Some((before, copy)) = copied {
            let touches = &mut space.touches;
            touches.change(before.site, |totals| totals.give_back(before, 1));
            touches.change(site, |totals| totals.copy(copy));
        }
    }

    /// What of a range is whole pages is gone.
    pub(super) fn give_back(&mut self, space: SpaceId, address: u64, length: u64) {
        let end = address.saturating_add(length) / PAGE_BYTES;
        let range = address.div_ceil(PAGE_BYTES)..end;
        self.with_pages(space, |table, room, gone| table.remove(range, room, gone));
    }

    /// What of the heap is above an address is gone.
    pub(super) fn give_back_heap(&mut self, space: SpaceId, address: u64) {
        let first = address.div_ceil(PAGE_BYTES);
        self.with_pages(space, |table, room, gone| {
            table.remove_run_from(first, room, gone);
        });
    }

    /// Takes pages of a space away, from the table and the totals.
    fn with_pages(
        &mut self,
        space: SpaceId,
        work: impl FnOnce(&mut PageTable, &mut usize, &mut dyn FnMut(Page, u64)),
    ) {
        let at = self.space_at(space);
        let Space { pages, touches, .. } = &mut self.spaces[at];
        work(pages, &mut self.touched.room, &mut |page, count| {
            touches.change(page.site, |totals| totals.give_back(page, count));
        });
    }

    /// The site of a stack that touches pages.
    fn toucher(&mut self, at: usize, stack: StackId) -> u32 {
        let touches = &mut self.spaces[at].touches;
        if let Some(site) = touches.find(stack) {
            return site;
        }
        self.stacks.expect(stack);
        let site = touches.create(stack);
        self.touched.counts.overflowed_sites += u64::from(touches.is_common(site));
        site
    }

    /// A forked child has what its parent has, but for files, which are mapped anew.
    pub(super) fn fork_pages(&mut self, parent: usize, child: usize) {
        if self.spaces[parent].touches.is_empty() {
            return;
        }
        let table = self.spaces[parent].pages.fork(&mut self.touched.room);
        match table {
            Some(table) => {
                self.spaces[child].pages = table;
                self.spaces[child].touches = self.spaces[parent].touches.fork();
                self.spaces[child].pages_forgotten = self.spaces[parent].pages_forgotten;
            }
            None => {
                self.touched.counts.not_followed_pages += self.spaces[parent].pages.len();
                self.spaces[child].pages_forgotten = true;
            }
        }
    }

    /// The program of a space is gone and its pages with it.
    pub(super) fn discard_pages(&mut self, at: usize) {
        let space = &mut self.spaces[at];
        space.pages.clear(&mut self.touched.room);
        space.touches.discard();
    }

    /// The last process of a space is gone. What it had stays for the report.
    pub(super) fn keep_last_pages(&mut self, at: usize) {
        let pages = &mut self.spaces[at].pages;
        pages.leave_relatives();
        self.touched.ended += usize::from(!pages.is_empty());
    }

    /// Makes room: of what has ended the totals are enough.
    fn forget_ended_pages(&mut self) {
        for space in &mut self.spaces {
            if space.ended_at.is_some() {
                space.pages_forgotten |= !space.pages.is_empty();
                space.pages.clear(&mut self.touched.room);
            }
        }
        self.touched.ended = 0;
    }

    /// A space leaves the reports; what it had stays in the totals.
    pub(super) fn retire_pages(&mut self, space: &mut Space) {
        space.pages.clear(&mut self.touched.room);
        self.touched.retired.add(&space.touches.sum());
    }
}

#[cfg(test)]
mod tests;
