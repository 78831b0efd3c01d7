//! What one address space holds, by address: its blocks and what it has mapped.

use std::ops::Range;

use super::{Pipeline, space::Space};
use crate::events::event::SpaceId;
use crate::live::mappings::Owner;

/// What an address space holds.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    space: &'a Space,
    is_sampled: bool,
}

impl Contents<'_> {
    /// How many blocks are known.
    pub fn block_count(&self) -> usize {
        self.space.table.len()
    }

    /// Every known block, in no order: its address, its bytes, and the bytes that it stands for, which
    /// are more if not every block was taken.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64, f64)> {
        let sites = &self.space.sites;
        self.space.table.iter().map(move |(address, block)| {
            let stands_for = match self.is_sampled {
                true => sites.weight(block.site, block.size).bytes,
                false => block.size as f64,
            };
            (address, block.size, stands_for)
        })
    }

    /// What it has mapped, as far as that was followed, by address.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u64>, Owner)> {
        self.space.mappings.ranges()
    }

    /// Whether some blocks were not taken.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl Pipeline {
    /// What an address space holds; `None` if nothing is known of it, or its program is gone.
    pub fn contents(&self, space: SpaceId) -> Option<Contents<'_>> {
        let space = &self.spaces[*self.indices.get(&space)?];
        (!space.is_ended()).then_some(Contents {
            space,
            is_sampled: self.is_sampled,
        })
    }
}
