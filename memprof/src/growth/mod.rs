//! Is it a leak? Growth of what is outstanding, per call stack and for the whole; verdicts with
//! their evidence. Pure: no I/O and no clock.
//!
//! # The idea
//!
//! Totals can't tell a cache that fills from a leak; the ages of the blocks can. Find the age beyond
//! which nothing of a stack dies any more (`plateau`); ask whether every generation still leaves
//! survivors of that age, at a rate that does not slow (`generations`); and what remains is the
//! store that is not full yet, which looks the same: the confidence says how far time has ruled it
//! out (`prior`). What is not a leak gets the name of its course (`shape`).
//!
//! # How to use it
//!
//! - [`Ticks`] turns times into ticks, the grain of a run (67 ms by default).
//! - A [`Series`] per stack is told of every [`born`](Series::born) and [`died`](Series::died)
//!   block; both take the [`Room`] that bounds what all series remember. Nothing has to be done
//!   when time merely passes.
//! - A [`Course`] each for the outstanding bytes of a process and for its resident memory is told
//!   their value every tick or so ([`Course::hold`]).
//! - [`judge_all`] judges all series of a process or a run and what they make together, as often as
//!   is liked; [`judge`] a single one. A [`Context`] says what was lost, where the degrees of
//!   severity begin, and what limit there is.
//!
//! # The files, in the order of the data
//!
//! - `ticks.rs`: times in ticks
//! - `bins.rs`: live blocks by interval of birth, merging as they age
//! - `ages.rs`: deaths by age
//! - `totals.rs`, `swings.rs`, `course.rs`: a total over time, thinned; how often it fell back
//! - `room.rs`: the bound on what is remembered
//! - `series.rs`: what is followed of a stack
//! - `view.rs`, `cohorts.rs`: the same as plain numbers, at one moment
//! - `distributions.rs`: probabilities and quantiles
//! - `plateau.rs`: the age at which deaths end
//! - `onset.rs`, `power_law.rs`, `generations.rs`: when growth began, and whether it goes on
//! - `cells.rs`, `rate.rs`: how survivors scatter over time; how fast they come, with an interval
//! - `prior.rs`: leak or store
//! - `least_squares.rs`, `line_rule.rs`: the line, and the judgement in common use
//! - `mann_kendall.rs`, `theil_sen.rs`: the robust trend and its test
//! - `hinge.rs`, `shape.rs`: the names of innocent courses
//! - `projection.rs`, `severity.rs`: where it leads, and how bad that is
//! - `losses.rs`: whether the record is good enough
//! - `reasons.rs`: why, in plain sentences
//! - `verdict.rs`: what is said of growth; `judge.rs`: of a series; `whole.rs`: of many together, more
//!   carefully the more there are; `resident.rs`: of resident memory by itself

mod ages;
mod bins;
mod cells;
mod cohorts;
mod course;
mod distributions;
mod generations;
mod hinge;
mod judge;
pub mod least_squares;
pub mod line_rule;
mod losses;
pub mod mann_kendall;
mod onset;
mod plateau;
mod power_law;
mod prior;
mod projection;
mod rate;
mod reasons;
mod resident;
mod room;
mod series;
mod severity;
mod shape;
mod swings;
pub mod theil_sen;
mod ticks;
mod totals;
mod verdict;
mod view;
mod whole;

pub use course::Course;
pub use judge::{MIN_TICKS, judge};
pub use losses::Losses;
pub use projection::Limit;
pub use resident::judge_resident;
pub use room::{MAX_HISTORIES, Room};
pub use series::Series;
pub use severity::{Severity, SeverityBounds};
pub use ticks::{DEFAULT_SHIFT, Tick, Ticks};
pub use verdict::{Context, Judgement, Verdict};
pub use whole::{Verdicts, judge_all, judge_if_it_may_leak, judge_together, judge_whole};
