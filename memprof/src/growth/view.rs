//! What the judgement of one series looks at: its state at one moment, in plain numbers.

use super::ages::Deaths;
use super::bins::Bin;
use super::cohorts::Cohort;
use super::course::Course;
use super::series::Series;
use super::ticks::Tick;

/// A series at one moment. Times are ticks since the run's start.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The first tick that belongs to the series.
    pub(super) since: f64,
    /// The first tick that is not over.
    pub(super) now: f64,
    /// Live blocks by birth, oldest first.
    pub(super) bins: Vec<Bin>,
    /// By [`age_class`](super::ages::age_class).
    pub(super) deaths: &'a [Deaths],
    /// Since when deaths count as recent.
    pub(super) recent_since: f64,
    /// (time, outstanding bytes), equally spaced.
    pub(super) totals: Vec<(f64, f64)>,
    /// How often the total fell back by a good part.
    pub(super) falls: u32,
    /// The highest total.
    pub(super) highest: f64,
    /// The total now.
    pub(super) outstanding: f64,
}

impl<'a> View<'a> {
    pub(super) fn of(series: &'a Series, now: Tick) -> Self {
        let since = f64::from(series.since());
        let outstanding = series.outstanding_bytes() as f64;
        let mut view = Self {
            since,
            now: f64::from(now),
            bins: Vec::new(),
            deaths: &[],
            recent_since: since,
            totals: Vec::new(),
            falls: 0,
            highest: outstanding,
            outstanding,
        };
        let Some(history) = series.history() else {
            return view;
        };
        let bins = history.bins.as_slice().iter().copied();
        view.bins = bins
            .chain(series.pending(now))
            .skip_while(|bin| bin.kept_count == 0)
            .collect();
        view.deaths = history.ages.classes();
        view.recent_since = f64::from(history.ages.recent_since());
        view.totals = history.course.points(now, outstanding);
        view.falls = history.course.swings().falls();
        view.highest = outstanding.max(history.course.swings().highest());
        view
    }

    /// The sum of a process's series, whose total was followed by itself.
    pub(super) fn of_whole(sum: &'a Series, total: &Course, now: Tick) -> Self {
        let mut view = Self::of(sum, now);
        view.totals = total.points(now, view.outstanding);
        view.falls = total.swings().falls();
        view.highest = view.outstanding.max(total.swings().highest());
        view
    }

    /// A course by itself, of which no births are known; it is `latest` now.
    pub(super) fn of_course(course: &Course, latest: f64, now: Tick) -> Self {
        let since = f64::from(course.since());
        Self {
            since,
            now: f64::from(now),
            bins: Vec::new(),
            deaths: &[],
            recent_since: since,
            totals: course.points(now, latest),
            falls: course.swings().falls(),
            highest: latest.max(course.swings().highest()),
            outstanding: latest,
        }
    }

    /// Ticks that the series has been followed.
    pub(super) fn span(&self) -> f64 {
        self.now - self.since
    }

    /// The bins as cohorts.
    pub(super) fn cohorts(&self) -> Vec<Cohort> {
        self.bins.iter().map(Cohort::of).collect()
    }
}
