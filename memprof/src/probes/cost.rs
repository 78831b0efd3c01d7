//! What the probes take from the targets, from two measurements of this machine: what a trap into the
//! kernel takes (`emulation`, at start, in a child), and what the programs take that run there (the
//! kernel's own statistics, which cost a little themselves and so are on only now and then). Pure.
//!
//! On a busy machine it is too much: the time of a program that was preempted runs on.
//! Not in it is what the targets lose because the kernel's work displaces theirs from the caches.

use super::emulation::{Timing, TrapCosts};

/// By how much an estimate may be wrong on top of its measurements' spread, as a share: programs that
/// time themselves lose up to a tenth more than estimated, mostly to the caches.
const MODEL_ERROR: f64 = 0.1;

/// What makes a program run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// An instruction that the kernel emulates.
    Emulated,
    /// An instruction that the kernel steps, at one of the program's sites at least.
    Stepped,
    /// A function's return.
    Return,
    /// Nothing of memprof's: the kernel was at work anyway, on a page fault.
    None,
}

/// Runs of one program since it was loaded, as far as the kernel's statistics were on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// What makes it run.
    pub trap: Trap,
    /// How often it ran, for whomever.
    pub count: u64,
    /// Nanoseconds that it took.
    pub time_ns: u64,
}

/// A moment: every program's runs, in one order always, and the hits of followed processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The programs' runs.
    pub runs: Vec<ProgramRuns>,
    /// Probe hits of followed processes.
    pub hits: u64,
}

/// What the hits so far have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Seconds.
    pub seconds: f64,
    /// By how much that may be wrong, seconds.
    pub error_seconds: f64,
}

/// Adds up what hits take.
#[derive(Clone, Debug)]
pub struct CostMeter {
    traps: TrapCosts,
    /// What a hit takes: a trap and a program's run. `None` before the first measurement.
    hit: Option<Timing>,
    charged_hits: u64,
    estimate: Estimate,
}

impl CostMeter {
    /// Nothing charged yet.
    pub fn new(traps: TrapCosts) -> Self {
        Self {
            traps,
            hit: None,
            charged_hits: 0,
            estimate: Estimate::default(),
        }
    }

    /// The statistics were on from `begin` to `end`: what a hit takes now, and that all hits up to
    /// `end` took it.
    ///
    /// What the programs took for processes that are not followed is charged to those that are.
    pub fn measured(&mut self, begin: &Reading, end: &Reading) {
        let hits = end.hits.saturating_sub(begin.hits) as f64;
        let mut runs = 0.0;
        let mut run_ns = 0.0;
        let mut trap = Timing::default();
        for (before, after) in begin.runs.iter().zip(&end.runs) {
            let count = after.count.saturating_sub(before.count) as f64;
            let cost = self.cost_of(after.trap);
            runs += count;
            run_ns += after.time_ns.saturating_sub(before.time_ns) as f64;
            trap.ns += count * cost.ns;
            trap.spread_ns += count * cost.spread_ns;
        }
        if hits > 0.0 && runs > 0.0 {
            let ns = (run_ns / hits) + (trap.ns / runs);
            // How much hits differ from time to time shows in the change since the last measurement.
            let change = self.hit.map_or(0.0, |last| (ns - last.ns).abs());
            self.hit = Some(Timing {
                ns,
                spread_ns: change.max(trap.spread_ns / runs),
            });
        }
        self.charge(end.hits);
    }

    /// Charges all hits up to now at what a hit took when it was measured last.
    pub fn charge(&mut self, hits: u64) {
        let Some(hit) = self.hit else { return };
        let new = hits.saturating_sub(self.charged_hits) as f64;
        self.charged_hits = hits;
        self.estimate.seconds += new * hit.ns / 1e9;
        self.estimate.error_seconds += new * (hit.spread_ns + MODEL_ERROR * hit.ns) / 1e9;
    }

    /// What the hits so far have taken; `None` while that was not measured.
    pub fn estimate(&self) -> Option<Estimate> {
        self.hit.map(|_| self.estimate)
    }

    fn cost_of(&self, trap: Trap) -> Timing {
        match trap {
            Trap::Emulated => self.traps.emulated,
            Trap::Stepped => self.traps.stepped,
            Trap::Return => self.traps.returning,
            Trap::None => Timing::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAPS: TrapCosts = TrapCosts {
        emulated: timing(600.0, 20.0),
        stepped: timing(9000.0, 500.0),
        returning: timing(900.0, 40.0),
    };

    const fn timing(ns: f64, spread_ns: f64) -> Timing {
        Timing { ns, spread_ns }
    }

    fn reading(hits: u64, runs: &[(Trap, u64, u64)]) -> Reading {
        let runs = runs.iter().map(|&(trap, count, time_ns)| ProgramRuns {
            trap,
            count,
            time_ns,
        });
        Reading {
            runs: runs.collect(),
            hits,
        }
    }

    fn seconds(meter: &CostMeter) -> f64 {
        meter.estimate().unwrap().seconds
    }

    #[test]
    fn a_hit_takes_its_trap_and_its_programs_run() {
        let mut meter = CostMeter::new(TRAPS);
        assert_eq!(meter.estimate(), None);
        let begin = reading(0, &[(Trap::Emulated, 0, 0), (Trap::Return, 0, 0)]);
        // 2,000 entries of 100 ns, 1,000 returns of 1,000 ns.
        let end = reading(
            3000,
            &[
                (Trap::Emulated, 2000, 200_000),
                (Trap::Return, 1000, 1_000_000),
            ],
        );
        meter.measured(&begin, &end);
        let expected = (2000.0 * 700.0 + 1000.0 * 1900.0) / 1e9;
        assert!((seconds(&meter) - expected).abs() < 1e-9, "{meter:?}");
        let error = meter.estimate().unwrap().error_seconds;
        let spread = (2000.0 * 20.0 + 1000.0 * 40.0) / 1e9;
        assert!((error - spread - MODEL_ERROR * expected).abs() < 1e-9);
        // As many hits again, without statistics.
        meter.charge(6000);
        assert!((seconds(&meter) - 2.0 * expected).abs() < 1e-9);
        meter.charge(6000);
        assert!((seconds(&meter) - 2.0 * expected).abs() < 1e-9);
    }

    #[test]
    fn hits_before_the_first_measurement_are_charged_with_it() {
        let mut meter = CostMeter::new(TRAPS);
        meter.charge(500);
        assert_eq!(meter.estimate(), None);
        meter.measured(
            &reading(500, &[(Trap::Stepped, 0, 0)]),
            &reading(1000, &[(Trap::Stepped, 500, 50_000)]),
        );
        assert!((seconds(&meter) - 1000.0 * 9100.0 / 1e9).abs() < 1e-9);
    }

    #[test]
    fn a_measurement_without_hits_changes_nothing() {
        let mut meter = CostMeter::new(TRAPS);
        let still = reading(7, &[(Trap::Emulated, 7, 70)]);
        meter.measured(&still, &still);
        assert_eq!(meter.estimate(), None);
    }

    #[test]
    fn runs_that_take_other_times_than_before_widen_the_error() {
        let mut meter = CostMeter::new(TRAPS);
        let at = |hits, time| reading(hits, &[(Trap::Emulated, hits, time)]);
        meter.measured(&at(0, 0), &at(1000, 100_000));
        let steady = meter.estimate().unwrap().error_seconds;
        meter.measured(&at(1000, 100_000), &at(2000, 1_100_000));
        let varied = meter.estimate().unwrap().error_seconds - steady;
        assert!(varied > 5.0 * steady, "{varied} after {steady}");
    }
}
