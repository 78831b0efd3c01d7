//! Totals per call stack of one address space, of the pages that it touched first.
//!
//! They are no allocations and nobody frees them by name, so they are kept apart from those of
//! [`Sites`](super::Sites), with indices of their own.

use hashbrown::HashMap;
use memprof_common::event::PAGE_BYTES;

use crate::events::event::{PageMemory, StackId};
use crate::live::pages::Page;

/// The most sites of one address space that touch pages. Touches of further stacks go to one common site
/// without a stack, the last.
pub const MAX_TOUCHERS: usize = 1 << 18;

/// What can be nobody knows where, of one kind of memory; more is not counted.
const MOST_UNPLACED: u64 = 1 << 56;

/// Kinds of memory that pages hold.
const KINDS: usize = 3;

fn kind(memory: PageMemory) -> usize {
    match memory {
        PageMemory::File => 0,
        PageMemory::Anonymous => 1,
        PageMemory::Shared => 2,
    }
}

/// What was touched first, and what became of it, bytes. What is resident is touched, inherited and
/// copied without what was given back, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TouchTotals {
    /// Became resident by being touched.
    pub touched_bytes: u64,
    /// A fork left to the child.
    pub inherited_bytes: u64,
    /// Was written to after a fork, and so copied: it was another path's before.
    pub copied_bytes: u64,
    /// Is not there any more: given back, found to be gone, another path's copy, or gone by exec.
    pub given_back_bytes: u64,
    held: [Held; KINDS],
}

/// What is resident of one kind of memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// In pages that are known.
    placed: u64,
    /// Of those, in huge ones.
    huge: u64,
    /// Of those, touched by the kernel.
    by_kernel: u64,
    /// Somewhere.
    unplaced: u64,
}

impl TouchTotals {
    /// What is resident of one kind of memory.
    pub fn resident_of(&self, memory: PageMemory) -> u64 {
        let held = &self.held[kind(memory)];
        held.placed + held.unplaced
    }

    /// What is resident.
    pub fn resident_bytes(&self) -> u64 {
        self.sum(|held| held.placed + held.unplaced)
    }

    /// Of that, in huge pages.
    pub fn huge_bytes(&self) -> u64 {
        self.sum(|held| held.huge)
    }

    /// Of that, touched by the kernel for the program, in pages that are known.
    pub fn by_kernel_bytes(&self) -> u64 {
        self.sum(|held| held.by_kernel)
    }

    /// Of that, what is nobody knows where.
    pub fn unplaced_bytes(&self) -> u64 {
        self.sum(|held| held.unplaced)
    }

    fn sum(&self, bytes: impl Fn(&Held) -> u64) -> u64 {
        self.held.iter().map(bytes).sum()
    }

    /// So many pages alike became resident.
    pub fn touch(&mut self, page: Page, pages: u64) {
        self.touched_bytes += pages * PAGE_BYTES;
        self.hold(page, pages);
    }

    /// A page is a copy now.
    pub fn copy(&mut self, page: Page) {
        self.copied_bytes += PAGE_BYTES;
        self.hold(page, 1);
    }

    /// Memory became resident, it is not known where.
    pub fn touch_unplaced(&mut self, memory: PageMemory, bytes: u64) {
        let held = &mut self.held[kind(memory)];
        // Asked for by the target, and so any number.
        let bytes = bytes.min(MOST_UNPLACED.saturating_sub(held.unplaced));
        self.touched_bytes = self.touched_bytes.saturating_add(bytes);
        held.unplaced += bytes;
    }

    /// So many pages alike are gone.
    pub fn give_back(&mut self, page: Page, pages: u64) {
        let bytes = pages * PAGE_BYTES;
        self.given_back_bytes += bytes;
        let held = &mut self.held[kind(page.memory)];
        held.placed = held.placed.saturating_sub(bytes);
        if page.is_huge {
            held.huge = held.huge.saturating_sub(bytes);
        }
        if page.by_kernel {
            held.by_kernel = held.by_kernel.saturating_sub(bytes);
        }
    }

    fn hold(&mut self, page: Page, pages: u64) {
        let bytes = pages * PAGE_BYTES;
        let held = &mut self.held[kind(page.memory)];
        held.placed += bytes;
        held.huge += if page.is_huge { bytes } else { 0 };
        held.by_kernel += if page.by_kernel { bytes } else { 0 };
    }

    /// What a forked child has of these: the anonymous pages, as inherited.
    pub fn inherited(&self) -> Self {
        let mut child = Self::default();
        let anonymous = kind(PageMemory::Anonymous);
        child.held[anonymous] = Held {
            unplaced: 0,
            ..self.held[anonymous]
        };
        child.inherited_bytes = child.resident_bytes();
        child
    }

    /// Counts all that is resident as given back.
    pub fn discard(&mut self) {
        let resident = self.resident_bytes();
        self.given_back_bytes = self.given_back_bytes.saturating_add(resident);
        self.held = Default::default();
    }

    /// Adds other totals to these.
    pub fn add(&mut self, other: &Self) {
        self.touched_bytes = self.touched_bytes.saturating_add(other.touched_bytes);
        self.inherited_bytes += other.inherited_bytes;
        self.copied_bytes += other.copied_bytes;
        self.given_back_bytes = self.given_back_bytes.saturating_add(other.given_back_bytes);
        for (held, other) in self.held.iter_mut().zip(&other.held) {
            held.placed += other.placed;
            held.huge += other.huge;
            held.by_kernel += other.by_kernel;
            held.unplaced = (held.unplaced + other.unplaced).min(MOST_UNPLACED);
        }
    }
}

/// The sites of one address space that touched pages.
#[derive(Clone, Debug)]
pub struct Touches {
    indices: HashMap<StackId, u32>,
    stacks: Vec<StackId>,
    totals: Vec<TouchTotals>,
    sum: TouchTotals,
    max_sites: usize,
}

impl Default for Touches {
    fn default() -> Self {
        Self::with_limit(MAX_TOUCHERS)
    }
}

impl Touches {
    /// No sites yet, and at most `max_sites` of them besides the common one.
    pub fn with_limit(max_sites: usize) -> Self {
        Self {
            indices: HashMap::new(),
            stacks: Vec::new(),
            totals: Vec::new(),
            sum: TouchTotals::default(),
            max_sites: max_sites.min(MAX_TOUCHERS),
        }
    }

    /// The sites of a forked child: the same indices, what is inherited.
    pub fn fork(&self) -> Self {
        Self {
            indices: self.indices.clone(),
            stacks: self.stacks.clone(),
            totals: self.totals.iter().map(TouchTotals::inherited).collect(),
            sum: self.sum.inherited(),
            max_sites: self.max_sites,
        }
    }

    /// The index of a stack's site, if it has one.
    pub fn find(&self, stack: StackId) -> Option<u32> {
        self.indices.get(&stack).copied()
    }

    /// Makes a site that [`Touches::find`] doesn't know, the common one if there are too many.
    pub fn create(&mut self, stack: StackId) -> u32 {
        let index = self.stacks.len();
        if index >= self.max_sites {
            self.totals
                .resize(self.max_sites + 1, TouchTotals::default());
            return self.max_sites as u32;
        }
        self.stacks.push(stack);
        self.totals.push(TouchTotals::default());
        self.indices.insert(stack, index as u32);
        index as u32
    }

    /// The stack of a site; `None` for the common one.
    pub fn stack_of(&self, site: u32) -> Option<StackId> {
        self.stacks.get(site as usize).copied()
    }

    /// Whether a site is the one of all stacks that found no room.
    pub fn is_common(&self, site: u32) -> bool {
        site as usize == self.max_sites
    }

    /// Changes the totals of a site, and the sum with them. The index comes from these sites or those
    /// that they were forked from.
    pub fn change(&mut self, site: u32, change: impl Fn(&mut TouchTotals)) {
        change(&mut self.totals[site as usize]);
        change(&mut self.sum);
    }

    /// Every site: index, stack (`None` for the common one), totals; in order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<StackId>, &TouchTotals)> {
        let all = (0..).zip(&self.totals);
        all.map(|(index, totals)| (index, self.stack_of(index), totals))
    }

    /// The sum over all sites.
    pub fn sum(&self) -> TouchTotals {
        self.sum
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// Counts all that is resident as given back.
    pub fn discard(&mut self) {
        self.totals.iter_mut().for_each(TouchTotals::discard);
        self.sum.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(memory: PageMemory, is_huge: bool, by_kernel: bool) -> Page {
        Page {
            site: 0,
            memory,
            is_huge,
            by_kernel,
        }
    }

    #[test]
    fn resident_is_what_came_without_what_went() {
        let mut totals = TouchTotals::default();
        let huge = page(PageMemory::Anonymous, true, false);
        let file = page(PageMemory::File, false, true);
        totals.touch(huge, 512);
        totals.touch(file, 16);
        totals.copy(page(PageMemory::Anonymous, false, false));
        totals.touch_unplaced(PageMemory::Shared, 8 * PAGE_BYTES);
        totals.give_back(huge, 12);
        let pages = |bytes: u64| bytes / PAGE_BYTES;
        assert_eq!(pages(totals.resident_bytes()), 500 + 16 + 1 + 8);
        assert_eq!(pages(totals.huge_bytes()), 500);
        assert_eq!(pages(totals.by_kernel_bytes()), 16);
        let child = totals.inherited();
        assert_eq!(pages(child.inherited_bytes), 501);
        assert_eq!(child.resident_bytes(), child.inherited_bytes);
        totals.discard();
        assert_eq!((totals.resident_bytes(), totals.huge_bytes()), (0, 0));
        assert_eq!(
            totals.given_back_bytes,
            totals.touched_bytes + totals.copied_bytes
        );
    }

    #[test]
    fn stacks_beyond_the_limit_share_the_common_site() {
        let mut touches = Touches::with_limit(1);
        let sites: Vec<u32> = (0..3).map(|id| touches.create(StackId(id))).collect();
        assert_eq!(sites, [0, 1, 1]);
        assert!(touches.is_common(1) && !touches.is_common(0));
        let stacks: Vec<_> = touches.iter().map(|site| site.1).collect();
        assert_eq!(stacks, [Some(StackId(0)), None]);
    }
}
