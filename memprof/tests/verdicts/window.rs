//! The goals at 60 intervals, of 0.27 to 8.6 s, on the half that nothing was tuned on.

use crate::corpus::{FILLING, Sample};
use crate::score::{Score, half, judge_at_end, samples_per_kind};

const INTERVALS: u32 = 60;

fn score(finer: u32, samples: u64) -> Score {
    Score::of(
        [&half().leaks(), &half().innocents(), FILLING],
        samples,
        true,
        |kind, number| Some(Sample::new(kind, half(), number, INTERVALS)),
        |sample| judge_at_end(sample, finer),
    )
}

fn hold(score: &Score) {
    assert!(score.precision() >= 0.99, "{}", score.precision());
    assert!(score.recall() >= 0.95, "{}", score.recall());
    assert!(score.named_right() >= 0.90, "{}", score.named_right());
    let coverage = score.coverage();
    assert!((0.93..=0.97).contains(&coverage), "{coverage}");
}

#[test]
fn the_goals_hold_at_60_intervals() {
    hold(&score(0, samples_per_kind(100)));
}

#[test]
fn the_goals_hold_with_ticks_finer_than_what_happens() {
    hold(&score(3, samples_per_kind(50)));
}

#[test]
fn a_straight_line_does_worse() {
    let score = score(0, samples_per_kind(20));
    let right = score.leaks.line_called_leak as f64;
    let precision = right / (right + score.innocents.line_called_leak as f64);
    let recall = right / score.leaks.samples as f64;
    assert!(precision < score.precision() - 0.1, "{precision}");
    assert!(recall < score.recall() - 0.1, "{recall}");
}
