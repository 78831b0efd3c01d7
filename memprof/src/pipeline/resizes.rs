//! The old blocks of the last few thousand `realloc`s, in case they fail.
//!
//! A `realloc` gives its old block up at its entry and, rarely, takes it back at its return. How
//! many are under way at one time is bounded by the number of threads, so a short memory serves.

use crate::events::event::SpaceId;
use crate::live::Block;

/// How many resizes are remembered.
const REMEMBERED: usize = 4096;

#[derive(Debug)]
struct Resize {
    space: SpaceId,
    address: u64,
    /// `None`: no block was known there.
    block: Option<Block>,
    open: bool,
}

/// A ring of the latest resizes.
#[derive(Debug, Default)]
pub(super) struct Resizes {
    ring: Vec<Resize>,
    /// Where the oldest is, once the ring is full.
    next: usize,
}

impl Resizes {
    #[inline]
    pub(super) fn remember(&mut self, space: SpaceId, address: u64, block: Option<Block>) {
        let resize = Resize {
            space,
            address,
            block,
            open: true,
        };
        if self.ring.len() < REMEMBERED {
            self.ring.push(resize);
            return;
        }
        self.ring[self.next] = resize;
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// What the latest resize at an address removed (`Some(None)`: nothing was known there);
    /// `None` if there is none on record. Searched from the latest backwards: a failure follows
    /// soon after its beginning.
    pub(super) fn take(&mut self, space: SpaceId, address: u64) -> Option<Option<Block>> {
        let (newer, older) = self.ring.split_at_mut(self.next);
        let latest_first = newer.iter_mut().rev().chain(older.iter_mut().rev());
        let resize = latest_first
            .filter(|resize| resize.open)
            .find(|resize| resize.address == address && resize.space == space)?;
        resize.open = false;
        Some(resize.block)
    }

    /// The latest resize of a space that may still fail and whose old block was known, at an address that
    /// `suits`: that address, and the block's bytes.
    pub(super) fn latest(
        &self,
        space: SpaceId,
        mut suits: impl FnMut(u64) -> bool,
    ) -> Option<(u64, u64)> {
        let (newer, older) = self.ring.split_at(self.next);
        let mut latest_first = newer.iter().rev().chain(older.iter().rev());
        latest_first.find_map(|resize| {
            let of_space = resize.open && resize.space == space;
            let block = resize.block.filter(|_| of_space)?;
            suits(resize.address).then_some((resize.address, block.size))
        })
    }

    /// Forgets the resizes of a space that is no more.
    pub(super) fn forget(&mut self, space: SpaceId) {
        for resize in &mut self.ring {
            if resize.space == space {
                resize.open = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(size: u64) -> Option<Block> {
        Some(Block {
            site: 0,
            size,
            birth: 0,
        })
    }

    #[test]
    fn the_latest_resize_at_an_address_is_taken_once_also_after_the_ring_has_gone_round() {
        let mut resizes = Resizes::default();
        let space = SpaceId(1);
        for size in 0..(REMEMBERED as u64 + 10) {
            resizes.remember(space, size % 100, block(size));
        }
        // The last hundred sizes end at REMEMBERED + 9.
        let last = REMEMBERED as u64 + 9;
        let address = last % 100;
        assert_eq!(resizes.take(space, address), Some(block(last)));
        assert_eq!(resizes.take(space, address), Some(block(last - 100)));
        assert_eq!(resizes.take(SpaceId(2), address), None);
        resizes.forget(space);
        assert_eq!(resizes.take(space, address), None);
    }

    #[test]
    fn no_more_than_a_few_thousand_resizes_are_remembered() {
        let mut resizes = Resizes::default();
        resizes.remember(SpaceId(1), 5, None);
        for address in 0..REMEMBERED as u64 {
            resizes.remember(SpaceId(1), 100 + address, None);
        }
        assert_eq!(resizes.take(SpaceId(1), 5), None);
        assert_eq!(resizes.take(SpaceId(1), 100), Some(None));
        assert_eq!(resizes.ring.len(), REMEMBERED);
    }
}
