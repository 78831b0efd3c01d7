//! What allocations, frees and resizes do to the blocks, the totals and the growth of their space.

use super::Pipeline;
use crate::events::event::{Nanoseconds, SpaceId, StackId};
use crate::live::Block;

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
        let space = &mut self.spaces[at];
        if self.live_blocks >= self.limits.live_blocks && !space.table.contains(address) {
            self.counts.overflowed += 1;
            return;
        }
        let mean_bytes = self.sampling.mean_at(time);
        let tick = self.ticks.of(time);
        let site = match space.sites.find(stack, mean_bytes) {
            Some(site) => site,
            None => {
                self.stacks.expect(stack);
                let site = space.sites.create(stack, mean_bytes);
                self.counts.overflowed_sites += u64::from(site as usize == self.limits.sites);
                site
            }
        };
        let block = Block {
            site,
            size,
            birth: time,
        };
        if let Some(old) = space.table.insert(address, block) {
            self.counts.superseded += 1;
            let amount = space.died(&old, &self.ticks, tick, &mut self.room);
            self.summary.totals.free(amount);
        } else {
            self.live_blocks += 1;
        }
        let amount = space.born(site, size, tick, &mut self.room);
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
        let space = &mut self.spaces[at];
        let Some(block) = space.table.remove(address) else {
            // Most of the frees of a sampled run are of blocks that were not taken.
            self.counts.unknown_frees += u64::from(!self.is_sampled);
            return None;
        };
        self.live_blocks -= 1;
        let tick = self.ticks.of(time);
        let amount = space.died(&block, &self.ticks, tick, &mut self.room);
        self.summary.totals.free(amount);
        Some(block)
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
