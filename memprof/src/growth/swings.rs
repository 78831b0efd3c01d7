//! How often a total rose and fell back: turning points by a reversal threshold, as of a zigzag
//! or rainflow count (ASTM E1049). Seen at every tick, so no thinning hides a flush.

use super::ticks::Tick;

/// What a fall or rise must come to, as a share of the peak before it.
const REVERSAL: f64 = 0.35;
/// Peaks below this share of the highest one don't count.
const MINOR_PEAK: f64 = 0.3;
/// A rise that is over within so many ticks is a spike, not growth.
const LEAST_RISE: Tick = 3;
/// What falls by chance: blocks that come and go independently are of a number that varies by its
/// square root (the Poisson distribution's standard deviation).
const CHANCE: f64 = 4.0;

/// Turning points so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Swings {
    falling: bool,
    /// The falls that count.
    falls: u32,
    /// The highest since the last trough, or the lowest since the last peak; its blocks and time.
    extreme: f32,
    extreme_count: u32,
    extreme_at: Tick,
    trough_at: Tick,
    last_peak: f32,
    highest: f32,
    previous: f32,
}

impl Swings {
    /// Looks at the total at the end of a tick: bytes and blocks.
    #[inline]
    pub fn look(&mut self, tick: Tick, total: f64, count: u32) {
        let value = total as f32;
        self.highest = self.highest.max(value);
        if self.falling {
            if value <= self.extreme {
                self.extreme = value;
                self.extreme_at = tick;
            }
            if f64::from(value - self.extreme) >= REVERSAL * f64::from(self.last_peak) {
                self.falling = false;
                self.trough_at = self.extreme_at;
                self.turn(tick, value, count);
            }
        } else {
            if value >= self.extreme {
                if f64::from(value - self.previous) >= REVERSAL * f64::from(value) {
                    // A leap: what grew before it was not this.
                    self.trough_at = tick.saturating_sub(1);
                }
                self.turn(tick, value, count);
            }
            let fallen = f64::from(self.extreme - value);
            if self.extreme > 0.0 && fallen >= REVERSAL * f64::from(self.extreme) {
                let blocks = f64::from(self.extreme_count.saturating_sub(count));
                let by_chance = CHANCE * f64::from(self.extreme_count).sqrt() + CHANCE;
                let major = f64::from(self.extreme) >= MINOR_PEAK * f64::from(self.highest);
                let grown = self.extreme_at - self.trough_at >= LEAST_RISE;
                self.falls += u32::from(major && grown && blocks > by_chance);
                self.falling = true;
                self.last_peak = self.extreme;
                self.turn(tick, value, count);
            }
        }
        self.previous = value;
    }

    fn turn(&mut self, tick: Tick, value: f32, count: u32) {
        self.extreme = value;
        self.extreme_count = count;
        self.extreme_at = tick;
    }

    /// How often the total fell by a good part of itself, having grown for a while.
    pub fn falls(&self) -> u32 {
        self.falls
    }

    /// The highest total at the end of a tick.
    pub fn highest(&self) -> f64 {
        f64::from(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The falls of a total of blocks of 10 bytes.
    fn falls(blocks: impl IntoIterator<Item = u32>) -> u32 {
        let mut swings = Swings::default();
        for (blocks, tick) in blocks.into_iter().zip(0..) {
            swings.look(tick, 10.0 * f64::from(blocks), blocks);
        }
        swings.falls()
    }

    #[test]
    fn flushes_are_counted_and_so_are_slow_falls() {
        assert_eq!(falls((0..100).map(|tick| 10 * (tick % 20))), 4);
        let wave = |tick: i32| (100.0 + 90.0 * (f64::from(tick) / 8.0).sin()) as u32;
        assert_eq!(falls((0..200).map(wave)), 4);
    }

    #[test]
    fn what_varies_by_chance_or_little_has_no_falls() {
        assert_eq!(
            falls((0..100).map(|tick| [3, 1, 4, 1, 5, 2, 6][tick % 7])),
            0
        );
        assert_eq!(falls((0..100).map(|tick| 1000 + 30 * (tick % 7))), 0);
        assert_eq!(falls([0, 100, 200, 300, 300, 300]), 0);
    }

    #[test]
    fn a_spike_is_no_tooth() {
        let spike = |tick| if tick % 20 == 10 { 900 } else { 200 };
        assert_eq!(falls((0..100).map(spike)), 0);
    }
}
