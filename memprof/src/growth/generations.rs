//! Whether every generation still leaves survivors: the blocks that have outlived the plateau's
//! age, by the time of their birth.

use super::cells::Cells;
use super::cohorts::{Cohort, cut, sum};
use super::onset;
use super::plateau::{Plateau, Weight};
use super::power_law::Births;

/// Prior odds of steady to slowing: of growth as a whole, and of what followed a beginning that was
/// left out.
const STEADY_ODDS: f64 = 2.0;
const STEADY_ODDS_AFTER: f64 = 0.5;
/// Blocks freed young tell the load if they are at least this share of what was allocated.
const LOAD_SHARE: f64 = 0.2;

/// The survivors of generations that have come of age.
#[derive(Clone, Debug)]
pub(super) struct Generations {
    /// Births that count begin here, ticks since the run's start.
    pub(super) start: f64,
    /// They end here: younger blocks may still die.
    pub(super) end: f64,
    /// Surviving bytes of them.
    pub(super) bytes: f64,
    /// Bytes of them that are likely to stay.
    pub(super) staying: f64,
    /// Surviving blocks.
    pub(super) blocks: f64,
    /// Intervals of births with a survivor.
    pub(super) holding: usize,
    /// The exponent of the power-law process: 1 is steady, less is slowing.
    pub(super) exponent: f64,
    /// How probable it is that births of survivors are steady rather than slowing.
    pub(super) steady: f64,
    /// How probable so long a silence at the end is, if they are steady: that of independent births,
    /// uniform over the time, none falls there (Cox and Lewis 1966, "The Statistical Analysis of
    /// Series of Events").
    pub(super) silence: f64,
    /// Of the bytes that were born, the share that survived.
    pub(super) kept_share: f64,
    /// Survivors by parts of the time, in bytes or in blocks.
    pub(super) cells: Cells,
}

impl Generations {
    /// Ticks in which they were born.
    pub(super) fn length(&self) -> f64 {
        self.end - self.start
    }
}

/// The best account of the generations that have reached the plateau's age: growth as a whole, or
/// what followed a busy beginning.
pub(super) fn find(cohorts: &[Cohort], plateau: &Plateau, now: f64) -> Option<Generations> {
    let of_age = now - plateau.age;
    // Of an interval that is partly of age, the younger births may still die.
    let partly = cohorts.iter().find(|cohort| cohort.to > of_age);
    let end = partly.map_or(of_age, |cohort| cohort.from.min(of_age));
    let origin = onset::origin(cohorts, plateau.by, end)?;
    let settled = cut(cohorts, origin, end);
    let mut best = account(&settled, plateau, now, [origin, origin, end])?;
    for begin in onset::beginning_ends(&settled, plateau.by, origin, end) {
        if let Some(other) = account(&settled, plateau, now, [origin, begin, end])
            && other.steady > best.steady
        {
            best = other;
        }
    }
    Some(best)
}

/// The generations born from `begin` to `end`, of growth that began at `origin`.
fn account(
    settled: &[Cohort],
    plateau: &Plateau,
    now: f64,
    [origin, begin, end]: [f64; 3],
) -> Option<Generations> {
    let by = plateau.by;
    let cohorts = cut(settled, begin, end);
    let weight = sum(&cohorts, |cohort| cohort.weight(by));
    let last = cohorts.iter().rfind(|cohort| cohort.blocks > 0.0)?;
    let length = end - begin;
    let bytes = sum(&cohorts, |cohort| cohort.bytes);
    let blocks = sum(&cohorts, |cohort| cohort.blocks);
    let freed = sum(&cohorts, |cohort| cohort.freed);
    let holding = cohorts.iter().filter(|cohort| cohort.blocks > 0.0).count();
    let cells = Cells::of(&cohorts, by, begin, end);
    let occasions = holding as f64;
    let number = cells.independent_births().min(blocks);
    let by_clock = births_by_clock(&cohorts, by, [origin, begin, end], {
        1.0 - weight / sum(settled, |cohort| cohort.weight(by))
    });
    let odds = if begin > origin {
        STEADY_ODDS_AFTER
    } else {
        STEADY_ODDS
    };
    let mut exponent = by_clock.exponent();
    let mut steady = by_clock.steady(number, odds);
    if begin <= origin && freed > LOAD_SHARE * (freed + bytes) {
        // Steady under the load is steady: what is freed young tells how busy the stack was.
        let by_load = births_by_load(&cohorts, by, freed);
        let under_load = by_load.steady(number, odds);
        if under_load > steady {
            steady = under_load;
            exponent = by_load.exponent();
        }
    }
    let share_staying = sum(&cohorts, |cohort| {
        let age = now - (cohort.from + cohort.to) / 2.0;
        cohort.weight(by) * plateau.staying(age)
    }) / weight;
    let amount = match by {
        Weight::Bytes => bytes,
        Weight::Blocks => blocks * typical_size(&cohorts),
    };
    Some(Generations {
        start: begin,
        end,
        bytes,
        staying: share_staying * amount,
        blocks,
        holding,
        exponent,
        steady,
        silence: ((last.to - begin) / length).powf(number.min(occasions)),
        kept_share: bytes / (bytes + freed),
        cells,
    })
}

/// Births in the time of the clock, since growth began.
fn births_by_clock(
    cohorts: &[Cohort],
    by: Weight,
    [origin, begin, end]: [f64; 3],
    left_out: f64,
) -> Births {
    let since = |time: f64| (time - origin) / (end - origin);
    let mut births = if begin > origin {
        Births::after(since(begin), left_out)
    } else {
        Births::default()
    };
    for cohort in cohorts {
        births.add(cohort.weight(by), since(cohort.from), since(cohort.to));
    }
    births
}

/// Births in a time that passes with the load.
fn births_by_load(cohorts: &[Cohort], by: Weight, load: f64) -> Births {
    let mut births = Births::default();
    let mut passed = 0.0;
    for cohort in cohorts {
        let before = passed;
        passed += cohort.freed / load;
        births.add(cohort.weight(by), before.min(1.0), passed.min(1.0));
    }
    births
}

/// The size of blocks where few large ones among many small ones must not count: the lower
/// quartile of the intervals' means.
fn typical_size(cohorts: &[Cohort]) -> f64 {
    let holding = cohorts.iter().filter(|cohort| cohort.blocks > 0.0);
    let mut sizes: Vec<f64> = holding.map(|cohort| cohort.bytes / cohort.blocks).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.get(sizes.len() / 4).copied().unwrap_or(0.0)
}
