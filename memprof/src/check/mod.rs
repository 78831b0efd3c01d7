//! `memprof check`: does a finished report pass? Pure: no I/O and no clock.
//!
//! [`decide`] holds a [`Report`](crate::report::Report) and what was [`Watched`] since the warm-up
//! against a [`Policy`]. It fails by what is proved, passes only on evidence that is good enough, and
//! says otherwise that it can't tell.
//!
//! - `policy.rs`: what is asked for
//! - `evidence.rs`: whether the record is good enough, in whole or in part
//! - `suppressions.rs`: call paths that are known and accepted, from a file
//! - `baseline.rs`: call paths that grew before, from an earlier report
//! - `verdicts.rs`: which call paths fail by their verdict, or the whole by its own
//! - `thresholds.rs`: growth, outstanding bytes and resident memory against their bounds
//! - `decide.rs`: all of it together

mod baseline;
mod cycles;
mod decide;
mod evidence;
mod policy;
mod suppressions;
#[cfg(test)]
mod tests;
mod thresholds;
mod verdicts;

pub use baseline::{Baseline, Pace};
pub use decide::decide;
pub use evidence::LEAST_SECONDS;
pub use policy::{Policy, Watched};
pub use suppressions::{MAX_SUPPRESSIONS, Refused, Suppression, Suppressions};
