//! What changed between two runs, call path by call path. Pure: two reports in, a comparison out.
//!
//! - `symbol.rs`: the part of a function's and a file's name that a rebuild leaves alone
//! - `key.rs`: what makes two call paths the same one
//! - `model.rs`: the comparison as plain data, `memprof/diff/v1`
//! - `compare.rs`: the comparing

mod compare;
mod key;
mod model;
mod symbol;

pub use compare::{By, compare};
pub use model::{Amounts, Change, Counts, Diff, DiffSchema, Side, StackChange};
