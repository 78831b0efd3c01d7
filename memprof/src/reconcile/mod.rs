//! Resident memory taken apart: which of its pages are blocks that were seen, what allocators keep
//! beside them, files, stacks, what was there before, and what nobody explains. Pure.
//!
//! - `held.rs`: blocks joined with the pages that are in memory
//! - `tally.rs`: every page of one process counted, once
//! - `unexplained.rs`: what the rest looks like, what it may be and what to try next
//! - `sum.rs`: the parts as the report has them, of one process and of all

pub(crate) mod held;
pub(crate) mod sum;
pub(crate) mod tally;
pub(crate) mod unexplained;
