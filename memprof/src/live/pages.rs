//! The pages of one address space that are resident, as far as page faults told: who touched each
//! first, and what it holds.
//!
//! Pages come in neighbourhoods and there are millions of them, so they are kept by region of 2 MiB,
//! four bytes each; a forked child shares its parent's regions until one of the two changes. Which
//! pages a fork left shared with another process is kept beside them: the next write copies those.

pub mod joined;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use memprof_common::event::PAGE_BYTES;

use crate::events::event::PageMemory;

/// Pages of a region.
pub const REGION_PAGES: u64 = 512;
/// The most regions over all address spaces, forked children's included though they may share them:
/// 256 GiB of pages side by side, which take 270 MiB here.
pub const MAX_PAGE_REGIONS: usize = 1 << 17;

const REGION_WORDS: usize = REGION_PAGES as usize;
const KNOWN: u32 = 1 << 31;
const HUGE: u32 = 1 << 30;
const BY_KERNEL: u32 = 1 << 29;
const MEMORY_SHIFT: u32 = 27;
const SITE_MASK: u32 = (1 << 24) - 1;

/// What is known of a resident page besides its number, which is its address in [`PAGE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Who touched it first: an index below 2^24 that the table's owner gives out.
    pub site: u32,
    /// What it holds.
    pub memory: PageMemory,
    /// It is part of a huge page.
    pub is_huge: bool,
    /// The kernel touched it, in a system call of the program's.
    pub by_kernel: bool,
}

impl Page {
    fn pack(self) -> u32 {
        let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
        KNOWN
            | flag(self.is_huge, HUGE)
            | flag(self.by_kernel, BY_KERNEL)
            | ((self.memory as u32) << MEMORY_SHIFT)
            | (self.site & SITE_MASK)
    }

    fn unpack(word: u32) -> Option<Self> {
        (word & KNOWN != 0).then_some(Self {
            site: word & SITE_MASK,
            memory: match (word >> MEMORY_SHIFT) & 3 {
                0 => PageMemory::File,
                1 => PageMemory::Anonymous,
                _ => PageMemory::Shared,
            },
            is_huge: word & HUGE != 0,
            by_kernel: word & BY_KERNEL != 0,
        })
    }

    fn is_anonymous(self) -> bool {
        self.memory == PageMemory::Anonymous
    }
}

/// There are [`MAX_PAGE_REGIONS`], or as many as the caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

#[derive(Clone, Debug)]
struct Region {
    number: u64,
    pages: Arc<[u32; REGION_WORDS]>,
    known: u16,
    anonymous: u16,
    /// By page: if it is anonymous, another process may have it too.
    forked: [u64; REGION_WORDS / 64],
}

impl Region {
    fn new(number: u64) -> Self {
        Self {
            number,
            pages: Arc::new([0; REGION_WORDS]),
            known: 0,
            anonymous: 0,
            forked: [0; REGION_WORDS / 64],
        }
    }

    fn put(&mut self, index: usize, page: Page) -> Option<Page> {
        let word = &mut Arc::make_mut(&mut self.pages)[index];
        let before = Page::unpack(std::mem::replace(word, page.pack()));
        self.known += u16::from(before.is_none());
        self.anonymous -= u16::from(before.is_some_and(Page::is_anonymous));
        self.anonymous += u16::from(page.is_anonymous());
        self.forked[index / 64] &= !(1 << (index % 64));
        before
    }

    /// The same for all pages of a range; says what was there, and counts what was not.
    fn put_all(&mut self, range: Range<usize>, page: Page, gone: &mut dyn FnMut(Page, u64)) -> u64 {
        let (mut known, mut anonymous) = (0, 0);
        for (before, count) in self.runs(range.clone()) {
            gone(before, count);
            known += count;
            anonymous += if before.is_anonymous() { count } else { 0 };
        }
        for index in range.clone() {
            self.forked[index / 64] &= !(1 << (index % 64));
        }
        let fresh = range.len() as u64 - known;
        self.known += fresh as u16;
        self.anonymous -= anonymous as u16;
        self.anonymous += if page.is_anonymous() {
            range.len() as u16
        } else {
            0
        };
        Arc::make_mut(&mut self.pages)[range].fill(page.pack());
        fresh
    }

    fn is_forked(&self, index: usize) -> bool {
        let is_anonymous = Page::unpack(self.pages[index]).is_some_and(Page::is_anonymous);
        is_anonymous && self.forked[index / 64] & (1 << (index % 64)) != 0
    }

    /// Runs of pages that are alike, within a range.
    fn runs(&self, range: Range<usize>) -> impl Iterator<Item = (Page, u64)> + '_ {
        let alike = self.pages[range].chunk_by(|a, b| a == b);
        alike.filter_map(|run| Some((Page::unpack(run[0])?, run.len() as u64)))
    }

    /// What a forked child has of it: files are mapped anew, page by page.
    fn inherited(&self) -> Option<Self> {
        if self.anonymous == 0 {
            return None;
        }
        let mut child = self.clone();
        if self.anonymous < self.known {
            for word in Arc::make_mut(&mut child.pages) {
                if !Page::unpack(*word).is_some_and(Page::is_anonymous) {
                    *word = 0;
                }
            }
            child.known = self.anonymous;
        }
        Some(child)
    }
}

/// The resident pages of one address space.
///
/// What takes regions takes `room`, how many more there may be over all spaces, and keeps it up.
#[derive(Debug, Default)]
pub struct PageTable {
    regions: Vec<Region>,
    /// Where each region is, by its number.
    places: BTreeMap<u64, u32>,
    /// The region that was asked for last: the next one most of the time.
    recent: Option<(u64, u32)>,
    pages: u64,
    /// Held by every process that may share pages with this one.
    relatives: Arc<()>,
}

impl PageTable {
    /// Puts a page on record, in place of what is known of it.
    ///
    /// # Errors
    /// If there is no room for its region.
    pub fn put(
        &mut self,
        number: u64,
        page: Page,
        room: &mut usize,
    ) -> Result<Option<Page>, NoRoom> {
        let at = match self.find(number / REGION_PAGES) {
            Some(at) => at,
            None => self.open(number / REGION_PAGES, room)?,
        };
        let before = self.regions[at].put((number % REGION_PAGES) as usize, page);
        self.pages += u64::from(before.is_none());
        Ok(before)
    }

    /// Puts the pages of a range of numbers on record, in place of what is known of them, which it says, in
    /// runs of pages alike; how many found room, which are the first ones.
    pub fn put_all(
        &mut self,
        range: Range<u64>,
        page: Page,
        room: &mut usize,
        gone: &mut dyn FnMut(Page, u64),
    ) -> u64 {
        let mut next = range.start;
        while next < range.end {
            let number = next / REGION_PAGES;
            let at = match self.find(number) {
                Some(at) => at,
                None => match self.open(number, room) {
                    Ok(at) => at,
                    Err(NoRoom) => break,
                },
            };
            let within = part_of(&range, number);
            next += within.len() as u64;
            self.pages += self.regions[at].put_all(within, page, gone);
        }
        next - range.start
    }

    /// A page, if it is known.
    pub fn get(&mut self, number: u64) -> Option<Page> {
        let at = self.find(number / REGION_PAGES)?;
        Page::unpack(self.regions[at].pages[(number % REGION_PAGES) as usize])
    }

    /// Takes away the pages of a range of numbers; says what they were, in runs of pages alike.
    pub fn remove(&mut self, range: Range<u64>, room: &mut usize, gone: &mut dyn FnMut(Page, u64)) {
        let mut next = range.start / REGION_PAGES;
        let last = match range.end.checked_sub(1) {
            Some(last) if !range.is_empty() => last / REGION_PAGES,
            _ => return,
        };
        while next <= last
            && let Some((&number, &at)) = self.places.range(next..=last).next()
        {
            next = number + 1;
            let region = &mut self.regions[at as usize];
            let within = part_of(&range, number);
            let (mut pages, mut anonymous) = (0, 0);
            for (page, count) in region.runs(within.clone()) {
                gone(page, count);
                pages += count as u16;
                anonymous += if page.is_anonymous() { count as u16 } else { 0 };
            }
            self.pages -= u64::from(pages);
            if pages == region.known {
                self.close(number, at, room);
            } else if pages > 0 {
                region.known -= pages;
                region.anonymous -= anonymous;
                Arc::make_mut(&mut region.pages)[within].fill(0);
            }
        }
    }

    /// Takes away the run of known pages from a number upward: as far as there is no gap of more than a
    /// region.
    pub fn remove_run_from(
        &mut self,
        first: u64,
        room: &mut usize,
        gone: &mut dyn FnMut(Page, u64),
    ) {
        let mut end = first;
        for known in self.runs_from(first) {
            if known.start > end.saturating_add(REGION_PAGES) {
                break;
            }
            end = known.end;
        }
        self.remove(first..end, room, gone);
    }

    /// Pages have moved: what is known of a range of numbers goes with them, to `to` and up from there, but
    /// for what another process may share, which is forgotten. Says what was on record there, and what found
    /// no room.
    pub fn shift(
        &mut self,
        from: Range<u64>,
        to: u64,
        room: &mut usize,
        gone: &mut dyn FnMut(Page, u64),
    ) {
        if from.is_empty() || to.checked_add(from.end - from.start).is_none() {
            return;
        }
        let regions = from.start / REGION_PAGES..=(from.end - 1) / REGION_PAGES;
        let mut runs: Vec<(u64, u64, Page)> = Vec::new();
        for (number, at) in self.places.range(regions) {
            let within = part_of(&from, *number);
            let mut next = number * REGION_PAGES + within.start as u64;
            let words = &self.regions[*at as usize].pages[within];
            for run in words.chunk_by(|a, b| a == b) {
                let pages = run.len() as u64;
                if let Some(page) = Page::unpack(run[0]) {
                    runs.push((to + (next - from.start), pages, page));
                }
                next += pages;
            }
        }
        let there = to..to + (from.end - from.start);
        self.remove(from, room, &mut |_, _| {});
        self.remove(there, room, gone);
        for (start, pages, page) in runs {
            let put = self.put_all(start..start + pages, page, room, gone);
            if put < pages {
                gone(page, pages - put);
            }
        }
    }

    /// Takes away the pages that `keep` says no to, by their numbers, which ascend.
    pub fn retain(
        &mut self,
        mut keep: impl FnMut(u64) -> bool,
        room: &mut usize,
        gone: &mut dyn FnMut(Page, u64),
    ) {
        let mut drops: Vec<Range<u64>> = Vec::new();
        for run in self.runs() {
            for number in run.filter(|number| !keep(*number)) {
                match drops.last_mut() {
                    Some(last) if last.end == number => last.end += 1,
                    _ => drops.push(number..number + 1),
                }
            }
        }
        for range in drops {
            self.remove(range, room, gone);
        }
    }

    /// The runs of known pages, by their numbers, ascending and apart.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_from(0)
    }

    fn runs_from(&self, first: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let regions = self.places.range(first / REGION_PAGES..);
        let mut runs = regions
            .flat_map(move |(&number, &at)| {
                let region = &self.regions[at as usize];
                let skipped = part_of(&(first..u64::MAX), number).start;
                let mut at = number * REGION_PAGES + skipped as u64;
                let chunks = region.pages[skipped..].chunk_by(|a, b| (*a == 0) == (*b == 0));
                chunks.filter_map(move |chunk| {
                    let start = at;
                    at += chunk.len() as u64;
                    (chunk[0] != 0).then_some(start..at)
                })
            })
            .peekable();
        std::iter::from_fn(move || {
            let mut run = runs.next()?;
            while let Some(next) = runs.next_if(|next| next.start == run.end) {
                run.end = next.end;
            }
            Some(run)
        })
    }

    /// The runs of pages whose places are certain: of files it is often told only how many are there.
    pub fn placed_runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.places.iter().flat_map(|(number, at)| {
            let region = &self.regions[*at as usize];
            let mut next = number * REGION_PAGES;
            let chunks = region.pages.chunk_by(|a, b| a == b);
            chunks.filter_map(move |chunk| {
                let start = next;
                next += chunk.len() as u64;
                let page = Page::unpack(chunk[0])?;
                (page.memory != PageMemory::File).then_some(start..next)
            })
        })
    }

    /// How many bytes of a range of addresses are resident, by who touched them first; a site may come
    /// more than once.
    pub fn sites_in(&self, start: u64, length: u64) -> Vec<(u32, u64)> {
        let end = start.saturating_add(length);
        let range = start / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
        let mut sites: Vec<(u32, u64)> = Vec::new();
        if length == 0 {
            return sites;
        }
        let regions = range.start / REGION_PAGES..=(range.end - 1) / REGION_PAGES;
        for (&number, &at) in self.places.range(regions) {
            let within = part_of(&range, number);
            let first = number * REGION_PAGES;
            let words = &self.regions[at as usize].pages[within.clone()];
            for (page, word) in (first + within.start as u64..).zip(words) {
                let Some(known) = Page::unpack(*word) else {
                    continue;
                };
                let address = page * PAGE_BYTES;
                let bytes = (address + PAGE_BYTES).min(end) - address.max(start);
                match sites.last_mut() {
                    Some((site, sum)) if *site == known.site => *sum += bytes,
                    _ => sites.push((known.site, bytes)),
                }
            }
        }
        sites
    }

    /// The table of a forked child: the anonymous pages, which both share from now on; `None` if there is
    /// no room.
    pub fn fork(&mut self, room: &mut usize) -> Option<Self> {
        let regions = self.regions.iter().filter(|region| region.anonymous > 0);
        *room = room.checked_sub(regions.count())?;
        for region in &mut self.regions {
            region.forked = [u64::MAX; REGION_WORDS / 64];
        }
        let regions: Vec<Region> = self.regions.iter().filter_map(Region::inherited).collect();
        let numbers = regions.iter().map(|region| region.number);
        Some(Self {
            places: numbers.zip(0..).collect(),
            recent: None,
            pages: regions.iter().map(|region| u64::from(region.known)).sum(),
            relatives: self.relatives.clone(),
            regions,
        })
    }

    /// A page was written to that could not be. If it was shared with another process it is a copy now,
    /// which is the writer's: what the page was, and what it is. The last process to write to a page
    /// needs no copy; that it is the last is known only once the others are gone.
    pub fn copy(&mut self, number: u64, site: u32, by_kernel: bool) -> Option<(Page, Page)> {
        let at = self.find(number / REGION_PAGES)?;
        let region = &mut self.regions[at];
        let index = (number % REGION_PAGES) as usize;
        if !region.is_forked(index) {
            return None;
        }
        if Arc::strong_count(&self.relatives) == 1 {
            region.forked[index / 64] &= !(1 << (index % 64));
            return None;
        }
        let copy = Page {
            site,
            memory: PageMemory::Anonymous,
            is_huge: false,
            by_kernel,
        };
        let before = region.put(index, copy)?;
        Some((before, copy))
    }

    /// The process is gone: others have what it shared with them to themselves.
    pub fn leave_relatives(&mut self) {
        self.relatives = Arc::default();
    }

    /// Forgets all pages, without a word on what they were.
    pub fn clear(&mut self, room: &mut usize) {
        *room += self.regions.len();
        *self = Self::default();
    }

    /// How many pages are known.
    pub fn len(&self) -> u64 {
        self.pages
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// How many regions are taken.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    fn find(&mut self, number: u64) -> Option<usize> {
        if let Some((recent, at)) = self.recent
            && recent == number
        {
            return Some(at as usize);
        }
        let at = *self.places.get(&number)?;
        self.recent = Some((number, at));
        Some(at as usize)
    }

    fn open(&mut self, number: u64, room: &mut usize) -> Result<usize, NoRoom> {
        *room = room.checked_sub(1).ok_or(NoRoom)?;
        let at = self.regions.len();
        self.regions.push(Region::new(number));
        self.places.insert(number, at as u32);
        self.recent = Some((number, at as u32));
        Ok(at)
    }

    fn close(&mut self, number: u64, at: u32, room: &mut usize) {
        self.places.remove(&number);
        self.regions.swap_remove(at as usize);
        if let Some(moved) = self.regions.get(at as usize) {
            self.places.insert(moved.number, at);
        }
        self.recent = None;
        *room += 1;
    }
}

/// What of a range of pages is in a region, as indices there.
fn part_of(range: &Range<u64>, region: u64) -> Range<usize> {
    let first = region * REGION_PAGES;
    let index = |number: u64| number.clamp(first, first + REGION_PAGES) - first;
    index(range.start) as usize..index(range.end) as usize
}

#[cfg(test)]
mod tests;
