//! What is followed of one stack's (or one process's) blocks over time, in bounded memory.
//!
//! The current tick is a handful of sums in place; what outlives it goes to a history on the heap,
//! which a series only has once a block did. A block that dies within the tick of its birth costs
//! a few additions.

use super::ages::Ages;
use super::bins::{Bin, Bins};
use super::course::Course;
use super::room::Room;
use super::ticks::Tick;

/// The growth of one stack: see the module.
#[derive(Clone, Debug)]
pub struct Series {
    since: Tick,
    /// The tick that the sums below are about.
    tick: Tick,
    born_bytes: u64,
    /// Of those born in this tick, still live.
    kept_bytes: u64,
    born_count: u32,
    kept_count: u32,
    outstanding_count: u32,
    /// There was no room for a history.
    refused: bool,
    /// Intervals of births never merge.
    unmerged: bool,
    outstanding_bytes: u64,
    history: Option<Box<History>>,
}

/// What there is to remember beyond the current tick.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) bins: Bins,
    pub(super) ages: Ages,
    pub(super) course: Course,
}

impl History {
    fn new(since: Tick) -> Self {
        Self {
            bins: Bins::default(),
            ages: Ages::new(since),
            course: Course::new(since),
        }
    }
}

impl Series {
    /// A series that begins at a tick: that of a stack's first block.
    pub fn new(since: Tick) -> Self {
        Self {
            since,
            tick: since,
            born_bytes: 0,
            kept_bytes: 0,
            born_count: 0,
            kept_count: 0,
            outstanding_count: 0,
            refused: false,
            unmerged: false,
            outstanding_bytes: 0,
            history: None,
        }
    }

    /// A series whose intervals of births never merge: exact, and unbounded. To hold the others
    /// against.
    pub fn unmerged(since: Tick) -> Self {
        Self {
            unmerged: true,
            ..Self::new(since)
        }
    }

    /// The series of a forked child, which holds copies of blocks from before. They count as
    /// outstanding, but as no growth of the child's own.
    pub fn forked(&self, since: Tick) -> Self {
        Self {
            outstanding_bytes: self.outstanding_bytes,
            outstanding_count: self.outstanding_count,
            ..Self::new(since)
        }
    }

    /// A series that begins when this one did and has seen nothing.
    pub fn emptied(&self) -> Self {
        Self {
            unmerged: self.unmerged,
            ..Self::new(self.since)
        }
    }

    /// A block was allocated. Ticks must not decrease, in this and what follows.
    #[inline]
    pub fn born(&mut self, tick: Tick, bytes: u64, room: &mut Room) {
        self.advance(tick, room);
        self.born_bytes += bytes;
        self.kept_bytes += bytes;
        self.born_count = self.born_count.saturating_add(1);
        self.kept_count = self.kept_count.saturating_add(1);
        self.outstanding_bytes += bytes;
        self.outstanding_count = self.outstanding_count.saturating_add(1);
    }

    /// A block that was allocated in the tick `birth` has been freed.
    #[inline]
    pub fn died(&mut self, birth: Tick, tick: Tick, bytes: u64, room: &mut Room) {
        self.advance(tick, room);
        self.outstanding_bytes = self.outstanding_bytes.saturating_sub(bytes);
        self.outstanding_count = self.outstanding_count.saturating_sub(1);
        if birth >= self.tick {
            self.kept_bytes = self.kept_bytes.saturating_sub(bytes);
            self.kept_count = self.kept_count.saturating_sub(1);
        } else if birth >= self.since
            && let Some(history) = &mut self.history
        {
            history.bins.died(birth, bytes);
            history.ages.died(self.tick - birth, bytes);
        }
    }

    /// The latest free of this block was none: a `realloc` that failed.
    pub fn revived(&mut self, birth: Tick, tick: Tick, bytes: u64, room: &mut Room) {
        self.advance(tick, room);
        self.outstanding_bytes += bytes;
        self.outstanding_count = self.outstanding_count.saturating_add(1);
        if birth >= self.tick {
            // A forked child's copy of a block of the very tick of the fork was not born here.
            self.kept_bytes = (self.kept_bytes + bytes).min(self.born_bytes);
            self.kept_count = self.kept_count.saturating_add(1).min(self.born_count);
        } else if birth >= self.since {
            self.begin(room);
            if let Some(history) = &mut self.history {
                history.bins.revived(birth, bytes);
                history.ages.revived(self.tick - birth, bytes);
            }
        }
    }

    /// Lets time pass: all before `tick` is over.
    #[inline]
    pub fn advance(&mut self, tick: Tick, room: &mut Room) {
        if tick > self.tick {
            self.close(tick, room);
        }
    }

    #[cold]
    fn close(&mut self, tick: Tick, room: &mut Room) {
        if self.kept_count > 0 {
            self.begin(room);
        }
        let bin = self.current();
        if let Some(history) = &mut self.history {
            if self.born_count > 0 {
                history.bins.push(bin);
                let died = self.born_count - self.kept_count;
                let bytes = self.born_bytes.saturating_sub(self.kept_bytes);
                if died > 0 {
                    history.ages.died_many(0, bytes, died);
                }
            }
            let total = self.outstanding_bytes as f64;
            history.course.hold(tick, total, self.outstanding_count);
            history.ages.advance(self.since, tick);
        }
        self.tick = tick;
        self.born_bytes = 0;
        self.kept_bytes = 0;
        self.born_count = 0;
        self.kept_count = 0;
    }

    /// Begins to remember, if there is room.
    fn begin(&mut self, room: &mut Room) {
        if self.history.is_some() || self.refused {
            return;
        }
        if !room.take() {
            self.refused = true;
            return;
        }
        let mut history = History::new(self.since);
        if self.unmerged {
            history.bins = Bins::unmerged();
        }
        let before = self.outstanding_bytes.saturating_sub(self.kept_bytes);
        history.course.hold(self.tick, before as f64, 0);
        self.history = Some(Box::new(history));
    }

    /// Series of one run, added up, but for the course of their total. `since`: not after any of
    /// theirs.
    pub(super) fn sum<'a>(
        all: impl Iterator<Item = &'a Self> + Clone,
        since: Tick,
        now: Tick,
    ) -> Self {
        let mut sum = Self::new(since);
        sum.tick = now;
        let mut history = History::new(since);
        let pending = all.clone().filter_map(|one| one.pending(now));
        let pending: Vec<Bins> = pending.map(Bins::of).collect();
        let settled = all.clone().filter_map(Self::history);
        history.bins = Bins::sum(settled.map(|one| &one.bins).chain(&pending), now);
        for one in all {
            sum.outstanding_bytes += one.outstanding_bytes;
            sum.outstanding_count = sum.outstanding_count.saturating_add(one.outstanding_count);
            if let Some(its) = one.history() {
                history.ages.absorb(&its.ages);
            }
        }
        sum.history = Some(Box::new(history));
        sum
    }

    /// What was born in the last tick that saw anything, if it is over at `now` but not closed.
    pub(super) fn pending(&self, now: Tick) -> Option<Bin> {
        (self.tick < now && self.born_count > 0).then(|| self.current())
    }

    fn current(&self) -> Bin {
        Bin {
            first: self.tick,
            last: self.tick,
            kept_bytes: self.kept_bytes,
            kept_count: self.kept_count,
            born_bytes: self.born_bytes as f32,
        }
    }

    /// The first tick that belongs to it.
    pub fn since(&self) -> Tick {
        self.since
    }

    /// Whether it could not be followed: there were
    /// [`MAX_HISTORIES`](super::room::MAX_HISTORIES).
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether it takes room: see [`Room::give_back`].
    pub fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Bytes held now.
    pub fn outstanding_bytes(&self) -> u64 {
        self.outstanding_bytes
    }

    /// Blocks held now.
    pub fn outstanding_count(&self) -> u32 {
        self.outstanding_count
    }

    pub(super) fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    /// Bytes of memory that it takes, its own size included.
    pub fn memory_bytes(&self) -> usize {
        let history = self.history.as_ref().map_or(0, |history| {
            size_of::<History>()
                + history.bins.memory_bytes()
                + history.ages.memory_bytes()
                + history.course.memory_bytes()
        });
        size_of::<Self>() + history
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::growth::ages::age_class;

    #[test]
    fn a_failed_resize_of_a_copy_in_the_tick_of_the_fork_leaves_no_more_than_was_born() {
        let mut room = Room::default();
        let mut parent = Series::new(0);
        parent.born(7, 100, &mut room);
        let mut child = parent.forked(7);
        child.died(7, 7, 100, &mut room);
        child.born(7, 10, &mut room);
        child.revived(7, 7, 100, &mut room);
        child.advance(8, &mut room);
        assert_eq!(child.outstanding_bytes(), 110);
        let history = child.history().expect("a history");
        assert!(
            history
                .bins
                .as_slice()
                .iter()
                .all(|bin| bin.kept_count <= 1)
        );
    }

    proptest! {
        #[test]
        fn blocks_are_where_they_were_born_and_deaths_at_their_age(
            steps in prop::collection::vec(
                (prop_oneof![4 => Just(0u32), 1 => 1u32..30], any::<bool>(), any::<prop::sample::Index>()),
                1..500,
            )
        ) {
            let mut room = Room::default();
            let mut series = Series::new(5);
            let (mut live, mut ages): (Vec<Tick>, Vec<Tick>) = (Vec::new(), Vec::new());
            let mut tick = 5;
            for (gap, is_birth, which) in steps {
                tick += gap;
                if is_birth || live.is_empty() {
                    series.born(tick, 7, &mut room);
                    live.push(tick);
                } else {
                    let birth = live.swap_remove(which.index(live.len()));
                    series.died(birth, tick, 7, &mut room);
                    ages.push(tick - birth);
                }
            }
            let now = tick + 1;
            series.advance(now, &mut room);
            prop_assert_eq!(series.outstanding_bytes(), 7 * live.len() as u64);
            prop_assert_eq!(series.outstanding_count() as usize, live.len());
            let Some(history) = series.history() else {
                // Nothing outlived its tick.
                prop_assert_eq!(live.len(), 0);
                return Ok(());
            };
            for bin in history.bins.as_slice() {
                let within = |birth: &&Tick| (bin.first..=bin.last).contains(*birth);
                prop_assert_eq!(bin.kept_count as usize, live.iter().filter(within).count());
            }
            let held: u64 = history.bins.as_slice().iter().map(|bin| bin.kept_bytes).sum();
            prop_assert_eq!(held, 7 * live.len() as u64);
            for (class, deaths) in history.ages.classes().iter().enumerate().skip(1) {
                let died = ages.iter().filter(|age| age_class(**age) == class).count();
                prop_assert_eq!(deaths.count as usize, died);
            }
        }
    }

    #[test]
    fn a_free_that_was_none_is_taken_back() {
        let mut room = Room::default();
        let mut series = Series::new(0);
        series.born(0, 100, &mut room);
        series.born(1, 50, &mut room);
        series.died(0, 9, 100, &mut room);
        series.revived(0, 9, 100, &mut room);
        series.died(1, 9, 50, &mut room);
        series.advance(10, &mut room);
        let history = series.history().expect("blocks outlived their tick");
        assert_eq!(history.bins.as_slice()[0].kept_bytes, 100);
        let deaths: u32 = history.ages.classes().iter().map(|class| class.count).sum();
        assert_eq!((deaths, series.outstanding_bytes()), (1, 100));
    }

    #[test]
    fn frees_of_what_was_never_seen_born_change_nothing_but_the_total() {
        let mut room = Room::default();
        let mut series = Series::new(0);
        series.born(0, 100, &mut room);
        let mut child = series.forked(50);
        child.died(0, 60, 100, &mut room);
        child.advance(70, &mut room);
        assert_eq!((child.outstanding_bytes(), child.has_history()), (0, false));
        child.died(0, 80, 100, &mut room);
        assert_eq!(child.outstanding_bytes(), 0);
    }
}
