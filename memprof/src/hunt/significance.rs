//! Whether equally spaced samples of a process's memory show growth: not by chance, not small, and not
//! over yet.
//!
//! What passes by mistake costs the process an exact look that finds it innocent, so the level is strict
//! rather than exact: the same question is asked of many processes again and again.

use crate::growth::theil_sen;

/// Fewer samples than this show nothing.
pub const MIN_SAMPLES: usize = 12;
/// What the test of Mann and Kendall must come to, corrected for autocorrelation: 2 of 10,000 series
/// without a trend.
const STRICT: f64 = 3.5;
/// Neighbours in time that may resemble each other.
const LAGS: usize = 3;
/// Growth is significant from this share of what the process has.
const LEAST_SHARE: f64 = 0.01;
/// The last third must rise by this share of what a third of a steady rise comes to.
const GOES_ON: f64 = 0.4;

/// Growth that is significant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// By how much it grew, bytes, along the trend.
    pub bytes: f64,
    /// In how long, seconds.
    pub seconds: f64,
    /// Bytes per second: Theil and Sen's slope.
    pub rate: f64,
    /// Its 95 % interval.
    pub rate_ci95: [f64; 2],
}

/// The growth in `samples`, bytes, one every `period` seconds; `None` if there is none that is
/// significant, of at least `min_growth` bytes.
pub fn assess(samples: &[f64], period: f64, min_growth: f64) -> Option<Growth> {
    let (first, last) = (*samples.first()?, *samples.last()?);
    let least = min_growth.max(LEAST_SHARE * last);
    // Most processes leave here, without a sort.
    if samples.len() < MIN_SAMPLES || last - first < least / 2.0 || !goes_on(samples) {
        return None;
    }
    let trend = theil_sen::fit(samples, LAGS)?;
    let steps = (samples.len() - 1) as f64;
    let bytes = trend.slope * steps;
    if bytes < least || trend.test.z < STRICT {
        return None;
    }
    let third = samples.len() / 3;
    let [middle, end] = [
        &samples[third..2 * third],
        &samples[samples.len() - third..],
    ]
    .map(median);
    if end - middle < GOES_ON * bytes / 3.0 {
        return None;
    }
    Some(Growth {
        bytes,
        seconds: steps * period,
        rate: trend.slope / period,
        rate_ci95: trend.slope_ci95.map(|slope| slope / period),
    })
}

/// Whether the last quarter reaches new heights, and the last sample has not fallen from them.
fn goes_on(samples: &[f64]) -> bool {
    let (before, quarter) = samples.split_at(samples.len() - samples.len() / 4);
    let highest = |some: &[f64]| some.iter().copied().fold(f64::MIN, f64::max);
    let [Some(begin), Some(end)] = [quarter.first(), quarter.last()] else {
        return false;
    };
    highest(quarter) > highest(before) && end > begin && *end >= median(quarter)
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1048576.0;

    fn of(value: impl Fn(f64) -> f64, samples: u32) -> Option<Growth> {
        let samples: Vec<f64> = (0..samples)
            .map(|i| 20.0 * MIB + value(f64::from(i)))
            .collect();
        assess(&samples, 0.5, MIB)
    }

    /// Deterministic noise between -1 and 1.
    fn noise(i: f64) -> f64 {
        ((i * 7919.0) % 101.0) / 50.0 - 1.0
    }

    #[test]
    fn steady_growth_is_significant_with_its_rate_and_interval() {
        let growth = of(|i| MIB * i + 0.2 * MIB * noise(i), 20).expect("it grows");
        assert!((growth.rate / (2.0 * MIB) - 1.0).abs() < 0.05, "{growth:?}");
        assert!(growth.rate_ci95[0] < growth.rate && growth.rate < growth.rate_ci95[1]);
        assert!((growth.seconds - 9.5).abs() < 1e-9);
        assert!((growth.bytes / (19.0 * MIB) - 1.0).abs() < 0.05);
    }

    #[test]
    fn growth_by_steps_is_growth() {
        assert!(of(|i| 4.0 * MIB * (i / 4.0).floor(), 32).is_some());
    }

    #[test]
    fn too_few_samples_or_too_little_growth_show_nothing() {
        assert_eq!(of(|i| MIB * i, MIN_SAMPLES as u32 - 1), None);
        assert_eq!(of(|i| 0.02 * MIB * i, 32), None);
        // A hundredth of what a large process has.
        let large: Vec<f64> = (0..32)
            .map(|i| 10_000.0 * MIB + 2.0 * MIB * f64::from(i))
            .collect();
        assert_eq!(assess(&large, 0.5, MIB), None);
    }

    #[test]
    fn what_has_stopped_or_fallen_or_only_varies_does_not_grow() {
        assert_eq!(of(|i| 2.0 * MIB * i.min(20.0), 32), None, "filled");
        assert_eq!(
            of(|i| 20.0 * MIB * (1.0 - (-i / 4.0).exp()), 32),
            None,
            "fills ever more slowly"
        );
        assert_eq!(of(|i| 2.0 * MIB * (i % 8.0), 32), None, "a sawtooth");
        assert_eq!(of(|i| if i < 30.0 { MIB * i } else { 0.0 }, 32), None);
        assert_eq!(of(|i| 5.0 * MIB * noise(i), 32), None);
        assert_eq!(of(|_| 0.0, 32), None);
        assert_eq!(of(|i| -MIB * i / 4.0, 32), None);
        assert_eq!(
            of(|i| if i < 16.0 { 0.0 } else { 9.0 * MIB }, 32),
            None,
            "a leap"
        );
    }

    #[test]
    fn among_many_series_of_noise_hardly_one_passes() {
        // A linear congruential generator, so that each run is the same.
        let mut state = 12345u64;
        let mut random = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        let mut passed = 0;
        for _ in 0..2000 {
            let samples: Vec<f64> = (0..24).map(|_| 20.0 * MIB + 8.0 * MIB * random()).collect();
            passed += u32::from(assess(&samples, 0.5, MIB).is_some());
        }
        assert!(passed <= 1, "{passed}");
    }
}
