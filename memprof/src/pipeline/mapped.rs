//! What programs map themselves: charged to the call path, to an allocator, or to a file.
//!
//! An allocator maps memory to give it out in blocks, and blocks are counted where they are given.
//! So what is mapped from within an allocator is in no total but its own. That is told by the kernel
//! side, which may know a call to be under way, or by the call stack ([`Pipeline::decide`]).

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{Pipeline, space::Space};
use crate::events::event::{MappingKind, Nanoseconds, Remap, SpaceId, StackId};
use crate::growth::{Room, Tick, Ticks};
use crate::live::Block;
use crate::live::mappings::{Account, Change, Mappings, Owner, Part};
use crate::stacks::{table::MAX_STACKS, weight::Amount};

/// Pieces of mappings over all spaces: about 100 MiB. A forked child's copies count.
pub const MAX_MAPPED_PIECES: usize = 1 << 20;
/// Ends of mappings that are remembered, in case they fail or the range is moved: as many as there
/// may be system calls under way.
const REMEMBERED: usize = 1024;
/// Pieces of mappings in all of those.
const MAX_REMEMBERED_PARTS: usize = 65_536;

/// What is mapped now, over all spaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappedTotals {
    /// By call paths of the program, in the order of [`MappingKind::ALL`]. No files.
    by_kind: [Amount; MappingKind::ALL.len()],
    /// By allocators, for themselves.
    pub allocators: Amount,
    /// Of files.
    pub files: Amount,
}

impl MappedTotals {
    /// What call paths of the program have mapped of one kind.
    pub fn of(&self, kind: MappingKind) -> Amount {
        self.by_kind[kind as usize]
    }

    /// What call paths of the program have mapped.
    pub fn program(&self) -> Amount {
        let mut sum = Amount::default();
        for amount in &self.by_kind {
            sum.bytes += amount.bytes;
            sum.count += amount.count;
        }
        sum
    }

    fn amount(&mut self, account: Account, kind: MappingKind) -> &mut Amount {
        match account {
            Account::Site(_) => &mut self.by_kind[kind as usize],
            Account::Allocator => &mut self.allocators,
            Account::File => &mut self.files,
        }
    }

    fn add(&mut self, owner: Owner, bytes: u64) {
        let amount = self.amount(owner.account, owner.kind);
        amount.bytes += bytes;
        amount.count += 1;
    }

    fn change(&mut self, change: &Change) {
        let amount = self.amount(change.owner.account, change.owner.kind);
        amount.bytes = (amount.bytes + change.after).saturating_sub(change.before);
        amount.count += u64::from(change.before == 0);
        amount.count = amount.count.saturating_sub(u64::from(change.after == 0));
    }
}

/// A range that was unmapped, or began to be.
#[derive(Debug)]
struct Removal {
    space: SpaceId,
    address: u64,
    length: u64,
    parts: Vec<Part>,
    /// Nothing was known there.
    unknown: bool,
}

/// What a pipeline knows of mappings beside those of each space.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    totals: MappedTotals,
    pieces: usize,
    removals: VecDeque<Removal>,
    remembered_parts: usize,
    /// Whether what a stack maps is an allocator's own; `None`: not known yet.
    own: HashMap<StackId, Option<bool>>,
}

impl Mapped {
    fn remember(&mut self, removal: Removal) {
        self.remembered_parts += removal.parts.len();
        self.removals.push_back(removal);
        while self.removals.len() > REMEMBERED || self.remembered_parts > MAX_REMEMBERED_PARTS {
            let Some(oldest) = self.removals.pop_front() else {
                break;
            };
            self.remembered_parts -= oldest.parts.len();
        }
    }

    /// The latest removal of a range: what ends it follows soon.
    fn take(&mut self, space: SpaceId, address: u64, length: u64) -> Option<Removal> {
        let at = self.removals.iter().rposition(|one| {
            one.space == space && one.address == address && one.length == length
        })?;
        let removal = self.removals.remove(at)?;
        self.remembered_parts -= removal.parts.len();
        Some(removal)
    }
}

/// A range that was mapped, as of an event.
pub(super) struct Range {
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) stack: StackId,
    pub(super) kind: MappingKind,
    pub(super) inner: bool,
}

impl Pipeline {
    /// Says whether what this stack maps is an allocator's own, as far as is known by now.
    pub fn decide(&mut self, stack: StackId, own: bool) {
        let room = self.mapped.own.len() < MAX_STACKS;
        match self.mapped.own.get_mut(&stack) {
            Some(known) => {
                let was_charged = *known != Some(true);
                *known = Some(own);
                if own && was_charged {
                    self.charge_allocator(stack);
                }
            }
            None if room => {
                self.mapped.own.insert(stack, Some(own));
            }
            None => {}
        }
    }

    /// Whether [`Pipeline::decide`] was asked of this stack before it could be told.
    pub fn awaits_decision(&self, stack: StackId) -> bool {
        self.mapped.own.get(&stack) == Some(&None)
    }

    /// Whether it was decided that what this stack maps is an allocator's own, or is not.
    pub fn is_decided(&self, stack: StackId) -> bool {
        self.mapped.own.get(&stack).is_some_and(Option::is_some)
    }

    /// The stacks whose mappings call paths of the program are charged with.
    pub fn charged_stacks(&self) -> Vec<StackId> {
        let charged = self
            .mapped
            .own
            .iter()
            .filter(|(_, own)| **own != Some(true));
        charged.map(|(stack, _)| *stack).collect()
    }

    /// What is mapped now.
    pub fn mapped(&self) -> MappedTotals {
        self.mapped.totals
    }

    pub(super) fn map(&mut self, time: Nanoseconds, space: SpaceId, range: &Range) {
        let at = self.space_at(space);
        let end = range.address.saturating_add(range.length);
        if range.length == 0 {
            return;
        }
        if self.mapped.pieces >= self.limits.mappings {
            // What it takes the place of is gone all the same.
            self.unmap_at(time, at, range.address, end);
            self.counts.overflowed_mappings += 1;
            return;
        }
        let account = self.account(at, range);
        let owner = Owner {
            account,
            kind: range.kind,
            birth: time,
        };
        self.with_mappings(time, at, |mappings, changed| {
            mappings.map(range.address, end, owner, changed);
        });
        self.mapped.totals.add(owner, range.length);
        if let Account::Site(site) = account {
            let space = &mut self.spaces[at];
            let tick = self.ticks.of(time);
            let amount = space.born(site, range.length, tick, &mut self.room);
            self.summary.totals.allocate(amount);
            self.note_peak(time);
        }
    }

    /// Who is to be charged with a range.
    fn account(&mut self, at: usize, range: &Range) -> Account {
        if range.kind == MappingKind::File {
            return Account::File;
        }
        let own = self.mapped.own.get(&range.stack).copied().flatten();
        if range.inner || own == Some(true) {
            return Account::Allocator;
        }
        if self.mapped.own.len() < MAX_STACKS {
            self.mapped.own.entry(range.stack).or_insert(None);
        }
        let space = &mut self.spaces[at];
        let site = match space.sites.find(range.stack, 0) {
            Some(site) => site,
            None => {
                self.stacks.expect(range.stack);
                let site = space.sites.create(range.stack, 0);
                self.counts.overflowed_sites += u64::from(site as usize == self.limits.sites);
                site
            }
        };
        // The common site is anything's.
        if (site as usize) < self.limits.sites {
            space.kinds.entry(site).or_insert(range.kind);
        }
        Account::Site(site)
    }

    pub(super) fn unmap(&mut self, time: Nanoseconds, space: SpaceId, address: u64, length: u64) {
        let at = self.space_at(space);
        let end = address.saturating_add(length);
        let parts = self.unmap_at(time, at, address, end);
        let unknown = parts.is_empty();
        self.counts.unknown_unmaps += u64::from(unknown);
        self.mapped.remember(Removal {
            space,
            address,
            length,
            parts,
            unknown,
        });
    }

    fn unmap_at(&mut self, time: Nanoseconds, at: usize, start: u64, end: u64) -> Vec<Part> {
        self.with_mappings(time, at, |mappings, changed| {
            mappings.unmap(start, end, changed)
        })
    }

    pub(super) fn undo_unmap(
        &mut self,
        time: Nanoseconds,
        space: SpaceId,
        address: u64,
        length: u64,
    ) {
        let Some(removal) = self.mapped.take(space, address, length) else {
            self.counts.unmap_failures_unmatched += 1;
            return;
        };
        let unknown = u64::from(removal.unknown);
        self.counts.unknown_unmaps = self.counts.unknown_unmaps.saturating_sub(unknown);
        self.restore(time, space, &removal.parts, u64::MAX);
    }

    fn restore(&mut self, time: Nanoseconds, space: SpaceId, parts: &[Part], end: u64) {
        let at = self.space_at(space);
        self.with_mappings(time, at, |mappings, changed| {
            mappings.restore(parts, end, changed);
        });
        self.note_peak(time);
    }

    /// As `realloc` is a free and an allocation, what grows or moves belongs to who asked for that;
    /// what shrinks in place stays whose it was.
    pub(super) fn remap(&mut self, time: Nanoseconds, space: SpaceId, remap: &Remap) {
        let removal = match remap.copies {
            true => None,
            false => self.mapped.take(space, remap.old_address, remap.old_length),
        };
        let shrinks = remap.address == remap.old_address && remap.length <= remap.old_length;
        if let Some(removal) = &removal
            && shrinks
        {
            let end = remap.address.saturating_add(remap.length);
            return self.restore(time, space, &removal.parts, end);
        }
        let old = match &removal {
            Some(removal) => removal.parts.first().map(Part::owner),
            None => {
                let at = self.space_at(space);
                // Of what is copied with a length of nothing its start says enough.
                let end = remap.old_address.saturating_add(remap.old_length.max(1));
                self.spaces[at].mappings.owner_in(remap.old_address, end)
            }
        };
        let range = Range {
            address: remap.address,
            length: remap.length,
            stack: remap.stack,
            // Of what was mapped before tracing began that is not known, and most likely.
            kind: old.map_or(MappingKind::Anonymous, |owner| owner.kind),
            inner: remap.inner,
        };
        self.map(time, space, &range);
    }

    /// Changes the mappings of a space, and all totals with them.
    fn with_mappings<T>(
        &mut self,
        time: Nanoseconds,
        at: usize,
        work: impl FnOnce(&mut Mappings, &mut dyn FnMut(Change)) -> T,
    ) -> T {
        let mut changes = Vec::new();
        let space = &mut self.spaces[at];
        let before = space.mappings.pieces();
        let result = work(&mut space.mappings, &mut |change| changes.push(change));
        self.mapped.pieces = self.mapped.pieces + space.mappings.pieces() - before;
        let tick = self.ticks.of(time);
        for change in &changes {
            self.mapped.totals.change(change);
            let Account::Site(site) = change.owner.account else {
                continue;
            };
            let amount = space.resized(site, change, &self.ticks, tick, &mut self.room);
            if change.after < change.before {
                self.summary.totals.free(amount);
            } else {
                self.summary.totals.unfree(amount);
            }
        }
        result
    }

    /// What a stack has mapped so far is an allocator's own: takes it out of the program's totals.
    fn charge_allocator(&mut self, stack: StackId) {
        for space in &mut self.spaces {
            let Some(site) = space.sites.find(stack, 0) else {
                continue;
            };
            for (kind, bytes) in space.mappings.give_to_allocator(site) {
                let amount = &mut self.mapped.totals.by_kind[kind as usize];
                amount.bytes = amount.bytes.saturating_sub(bytes);
                amount.count = amount.count.saturating_sub(1);
                self.mapped.totals.allocators.bytes += bytes;
                self.mapped.totals.allocators.count += 1;
            }
            let taken = space.sites.take_back(site);
            self.summary.totals.subtract(&taken);
            if let Some(series) = space.series.get_mut(site as usize) {
                self.room.give_back(usize::from(series.has_history()));
                *series = series.emptied();
            }
        }
    }

    /// Whether the copies of a space's mappings find room.
    pub(super) fn has_room_to_fork(&self, parent: usize) -> bool {
        let pieces = self.spaces[parent].mappings.pieces();
        self.mapped.pieces + pieces <= self.limits.mappings
    }

    pub(super) fn fork_mappings(&mut self, parent: usize, child: usize) {
        let mappings = self.spaces[parent].mappings.clone();
        self.mapped.pieces += mappings.pieces();
        for (owner, bytes) in mappings.iter() {
            self.mapped.totals.add(owner, bytes);
        }
        self.spaces[child].kinds = self.spaces[parent].kinds.clone();
        self.spaces[child].mappings = mappings;
    }

    /// The program of a space is gone and its mappings with it.
    pub(super) fn discard_mappings(&mut self, at: usize) {
        let mappings = std::mem::take(&mut self.spaces[at].mappings);
        self.mapped.pieces -= mappings.pieces();
        for (owner, before) in mappings.iter() {
            let after = 0;
            self.mapped.totals.change(&Change {
                owner,
                before,
                after,
            });
        }
    }

    /// A space leaves the reports; what it held stays in the totals.
    pub(super) fn retire_mappings(&mut self, space: &Space) {
        self.mapped.pieces -= space.mappings.pieces();
    }
}

impl Space {
    /// A mapping of a site has become smaller or larger again: what that is to the totals.
    fn resized(
        &mut self,
        site: u32,
        change: &Change,
        ticks: &Ticks,
        tick: Tick,
        room: &mut Room,
    ) -> Amount {
        let Change {
            owner,
            before,
            after,
        } = *change;
        let block = |size| Block {
            site,
            size,
            birth: owner.birth,
        };
        if after == 0 {
            return self.died(&block(before), ticks, tick, room);
        }
        if before == 0 {
            return self.revived(&block(after), ticks, tick, room);
        }
        if let Some(series) = self.series.get_mut(site as usize) {
            let birth = ticks.of(owner.birth);
            series.died(birth, tick, before, room);
            series.revived(birth, tick, after, room);
        }
        let part = Amount {
            bytes: before.abs_diff(after),
            count: 0,
        };
        if after < before {
            self.sites.free_part(site, part);
        } else {
            self.sites.unfree_part(site, part);
        }
        part
    }

    /// Every mapping of a call path, as a block.
    pub(super) fn mapped_blocks(&self) -> impl Iterator<Item = Block> {
        self.mappings.iter().filter_map(|(owner, size)| {
            let Account::Site(site) = owner.account else {
                return None;
            };
            Some(Block {
                site,
                size,
                birth: owner.birth,
            })
        })
    }
}

#[cfg(test)]
mod tests;
