//! What an action leaves behind each time it is done: the statistics of cycles. Pure.
//!
//! The first cycles warm caches up and don't count. Of the others the median says what one leaves,
//! which a few odd ones don't move. A call path leaks if nearly every cycle left blocks of it that
//! are outstanding to this day: what is replaced by the next cycle, or flushed now and then, is gone
//! by the end and was left by the last cycles alone. So the last one does not count here: what it
//! left may be about to be replaced.

use crate::growth::theil_sen;
use crate::stacks::weight::Amount;

/// Cycles after the warm-up below which nothing is said of leaks.
pub const MIN_STEADY: usize = 4;
/// The share of the cycles that must have left something at a call path that leaks.
const NEARLY_EVERY: f64 = 0.9;

/// One cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cycle {
    /// What was allocated in it and is outstanding at the end of the run.
    pub left: Amount,
    /// Bytes outstanding when it was over, whenever they were allocated.
    pub outstanding_bytes: u64,
}

/// What is said of all cycles together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerCycle {
    /// Median bytes that a cycle after the warm-up left.
    pub left_bytes: Option<f64>,
    /// Median blocks.
    pub left_count: Option<f64>,
    /// Growth of all that is outstanding from one cycle to the next, by Theil and Sen.
    pub growth_bytes: Option<f64>,
    /// Its 95 % interval.
    pub growth_bytes_ci95: Option<[f64; 2]>,
}

/// What is said of one call path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathPerCycle {
    /// Median bytes that a cycle after the warm-up left there.
    pub left_bytes: f64,
    /// Median blocks.
    pub left_count: f64,
    /// All bytes that these cycles left there.
    pub total: Amount,
    /// How many of these cycles left something there.
    pub cycles: u32,
    /// Whether nearly every one did; `None` for too few cycles.
    pub leaks: Option<bool>,
}

/// Of the whole, with the first `warm_up` cycles left out.
pub fn per_cycle(cycles: &[Cycle], warm_up: usize) -> PerCycle {
    let steady = cycles.get(warm_up..).unwrap_or_default();
    let outstanding: Vec<f64> = steady
        .iter()
        .map(|cycle| cycle.outstanding_bytes as f64)
        .collect();
    let trend = theil_sen::fit(&outstanding, 0);
    PerCycle {
        left_bytes: median(steady.iter().map(|cycle| cycle.left.bytes)),
        left_count: median(steady.iter().map(|cycle| cycle.left.count)),
        growth_bytes: trend.map(|trend| trend.slope),
        growth_bytes_ci95: trend.map(|trend| trend.slope_ci95),
    }
}

/// Of one call path: what each of the cycles after the warm-up left there.
pub fn per_path(left: &[Amount]) -> PathPerCycle {
    let some = |left: &[Amount]| left.iter().filter(|amount| amount.count > 0).count();
    let settled = &left[..left.len().saturating_sub(1)];
    let needed = (settled.len() as f64 * NEARLY_EVERY).ceil() as usize;
    PathPerCycle {
        left_bytes: median(left.iter().map(|amount| amount.bytes)).unwrap_or(0.0),
        left_count: median(left.iter().map(|amount| amount.count)).unwrap_or(0.0),
        total: left.iter().fold(Amount::default(), |sum, one| Amount {
            bytes: sum.bytes.saturating_add(one.bytes),
            count: sum.count.saturating_add(one.count),
        }),
        cycles: some(left) as u32,
        leaks: (left.len() >= MIN_STEADY).then(|| some(settled) >= needed),
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<f64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower as f64 + upper as f64) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(counts: &[u64]) -> Vec<Amount> {
        let amount = |count: &u64| Amount {
            bytes: 100 * count,
            count: *count,
        };
        counts.iter().map(amount).collect()
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let cycles: Vec<Cycle> = amounts(&[900, 50, 3, 3, 3, 3])
            .into_iter()
            .zip([90_000, 95_000, 95_300, 95_600, 95_900, 96_200])
            .map(|(left, outstanding_bytes)| Cycle {
                left,
                outstanding_bytes,
            })
            .collect();
        let all = per_cycle(&cycles, 2);
        assert_eq!(all.left_bytes, Some(300.0));
        assert_eq!(all.left_count, Some(3.0));
        assert_eq!(all.growth_bytes, Some(300.0));
        assert_eq!(per_cycle(&cycles, 6), PerCycle::default());
        assert_eq!(per_cycle(&cycles, 7), PerCycle::default());
    }

    #[test]
    fn what_nearly_every_cycle_leaves_is_a_leak() {
        let leaks = |counts: &[u64]| per_path(&amounts(counts)).leaks;
        assert_eq!(leaks(&[1, 1, 1, 1, 1]), Some(true));
        let one_odd = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1];
        assert_eq!(leaks(&one_odd), Some(true));
        assert_eq!(leaks(&[1, 1, 1]), None);
        assert_eq!(leaks(&[]), None);
    }

    #[test]
    fn what_is_replaced_or_flushed_is_none() {
        let leaks = |counts: &[u64]| per_path(&amounts(counts)).leaks;
        // The newest alone is held; the newest three; what came since the last flush.
        assert_eq!(leaks(&[0, 0, 0, 0, 0, 7]), Some(false));
        assert_eq!(leaks(&[0, 0, 0, 0, 5, 5, 5]), Some(false));
        assert_eq!(leaks(&[0, 0, 0, 0, 0, 9, 9, 9, 9]), Some(false));
        // Left once and for all.
        assert_eq!(leaks(&[64, 0, 0, 0, 0, 0]), Some(false));
    }

    #[test]
    fn of_an_even_number_the_median_is_in_the_middle() {
        let path = per_path(&amounts(&[1, 2, 3, 10]));
        assert_eq!((path.left_count, path.left_bytes), (2.5, 250.0));
        assert_eq!((path.cycles, path.total.count), (4, 16));
    }
}
