//! What belongs to a call stack: its program counters, and the totals of what it allocated.

pub mod weight;
pub mod sites;
pub mod table;

pub use sites::{SiteTotals, Sites};
pub use table::{Stack, StackTable, StackWay};
