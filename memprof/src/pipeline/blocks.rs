//! What allocations, frees and resizes do to the blocks, the totals and the growth of their space.
//!
//! Each is two steps: what becomes of the live table, and what follows for all the rest from the block
//! that was there before. `parallel.rs` makes the first ones of many events before the second ones.

use super::Pipeline;
use crate::events::event::{Nanoseconds, SpaceId, StackId};
use crate::live::Block;
use crate::stacks::weight::Amount;

impl Pipeline {
    pub(super) fn allocate(
        &mut self,
        time: Nanoseconds,
        space: SpaceId,
        address: u64,
        size: u64,
        stack: StackId,
    ) {
        let at = self.space_at(space);
        let table = &self.spaces[at].table;
        if self.live_blocks >= self.limits.live_blocks && !table.contains(address) {
            self.counts.overflowed += 1;
            return;
        }
        let block = Block {
            site: self.site(at, time, stack),
            size,
            birth: time,
        };
        let old = self.spaces[at].table.insert(address, block);
        self.allocated(at, &block, old);
    }

    /// The site of a stack whose block was allocated at `time` in the space of an index; from now on,
    /// if there was none.
    #[inline]
    pub(super) fn site(&mut self, at: usize, time: Nanoseconds, stack: StackId) -> u32 {
        let mean_bytes = self.sampling.mean_at(time);
        let space = &mut self.spaces[at];
        if let Some(site) = space.sites.find(stack, mean_bytes) {
            return site;
        }
        self.stacks.expect(stack);
        let site = space.sites.create(stack, mean_bytes);
        self.counts.overflowed_sites += u64::from(site as usize == self.limits.sites);
        site
    }

    /// Counts a block that took the place of `old` in the table of a space.
    #[inline]
    pub(super) fn allocated(&mut self, at: usize, block: &Block, old: Option<Block>) {
        let space = &mut self.spaces[at];
        let tick = self.ticks.of(block.birth);
        let old = old.map(|old| space.died(&old, &self.ticks, tick, &mut self.room));
        let amount = space.born(block.site, block.size, tick, &mut self.room);
        self.sum_allocated(block.birth, amount, old);
    }

    /// Counts in the sums over all spaces what was allocated, in place of `old` at its address.
    #[inline]
    pub(super) fn sum_allocated(&mut self, time: Nanoseconds, amount: Amount, old: Option<Amount>) {
        if let Some(old) = old {
            self.counts.superseded += 1;
            self.summary.totals.free(old);
        } else {
            self.live_blocks += 1;
        }
        self.summary.totals.allocate(amount);
        self.note_peak(time);
    }

    #[inline]
    pub(super) fn free(
        &mut self,
        time: Nanoseconds,
        space: SpaceId,
        address: u64,
    ) -> Option<Block> {
        let at = self.space_at(space);
        let block = self.spaces[at].table.remove(address);
        self.freed(at, time, block.as_ref());
        block
    }

    /// Counts that a block was taken out of the table of a space, or that there was none.
    #[inline]
    pub(super) fn freed(&mut self, at: usize, time: Nanoseconds, block: Option<&Block>) {
        let tick = self.ticks.of(time);
        let amount = block.map(|block| {
            let space = &mut self.spaces[at];
            space.died(block, &self.ticks, tick, &mut self.room)
        });
        self.sum_freed(amount);
    }

    /// Counts in the sums over all spaces what was freed; `None`: something unknown.
    #[inline]
    pub(super) fn sum_freed(&mut self, amount: Option<Amount>) {
        let Some(amount) = amount else {
            // Most of the frees of a sampled run are of blocks that were not taken.
            self.counts.unknown_frees += u64::from(!self.is_sampled);
            return;
        };
        self.live_blocks -= 1;
        self.summary.totals.free(amount);
    }

    pub(super) fn undo_resize(&mut self, time: Nanoseconds, space: SpaceId, address: u64) {
        let Some(removed) = self.resizes.take(space, address) else {
            self.counts.resize_failures_unmatched += 1;
            return;
        };
        let Some(block) = removed else {
            let counted = u64::from(!self.is_sampled);
            self.counts.unknown_frees = self.counts.unknown_frees.saturating_sub(counted);
            return;
        };
        let at = self.space_at(space);
        let space = &mut self.spaces[at];
        if space.table.contains(address) {
            self.counts.resize_failures_superseded += 1;
            return;
        }
        space.table.insert(address, block);
        self.live_blocks += 1;
        let tick = self.ticks.of(time);
        let amount = space.revived(&block, &self.ticks, tick, &mut self.room);
        self.summary.totals.unfree(amount);
        self.note_peak(time);
    }

    #[inline]
    pub(super) fn note_peak(&mut self, time: Nanoseconds) {
        let outstanding = self.summary.totals.outstanding_bytes();
        if outstanding > self.summary.peak_outstanding_bytes {
            self.summary.peak_outstanding_bytes = outstanding;
            self.summary.peak_at = time;
        }
    }
}
