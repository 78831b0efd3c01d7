//! Runs as short as those of a pipeline: 16 to 64 s.

use memprof::growth::Ticks;

use crate::corpus::{FILLING, LEAKS, Sample};
use crate::score::{Score, half, judge_at_end, samples_per_kind};

const INTERVALS: u32 = 60;
const LONGEST_SECONDS: f64 = 65.0;

#[test]
fn the_goals_hold_in_runs_of_a_minute_or_less() {
    let score = Score::of(
        [&half().leaks(), &half().innocents(), FILLING],
        samples_per_kind(40),
        false,
        |kind, number| {
            // An interval's length goes by the number.
            let sample = (number % 6 < 3).then(|| Sample::new(kind, half(), number, INTERVALS))?;
            let seconds = Ticks::new(0, sample.shift).seconds(f64::from(INTERVALS));
            (seconds < LONGEST_SECONDS).then_some(sample)
        },
        |sample| judge_at_end(sample, 0),
    );
    println!(
        "up to a minute: precision {:.4}, recall {:.3} of {} leaks",
        score.precision(),
        score.recall(),
        score.leaks.samples
    );
    assert!(score.leaks.samples >= 10 * LEAKS.len() as u64);
    assert!(score.precision() >= 0.99, "{}", score.precision());
    assert!(score.recall() >= 0.95, "{}", score.recall());
}
