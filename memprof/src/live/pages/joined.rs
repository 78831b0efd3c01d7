//! Blocks joined with resident pages: what of each site's blocks was touched, who touched it first, and what
//! is free on pages that few survivors keep.
//!
//! Two passes over the blocks: the first adds up what is in blocks on each page, the second asks for each
//! block. A block's inner pages are full of it, so only its outermost ones are marked: two look-ups a
//! block and pass. Whoever asks holds a lock meanwhile, so there is a bound to the pages that are walked.

use std::ops::Range;

use hashbrown::HashMap;
use memprof_common::event::PAGE_BYTES;

use super::{PageTable, REGION_PAGES, REGION_WORDS, part_of};

/// Pages that are walked for all blocks together: 256 GiB of memory, some tenths of a second.
pub const MAX_JOINED_PAGES: u64 = 1 << 26;
/// Pairs of a site and who touched its blocks first, of one space. What else was touched is the site's all
/// the same.
pub const MAX_PAIRS: usize = 1 << 18;
/// A page with less than this in blocks is kept by few survivors: half of it.
pub const SPARSE_BYTES: u64 = PAGE_BYTES / 2;
/// What an allocator has in front of a block, as glibc does.
const HEADER_BYTES: u64 = 8;
/// Blocks take memory in multiples of this.
const GRAIN_BYTES: u64 = 16;
/// The least that a block takes.
const LEAST_BYTES: u64 = 32;

/// Memory that a site holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Where it begins.
    pub address: u64,
    /// Bytes of it.
    pub size: u64,
    /// Whose it is.
    pub site: u32,
    /// An allocator gave it out, with something of its own beside it; else it was mapped.
    pub is_block: bool,
}

impl Holding {
    fn held(self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size)
    }

    /// What nobody else can have because of it.
    fn taken(self) -> Range<u64> {
        if !self.is_block {
            return self.held();
        }
        let start = self.address.saturating_sub(HEADER_BYTES);
        let bytes = self.size.saturating_add(HEADER_BYTES);
        let bytes = bytes.checked_next_multiple_of(GRAIN_BYTES);
        start..start.saturating_add(bytes.unwrap_or(u64::MAX).max(LEAST_BYTES))
    }
}

/// What is known of the memory that a site holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// Bytes held.
    pub held_bytes: u64,
    /// Of those, bytes on pages that are resident.
    pub touched_bytes: u64,
    /// Free bytes of pages with less than [`SPARSE_BYTES`] in blocks, in proportion to what its own have
    /// of that.
    pub kept_free_bytes: f64,
    /// Who touched how much of it first, each once, in no order.
    pub first_touched: Vec<(u32, u64)>,
}

/// There is more to walk than [`MAX_JOINED_PAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Joins what the sites of a space hold with its pages, by site. `blocks` gives the same every time; `left` is
/// how many pages may still be walked.
///
/// # Errors
/// If these are not enough.
pub fn join<B: Iterator<Item = Holding>>(
    pages: &PageTable,
    blocks: impl Fn() -> B,
    left: &mut u64,
) -> Result<HashMap<u32, Joined>, TooLarge> {
    let mut joint = Joint {
        pages,
        places: pages.places.iter().map(|(one, at)| (*one, *at)).collect(),
        taken: pages.regions.iter().map(|_| None).collect(),
        sites: HashMap::new(),
        pairs: HashMap::new(),
    };
    for holding in blocks() {
        joint.mark(holding);
    }
    for holding in blocks() {
        joint.ask(holding, left)?;
    }
    let mut sites = joint.sites;
    for ((site, toucher), bytes) in joint.pairs {
        if let Some(joined) = sites.get_mut(&site) {
            joined.first_touched.push((toucher, bytes));
        }
    }
    Ok(sites)
}

struct Joint<'a> {
    pages: &'a PageTable,
    places: HashMap<u64, u32>,
    /// By place of the region and page: bytes that are taken, of pages where some block ends.
    taken: Vec<Option<Box<[u16; REGION_WORDS]>>>,
    sites: HashMap<u32, Joined>,
    pairs: HashMap<(u32, u32), u64>,
}

impl Joint<'_> {
    fn mark(&mut self, holding: Holding) {
        for (number, bytes) in outermost(&holding.taken()) {
            let Some((at, index)) = self.resident(number) else {
                continue;
            };
            let marks = self.taken[at].get_or_insert_with(|| Box::new([0; REGION_WORDS]));
            marks[index] = (marks[index] + bytes as u16).min(PAGE_BYTES as u16);
        }
    }

    /// Where a page is on record.
    fn resident(&self, number: u64) -> Option<(usize, usize)> {
        let at = *self.places.get(&(number / REGION_PAGES))? as usize;
        let index = (number % REGION_PAGES) as usize;
        (self.pages.regions[at].pages[index] != 0).then_some((at, index))
    }

    fn ask(&mut self, holding: Holding, left: &mut u64) -> Result<(), TooLarge> {
        let (mut touched, mut kept_free) = (0, 0.0);
        let held = holding.held();
        let numbers = held.start / PAGE_BYTES..held.end.div_ceil(PAGE_BYTES);
        let regions = numbers.start / REGION_PAGES..numbers.end.div_ceil(REGION_PAGES);
        let pages = self.pages;
        if regions.end.saturating_sub(regions.start) == 1 {
            if let Some(at) = self.places.get(&regions.start).copied() {
                touched = self.ask_region(holding, &numbers, (regions.start, at), left)?;
            }
        } else if !holding.held().is_empty() {
            for (number, at) in pages.places.range(regions) {
                touched += self.ask_region(holding, &numbers, (*number, *at), left)?;
            }
        }
        for (number, bytes) in outermost(&holding.taken()) {
            let Some((at, index)) = self.resident(number) else {
                continue;
            };
            let taken = self.taken[at].as_ref().map_or(0, |marks| marks[index]);
            let taken = u64::from(taken);
            if taken < SPARSE_BYTES {
                kept_free += ((PAGE_BYTES - taken) * bytes) as f64 / taken.max(1) as f64;
            }
        }
        let joined = self.sites.entry(holding.site).or_default();
        joined.held_bytes = joined.held_bytes.saturating_add(holding.size);
        joined.touched_bytes = joined.touched_bytes.saturating_add(touched);
        joined.kept_free_bytes += kept_free;
        Ok(())
    }

    /// What of a holding was touched in one region; notes by whom.
    fn ask_region(
        &mut self,
        holding: Holding,
        numbers: &Range<u64>,
        (number, at): (u64, u32),
        left: &mut u64,
    ) -> Result<u64, TooLarge> {
        let within = part_of(numbers, number);
        *left = left.checked_sub(within.len() as u64).ok_or(TooLarge)?;
        let held = holding.held();
        let mut page = number * REGION_PAGES + within.start as u64;
        let mut touched = 0;
        let words = &self.pages.regions[at as usize].pages[within];
        for run in words.chunk_by(|one, other| one == other) {
            let start = (page * PAGE_BYTES).max(held.start);
            page += run.len() as u64;
            let bytes = page.saturating_mul(PAGE_BYTES).min(held.end) - start;
            let Some(known) = super::Page::unpack(run[0]) else {
                continue;
            };
            touched += bytes;
            let pair = (holding.site, known.site);
            if let Some(sum) = self.pairs.get_mut(&pair) {
                *sum = sum.saturating_add(bytes);
            } else if self.pairs.len() < MAX_PAIRS {
                self.pairs.insert(pair, bytes);
            }
        }
        Ok(touched)
    }
}

/// The first and the last page that a range has bytes on, and how many.
fn outermost(range: &Range<u64>) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (start, end) = (range.start, range.end);
    let first = start / PAGE_BYTES;
    let last = end.saturating_sub(1) / PAGE_BYTES;
    let on = move |number: u64| {
        let page = number * PAGE_BYTES;
        (
            number,
            page.saturating_add(PAGE_BYTES).min(end) - start.max(page),
        )
    };
    let first = (start < end).then_some(first);
    let last = (start < end)
        .then_some(last)
        .filter(|last| Some(*last) != first);
    first.into_iter().chain(last).map(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::PageMemory;
    use crate::live::pages::{MAX_PAGE_REGIONS, Page};

    const BASE: u64 = 0x7f00_0000_0000;

    /// Pages by number from `BASE` on, each with who touched it first.
    fn table(touched: &[(Range<u64>, u32)]) -> PageTable {
        let mut room = MAX_PAGE_REGIONS;
        let mut table = PageTable::default();
        let base = BASE / PAGE_BYTES;
        for (range, site) in touched {
            let page = Page {
                site: *site,
                memory: PageMemory::Anonymous,
                is_huge: false,
                by_kernel: false,
            };
            let range = base + range.start..base + range.end;
            let wanted = range.end - range.start;
            let put = table.put_all(range, page, &mut room, &mut |_, _| {});
            assert_eq!(put, wanted);
        }
        table
    }

    fn block(site: u32, offset: u64, size: u64) -> Holding {
        Holding {
            address: BASE + offset,
            size,
            site,
            is_block: true,
        }
    }

    fn joined(table: &PageTable, blocks: &[Holding]) -> HashMap<u32, Joined> {
        let mut left = MAX_JOINED_PAGES;
        let sites = join(table, || blocks.iter().copied(), &mut left);
        let mut sites = sites.expect("few pages");
        for one in sites.values_mut() {
            one.first_touched.sort_unstable();
        }
        sites
    }

    #[test]
    fn of_a_block_the_pages_that_were_touched_are_told_and_who_was_first() {
        // Three regions, of which the middle one has no page.
        let table = table(&[(0..10, 1), (10..12, 2), (1024..1100, 3)]);
        let sites = joined(&table, &[block(7, 16, 1100 * PAGE_BYTES)]);
        let one = &sites[&7];
        let touched = [
            (1, 10 * PAGE_BYTES - 16),
            (2, 2 * PAGE_BYTES),
            (3, 76 * PAGE_BYTES),
        ];
        assert_eq!(one.first_touched, touched);
        assert_eq!(
            one.touched_bytes,
            touched.iter().map(|one| one.1).sum::<u64>()
        );
        assert_eq!(one.held_bytes, 1100 * PAGE_BYTES);
        assert_eq!(one.kept_free_bytes, 0.0);
    }

    #[test]
    fn memory_that_nobody_touched_is_held_all_the_same() {
        let sites = joined(&table(&[(0..1, 1)]), &[block(7, PAGE_BYTES, 1 << 40)]);
        assert_eq!(
            (sites[&7].touched_bytes, sites[&7].held_bytes),
            (0, 1 << 40)
        );
        assert!(sites[&7].first_touched.is_empty());
    }

    #[test]
    fn free_bytes_of_a_sparse_page_are_shared_by_what_its_blocks_take() {
        let table = table(&[(0..3, 1)]);
        let blocks = [
            // Each takes eight bytes more.
            block(1, 0x10, 56),
            block(2, 0x800, 184),
            // A page that is more than half full.
            block(3, PAGE_BYTES + 0x10, 3000),
            // One that was never touched keeps nothing.
            block(3, 5 * PAGE_BYTES + 0x10, 24),
        ];
        let sites = joined(&table, &blocks);
        let free = (PAGE_BYTES - 256) as f64;
        assert_eq!(sites[&1].kept_free_bytes, free / 4.0);
        assert_eq!(sites[&2].kept_free_bytes, free * 3.0 / 4.0);
        assert_eq!(sites[&3].kept_free_bytes, 0.0);
    }

    #[test]
    fn pages_full_of_tiny_blocks_are_not_free() {
        let table = table(&[(0..1, 1)]);
        let blocks: Vec<_> = (0..128).map(|at| block(1, 16 + at * 32, 1)).collect();
        assert_eq!(joined(&table, &blocks)[&1].kept_free_bytes, 0.0);
    }

    #[test]
    fn a_large_block_is_no_survivor_though_it_ends_early_on_its_last_page() {
        // Its last page is its own: that it ends early is no fragmentation, but free it is.
        let table = table(&[(0..100, 1)]);
        let mapping = Holding {
            is_block: false,
            ..block(1, 0, 100 * PAGE_BYTES)
        };
        assert_eq!(joined(&table, &[mapping])[&1].kept_free_bytes, 0.0);
        let sites = joined(&table, &[block(1, 16, 99 * PAGE_BYTES + 100 - 16)]);
        assert!(sites[&1].kept_free_bytes < PAGE_BYTES as f64);
    }

    #[test]
    fn absurd_blocks_take_bounded_time() {
        let table = table(&[(0..2048, 1)]);
        let mut left = 1 << 20;
        let absurd = |at: u64| Holding {
            address: at,
            size: u64::MAX,
            site: 0,
            is_block: true,
        };
        let blocks = || (0..1_000_000).map(absurd);
        assert_eq!(join(&table, blocks, &mut left), Err(TooLarge));
        let last = [absurd(u64::MAX), block(0, 0, 0)];
        assert!(join(&table, || last.iter().copied(), &mut 1).is_ok());
    }
}
