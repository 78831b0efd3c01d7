//! [`ResidentPages`]: a set of pages, as a bitmap for each 2 MiB of addresses that has any. Pure.
//!
//! A set may end early, for there is a bound to what it holds: what lies behind that end is unknown, and
//! the set says so.

use std::ops::Range;

pub use memprof_common::event::PAGE_BYTES;

/// Bytes of addresses that one bitmap stands for.
pub const CHUNK_BYTES: u64 = PAGES_PER_CHUNK as u64 * PAGE_BYTES;
/// Pages of one bitmap.
pub const PAGES_PER_CHUNK: usize = 512;
/// Bitmaps of one set: 128 GiB of memory without holes, or 65,536 pages far from one another; 4.5 MiB.
pub const MAX_CHUNKS: usize = 65_536;

const WORDS: usize = PAGES_PER_CHUNK / 64;

/// Pages that are in memory. Addresses are of bytes; a page is meant by any of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResidentPages {
    /// The chunks that have pages, by number (address / [`CHUNK_BYTES`]), sorted.
    numbers: Vec<u64>,
    /// Their bitmaps, in the same order.
    bitmaps: Vec<[u64; WORDS]>,
    pages: u64,
    /// From this address on nothing is known.
    end: Option<u64>,
}

impl ResidentPages {
    /// Adds the pages of a range, which is given in whole pages. Ranges that come by rising addresses
    /// take least time. Whether all found room; if not, all from [`ResidentPages::end`] on is unknown.
    pub fn insert(&mut self, range: Range<u64>) -> bool {
        self.insert_within(range, MAX_CHUNKS)
    }

    fn insert_within(&mut self, range: Range<u64>, most_chunks: usize) -> bool {
        let mut at = range.start;
        let end = range.end.min(self.end.unwrap_or(u64::MAX));
        while at < end {
            let number = at / CHUNK_BYTES;
            let chunk_end = (number + 1).saturating_mul(CHUNK_BYTES).min(end);
            let Some(index) = self.chunk(number, most_chunks) else {
                self.cut(number * CHUNK_BYTES);
                return false;
            };
            let first = (at % CHUNK_BYTES / PAGE_BYTES) as usize;
            let pages = (chunk_end - at).div_ceil(PAGE_BYTES) as usize;
            for page in first..(first + pages).min(PAGES_PER_CHUNK) {
                let word = &mut self.bitmaps[index][page / 64];
                let bit = 1 << (page % 64);
                self.pages += u64::from(*word & bit == 0);
                *word |= bit;
            }
            at = chunk_end;
        }
        at >= range.end
    }

    /// Forgets what lies from an address on, a multiple of [`CHUNK_BYTES`]: it is unknown.
    pub fn cut(&mut self, from: u64) {
        let keep = self
            .numbers
            .partition_point(|number| *number < from / CHUNK_BYTES);
        self.numbers.truncate(keep);
        for bitmap in self.bitmaps.drain(keep..) {
            self.pages -= count(&bitmap);
        }
        self.end = Some(self.end.map_or(from, |end| end.min(from)));
    }

    /// From which address on nothing is known; `None` if the set is whole.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Whether the page at an address is in memory. `false` beyond [`ResidentPages::end`].
    pub fn contains(&self, address: u64) -> bool {
        let Some(index) = self.index(address / CHUNK_BYTES) else {
            return false;
        };
        let page = (address % CHUNK_BYTES / PAGE_BYTES) as usize;
        self.bitmaps[index][page / 64] >> (page % 64) & 1 == 1
    }

    /// Bytes of pages in the set.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES
    }

    /// Bytes of a range, to the byte, that lie on pages in the set.
    pub fn resident_bytes(&self, range: Range<u64>) -> u64 {
        let runs = self.runs_in(range.clone());
        runs.map(|run| run.end.min(range.end) - run.start.max(range.start))
            .sum()
    }

    /// Runs of neighbouring pages, by address.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs_in(0..u64::MAX)
    }

    /// Runs of neighbouring pages that have bytes in a range, by address. Whole pages.
    pub fn runs_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut pages = self.pages_in(range).peekable();
        std::iter::from_fn(move || {
            let start = pages.next()?;
            let mut end = start.saturating_add(PAGE_BYTES);
            while pages.next_if_eq(&end).is_some() {
                end = end.saturating_add(PAGE_BYTES);
            }
            Some(start..end)
        })
    }

    /// The addresses of the pages that have bytes in a range, rising.
    pub fn pages_in(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let first = range.start / PAGE_BYTES * PAGE_BYTES;
        let from = self
            .numbers
            .partition_point(|number| *number < first / CHUNK_BYTES);
        let chunks = self.numbers[from..].iter().zip(&self.bitmaps[from..]);
        chunks
            .map(|(number, bitmap)| (number * CHUNK_BYTES, bitmap))
            .take_while(move |(start, _)| *start < range.end)
            .flat_map(|(start, bitmap)| {
                let words = bitmap.iter().enumerate();
                words.flat_map(move |(index, word)| {
                    let first = start + index as u64 * 64 * PAGE_BYTES;
                    bits(*word).map(move |bit| first + u64::from(bit) * PAGE_BYTES)
                })
            })
            .skip_while(move |page| *page < first)
            .take_while(move |page| *page < range.end && range.start < range.end)
    }

    /// The numbers of the chunks that have pages (address / [`CHUNK_BYTES`]), rising.
    pub fn chunks(&self) -> &[u64] {
        &self.numbers
    }

    /// Heap bytes that the set takes.
    pub fn memory_bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<u64>()
            + self.bitmaps.capacity() * size_of::<[u64; WORDS]>()
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    /// The place of a chunk, made if it is new; `None` if there is no room.
    fn chunk(&mut self, number: u64, most: usize) -> Option<usize> {
        if self.numbers.last() == Some(&number) {
            return Some(self.numbers.len() - 1);
        }
        match self.numbers.binary_search(&number) {
            Ok(index) => Some(index),
            Err(_) if self.numbers.len() >= most => None,
            Err(index) => {
                self.numbers.insert(index, number);
                self.bitmaps.insert(index, [0; WORDS]);
                Some(index)
            }
        }
    }
}

fn count(bitmap: &[u64; WORDS]) -> u64 {
    bitmap.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x7f00_0000_0000;

    fn page(number: u64) -> u64 {
        BASE + number * PAGE_BYTES
    }

    #[test]
    fn a_set_holds_the_pages_that_were_put_in_and_no_other() {
        let mut set = ResidentPages::default();
        assert!(set.insert(page(3)..page(5)));
        assert!(set.insert(page(510)..page(1026)));
        // Again, and below.
        assert!(set.insert(page(4)..page(6)));
        assert!(set.insert(0..PAGE_BYTES));
        assert_eq!(set.bytes(), (3 + 516 + 1) * PAGE_BYTES);
        for (number, expected) in [
            (2, false),
            (3, true),
            (5, true),
            (6, false),
            (510, true),
            (1025, true),
            (1026, false),
        ] {
            assert_eq!(set.contains(page(number)), expected, "{number}");
            assert_eq!(set.contains(page(number) + 4095), expected, "{number}");
        }
        let runs: Vec<_> = set.runs().collect();
        let expected = [
            0..PAGE_BYTES,
            page(3)..page(6),
            // Across chunks.
            page(510)..page(1026),
        ];
        assert_eq!(runs, expected);
        assert_eq!(set.end(), None);
    }

    #[test]
    fn bytes_of_a_range_are_told_to_the_byte() {
        let mut set = ResidentPages::default();
        set.insert(page(1)..page(3));
        assert_eq!(set.resident_bytes(page(0) + 4000..page(1) + 10), 10);
        assert_eq!(set.resident_bytes(page(1) + 5..page(1) + 7), 2);
        assert_eq!(set.resident_bytes(page(2) + 4095..u64::MAX), 1);
        assert_eq!(set.resident_bytes(page(3)..page(9)), 0);
        assert_eq!(set.resident_bytes(page(1)..page(1)), 0);
        assert_eq!(set.resident_bytes(0..u64::MAX), 2 * PAGE_BYTES);
        let mut runs = set.runs_in(page(1) + 5..page(2) + 1);
        assert_eq!(runs.next(), Some(page(1)..page(3)));
        assert_eq!(runs.next(), None);
    }

    #[test]
    fn what_finds_no_room_is_unknown_and_so_is_all_behind_it() {
        let mut set = ResidentPages::default();
        for chunk in 0..3 {
            let start = BASE + chunk * 2 * CHUNK_BYTES;
            assert!(set.insert_within(start..start + PAGE_BYTES, 3));
        }
        let known = BASE + CHUNK_BYTES;
        assert!(!set.insert_within(known..known + PAGE_BYTES, 3));
        assert_eq!(set.end(), Some(known));
        assert_eq!(set.bytes(), PAGE_BYTES);
        assert!(set.contains(BASE) && !set.contains(BASE + 2 * CHUNK_BYTES));
        assert!(!set.insert_within(BASE + CHUNK_BYTES - PAGE_BYTES..u64::MAX, 3));
        assert_eq!(set.bytes(), 2 * PAGE_BYTES);
    }

    #[test]
    fn the_last_addresses_do_no_harm() {
        let mut set = ResidentPages::default();
        let last = u64::MAX - PAGE_BYTES + 1;
        assert!(set.insert(last..u64::MAX));
        assert!(set.contains(u64::MAX));
        assert_eq!(set.resident_bytes(last..u64::MAX), PAGE_BYTES - 1);
        assert!(set.insert(page(5)..page(2)), "an empty range");
    }
}
