//! Resident pages that the kernel moves to other addresses (`mremap`). No page fault and no counter of
//! resident memory tells of it, so it is told from what is known besides: where mappings are followed by
//! the call, else by the `realloc` that makes it.

use memprof_common::event::PAGE_BYTES;

use super::Pipeline;
use crate::events::event::{Remap, SpaceId};

/// glibc and musl have blocks of this size and more mapped one by one, unless they are told otherwise.
pub(crate) const MAPPED_ALONE_BYTES: u64 = 128 << 10;
/// Where in a page such a block begins, behind its header.
pub(crate) const MAPPED_ALONE_OFFSET: u64 = 16;

impl Pipeline {
    /// A block has come: if it is one that `realloc` had moved, its pages have come with it.
    #[inline]
    pub(super) fn follow_block(&mut self, space: SpaceId, address: u64, size: u64) {
        if size >= MAPPED_ALONE_BYTES && address % PAGE_BYTES == MAPPED_ALONE_OFFSET {
            self.follow_moved(space, address, size);
        }
    }

    /// Of any other block the header was written by now, so that its page is on record. And where `realloc`
    /// copied instead, that of the old block is no longer.
    fn follow_moved(&mut self, space: SpaceId, address: u64, size: u64) {
        let Some(&at) = self.indices.get(&space) else {
            return;
        };
        let pages = &mut self.spaces[at].pages;
        let header = address / PAGE_BYTES;
        if pages.is_empty() || pages.get(header).is_some() {
            return;
        }
        let moved = self.resizes.latest(space, |old| {
            old % PAGE_BYTES == MAPPED_ALONE_OFFSET && pages.get(old / PAGE_BYTES).is_some()
        });
        if let Some((old, old_size)) = moved {
            let bytes = size.min(old_size) + MAPPED_ALONE_OFFSET;
            self.move_pages(at, old / PAGE_BYTES, header, bytes.div_ceil(PAGE_BYTES));
        }
    }

    /// A mapping was moved, and its pages with it.
    pub(super) fn follow_remap(&mut self, space: SpaceId, remap: &Remap) {
        let bytes = remap.length.min(remap.old_length);
        if let Some(&at) = self.indices.get(&space)
            && remap.address != remap.old_address
            && !self.spaces[at].pages.is_empty()
        {
            let (from, to) = (remap.old_address / PAGE_BYTES, remap.address / PAGE_BYTES);
            self.move_pages(at, from, to, bytes.div_ceil(PAGE_BYTES));
        }
    }

    /// Moves what is known of so many pages, by numbers. What is on record where they come to went unseen.
    fn move_pages(&mut self, at: usize, from: u64, to: u64, pages: u64) {
        let space = &mut self.spaces[at];
        let touches = &mut space.touches;
        let room = &mut self.touched.room;
        let from = from..from.saturating_add(pages);
        space.pages.shift(from, to, room, &mut |page, count| {
            touches.change(page.site, |totals| totals.give_back(page, count));
        });
    }
}
