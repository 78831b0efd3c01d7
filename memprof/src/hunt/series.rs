//! The memory of one process over time, in bounded room, on several scales at once.
//!
//! A leak of megabytes a second shows in seconds, one of kilobytes only in hours; and one that begins
//! after hours must not be hidden by them. So the latest samples are kept at a short spacing, and beside
//! them as many at longer ones. A longer one keeps the lowest of what it stands for: what is given back
//! in between is no leak.

use super::significance::{Growth, MIN_SAMPLES, assess};

/// The shortest spacing of samples, seconds.
pub const WATCH_PERIOD: f64 = 0.5;
/// Each scale is so many times as long as the one before.
const FACTOR: u64 = 8;
/// Scales: the last has a sample every 34 minutes and looks back 18 hours.
const SCALES: usize = 5;
/// Samples of each.
const KEPT: usize = 32;
/// A pause of the watch that is longer than this many samples begins a scale anew.
const LONGEST_GAP: u64 = 8;

/// What is known of one process.
#[derive(Clone, Debug)]
pub struct Series {
    min_growth: f64,
    scales: [Scale; SCALES],
}

#[derive(Clone, Debug, Default)]
struct Scale {
    /// KiB, which reach to 4 TiB, the oldest first.
    samples: Vec<u32>,
    /// The stretch of time that is being looked at, counted in the scale's spacing.
    slot: u64,
    /// The lowest in it so far.
    lowest: Option<u32>,
    /// What the samples show.
    growth: Option<Growth>,
}

impl Series {
    /// Nothing known; growth below so many bytes is not significant.
    pub fn new(min_growth: u64) -> Self {
        Self {
            min_growth: min_growth as f64,
            scales: Default::default(),
        }
    }

    /// At the time `at`, seconds, not before the last one, the process had so many bytes.
    pub fn note(&mut self, at: f64, bytes: u64) {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        let mut ticks = 1;
        for scale in &mut self.scales {
            let period = WATCH_PERIOD * ticks as f64;
            if scale.note((at.max(0.0) / period) as u64, kib) {
                let samples: Vec<f64> = scale
                    .samples
                    .iter()
                    .map(|kib| f64::from(*kib) * 1024.0)
                    .collect();
                scale.growth = assess(&samples, period, self.min_growth);
            }
            ticks *= FACTOR;
        }
    }

    /// Growth that is significant, on the shortest scale that shows it: the latest news.
    pub fn growth(&self) -> Option<Growth> {
        self.scales.iter().find_map(|scale| scale.growth)
    }
}

impl Scale {
    /// Whether there is a new sample: one is done when a later one begins.
    fn note(&mut self, slot: u64, kib: u32) -> bool {
        let lowest = match self.lowest {
            Some(lowest) if slot <= self.slot => {
                self.lowest = Some(lowest.min(kib));
                return false;
            }
            Some(lowest) => lowest,
            None => {
                (self.slot, self.lowest) = (slot, Some(kib));
                return false;
            }
        };
        let passed = slot - self.slot;
        if passed > LONGEST_GAP {
            self.samples.clear();
        } else {
            // Of a stretch that nobody looked at, what was known before it holds.
            (0..passed).for_each(|_| self.push(lowest));
        }
        (self.slot, self.lowest) = (slot, Some(kib));
        true
    }

    fn push(&mut self, kib: u32) {
        if self.samples.len() == KEPT {
            self.samples.remove(0);
        }
        self.samples.push(kib);
    }
}

const _: () = assert!(KEPT >= MIN_SAMPLES);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1048576.0;

    /// When growth is seen first, of a process that has `bytes(seconds)`, within so many seconds.
    fn seen(bytes: impl Fn(f64) -> f64, seconds: u32) -> Option<(f64, Growth)> {
        let mut series = Series::new(1 << 20);
        (0..seconds * 2).find_map(|step| {
            let at = f64::from(step) * WATCH_PERIOD;
            series.note(at, bytes(at) as u64);
            series.growth().map(|growth| (at, growth))
        })
    }

    #[test]
    fn a_fast_leak_shows_within_seconds_also_after_hours_of_peace() {
        let (at, growth) = seen(|at| 1.5 * MIB * at, 60).expect("it leaks");
        assert!(at <= 8.0, "{at}");
        assert!((growth.rate / (1.5 * MIB) - 1.0).abs() < 0.05, "{growth:?}");
        let later = |at: f64| 50.0 * MIB + 1.5 * MIB * (at - 7200.0).max(0.0);
        let (at, _) = seen(later, 7300).expect("it leaks");
        assert!((7200.0..7220.0).contains(&at), "{at}");
    }

    #[test]
    fn a_slow_leak_shows_in_time() {
        let (at, growth) = seen(|at| 50.0 * MIB + 2048.0 * at, 12 * 3600).expect("it leaks");
        assert!(at < 2.0 * 3600.0, "{at}");
        assert!((growth.rate / 2048.0 - 1.0).abs() < 0.05, "{growth:?}");
    }

    #[test]
    fn a_sawtooth_is_seen_as_its_floor() {
        let teeth = |at: f64| 50.0 * MIB + 3.0 * MIB * (at % 3.0);
        assert_eq!(seen(teeth, 3 * 3600), None);
        // The same with a leak of 100 KiB a second beneath.
        let (at, growth) = seen(|at| teeth(at) + 102_400.0 * at, 600).expect("it leaks");
        assert!(at < 120.0, "{at}");
        assert!((growth.rate / 102_400.0 - 1.0).abs() < 0.1, "{growth:?}");
    }

    #[test]
    fn pauses_of_the_watch_make_no_growth_and_room_is_bounded() {
        let mut series = Series::new(1 << 20);
        for step in 0..100_000u32 {
            series.note(f64::from(step) * 7.3, u64::from(step % 3) << 20);
            assert_eq!(series.growth(), None);
        }
        assert!(
            series
                .scales
                .iter()
                .all(|scale| scale.samples.len() <= KEPT)
        );
        // Time that stands still, or a clock that is none.
        series.note(0.0, 1);
        series.note(f64::NAN, u64::MAX);
    }
}
