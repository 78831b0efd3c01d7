//! Blocks born in one interval and still live, as plain numbers that can be cut at any time:
//! within an interval births are taken as spread evenly.

use super::bins::Bin;
use super::plateau::Weight;

/// The survivors of one interval of births.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cohort {
    /// The interval, ticks.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Bytes that are live.
    pub(super) bytes: f64,
    /// Blocks that are live.
    pub(super) blocks: f64,
    /// Bytes that were born in it and have been freed.
    pub(super) freed: f64,
}

impl Cohort {
    pub(super) fn of(bin: &Bin) -> Self {
        Self {
            from: f64::from(bin.first),
            to: f64::from(bin.last) + 1.0,
            bytes: bin.kept_bytes as f64,
            blocks: f64::from(bin.kept_count),
            freed: (f64::from(bin.born_bytes) - bin.kept_bytes as f64).max(0.0),
        }
    }

    /// The survivors, weighed by bytes or by number.
    pub(super) fn weight(&self, by: Weight) -> f64 {
        match by {
            Weight::Bytes => self.bytes,
            Weight::Blocks => self.blocks,
        }
    }

    /// The part that was born in [from, to).
    fn within(&self, from: f64, to: f64) -> Option<Self> {
        let (begin, end) = (self.from.max(from), self.to.min(to));
        let share = (end - begin) / (self.to - self.from);
        (share > 0.0).then_some(Self {
            from: begin,
            to: end,
            bytes: share * self.bytes,
            blocks: share * self.blocks,
            freed: share * self.freed,
        })
    }
}

/// The parts that were born in [from, to).
pub(super) fn cut(cohorts: &[Cohort], from: f64, to: f64) -> Vec<Cohort> {
    let parts = cohorts.iter().filter_map(|cohort| cohort.within(from, to));
    parts.collect()
}

/// A sum over cohorts.
pub(super) fn sum(cohorts: &[Cohort], quantity: impl Fn(&Cohort) -> f64) -> f64 {
    cohorts.iter().map(quantity).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohort(from: f64, to: f64, bytes: f64) -> Cohort {
        Cohort {
            from,
            to,
            bytes,
            blocks: bytes / 10.0,
            freed: 0.0,
        }
    }

    #[test]
    fn a_cut_takes_births_as_spread_evenly() {
        let cohorts = [cohort(0.0, 10.0, 100.0), cohort(20.0, 30.0, 50.0)];
        let cut = cut(&cohorts, 5.0, 22.0);
        assert_eq!(cut.len(), 2);
        assert_eq!((cut[0].from, cut[0].bytes, cut[0].blocks), (5.0, 50.0, 5.0));
        assert_eq!((cut[1].to, cut[1].bytes), (22.0, 10.0));
    }
}
