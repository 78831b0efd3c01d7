//! The course of one quantity: samples of it, and how often it fell back. Outstanding bytes of a
//! stack or a process, or its resident memory.

use super::swings::Swings;
use super::ticks::Tick;
use super::totals::Totals;

/// A step function of time, remembered in bounded memory.
#[derive(Clone, Debug)]
pub struct Course {
    since: Tick,
    totals: Totals,
    swings: Swings,
}

impl Course {
    /// Begins at a tick, with nothing known.
    pub fn new(since: Tick) -> Self {
        Self {
            since,
            totals: Totals::default(),
            swings: Swings::default(),
        }
    }

    /// From the tick last noted until `until` (exclusive) there were `bytes`, in `count` pieces
    /// that come and go by themselves (blocks, pages).
    pub fn hold(&mut self, until: Tick, bytes: f64, count: u32) {
        self.totals.hold(until.saturating_sub(self.since), bytes);
        self.swings.look(until.saturating_sub(1), bytes, count);
    }

    /// (tick, bytes), equally spaced; since the last sample it has been `latest`.
    pub(super) fn points(&self, now: Tick, latest: f64) -> Vec<(f64, f64)> {
        let stride = f64::from(self.totals.stride());
        let samples = self.totals.samples();
        let mut at = f64::from(self.since);
        let mut points = Vec::with_capacity(samples.len() + 1);
        for sample in samples {
            at += stride;
            points.push((at, f64::from(*sample)));
        }
        // Nothing may have happened for long: at most as many again, else the stride is too short.
        let missing = (f64::from(now) - at) / stride;
        let step = stride * (missing / samples.len().max(1) as f64).ceil().max(1.0);
        if step > stride {
            let keep = (step / stride) as usize;
            points = points.into_iter().skip(keep - 1).step_by(keep).collect();
            at = f64::from(self.since) + points.len() as f64 * step;
        }
        while at + step <= f64::from(now) {
            at += step;
            points.push((at, latest));
        }
        points
    }

    /// The first and the last sample.
    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        let samples = self.totals.samples();
        Some((f64::from(*samples.first()?), f64::from(*samples.last()?)))
    }

    /// Its rises and falls.
    pub fn swings(&self) -> &Swings {
        &self.swings
    }

    /// The first tick.
    pub fn since(&self) -> Tick {
        self.since
    }

    /// Heap bytes.
    pub fn memory_bytes(&self) -> usize {
        self.totals.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_reach_to_the_present_however_long_nothing_happened() {
        let mut course = Course::new(100);
        course.hold(110, 5.0, 1);
        let points = course.points(10_000, 5.0);
        assert!((4..=20).contains(&points.len()), "{}", points.len());
        let step = points[1].0 - points[0].0;
        assert!(points.windows(2).all(|pair| pair[1].0 - pair[0].0 == step));
        assert!(10_000.0 - points.last().expect("some").0 < step);
    }
}
