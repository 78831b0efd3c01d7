//! [`LiveTable`]: the directory that leads from a hash to its segment, what does not fit into
//! entries, and the sharing of segments after a fork.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Block;
use super::mix::{HASH_BITS, Mix};
use super::packed::{
    Entry, address_of, birth_of, hash_of, hash_of_address, number_of, pack, tick_of, unpack,
};
use super::segment::{Inserted, Segment, good_slots};
use crate::events::event::Nanoseconds;

/// Slots beyond which a segment splits: 64 KiB, what one insertion moves at the most.
const SEGMENT_SLOTS: usize = 4096;
/// Hash bits that the directory goes by at the most: enough for 3 billion blocks. A segment that
/// can't split any more grows instead; no insertion is ever refused.
const MAX_DEPTH: u8 = 20;

/// A segment of this table alone, or one shared with the tables of forked processes.
#[derive(Debug)]
enum Held {
    Owned(Segment),
    Shared(Arc<Segment>),
}

impl Held {
    #[inline]
    fn get(&self) -> &Segment {
        match self {
            Self::Owned(segment) => segment,
            Self::Shared(segment) => segment,
        }
    }

    /// The segment for writing: copied first if others hold it too.
    #[inline]
    fn own(&mut self) -> &mut Segment {
        if let Self::Shared(shared) = self {
            let shared = std::mem::take(shared);
            *self = Self::Owned(Arc::unwrap_or_clone(shared));
        }
        match self {
            Self::Owned(segment) => segment,
            Self::Shared(_) => unreachable!("made its own above"),
        }
    }

    fn share(&mut self) -> Self {
        let shared = match std::mem::replace(self, Self::Owned(Segment::default())) {
            Self::Owned(segment) => Arc::new(segment),
            Self::Shared(shared) => shared,
        };
        *self = Self::Shared(Arc::clone(&shared));
        Self::Shared(shared)
    }
}

/// The outstanding blocks of one address space: address → [`Block`].
///
/// A block below 4 GiB at a multiple of 8 below 2^48 takes 17.8 to 23.7 bytes; any other is kept
/// just as exactly, at 40 bytes and up, in a map beside it.
#[derive(Debug)]
pub struct LiveTable {
    mix: Mix,
    start: Nanoseconds,
    segment_slots: usize,
    /// For each value of a hash's upper `depth` bits, the segment.
    directory: Vec<u32>,
    depth: u8,
    /// How many segments are as deep as the directory: at none it halves.
    deepest: usize,
    segments: Vec<Held>,
    packed: usize,
    /// What entries can't hold.
    odd: HashMap<u64, Block>,
}

impl LiveTable {
    /// An empty table; takes a few hundred bytes. Births count from `start`; `seed` should be
    /// random, so that no target can choose addresses that collide.
    pub fn new(start: Nanoseconds, seed: u64) -> Self {
        Self::with_segment_slots(start, seed, SEGMENT_SLOTS)
    }

    fn with_segment_slots(start: Nanoseconds, seed: u64, segment_slots: usize) -> Self {
        Self {
            mix: Mix::new(seed),
            start,
            segment_slots,
            directory: vec![0],
            depth: 0,
            deepest: 1,
            segments: vec![Held::Owned(Segment::default())],
            packed: 0,
            odd: HashMap::new(),
        }
    }

    /// The table of a forked child: the same blocks. The tables share their segments until one
    /// of them writes.
    pub fn fork(&mut self) -> Self {
        Self {
            mix: self.mix,
            start: self.start,
            segment_slots: self.segment_slots,
            directory: self.directory.clone(),
            depth: self.depth,
            deepest: self.deepest,
            segments: self.segments.iter_mut().map(Held::share).collect(),
            packed: self.packed,
            odd: self.odd.clone(),
        }
    }

    /// The same blocks in 2^`bits` tables, each in that of its part: see [`LiveTable::part`]. Segment
    /// by segment, so that it never takes the memory twice.
    pub(super) fn divide(self, bits: u32) -> Vec<Self> {
        let empty = |_| Self {
            mix: self.mix,
            ..Self::with_segment_slots(self.start, 0, self.segment_slots)
        };
        let mut parts: Vec<Self> = (0..1 << bits).map(empty).collect();
        for held in self.segments {
            for entry in held.get().entries() {
                let number = self.mix.number(hash_of(entry));
                parts[self.mix.part(number, bits)].insert_packed(entry);
            }
        }
        for (address, block) in self.odd {
            let part = self.mix.part(number_of(address), bits);
            parts[part].odd.insert(address, block);
        }
        parts
    }

    /// Which of 2^`bits` parts an address falls into: the same in all tables of one seed.
    #[inline]
    pub(super) fn part(&self, address: u64, bits: u32) -> usize {
        self.mix.part(number_of(address), bits)
    }

    /// Blocks in the table.
    pub fn len(&self) -> usize {
        self.packed + self.odd.len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a block in; gives back the one that it supersedes at that address.
    #[inline]
    pub fn insert(&mut self, address: u64, block: Block) -> Option<Block> {
        let Some(hash) = hash_of_address(&self.mix, address) else {
            return self.insert_odd(address, block);
        };
        let superseded = if self.odd.is_empty() {
            None
        } else {
            self.odd.remove(&address)
        };
        let Some(entry) = pack(hash, self.start, &block) else {
            let packed = self.remove_packed(hash);
            return self.insert_odd(address, block).or(packed).or(superseded);
        };
        match self.insert_packed(entry) {
            Some(old) => Some(unpack(old, self.start)),
            None => superseded,
        }
    }

    #[inline]
    fn insert_packed(&mut self, entry: Entry) -> Option<Entry> {
        loop {
            let at = self.segment_of(hash_of(entry));
            match self.segments[at].own().insert(entry) {
                Inserted::Added => {
                    self.packed += 1;
                    return None;
                }
                Inserted::Replaced(old) => return Some(old),
                Inserted::Full => self.make_room(at),
            }
        }
    }

    /// Fetches into the cache what [`LiveTable::insert`] and [`LiveTable::remove`] will touch
    /// first: in a table of millions of blocks the wait for it is most of their time.
    #[inline]
    pub fn prefetch(&self, address: u64) {
        if let Some(hash) = hash_of_address(&self.mix, address) {
            let segment = self.segments[self.segment_of(hash)].get();
            // Entries stand 2 slots from their homes on average, and a shift takes 10 more.
            let slots = segment.first_slots(hash);
            for ahead in [0, 4, 8] {
                if let Some(slot) = slots.get(ahead) {
                    prefetch_line(slot);
                }
            }
        }
    }

    /// Takes the block at an address out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<Block> {
        if let Some(hash) = hash_of_address(&self.mix, address)
            && let Some(block) = self.remove_packed(hash)
        {
            return Some(block);
        }
        if self.odd.is_empty() {
            return None;
        }
        let block = self.odd.remove(&address);
        if self.odd.capacity() > 4 * self.odd.len() {
            self.odd.shrink_to(2 * self.odd.len());
        }
        block
    }

    /// Whether a block lives at an address.
    pub fn contains(&self, address: u64) -> bool {
        self.odd.contains_key(&address)
            || hash_of_address(&self.mix, address).is_some_and(|hash| {
                let at = self.segment_of(hash);
                self.segments[at].get().find(hash).is_some()
            })
    }

    /// Every block with its address, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Block)> + '_ {
        self.segments
            .iter()
            .flat_map(|held| held.get().entries())
            .map(|entry: Entry| (address_of(&self.mix, entry), unpack(entry, self.start)))
            .chain(self.odd.iter().map(|(&address, &block)| (address, block)))
    }

    /// Heap bytes that the table holds; of a segment that several tables share, its part.
    pub fn memory_bytes(&self) -> usize {
        let segments: usize = self
            .segments
            .iter()
            .map(|held| match held {
                Held::Owned(segment) => segment.slot_bytes(),
                Held::Shared(shared) => {
                    (shared.slot_bytes() + size_of::<Segment>()) / Arc::strong_count(shared)
                }
            })
            .sum();
        segments
            + self.segments.capacity() * size_of::<Held>()
            + self.directory.capacity() * size_of::<u32>()
            + self.odd.allocation_size()
    }

    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        self.directory[(hash >> (HASH_BITS - u32::from(self.depth))) as usize] as usize
    }

    #[inline]
    fn remove_packed(&mut self, hash: u64) -> Option<Block> {
        let at = self.segment_of(hash);
        let held = &mut self.segments[at];
        let (position, entry) = held.get().find(hash)?;
        let segment = held.own();
        segment.remove_at(position);
        self.packed -= 1;
        if segment.is_sparse(self.segment_slots / 64) {
            self.give_back(at);
        }
        Some(unpack(entry, self.start))
    }

    #[cold]
    fn insert_odd(&mut self, address: u64, block: Block) -> Option<Block> {
        let birth = birth_of(self.start, tick_of(self.start, block.birth));
        self.odd.insert(address, Block { birth, ..block })
    }

    /// Lets a full segment grow, or split if it would grow too large.
    #[cold]
    fn make_room(&mut self, at: usize) {
        let segment = self.segments[at].own();
        if good_slots(segment.len()) <= self.segment_slots || segment.depth >= MAX_DEPTH {
            segment.fit();
            return;
        }
        let upper = segment.split();
        if upper.depth > self.depth {
            self.directory = self.directory.iter().flat_map(|&at| [at, at]).collect();
            self.depth += 1;
            self.deepest = 0;
        }
        if upper.depth == self.depth {
            self.deepest += 2;
        }
        self.segments.push(Held::Owned(upper));
        self.direct_to(self.segments.len() - 1);
    }

    /// Gives back what a sparse segment doesn't use: merges it with its neighbour if both are
    /// small, else shrinks it.
    #[cold]
    fn give_back(&mut self, at: usize) {
        let segment = self.segments[at].own();
        if segment.depth > 0 && good_slots(segment.len()) <= self.segment_slots / 4 {
            // The neighbour's hashes differ in the last bit of the prefix.
            let first_hash =
                u64::from(segment.prefix ^ 1) << (HASH_BITS - u32::from(segment.depth));
            let (depth, len) = (segment.depth, segment.len());
            let is_lower = segment.prefix & 1 == 0;
            let neighbour = self.segment_of(first_hash);
            let other = self.segments[neighbour].get();
            if other.depth == depth && good_slots(len + other.len()) <= self.segment_slots / 2 {
                let (lower, upper) = if is_lower {
                    (at, neighbour)
                } else {
                    (neighbour, at)
                };
                self.merge(lower, upper);
                return;
            }
        }
        self.segments[at].own().fit();
    }

    fn merge(&mut self, lower: usize, upper: usize) {
        let absorbed = self.segments.swap_remove(upper);
        if upper < self.segments.len() {
            self.direct_to(upper);
        }
        // The last segment took the place of the removed one.
        let lower = if lower == self.segments.len() {
            upper
        } else {
            lower
        };
        if absorbed.get().depth == self.depth {
            self.deepest -= 2;
        }
        self.segments[lower].own().merge(absorbed.get());
        self.direct_to(lower);
        while self.deepest == 0 && self.depth > 0 {
            self.halve_directory();
        }
        if self.segments.capacity() > 4 * self.segments.len() {
            self.segments.shrink_to(2 * self.segments.len());
        }
    }

    fn halve_directory(&mut self) {
        self.directory = self.directory.iter().copied().step_by(2).collect();
        self.depth -= 1;
        let depth = self.depth;
        self.deepest = self
            .segments
            .iter()
            .filter(|held| held.get().depth == depth)
            .count();
    }

    /// Makes the directory lead to a segment for all hashes that are its.
    fn direct_to(&mut self, at: usize) {
        let segment = self.segments[at].get();
        let free_bits = self.depth - segment.depth;
        let first = (segment.prefix as usize) << free_bits;
        self.directory[first..first + (1 << free_bits)].fill(at as u32);
    }
}

/// Begins to fetch a cache line for writing.
#[inline]
fn prefetch_line<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes no state that a program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Model;

    use proptest::prelude::*;

    use super::super::packed::TICK_BITS;
    use super::*;

    fn block(site: u32, size: u64) -> Block {
        Block {
            site,
            size,
            birth: 0,
        }
    }

    fn contents(table: &LiveTable) -> Model<u64, Block> {
        let blocks: Model<_, _> = table.iter().collect();
        assert_eq!(blocks.len(), table.len());
        blocks
    }

    #[test]
    fn a_table_of_few_blocks_is_small() {
        let mut table = LiveTable::new(0, 1);
        for i in 0..10 {
            table.insert(0x1000 + 16 * i, block(0, 10));
        }
        assert!(table.memory_bytes() < 512, "{}", table.memory_bytes());
    }

    #[test]
    fn what_does_not_fit_into_an_entry_is_kept_exactly() {
        let mut table = LiveTable::new(0, 9);
        let odd = [
            (0, block(1, 5)),
            (0x1001, block(2, 6)),
            (u64::MAX, block(3, 7)),
            (1 << 48, block(4, 8)),
            (0x2000, block(5, 1 << 32)),
            (0x3000, block(u32::MAX, 9)),
        ];
        for (address, block) in odd {
            assert_eq!(table.insert(address, block), None);
        }
        assert_eq!(contents(&table), Model::from(odd));
        for (address, block) in odd {
            assert!(table.contains(address));
            assert_eq!(table.remove(address), Some(block));
            assert_eq!(table.remove(address), None);
        }
        assert!(table.is_empty());
    }

    #[test]
    fn a_block_supersedes_the_old_one_whichever_of_them_fits() {
        let sizes = [64, 1 << 32, 1 << 33, 64, 65, 1 << 34];
        let mut table = LiveTable::new(0, 2);
        let mut before = None;
        for size in sizes {
            assert_eq!(table.insert(0x1000, block(0, size)), before);
            assert_eq!(table.len(), 1);
            before = Some(block(0, size));
        }
        assert_eq!(table.remove(0x1000), before);
    }

    #[test]
    fn births_come_back_at_the_resolution_of_ticks() {
        let start = 123_456_789;
        let mut table = LiveTable::new(start, 5);
        for address in [0x1000, 0x1001] {
            let birth = start + (77 << TICK_BITS) + 4_000_000;
            let block = Block {
                site: 1,
                size: 2,
                birth,
            };
            table.insert(address, block);
            let found = table.remove(address).expect("present");
            assert_eq!(found.birth, start + (77 << TICK_BITS));
        }
    }

    #[test]
    fn a_table_that_grew_large_is_small_again_when_its_blocks_are_gone() {
        let mut table = LiveTable::new(0, 77);
        let addresses = (0..100_000u64).map(|i| 0x5555_0000_0000 + 48 * i);
        for address in addresses.clone() {
            table.insert(address, block(0, 40));
        }
        assert!(table.segments.len() > 16);
        for address in addresses.skip(10) {
            assert!(table.remove(address).is_some());
        }
        assert_eq!(table.len(), 10);
        assert!(table.memory_bytes() < 8 << 10, "{}", table.memory_bytes());
    }

    #[test]
    fn a_fork_costs_next_to_nothing_until_someone_writes() {
        let mut parent = LiveTable::new(0, 8);
        for i in 0..50_000u64 {
            parent.insert(0x1000 + 16 * i, block(0, 16));
        }
        let alone = parent.memory_bytes();
        let child = parent.fork();
        assert_eq!(contents(&child), contents(&parent));
        assert!(parent.memory_bytes() + child.memory_bytes() < alone + (8 << 10));
    }

    #[test]
    fn a_sparse_segment_does_not_merge_with_a_part_of_its_neighbour() {
        let mut table = LiveTable::with_segment_slots(0, 3, 64);
        let mix = table.mix;
        let half = 1 << (HASH_BITS - 1);
        let address = |hash: u64| mix.number(hash) << 3;
        let few = (1..40).map(|i| address(i << 20));
        // The upper half fills up from its end: its beginning is a small part of it.
        let many = (0..3000).map(|i| address(half + (1 << 43) + (i << 24)));
        for address in few.clone().chain(many.clone()) {
            table.insert(address, block(0, 1));
        }
        for address in few.clone().skip(2) {
            assert!(table.remove(address).is_some());
        }
        assert_eq!(table.len(), 2 + 3000);
        let found = few.take(2).chain(many);
        assert!(found.into_iter().all(|address| table.contains(address)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        Fork,
        Switch,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few distinct addresses, so that removals hit and blocks supersede each other; some of
        // them odd, some sizes too large for an entry.
        let address = prop_oneof![
            30 => (0u64..400).prop_map(|i| 0x7000_0000 + 16 * i),
            1 => (0u64..8).prop_map(|i| 0x7000_0000 + i),
            1 => (0u64..4).prop_map(|i| (1 << 50) + 8 * i),
        ];
        let size = prop_oneof![20 => 0u64..1000, 1 => (1u64 << 32)..(1 << 33)];
        // Growing and shrinking phases: a test of 600 steps crosses every threshold.
        let step = prop_oneof![
            300 => (address.clone(), size).prop_map(|(a, s)| Step::Insert(a, s)),
            250 => address.prop_map(Step::Remove),
            3 => Just(Step::Fork),
            3 => Just(Step::Switch),
        ];
        proptest::collection::vec(step, 0..1500)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_table_and_its_forks_behave_like_maps(seed: u64, steps in steps()) {
            // Tiny segments: every few steps one splits, merges or moves.
            let mut tables = vec![LiveTable::with_segment_slots(0, seed, 64)];
            let mut models = vec![Model::new()];
            let mut at = 0;
            for (site, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(address, size) => {
                        let block = block(site as u32, size);
                        prop_assert_eq!(
                            tables[at].insert(address, block),
                            models[at].insert(address, block)
                        );
                    }
                    Step::Remove(address) => {
                        prop_assert_eq!(tables[at].contains(address), models[at].contains_key(&address));
                        prop_assert_eq!(tables[at].remove(address), models[at].remove(&address));
                    }
                    Step::Fork => {
                        let child = tables[at].fork();
                        tables.push(child);
                        models.push(models[at].clone());
                    }
                    Step::Switch => at = (at + 1) % tables.len(),
                }
                prop_assert_eq!(tables[at].len(), models[at].len());
            }
            for (table, model) in tables.iter().zip(&models) {
                prop_assert_eq!(&contents(table), model);
            }
        }
    }
}
