//! Totals per call stack of one address space.
//!
//! A *site* is a stack as one address space uses it. Sites have dense indices, which is what a
//! live block remembers in place of a 64-bit stack id.

use hashbrown::HashMap;

use crate::events::event::StackId;

/// The most sites of one address space. Allocations of further stacks go to one common site
/// without a stack, the last.
pub const MAX_SITES: usize = 1 << 20;

/// What was allocated and what became of it, bytes and counts. What is outstanding follows from
/// the rest, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteTotals {
    /// Bytes allocated.
    pub allocated_bytes: u64,
    /// Blocks allocated.
    pub allocated_count: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Blocks freed.
    pub freed_count: u64,
    /// Bytes that a fork copied from the parent.
    pub inherited_bytes: u64,
    /// Blocks that a fork copied from the parent.
    pub inherited_count: u64,
    /// Bytes that were gone by an exec.
    pub discarded_bytes: u64,
    /// Blocks that were gone by an exec.
    pub discarded_count: u64,
}

impl SiteTotals {
    /// Bytes that are held now.
    pub fn outstanding_bytes(&self) -> u64 {
        (self.allocated_bytes + self.inherited_bytes)
            .saturating_sub(self.freed_bytes + self.discarded_bytes)
    }

    /// Blocks that are held now.
    pub fn outstanding_count(&self) -> u64 {
        (self.allocated_count + self.inherited_count)
            .saturating_sub(self.freed_count + self.discarded_count)
    }

    /// Counts an allocation of `size` bytes.
    #[inline]
    pub fn allocate(&mut self, size: u64) {
        self.allocated_bytes += size;
        self.allocated_count += 1;
    }

    /// Counts the end of a block of `size` bytes.
    #[inline]
    pub fn free(&mut self, size: u64) {
        self.freed_bytes += size;
        self.freed_count += 1;
    }

    /// Takes a [`SiteTotals::free`] back.
    pub fn unfree(&mut self, size: u64) {
        self.freed_bytes = self.freed_bytes.saturating_sub(size);
        self.freed_count = self.freed_count.saturating_sub(1);
    }

    /// What a forked child has of these totals: the outstanding part, as inherited.
    pub fn inherited(&self) -> Self {
        Self {
            inherited_bytes: self.outstanding_bytes(),
            inherited_count: self.outstanding_count(),
            ..Self::default()
        }
    }

    /// Counts all that is outstanding as discarded.
    pub fn discard(&mut self) {
        self.discarded_bytes += self.outstanding_bytes();
        self.discarded_count += self.outstanding_count();
    }

    /// Adds other totals to these.
    pub fn add(&mut self, other: &Self) {
        self.allocated_bytes += other.allocated_bytes;
        self.allocated_count += other.allocated_count;
        self.freed_bytes += other.freed_bytes;
        self.freed_count += other.freed_count;
        self.inherited_bytes += other.inherited_bytes;
        self.inherited_count += other.inherited_count;
        self.discarded_bytes += other.discarded_bytes;
        self.discarded_count += other.discarded_count;
    }
}

/// The sites of one address space.
#[derive(Clone, Debug)]
pub struct Sites {
    indices: HashMap<StackId, u32>,
    stacks: Vec<StackId>,
    totals: Vec<SiteTotals>,
    max_sites: usize,
}

impl Default for Sites {
    fn default() -> Self {
        Self::with_limit(MAX_SITES)
    }
}

impl Sites {
    /// No sites yet, and at most `max_sites` of them besides the common one.
    pub fn with_limit(max_sites: usize) -> Self {
        Self {
            indices: HashMap::new(),
            stacks: Vec::new(),
            totals: Vec::new(),
            max_sites,
        }
    }

    /// The sites of a forked child: the same indices, outstanding blocks inherited.
    pub fn fork(&self) -> Self {
        Self {
            indices: self.indices.clone(),
            stacks: self.stacks.clone(),
            totals: self.totals.iter().map(SiteTotals::inherited).collect(),
            max_sites: self.max_sites,
        }
    }

    /// The index of a stack's site, if it has one.
    #[inline]
    pub fn find(&self, stack: StackId) -> Option<u32> {
        self.indices.get(&stack).copied()
    }

    /// Makes a site for a stack that [`Sites::find`] doesn't know, the common one if there are
    /// too many.
    #[cold]
    pub fn create(&mut self, stack: StackId) -> u32 {
        let index = self.stacks.len();
        if index >= self.max_sites {
            self.totals
                .resize(self.max_sites + 1, SiteTotals::default());
            return self.max_sites as u32;
        }
        self.stacks.push(stack);
        self.totals.push(SiteTotals::default());
        self.indices.insert(stack, index as u32);
        index as u32
    }

    /// The totals of a site; the index comes from this `Sites` or the one it was forked from.
    #[inline]
    pub fn totals_mut(&mut self, site: u32) -> &mut SiteTotals {
        &mut self.totals[site as usize]
    }

    /// Every site: index, stack (`None` for the common site), totals; in order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<StackId>, &SiteTotals)> {
        self.totals
            .iter()
            .enumerate()
            .map(|(index, totals)| (index as u32, self.stacks.get(index).copied(), totals))
    }

    /// The number of sites, the common one included.
    pub fn len(&self) -> usize {
        self.totals.len()
    }

    /// Whether there is no site.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// The sum over all sites.
    pub fn sum(&self) -> SiteTotals {
        let mut sum = SiteTotals::default();
        for totals in &self.totals {
            sum.add(totals);
        }
        sum
    }

    /// Counts all that is outstanding as discarded.
    pub fn discard(&mut self) {
        self.totals.iter_mut().for_each(SiteTotals::discard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outstanding_follows_from_the_rest() {
        let mut totals = SiteTotals::default();
        totals.allocate(100);
        totals.allocate(20);
        totals.free(100);
        let child = totals.inherited();
        assert_eq!((child.outstanding_bytes(), child.allocated_bytes), (20, 0));
        totals.unfree(100);
        assert_eq!(
            (totals.outstanding_bytes(), totals.outstanding_count()),
            (120, 2)
        );
        totals.discard();
        assert_eq!((totals.outstanding_bytes(), totals.discarded_count), (0, 2));
    }

    #[test]
    fn stacks_beyond_the_limit_share_the_common_site() {
        let mut sites = Sites::with_limit(2);
        let indices: Vec<_> = (0..4).map(|id| sites.create(StackId(id))).collect();
        assert_eq!(indices, [0, 1, 2, 2]);
        sites.totals_mut(2).allocate(5);
        let stacks: Vec<_> = sites.iter().map(|(_, stack, _)| stack).collect();
        assert_eq!(stacks, [Some(StackId(0)), Some(StackId(1)), None]);
        assert_eq!(sites.find(StackId(3)), None);
        assert_eq!(sites.sum().allocated_bytes, 5);
    }
}
