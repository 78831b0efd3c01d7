//! Who grows so that it is worth an exact look, and what such a look has shown. Pure: no I/O and no
//! clock.
//!
//! A watcher tells a [`Watchlist`] of processes, and how much memory each has at what time; where these
//! figures come from is its own business. The list says who is to be looked at closely next, and is
//! told what came of it.
//!
//! - `series.rs`: the memory of one process over time, on several scales at once
//! - `significance.rs`: whether a stretch of it is growth that goes on
//! - `patience.rs`: when a process that was looked at is looked at again
//! - `watchlist.rs`: all processes, and whose turn it is
//! - `question.rs`: when an exact look may end
//! - `conclusion.rs`: what its report says

mod conclusion;
mod patience;
mod question;
mod series;
mod significance;
mod watchlist;

pub use conclusion::{Conclusion, conclude, guiltiest, suspected_rate};
pub use patience::Patience;
pub use question::Question;
pub use series::WATCH_PERIOD;
pub use significance::Growth;
pub use watchlist::{MAX_WATCHED, Watched, WatchedId, Watchlist};
