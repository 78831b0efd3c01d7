//! The live table: which blocks of one address space are outstanding, and whose they are.
//!
//! It holds millions of entries for days, so an entry is 16 bytes and the table around it never
//! takes more than half as much again, at no moment, growth included. Hashing is extendible
//! (Fagin, Nievergelt, Pippenger, Strong 1979): small segments that grow, split and merge one at
//! a time, so no operation ever copies the whole table, and a forked process shares its parent's
//! segments until one of the two writes. Within a segment entries stand in the order of their
//! hashes (ordered linear probing: Amble and Knuth 1974), which makes a miss as cheap as a hit,
//! a split a cut, a merge a concatenation and a resize one pass in place.
//!
//! - `packed.rs`: a block in 16 bytes, and what does not fit
//! - `mix.rs`: the invertible seeded hash of addresses
//! - `segment.rs`: one segment
//! - `table.rs`: [`LiveTable`], the directory of segments
//! - `divided.rs`: [`DividedTable`], a large table in parts that threads work on side by side
//!
//! What programs map is far less in number, and has lengths that change: `mappings.rs`. Which pages are
//! resident, by who touched them first: `pages.rs`.

pub mod mappings;
pub mod pages;
mod divided;
mod mix;
mod packed;
mod segment;
mod table;

pub use divided::{DividedTable, Division, MAX_PART_BITS};
pub use packed::{BIRTH_BITS, TICK_BITS};
pub use table::LiveTable;

use crate::events::event::Nanoseconds;

/// What is known of a live block besides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whose it is: an index that the table's owner gives out.
    pub site: u32,
    /// Bytes, as asked for.
    pub size: u64,
    /// When it was allocated. A table gives births back rounded down to its ticks of
    /// 2^[`TICK_BITS`] ns since its start, the last of 2^[`BIRTH_BITS`] standing for all later.
    pub birth: Nanoseconds,
}
