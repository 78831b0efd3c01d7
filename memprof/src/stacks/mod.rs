//! What belongs to a call stack: its program counters, and the totals of what it allocated or touched
//! first.

pub mod weight;
pub mod sites;
pub mod table;
pub mod touches;

pub use sites::{SiteTotals, Sites};
pub use table::{Stack, StackTable, StackWay};
pub use touches::{TouchTotals, Touches};
