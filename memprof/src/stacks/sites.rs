//! Totals per call stack of one address space.
//!
//! A *site* is a stack as one address space uses it. Sites have dense indices, which is what a
//! live block remembers in place of a 64-bit stack id. Where blocks were chosen in more than one
//! way, a stack has a site for each, so that a block's site says what the block stands for.

use hashbrown::HashMap;

use super::weight::{Amount, Carry, Weight};
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

    /// Counts an allocation.
    #[inline]
    pub fn allocate(&mut self, amount: Amount) {
        self.allocated_bytes += amount.bytes;
        self.allocated_count += amount.count;
    }

    /// Counts the end of what was allocated.
    #[inline]
    pub fn free(&mut self, amount: Amount) {
        self.freed_bytes += amount.bytes;
        self.freed_count += amount.count;
    }

    /// Takes a [`SiteTotals::free`] back.
    pub fn unfree(&mut self, amount: Amount) {
        self.freed_bytes = self.freed_bytes.saturating_sub(amount.bytes);
        self.freed_count = self.freed_count.saturating_sub(amount.count);
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

    /// Takes other totals, which were added before, out of these.
    pub fn subtract(&mut self, other: &Self) {
        let less = |from: &mut u64, what: u64| *from = from.saturating_sub(what);
        less(&mut self.allocated_bytes, other.allocated_bytes);
        less(&mut self.allocated_count, other.allocated_count);
        less(&mut self.freed_bytes, other.freed_bytes);
        less(&mut self.freed_count, other.freed_count);
        less(&mut self.inherited_bytes, other.inherited_bytes);
        less(&mut self.inherited_count, other.inherited_count);
        less(&mut self.discarded_bytes, other.discarded_bytes);
        less(&mut self.discarded_count, other.discarded_count);
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
    indices: HashMap<(StackId, u64), u32>,
    stacks: Vec<StackId>,
    totals: Vec<SiteTotals>,
    /// How the blocks of sampled sites were chosen; empty while there are none.
    sampled: Vec<Sampled>,
    max_sites: usize,
}

/// How the blocks of one site were chosen, and what of their weights is not in the totals yet.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    mean_bytes: u64,
    allocated: Carry,
    freed: Carry,
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
            sampled: Vec::new(),
            max_sites,
        }
    }

    /// The sites of a forked child: the same indices, outstanding blocks inherited.
    pub fn fork(&self) -> Self {
        Self {
            indices: self.indices.clone(),
            stacks: self.stacks.clone(),
            totals: self.totals.iter().map(SiteTotals::inherited).collect(),
            sampled: self.sampled.clone(),
            max_sites: self.max_sites,
        }
    }

    /// The index of a stack's site for blocks that are chosen `mean_bytes` apart (0: all), if it
    /// has one.
    #[inline]
    pub fn find(&self, stack: StackId, mean_bytes: u64) -> Option<u32> {
        self.indices.get(&(stack, mean_bytes)).copied()
    }

    /// Makes a site that [`Sites::find`] doesn't know, the common one if there are too many; what
    /// goes there is not weighted.
    #[cold]
    pub fn create(&mut self, stack: StackId, mean_bytes: u64) -> u32 {
        let index = self.stacks.len();
        if index >= self.max_sites {
            self.totals
                .resize(self.max_sites + 1, SiteTotals::default());
            return self.max_sites as u32;
        }
        self.stacks.push(stack);
        self.totals.push(SiteTotals::default());
        self.indices.insert((stack, mean_bytes), index as u32);
        if mean_bytes > 0 {
            self.sampled.resize(index, Sampled::default());
            self.sampled.push(Sampled {
                mean_bytes,
                ..Sampled::default()
            });
        }
        index as u32
    }

    /// Counts an allocation of `size` bytes at a site: what it stands for. The index, here and
    /// below, comes from this `Sites` or the one it was forked from.
    #[inline]
    pub fn allocate(&mut self, site: u32, size: u64) -> Amount {
        let amount = match self.sampled.get_mut(site as usize) {
            None => Amount::of_block(size),
            Some(one) => one.allocated.whole(Weight::new(size, one.mean_bytes)),
        };
        self.totals[site as usize].allocate(amount);
        amount
    }

    /// Counts the end of a block of `size` bytes at a site.
    #[inline]
    pub fn free(&mut self, site: u32, size: u64) -> Amount {
        let amount = match self.sampled.get_mut(site as usize) {
            None => Amount::of_block(size),
            Some(one) => one.freed.whole(Weight::new(size, one.mean_bytes)),
        };
        self.totals[site as usize].free(amount);
        amount
    }

    /// Counts the end of a part of what was allocated at a site.
    pub fn free_part(&mut self, site: u32, part: Amount) {
        self.totals[site as usize].free(part);
    }

    /// Takes a [`Sites::free_part`] back.
    pub fn unfree_part(&mut self, site: u32, part: Amount) {
        self.totals[site as usize].unfree(part);
    }

    /// What was counted at a site should not have been: forgets it, and says what it was.
    pub fn take_back(&mut self, site: u32) -> SiteTotals {
        std::mem::take(&mut self.totals[site as usize])
    }

    /// Whether every block stands for itself alone.
    pub fn is_plain(&self) -> bool {
        self.sampled.is_empty()
    }

    /// The totals, by the sites' indices, if every block stands for itself alone: to count allocations
    /// and frees at several sites at a time.
    pub fn plain_totals(&mut self) -> Option<&mut [SiteTotals]> {
        self.is_plain().then_some(&mut self.totals)
    }

    /// Takes a [`Sites::free`] back.
    pub fn unfree(&mut self, site: u32, size: u64) -> Amount {
        let weight = self.weight(site, size);
        let amount = Amount {
            bytes: weight.bytes.round() as u64,
            count: weight.count.round() as u64,
        };
        self.totals[site as usize].unfree(amount);
        amount
    }

    /// The bytes that a block of `size` bytes at a site stands for, rounded.
    #[inline]
    pub fn bytes_of(&self, site: u32, size: u64) -> u64 {
        if self.sampled.is_empty() {
            return size;
        }
        self.weight(site, size).bytes.round() as u64
    }

    /// What a block of `size` bytes at a site stands for.
    #[inline]
    pub fn weight(&self, site: u32, size: u64) -> Weight {
        let sampled = self.sampled.get(site as usize);
        Weight::new(size, sampled.map_or(0, |one| one.mean_bytes))
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
        totals.allocate(Amount::of_block(100));
        totals.allocate(Amount::of_block(20));
        totals.free(Amount::of_block(100));
        let child = totals.inherited();
        assert_eq!((child.outstanding_bytes(), child.allocated_bytes), (20, 0));
        totals.unfree(Amount::of_block(100));
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
        let indices: Vec<_> = (0..4).map(|id| sites.create(StackId(id), 0)).collect();
        assert_eq!(indices, [0, 1, 2, 2]);
        sites.allocate(2, 5);
        let stacks: Vec<_> = sites.iter().map(|(_, stack, _)| stack).collect();
        assert_eq!(stacks, [Some(StackId(0)), Some(StackId(1)), None]);
        assert_eq!(sites.find(StackId(3), 0), None);
        assert_eq!(sites.sum().allocated_bytes, 5);
    }

    #[test]
    fn a_stack_has_a_site_for_each_way_in_which_its_blocks_were_chosen() {
        let mut sites = Sites::with_limit(10);
        let all = sites.create(StackId(1), 0);
        let sampled = sites.create(StackId(1), 1000);
        let again = sites.create(StackId(2), 0);
        assert_eq!(sites.find(StackId(1), 0), Some(all));
        assert_eq!(sites.find(StackId(1), 1000), Some(sampled));
        assert_eq!(sites.allocate(all, 10), Amount::of_block(10));
        assert_eq!(sites.allocate(again, 10), Amount::of_block(10));
        assert_eq!(sites.allocate(sampled, 10).bytes, 1005);
        assert_eq!(sites.free(sampled, 10).bytes, 1005);
        assert_eq!(sites.sum().outstanding_bytes(), 20);
        let child = sites.fork();
        assert_eq!(child.weight(sampled, 10), sites.weight(sampled, 10));
    }
}
