//! The grain of time in which growth is followed.

use crate::identity::Nanoseconds;

/// A moment, in ticks since the start of a run.
pub type Tick = u32;

/// Turns times into ticks of 2^shift nanoseconds. With a shift of at least
/// [`TICK_BITS`](crate::live::TICK_BITS) and the start of the live tables, the births that these
/// give back fall into the same ticks as the true ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    start: Nanoseconds,
    shift: u32,
}

/// Ticks of 67 ms: 60 of them are 4 s, and a run of 7 days has 9 million.
pub const DEFAULT_SHIFT: u32 = 26;

impl Ticks {
    /// Ticks of 2^`shift` ns (at most 2^63) that count from `start`.
    pub fn new(start: Nanoseconds, shift: u32) -> Self {
        Self {
            start,
            shift: shift.min(63),
        }
    }

    /// The tick in which a time falls; the first for times before the start, the last for times
    /// beyond 2^32 ticks.
    #[inline]
    pub fn of(&self, time: Nanoseconds) -> Tick {
        let ticks = time.saturating_sub(self.start) >> self.shift;
        Tick::try_from(ticks).unwrap_or(Tick::MAX)
    }

    /// How many seconds so many ticks last.
    pub fn seconds(&self, ticks: f64) -> f64 {
        ticks * (1u64 << self.shift) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_ticks_and_never_out_of_range() {
        let ticks = Ticks::new(1000, 30);
        assert_eq!(ticks.of(0), 0);
        assert_eq!(ticks.of(1000 + (1 << 30) - 1), 0);
        assert_eq!(ticks.of(1000 + (1 << 30)), 1);
        assert_eq!(Ticks::new(0, 0).of(u64::MAX), Tick::MAX);
        assert!((ticks.seconds(10.0) - 10.737).abs() < 0.001);
    }
}
