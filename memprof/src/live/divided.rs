//! [`DividedTable`]: the blocks of an address space in one table or, once they are many, in several
//! that threads can work on at the same time, each on its own.
//!
//! The address alone says which part a block is in, so what happens at one address happens in one
//! part, in order. A table of few blocks stays whole: it costs what one table costs, and its place is
//! in the cache, where there is nothing to gain.

use super::{Block, LiveTable};
use crate::events::event::Nanoseconds;

/// The most parts of a table, as a power of two.
pub const MAX_PART_BITS: u32 = 3;
/// A table of more blocks than this is divided, some 350 KiB: a millisecond's work, once.
const WHOLE_UP_TO: usize = 1 << 14;

/// Into how many parts tables are divided, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Into 2^`part_bits`, of [`MAX_PART_BITS`] at most.
    pub part_bits: u32,
    /// Tables of up to so many blocks stay whole.
    pub whole_up_to: usize,
}

impl Division {
    /// Into 2^`part_bits` parts, once there are enough blocks for it to be worth while.
    pub fn into_parts(part_bits: u32) -> Self {
        Self {
            part_bits: part_bits.min(MAX_PART_BITS),
            whole_up_to: WHOLE_UP_TO,
        }
    }
}

impl Default for Division {
    /// Never.
    fn default() -> Self {
        Self::into_parts(0)
    }
}

/// The outstanding blocks of one address space: see [`LiveTable`].
#[derive(Debug, Default)]
pub struct DividedTable {
    /// 2^`bits` tables.
    parts: Vec<LiveTable>,
    bits: u32,
    division: Division,
}

impl DividedTable {
    /// An empty table. For `start` and `seed` see [`LiveTable::new`].
    pub fn new(start: Nanoseconds, seed: u64, division: Division) -> Self {
        Self {
            parts: vec![LiveTable::new(start, seed)],
            bits: 0,
            division,
        }
    }

    /// The table of a forked child, see [`LiveTable::fork`].
    pub fn fork(&mut self) -> Self {
        Self {
            parts: self.parts.iter_mut().map(LiveTable::fork).collect(),
            ..*self
        }
    }

    /// Blocks in the table.
    pub fn len(&self) -> usize {
        self.parts.iter().map(LiveTable::len).sum()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(LiveTable::is_empty)
    }

    /// Puts a block in; gives back the one that it supersedes at that address.
    #[inline]
    pub fn insert(&mut self, address: u64, block: Block) -> Option<Block> {
        let part = self.part_of(address);
        let superseded = self.parts[part].insert(address, block);
        self.divide_if_large();
        superseded
    }

    /// Takes the block at an address out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<Block> {
        let part = self.part_of(address);
        self.parts[part].remove(address)
    }

    /// Whether a block lives at an address.
    pub fn contains(&self, address: u64) -> bool {
        self.parts[self.part_of(address)].contains(address)
    }

    /// See [`LiveTable::prefetch`].
    #[inline]
    pub fn prefetch(&self, address: u64) {
        self.parts[self.part_of(address)].prefetch(address);
    }

    /// Every block with its address, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Block)> + '_ {
        self.parts.iter().flat_map(LiveTable::iter)
    }

    /// Heap bytes that it holds; of what several tables share, its part.
    pub fn memory_bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(LiveTable::memory_bytes).sum();
        parts + self.parts.capacity() * size_of::<LiveTable>()
    }

    /// The part that an address belongs to, an index into [`DividedTable::parts`]; `None` if the
    /// table is whole.
    #[inline]
    pub fn part(&self, address: u64) -> Option<usize> {
        (self.bits > 0).then(|| self.part_of(address))
    }

    /// The parts: one if the table is whole.
    pub fn parts(&mut self) -> &mut [LiveTable] {
        &mut self.parts
    }

    /// Divides a table that has grown large, also by what was put into its only part.
    #[inline]
    pub fn divide_if_large(&mut self) {
        let Division {
            part_bits,
            whole_up_to,
        } = self.division;
        if self.bits < part_bits && self.parts[0].len() > whole_up_to {
            self.divide();
        }
    }

    #[inline]
    fn part_of(&self, address: u64) -> usize {
        match self.bits {
            0 => 0,
            bits => self.parts[0].part(address, bits),
        }
    }

    #[cold]
    fn divide(&mut self) {
        if let Some(whole) = self.parts.pop() {
            self.bits = self.division.part_bits;
            self.parts = whole.divide(self.bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(size: u64) -> Block {
        Block {
            site: 3,
            size,
            birth: 5 << 24,
        }
    }

    /// Addresses in a row, every hundredth such that an entry can't hold it.
    fn address(i: u64) -> u64 {
        0x7f00_0000_0000 + 16 * i + u64::from(i.is_multiple_of(100))
    }

    fn sorted(table: &DividedTable) -> Vec<(u64, Block)> {
        let mut blocks: Vec<_> = table.iter().collect();
        blocks.sort_by_key(|(address, _)| *address);
        blocks
    }

    #[test]
    fn a_table_of_few_blocks_stays_whole_and_a_large_one_is_divided_evenly() {
        let mut table = DividedTable::new(0, 5, Division::into_parts(3));
        for i in 0..WHOLE_UP_TO as u64 {
            table.insert(address(i), block(i));
        }
        assert_eq!((table.parts().len(), table.part(address(0))), (1, None));
        let before = sorted(&table);
        table.insert(address(1 << 40), block(1));
        assert_eq!(table.parts().len(), 8);
        let mean = table.len() / 8;
        for part in table.parts() {
            assert!((mean / 2..2 * mean).contains(&part.len()), "{}", part.len());
        }
        assert_eq!(table.remove(address(1 << 40)), Some(block(1)));
        assert_eq!(sorted(&table), before);
    }

    #[test]
    fn blocks_are_found_across_the_division_and_in_a_forked_child() {
        let mut table = DividedTable::new(0, 6, Division::into_parts(1));
        let blocks = 3 * WHOLE_UP_TO as u64;
        for i in 0..blocks {
            // Some too large for an entry.
            table.insert(address(i), block(i << (i % 33)));
        }
        let mut child = table.fork();
        for i in 0..blocks {
            assert!(child.contains(address(i)));
            assert_eq!(
                child.insert(address(i), block(1)),
                Some(block(i << (i % 33)))
            );
            assert_eq!(child.remove(address(i)), Some(block(1)));
        }
        assert!(child.is_empty() && child.memory_bytes() < 8 << 10);
        assert_eq!(table.len(), blocks as usize);
        let part = table.part(address(7)).expect("divided");
        assert!(table.parts()[part].contains(address(7)));
        assert!(!table.parts()[1 - part].contains(address(7)));
    }

    #[test]
    fn a_table_that_shall_not_be_divided_is_not() {
        let mut table = DividedTable::new(0, 7, Division::into_parts(0));
        for i in 0..2 * WHOLE_UP_TO as u64 {
            table.insert(address(i), block(i));
        }
        assert_eq!(table.parts().len(), 1);
    }
}
