//! What the targets weigh over time: resident memory, and the timeline of the report.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::{identity::Pid, report::TimelinePoint, target::process::resident_bytes};

/// Points of a timeline; when there are more, every second one goes and the rest stand for twice
/// the time.
const MAX_POINTS: usize = 4096;

/// Where weighing processes takes long, for they are many, it gets one part in this many of the time.
pub const WEIGHING_SHARE: u32 = 50;

/// Processor time of this thread: what others do meanwhile does not make a look longer.
pub fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Resident memory of the targets together, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// At the first look.
    pub start: Option<u64>,
    /// At the last look at which there was any.
    pub last: Option<u64>,
    /// The most at any look.
    pub peak: Option<u64>,
}

impl Resident {
    /// Looks at the living targets.
    pub fn look(&mut self, living: impl Iterator<Item = Pid>) {
        let mut sum = None;
        for bytes in living.filter_map(resident_bytes) {
            *sum.get_or_insert(0) += bytes;
        }
        if sum.is_none() {
            return;
        }
        self.start = self.start.or(sum);
        self.last = sum;
        self.peak = self.peak.max(sum);
    }
}

/// The course of the totals, bounded.
#[derive(Debug)]
pub struct Timeline {
    points: Vec<TimelinePoint>,
    /// Every how many ticks a point is kept.
    stride: u64,
    ticks: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stride: 1,
            ticks: 0,
        }
    }
}

impl Timeline {
    /// Adds the point of one more interval.
    pub fn push(&mut self, point: TimelinePoint) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(self.stride) {
            return;
        }
        if self.points.len() == MAX_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride *= 2;
            if !self.ticks.is_multiple_of(self.stride) {
                return;
            }
        }
        self.points.push(point);
    }

    /// The points so far, by time.
    pub fn points(&self) -> &[TimelinePoint] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_timeline_is_thinned_evenly_and_keeps_its_order() {
        let mut timeline = Timeline::default();
        for second in 1..=100_000_u32 {
            timeline.push(TimelinePoint {
                at_seconds: f64::from(second),
                outstanding_bytes: u64::from(second),
                outstanding_count: 1,
                touched_resident_bytes: None,
                rss_bytes: None,
            });
        }
        let points = timeline.points();
        assert!(points.len() <= MAX_POINTS && points.len() >= MAX_POINTS / 2);
        let steps: Vec<f64> = points
            .windows(2)
            .map(|pair| pair[1].at_seconds - pair[0].at_seconds)
            .collect();
        assert!(steps.iter().all(|step| *step == steps[0]));
    }

    #[test]
    fn a_target_that_is_gone_keeps_its_last_weight() {
        let mut resident = Resident::default();
        resident.look([Pid(std::process::id())].into_iter());
        let last = resident.last;
        assert!(last.is_some());
        resident.look([Pid(u32::MAX)].into_iter());
        assert_eq!(resident.last, last);
    }
}
