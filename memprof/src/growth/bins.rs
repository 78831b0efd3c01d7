//! Live blocks by the interval of their birth. Intervals merge as they age, so that there are
//! about [`BINS_PER_OCTAVE`] for every doubling of the age: the dyadic grid of exponential
//! histograms (Datar, Gionis, Indyk, Motwani 2002, "Maintaining Stream Statistics over Sliding
//! Windows"), aligned to multiples of the width so that all series of a run share one calendar
//! and can be added.

use super::ticks::Tick;

/// Intervals per doubling of the age: they are narrower than an eighth of it.
pub const BINS_PER_OCTAVE: u32 = 8;

/// Fewer bins than this don't merge: a short run is followed exactly.
const MERGE_FROM: usize = 64;

/// Tidying looks at all bins, so it waits until there are so many new ones.
const TIDY_EVERY: usize = 8;

/// The blocks that were born in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The first tick with a birth.
    pub first: Tick,
    /// The last tick with a birth.
    pub last: Tick,
    /// Bytes that are still live.
    pub kept_bytes: u64,
    /// Blocks that are still live.
    pub kept_count: u32,
    /// Bytes that were born. A weight, not an account, so seven digits are enough.
    pub born_bytes: f32,
}

impl Bin {
    /// Ticks that it covers.
    pub fn width(&self) -> f64 {
        f64::from(self.last - self.first) + 1.0
    }

    fn absorb(&mut self, newer: &Self) {
        self.last = self.last.max(newer.last);
        self.kept_bytes += newer.kept_bytes;
        self.kept_count = self.kept_count.saturating_add(newer.kept_count);
        self.born_bytes += newer.born_bytes;
    }
}

/// Bins in the order of time, without those in which nothing was born, and from the first on that
/// holds a live block: what came before can't have left anything.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    bins: Vec<Bin>,
    tidy_at: usize,
}

impl Bins {
    /// One bin.
    pub(super) fn of(bin: Bin) -> Self {
        Self {
            bins: vec![bin],
            tidy_at: 0,
        }
    }

    /// Bins that never merge.
    pub fn unmerged() -> Self {
        Self {
            bins: Vec::new(),
            tidy_at: usize::MAX,
        }
    }

    /// Adds the newest tick.
    pub fn push(&mut self, bin: Bin) {
        if self.bins.is_empty() && bin.kept_count == 0 {
            return;
        }
        if self.bins.len() >= self.tidy_at {
            self.drop_empty();
            if self.bins.len() >= MERGE_FROM {
                self.merge(bin.last);
            }
            self.tidy_at = self.bins.len() + TIDY_EVERY;
            if self.bins.capacity() > 2 * self.tidy_at {
                self.bins.shrink_to(self.tidy_at);
            }
        }
        if self.bins.len() == self.bins.capacity() {
            self.bins.reserve_exact(TIDY_EVERY / 2);
        }
        self.bins.push(bin);
    }

    /// Takes a dead block out. Nothing happens if none is left of its time.
    #[inline]
    pub fn died(&mut self, birth: Tick, bytes: u64) {
        if let Some(bin) = self.bin_of(birth) {
            bin.kept_bytes = bin.kept_bytes.saturating_sub(bytes);
            bin.kept_count = bin.kept_count.saturating_sub(1);
        }
    }

    /// Puts a block back whose death was none.
    pub fn revived(&mut self, birth: Tick, bytes: u64) {
        match self.bin_of(birth) {
            Some(bin) => {
                bin.kept_bytes += bytes;
                bin.kept_count = bin.kept_count.saturating_add(1);
            }
            None => {
                // Its bin has gone, as it held nothing any more.
                let at = self.bins.partition_point(|bin| bin.last < birth);
                self.bins.insert(
                    at,
                    Bin {
                        first: birth,
                        last: birth,
                        kept_bytes: bytes,
                        kept_count: 1,
                        born_bytes: bytes as f32,
                    },
                );
            }
        }
    }

    #[inline]
    fn bin_of(&mut self, birth: Tick) -> Option<&mut Bin> {
        // Most that die are young: look at the newest few first.
        let newest = self.bins.len().saturating_sub(4);
        let from = if self.bins.get(newest).is_some_and(|bin| bin.first <= birth) {
            newest
        } else {
            0
        };
        let found = from + self.bins[from..].partition_point(|bin| bin.last < birth);
        self.bins.get_mut(found).filter(|bin| bin.first <= birth)
    }

    /// All bins, oldest first.
    pub fn as_slice(&self) -> &[Bin] {
        &self.bins
    }

    /// Drops the oldest that hold nothing any more.
    fn drop_empty(&mut self) {
        let held = self.bins.iter().position(|bin| bin.kept_count > 0);
        self.bins.drain(..held.unwrap_or(self.bins.len()));
    }

    /// Merges what has become old enough at the time `now`.
    fn merge(&mut self, now: Tick) {
        let mut level = 31 - BINS_PER_OCTAVE.ilog2();
        let mut block = None;
        let mut kept: usize = 0;
        for at in 0..self.bins.len() {
            let bin = self.bins[at];
            while level > 0 && !is_due(bin.first, level, now) {
                level -= 1;
            }
            let its_block = Some((level, bin.first >> level));
            if its_block == block {
                self.bins[kept - 1].absorb(&bin);
            } else {
                self.bins[kept] = bin;
                kept += 1;
            }
            block = its_block;
        }
        self.bins.truncate(kept);
    }

    /// The bins of several series of one run, added up.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Self>, now: Tick) -> Self {
        let mut bins: Vec<Bin> = all.flat_map(|one| &one.bins).copied().collect();
        bins.sort_unstable_by_key(|bin| (bin.first, bin.last));
        let mut sum = Self { bins, tidy_at: 0 };
        sum.drop_empty();
        sum.merge(now);
        sum
    }

    /// Heap bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<Bin>()
    }
}

/// Whether the block of 2^level ticks around `birth` is so old that its parts merge.
fn is_due(birth: Tick, level: u32, now: Tick) -> bool {
    let end = ((u64::from(birth) >> level) + 1) << level;
    u64::from(now) + 1 >= end + (u64::from(BINS_PER_OCTAVE) << level)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn born(tick: Tick, blocks: u32) -> Bin {
        Bin {
            first: tick,
            last: tick,
            kept_bytes: 10 * u64::from(blocks),
            kept_count: blocks,
            born_bytes: 10.0 * blocks as f32,
        }
    }

    fn filled(ticks: Tick) -> Bins {
        let mut bins = Bins::default();
        (0..ticks).for_each(|tick| bins.push(born(tick, 1)));
        bins
    }

    #[test]
    fn intervals_are_narrower_than_an_eighth_of_their_age() {
        let now = 100_000;
        for bin in filled(now).as_slice() {
            let age = f64::from(now - bin.last);
            assert!(bin.width() <= 1.0f64.max(age / 8.0), "{bin:?}");
        }
    }

    #[test]
    fn intervals_grow_in_number_with_the_logarithm_of_the_time() {
        let lengths = [64, 640, 6_400, 64_000, 640_000].map(|now| filled(now).as_slice().len());
        assert_eq!(lengths[0], 64);
        assert!(lengths[1] <= 80 && lengths[2] <= 110, "{lengths:?}");
        assert!(lengths[3] <= 140 && lengths[4] <= 170, "{lengths:?}");
    }

    #[test]
    fn what_holds_nothing_any_more_is_dropped_from_the_front() {
        let mut bins = filled(20);
        (0..20).for_each(|tick| bins.died(tick, 10));
        (20..40).for_each(|tick| bins.push(born(tick, 1)));
        assert!(bins.as_slice()[0].first >= 12);
        bins.revived(3, 10);
        assert_eq!(
            (bins.as_slice()[0].first, bins.as_slice()[0].kept_count),
            (3, 1)
        );
    }

    #[test]
    fn series_that_were_merged_at_different_times_add_up() {
        let (long, mut short) = (filled(1000), Bins::default());
        short.push(born(3, 5));
        let sum = Bins::sum([&long, &short].into_iter(), 1000);
        let blocks: u32 = sum.as_slice().iter().map(|bin| bin.kept_count).sum();
        assert_eq!(blocks, 1005);
        let ordered = sum
            .as_slice()
            .windows(2)
            .all(|pair| pair[0].last < pair[1].first);
        assert!(ordered, "{:?}", sum.as_slice());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_is_born_and_dies(
            steps in prop::collection::vec((0u32..200, 0u32..4, any::<prop::sample::Index>()), 1..600)
        ) {
            let mut bins = Bins::default();
            let mut live: Vec<Tick> = Vec::new();
            let mut tick = 0;
            for (gap, blocks, which) in steps {
                tick += gap + 1;
                if blocks > 0 {
                    bins.push(born(tick, blocks));
                    live.extend((0..blocks).map(|_| tick));
                } else if !live.is_empty() {
                    let birth = live.swap_remove(which.index(live.len()));
                    bins.died(birth, 10);
                }
            }
            live.sort_unstable();
            let mut rest = live.as_slice();
            for bin in bins.as_slice() {
                let older = rest.iter().take_while(|birth| **birth <= bin.last).count();
                prop_assert!(rest[..older].iter().all(|birth| *birth >= bin.first));
                prop_assert_eq!(bin.kept_count as usize, older);
                prop_assert_eq!(bin.kept_bytes, 10 * older as u64);
                rest = &rest[older..];
            }
            prop_assert_eq!(rest, &[] as &[Tick]);
        }
    }
}
