//! From a file's `.eh_frame` to the tables with which the kernel side finds the callers of a
//! frame: one rule per run of instructions, as `memprof_common::unwind` lays them out.

mod rule;
mod cfi;
mod entries;
pub mod rows;
pub mod tables;
pub mod mapped;
mod kernel_tables;
pub mod loader;
pub mod copied;
pub mod worker;
#[cfg(test)]
mod tests;

pub use cfi::{MAX_INSTRUCTIONS, MAX_REMEMBERED_STATES};
