//! [`HeldPages`]: how much of each page is in blocks.
//!
//! The collector waits while blocks are joined with pages, so a block costs a look-up and a mark for
//! each of its pages, in a table of 2 bytes a page: some tens of nanoseconds.

use hashbrown::HashMap;

use crate::pipeline::{MAPPED_ALONE_BYTES, MAPPED_ALONE_OFFSET};
use crate::target::resident_pages::{CHUNK_BYTES, PAGE_BYTES, PAGES_PER_CHUNK, ResidentPages};

/// Blocks of one process that are joined with its pages: a second.
pub(crate) const MAX_BLOCKS: usize = 1 << 24;
/// Marks for all blocks of one process: half a TiB of blocks, which real ones don't come to.
const MAX_MARKS: u64 = 1 << 27;

const BYTES: u16 = (1 << 13) - 1;
const HAS_BLOCK: u16 = 1 << 14;
const HAS_CUT: u16 = 1 << 15;

/// What blocks are on the pages of one process.
#[derive(Debug)]
pub(crate) struct HeldPages {
    numbers: Vec<u64>,
    places: HashMap<u64, usize>,
    /// For each chunk, for each of its pages, in memory or not: bytes in blocks, and flags.
    pages: Vec<[u16; PAGES_PER_CHUNK]>,
    marks_left: u64,
    is_whole: bool,
}

/// One page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldPage {
    /// Bytes of it that are in blocks.
    pub bytes: u64,
    /// A block lies on it, if only with its first byte.
    pub has_block: bool,
    /// One of them was cut from a larger piece of memory, as small ones are.
    pub has_cut: bool,
}

impl HeldPages {
    /// No block yet, on pages of these chunks.
    pub(crate) fn new(resident: &ResidentPages) -> Self {
        let numbers = resident.chunks().to_vec();
        Self {
            places: (0..)
                .zip(&numbers)
                .map(|(place, number)| (*number, place))
                .collect(),
            pages: vec![[0; PAGES_PER_CHUNK]; numbers.len()],
            numbers,
            marks_left: MAX_MARKS,
            is_whole: true,
        }
    }

    /// Adds a block.
    pub(crate) fn add(&mut self, address: u64, size: u64) {
        let end = address.saturating_add(size.max(1));
        let last = (end - 1) / CHUNK_BYTES;
        let first = address / CHUNK_BYTES;
        let mut flags = HAS_BLOCK;
        if size < MAPPED_ALONE_BYTES && address % PAGE_BYTES != MAPPED_ALONE_OFFSET {
            flags |= HAS_CUT;
        }
        let place = self.places.get(&first).copied();
        let place = place.unwrap_or_else(|| self.numbers.partition_point(|number| *number < first));
        let chunks = self.numbers.iter().zip(&mut self.pages).skip(place);
        for (number, pages) in chunks.take_while(|(number, _)| **number <= last) {
            let start = number * CHUNK_BYTES;
            let from = address.max(start) - start;
            let to = (end - start).min(CHUNK_BYTES);
            let touched = from / PAGE_BYTES..to.div_ceil(PAGE_BYTES);
            let marks = touched.end - touched.start;
            if marks > self.marks_left {
                self.is_whole = false;
                return;
            }
            self.marks_left -= marks;
            for page in touched {
                let within = page * PAGE_BYTES;
                let bytes = to.min(within + PAGE_BYTES) - from.max(within);
                let bytes = bytes.min(size) as u16;
                let mark = &mut pages[page as usize];
                let sum = ((*mark & BYTES) + bytes).min(PAGE_BYTES as u16);
                *mark = *mark & !BYTES | flags | sum;
            }
        }
    }

    /// Whether every block was added; else there was too much to mark.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What is on the page at an address; nothing in chunks without a page in memory.
    pub(crate) fn page(&self, address: u64) -> HeldPage {
        let Some(place) = self.places.get(&(address / CHUNK_BYTES)) else {
            return HeldPage::default();
        };
        let mark = self.pages[*place][(address % CHUNK_BYTES / PAGE_BYTES) as usize];
        HeldPage {
            bytes: u64::from(mark & BYTES),
            has_block: mark & HAS_BLOCK != 0,
            has_cut: mark & HAS_CUT != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x7f00_0000_0000;

    fn held(pages: &[u64]) -> HeldPages {
        let mut resident = ResidentPages::default();
        for page in pages {
            let start = BASE + page * PAGE_BYTES;
            assert!(resident.insert(start..start + PAGE_BYTES));
        }
        HeldPages::new(&resident)
    }

    fn bytes(held: &HeldPages, page: u64) -> u64 {
        held.page(BASE + page * PAGE_BYTES).bytes
    }

    #[test]
    fn a_blocks_bytes_are_on_its_pages() {
        let mut held = held(&[0, 1, 2, 511, 512]);
        held.add(BASE + 4000, 200);
        held.add(BASE + PAGE_BYTES + 500, 1000);
        assert_eq!([bytes(&held, 0), bytes(&held, 1)], [96, 104 + 1000]);
        // Across two chunks.
        held.add(BASE + 511 * PAGE_BYTES, 2 * PAGE_BYTES);
        assert_eq!([bytes(&held, 511), bytes(&held, 512)], [4096, 4096]);
        assert!(held.is_whole());
    }

    #[test]
    fn a_block_without_bytes_is_a_block() {
        let mut held = held(&[0]);
        held.add(BASE + 32, 0);
        let page = held.page(BASE);
        assert_eq!((page.bytes, page.has_block), (0, true));
    }

    #[test]
    fn a_page_is_never_more_than_full() {
        let mut held = held(&[0]);
        held.add(BASE, 4000);
        held.add(BASE + 100, 4000);
        held.add(BASE, 1 << 40);
        assert_eq!(bytes(&held, 0), 4096);
    }

    #[test]
    fn large_blocks_that_are_mapped_alone_are_told_from_those_cut_from_an_arena() {
        let mut held = held(&[0, 1, 2]);
        held.add(BASE + 16, 3000);
        held.add(BASE + PAGE_BYTES, 200 << 10);
        assert!(!held.page(BASE).has_cut && !held.page(BASE + PAGE_BYTES).has_cut);
        held.add(BASE + 2 * PAGE_BYTES + 32, 50);
        assert!(held.page(BASE + 2 * PAGE_BYTES).has_cut);
    }

    #[test]
    fn blocks_of_absurd_sizes_take_bounded_time() {
        let mut held = held(&[0, 600, 5000]);
        for at in 0..1_000_000 {
            held.add(at, u64::MAX);
        }
        held.add(u64::MAX, u64::MAX);
        held.add(0, u64::MAX);
        assert!(!held.is_whole());
    }

    #[test]
    fn blocks_where_no_page_is_in_memory_count_nowhere() {
        let mut held = held(&[600]);
        held.add(BASE - 50, 10);
        held.add(BASE + (1 << 30), 10);
        assert_eq!(held.page(BASE + 600 * PAGE_BYTES), HeldPage::default());
        assert_eq!(held.page(BASE), HeldPage::default());
    }
}
