//! Sampled runs of known truth: the kernel side's own choice of blocks, then the collector's totals.

use memprof::events::event::{Event, Pid, SpaceId, StackId, What};
use memprof::pipeline::{Pipeline, ShownFilter};
use memprof_common::sampling::{Sampler, Schedule};

const SPACE: SpaceId = SpaceId(1);
const STACKS: usize = 4;
const MEAN_BYTES: u64 = 16 << 10;
const RUNS: u64 = 1000;
const BLOCKS: u64 = 6000;

/// Uniform numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn half(&mut self) -> u32 {
        (self.word() >> 32) as u32
    }
}

/// What a stack's blocks look like: small and many, of mixed sizes, large and few.
fn block_of(stack: usize, random: &mut Random) -> (u64, bool) {
    let word = random.word();
    let size = match stack {
        0 => 24,
        1 => 16 << (word % 8),
        2 => 1000 + word % 5000,
        _ => 40_000,
    };
    // Two in three are freed.
    (size, random.word() % 3 < 2)
}

/// What is outstanding by stack, in truth and as estimated, and where the truth is said to be.
struct Outcome {
    truth: [f64; STACKS],
    estimate: [f64; STACKS],
    interval: [Option<[u64; 2]>; STACKS],
    allocated: (f64, f64),
}

/// One run, sampled from its start, or from its middle on.
fn run(seed: u64, from: u64) -> Outcome {
    let mut random = Random(seed);
    let mut choice = Random(!seed);
    let schedule = Schedule {
        before: 0,
        from,
        after: MEAN_BYTES,
    };
    let mut pipeline = Pipeline::new(0, seed);
    pipeline.add_process(Pid(1), SPACE);
    pipeline.sample(schedule);
    let mut sampler = Sampler::default();
    let mut truth = [0.0; STACKS];
    let mut allocated = 0.0;
    for time in 0..BLOCKS {
        let stack = random.word() as usize % STACKS;
        let (size, is_freed) = block_of(stack, &mut random);
        let address = 0x10_0000 + time * 0x1_0000;
        allocated += size as f64;
        let mean = schedule.mean_at(time);
        if mean == 0 || sampler.takes(size, mean, || choice.half()) {
            let what = What::Alloc {
                address,
                size,
                stack: StackId(stack as u64 + 1),
            };
            pipeline.apply(Event {
                time,
                space: SPACE,
                what,
            });
        }
        // All frees are told, of whichever block.
        if is_freed {
            pipeline.apply(Event {
                time,
                space: SPACE,
                what: What::Free { address },
            });
        } else {
            truth[stack] += size as f64;
        }
    }
    let mut outcome = Outcome {
        truth,
        estimate: [0.0; STACKS],
        interval: [None; STACKS],
        allocated: (allocated, pipeline.summary().totals.allocated_bytes as f64),
    };
    for site in pipeline.snapshot(BLOCKS, &ShownFilter::default()).sites {
        let stack = site.stack.expect("few stacks").0 as usize - 1;
        let bytes = site.totals.outstanding_bytes();
        outcome.estimate[stack] = bytes as f64;
        outcome.interval[stack] = site.uncertainty.interval95(bytes);
        assert!(bytes.abs_diff(site.shown_bytes) <= 4);
    }
    assert_eq!(pipeline.counts().unknown_frees, 0);
    outcome
}

/// Over many runs, estimates are right in the mean, and their intervals hold the truth.
fn assert_unbiased_and_covered(from: u64) {
    let outcomes: Vec<Outcome> = (1..=RUNS).map(|seed| run(seed * 7919, from)).collect();
    for stack in 0..STACKS {
        let ratios: Vec<f64> = outcomes
            .iter()
            .map(|one| one.estimate[stack] / one.truth[stack])
            .collect();
        let mean = ratios.iter().sum::<f64>() / RUNS as f64;
        let spread = ratios
            .iter()
            .map(|ratio| (ratio - mean).powi(2))
            .sum::<f64>();
        let deviation_of_mean = (spread / RUNS as f64 / RUNS as f64).sqrt();
        assert!(
            (mean - 1.0).abs() < 4.0 * deviation_of_mean + 1e-4,
            "stack {stack}: {mean} ± {deviation_of_mean}"
        );
        // A stack of which no block was taken has no interval.
        let intervals = || {
            let bounds = |one: &Outcome| Some((one.interval[stack]?, one.truth[stack]));
            outcomes.iter().filter_map(bounds)
        };
        let covers = |([low, high], truth): &([u64; 2], f64)| {
            (*low as f64 - 2.0..=*high as f64 + 2.0).contains(truth)
        };
        let covered = intervals().filter(covers).count() as f64 / intervals().count() as f64;
        println!("stack {stack}: mean ratio {mean:.4}, covered {covered:.3}");
        assert!(covered >= 0.93, "stack {stack}: {covered}");
    }
    let ratio = outcomes.iter().map(|one| one.allocated.1 / one.allocated.0);
    let ratio = ratio.sum::<f64>() / RUNS as f64;
    assert!((ratio - 1.0).abs() < 0.005, "allocated: {ratio}");
}

#[test]
fn a_thousand_sampled_runs_are_right_in_the_mean_and_their_intervals_hold_the_truth() {
    assert_unbiased_and_covered(0);
}

#[test]
fn so_are_runs_that_are_sampled_from_their_middle_on() {
    assert_unbiased_and_covered(BLOCKS / 2);
}

#[test]
fn a_run_that_is_not_sampled_is_exact() {
    let outcome = run(5, u64::MAX);
    assert_eq!(outcome.estimate, outcome.truth);
    assert_eq!(outcome.interval, [None; STACKS]);
}
