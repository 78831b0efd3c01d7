//! What one address space has mapped, of what was followed: which ranges, of which mapping each, and
//! whose that is.
//!
//! A mapping may lose its head, its tail or its middle, and be replaced in part by another; so it
//! has pieces, which are kept by address. It counts as one until its last piece is gone. The heap
//! that `brk` moves needs nothing of its own: it grows by pieces at its end and shrinks from there, so
//! that what was added last goes first.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashMap;

use crate::events::event::{MappingKind, Nanoseconds};

/// Who is charged with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// A call path of the program, by its site.
    Site(u32),
    /// An allocator, which gives it out in blocks.
    Allocator,
    /// A file, which could be read again.
    File,
}

/// What is known of a mapping besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who is charged with it.
    pub account: Account,
    /// What it is.
    pub kind: MappingKind,
    /// When it was mapped.
    pub birth: Nanoseconds,
}

/// A mapping has become smaller, or larger again, bytes. From 0 it is there again, at 0 it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of whose.
    pub owner: Owner,
    /// Bytes that it had.
    pub before: u64,
    /// Bytes that it has now.
    pub after: u64,
}

/// A range that was taken away, with what it takes to put it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    start: u64,
    end: u64,
    mapping: u64,
    owner: Owner,
}

impl Part {
    /// Whose it was.
    pub fn owner(&self) -> Owner {
        self.owner
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    mapping: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    owner: Owner,
    bytes: u64,
}

/// The mappings of one address space.
///
/// The number of pieces is the caller's to bound where mappings are added. What splits them is
/// bounded by the kernel, which allows a process so many of them (`vm.max_map_count`).
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    /// By first address, disjoint.
    pieces: BTreeMap<u64, Piece>,
    mappings: HashMap<u64, Mapping>,
    next: u64,
}

impl Mappings {
    /// Puts a mapping in place of what is there; says what that did to others.
    pub fn map(&mut self, start: u64, end: u64, owner: Owner, changed: &mut dyn FnMut(Change)) {
        if start >= end {
            return;
        }
        self.unmap(start, end, changed);
        let mapping = self.next;
        self.next += 1;
        self.pieces.insert(start, Piece { end, mapping });
        let bytes = end - start;
        self.mappings.insert(mapping, Mapping { owner, bytes });
    }

    /// Takes away what is mapped in a range, in order of address; says what that did.
    pub fn unmap(&mut self, start: u64, end: u64, changed: &mut dyn FnMut(Change)) -> Vec<Part> {
        let mut parts = Vec::new();
        if start >= end {
            return parts;
        }
        self.split(start);
        self.split(end);
        while let Some((&at, &piece)) = self.pieces.range(start..end).next() {
            self.pieces.remove(&at);
            let part = |owner| Part {
                start: at,
                end: piece.end,
                mapping: piece.mapping,
                owner,
            };
            if let Some(owner) = self.resize(piece.mapping, 0, piece.end - at, changed) {
                parts.push(part(owner));
            }
        }
        parts
    }

    /// Puts back what was taken from below `end`, where nothing else is by now.
    pub fn restore(&mut self, parts: &[Part], end: u64, changed: &mut dyn FnMut(Change)) {
        for part in parts {
            let end = part.end.min(end);
            let mut at = part.start;
            while at < end {
                let (free, next) = self.gap(at, end);
                if free > at {
                    let piece = Piece {
                        end: free,
                        mapping: part.mapping,
                    };
                    self.pieces.insert(at, piece);
                    self.mappings.entry(part.mapping).or_insert(Mapping {
                        owner: part.owner,
                        bytes: 0,
                    });
                    self.resize(part.mapping, free - at, 0, changed);
                }
                at = next;
            }
        }
    }

    /// Whose the first mapping in a range is.
    pub fn owner_in(&self, start: u64, end: u64) -> Option<Owner> {
        let below = self.pieces.range(..=start).next_back();
        let over = below.filter(|(_, piece)| piece.end > start);
        let (_, piece) = over.or_else(|| self.pieces.range(start..end).next())?;
        Some(self.mappings.get(&piece.mapping)?.owner)
    }

    /// Charges an allocator with what a site was charged with; returns what that was.
    pub fn give_to_allocator(&mut self, site: u32) -> Vec<(MappingKind, u64)> {
        let of_site = |mapping: &&mut Mapping| mapping.owner.account == Account::Site(site);
        let moved = self.mappings.values_mut().filter(of_site).map(|mapping| {
            mapping.owner.account = Account::Allocator;
            (mapping.owner.kind, mapping.bytes)
        });
        moved.collect()
    }

    /// Every mapping with the bytes that are left of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Owner, u64)> {
        let all = self.mappings.values();
        all.map(|mapping| (mapping.owner, mapping.bytes))
    }

    /// Every piece of a mapping, by address, with whose it is.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u64>, Owner)> {
        self.pieces.iter().filter_map(|(&start, piece)| {
            let mapping = self.mappings.get(&piece.mapping)?;
            Some((start..piece.end, mapping.owner))
        })
    }

    /// The number of pieces.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Makes sure that no piece goes across `address`.
    fn split(&mut self, address: u64) {
        let Some((_, piece)) = self.pieces.range_mut(..address).next_back() else {
            return;
        };
        if piece.end > address {
            let upper = *piece;
            piece.end = address;
            self.pieces.insert(address, upper);
        }
    }

    /// Up to where nothing is mapped from `at` on, and from where on that can be asked again; both
    /// no further than `end`.
    fn gap(&self, at: u64, end: u64) -> (u64, u64) {
        let below = self.pieces.range(..=at).next_back();
        if let Some((_, piece)) = below.filter(|(_, piece)| piece.end > at) {
            return (at, piece.end.min(end));
        }
        let above = self.pieces.range(at..end).next();
        let free = above.map_or(end, |(&start, _)| start);
        (free, free)
    }

    /// A mapping has so many bytes more and less; whose it is.
    fn resize(
        &mut self,
        id: u64,
        more: u64,
        less: u64,
        changed: &mut dyn FnMut(Change),
    ) -> Option<Owner> {
        let mapping = self.mappings.get_mut(&id)?;
        let before = mapping.bytes;
        mapping.bytes = (before + more).saturating_sub(less);
        let (owner, after) = (mapping.owner, mapping.bytes);
        if after == 0 {
            self.mappings.remove(&id);
        }
        changed(Change {
            owner,
            before,
            after,
        });
        Some(owner)
    }
}

#[cfg(test)]
mod tests;
