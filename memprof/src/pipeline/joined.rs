//! Blocks joined with pages: what of each call path's memory was touched, and who touched it first.
//!
//! Only here do the two meet: who holds memory is known by its blocks, who made it resident by page
//! faults, and neither says anything about the other.

use std::ops::Range;

use hashbrown::HashMap;

use super::{Pipeline, space::Space};
use crate::events::event::{SpaceId, StackId};
use crate::live::mappings::Account;
use crate::live::pages::joined::{Holding, Joined, MAX_JOINED_PAGES, TooLarge, join};

/// Blocks of all spaces that are joined with their pages: more would take the lock for over a second.
pub const MAX_JOINED_BLOCKS: usize = 1 << 22;

/// Why blocks were not joined with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// Not every block was taken, so what lies on a page is not known.
    Sampled,
    /// There are more than [`MAX_JOINED_BLOCKS`].
    TooMany(usize),
    /// They come to more than [`MAX_JOINED_PAGES`] pages.
    TooLarge,
}

/// What is known of the memory that a site holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinedSite {
    /// Bytes held.
    pub held_bytes: u64,
    /// Of those, bytes on pages that are resident.
    pub touched_bytes: u64,
    /// Free bytes on pages that few survivors keep.
    pub kept_free_bytes: f64,
    /// The stacks that touched it first, by what is the same of stacks with the same program counters.
    /// What is not here was touched by others.
    pub first_touched: HashMap<StackId, FirstTouched>,
}

/// What one call path touched first of the memory that another holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstTouched {
    /// Its stack: of several with the same program counters, one.
    pub stack: StackId,
    /// How much.
    pub bytes: u64,
}

impl JoinedSite {
    /// Adds what is known of another site.
    pub fn add(&mut self, other: &Self) {
        self.held_bytes = self.held_bytes.saturating_add(other.held_bytes);
        self.touched_bytes = self.touched_bytes.saturating_add(other.touched_bytes);
        self.kept_free_bytes += other.kept_free_bytes;
        for (id, touched) in &other.first_touched {
            add(&mut self.first_touched, *id, *touched);
        }
    }
}

fn add(all: &mut HashMap<StackId, FirstTouched>, id: StackId, touched: FirstTouched) {
    let known = all.entry(id).or_insert(FirstTouched {
        bytes: 0,
        ..touched
    });
    known.bytes = known.bytes.saturating_add(touched.bytes);
}

/// What is known of a space.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedSpace {
    /// Which one.
    pub space: SpaceId,
    /// By site; `None` if its pages were forgotten for want of room.
    pub sites: Option<HashMap<u32, JoinedSite>>,
}

impl Pipeline {
    /// Joins blocks and mappings with pages, in each space that has some.
    ///
    /// # Errors
    /// If that would mean nothing, or take too long.
    pub fn joined(&self) -> Result<Vec<JoinedSpace>, NotJoined> {
        if self.is_sampled {
            return Err(NotJoined::Sampled);
        }
        if self.live_blocks > MAX_JOINED_BLOCKS {
            return Err(NotJoined::TooMany(self.live_blocks));
        }
        let mut left = MAX_JOINED_PAGES;
        let spaces = self.spaces.iter().filter(|space| !space.sites.is_empty());
        let joined = spaces.map(|space| {
            let sites = match space.pages_forgotten {
                true => None,
                false => Some(self.join_space(space, &mut left)?),
            };
            let space = space.id;
            Ok(JoinedSpace { space, sites })
        });
        let joined: Result<_, TooLarge> = joined.collect();
        joined.map_err(|TooLarge| NotJoined::TooLarge)
    }

    fn join_space(
        &self,
        space: &Space,
        left: &mut u64,
    ) -> Result<HashMap<u32, JoinedSite>, TooLarge> {
        let blocks = || {
            let blocks = space.table.iter().map(|(address, block)| Holding {
                address,
                size: block.size,
                site: block.site,
                is_block: true,
            });
            let mapped = space.mappings.ranges().filter_map(|(range, owner)| {
                let Account::Site(site) = owner.account else {
                    return None;
                };
                Some(Holding {
                    address: range.start,
                    size: range.end - range.start,
                    site,
                    is_block: false,
                })
            });
            blocks.chain(mapped)
        };
        let sites = join(&space.pages, blocks, left)?.into_iter();
        let named = sites.map(|(site, joined)| (site, self.named(space, &joined)));
        Ok(named.collect())
    }

    /// With stacks in place of the indices of who touched.
    fn named(&self, space: &Space, joined: &Joined) -> JoinedSite {
        let mut first_touched = HashMap::new();
        let mut touchers = joined.first_touched.clone();
        // The same stands for its twins as among the touchers.
        touchers.sort_unstable();
        for (toucher, bytes) in touchers {
            if let Some(stack) = space.touches.stack_of(toucher) {
                let id = self.stacks.whole_id(space.id, stack);
                add(&mut first_touched, id, FirstTouched { stack, bytes });
            }
        }
        JoinedSite {
            held_bytes: joined.held_bytes,
            touched_bytes: joined.touched_bytes,
            kept_free_bytes: joined.kept_free_bytes,
            first_touched,
        }
    }

    /// The runs of pages of a space that are on record as resident at places that are certain, by their
    /// numbers, which ascend.
    pub fn placed_runs(&self, space: SpaceId) -> Vec<Range<u64>> {
        let at = self.indices.get(&space);
        at.map_or_else(Vec::new, |&at| {
            self.spaces[at].pages.placed_runs().collect()
        })
    }
}

#[cfg(test)]
mod tests;
