//! The stacks behind the ids in allocation events.
//!
//! The kernel side sends a stack's program counters once. They may come after the first event
//! that names them (another ring), or never (the record was lost): an id that is in use without
//! them is *awaited*, which the report shows as an unknown stack, not as an empty one.

use hashbrown::HashMap;
use memprof_common::event::whole_stack_id;

use crate::events::event::{RawStack, SpaceId, StackEnd, StackId};

/// The most stacks that are kept, each at most about 1 KiB: beyond that, ids stay unknown.
pub const MAX_STACKS: usize = 1 << 18;

/// How a call stack was walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackWay {
    /// By unwind tables alone.
    Tables,
    /// With a step by frame pointer, for want of unwind information.
    FramePointer,
    /// As far as the kernel side came, and on from a copy of the stack.
    Copy,
}

/// A call stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Program counters, innermost first: the allocator function's own address, then return
    /// addresses.
    pub pcs: Box<[u64]>,
    /// How the walk ended.
    pub end: StackEnd,
    /// How it was walked.
    pub way: StackWay,
    /// Copies of it had different outer frames; it ends where they part.
    parted: bool,
}

impl Stack {
    /// Whether a copy can still add to it: its walk broke down, and copies have not parted.
    pub fn wants_copies(&self) -> bool {
        self.may_have_twin() && !self.parted
    }

    /// Whether another id may stand for the same program counters: ids of walks that broke down
    /// are told apart by more than these.
    pub fn may_have_twin(&self) -> bool {
        self.end == StackEnd::Broken || self.way == StackWay::Copy
    }
}

impl Stack {
    fn continue_by_copy(&mut self, pcs: &[u64], end: StackEnd) -> Option<usize> {
        let equal = self.pcs.iter().zip(pcs).take_while(|(a, b)| a == b);
        let common = equal.count();
        if self.way == StackWay::Copy {
            let is_part = common == pcs.len() && end == StackEnd::Broken;
            if common < self.pcs.len() && !is_part {
                // Copies that part.
                self.pcs = self.pcs[..common].into();
                self.end = StackEnd::Broken;
                self.parted = true;
                return Some(common);
            }
            if self.parted || is_part || (pcs.len() == common && self.end == end) {
                return None;
            }
        }
        self.pcs = pcs.into();
        self.end = end;
        self.way = StackWay::Copy;
        Some(pcs.len())
    }
}

/// Stack id → [`Stack`], with counts of what is wrong with them.
#[derive(Debug)]
pub struct StackTable {
    /// `None`: awaited.
    stacks: HashMap<StackId, Option<Stack>>,
    max_stacks: usize,
    awaited: u64,
    complete: u64,
    truncated: u64,
    broken: u64,
    known: u64,
    by_tables: u64,
    by_frame_pointer: u64,
    by_copy: u64,
    conflicting: u64,
    overflowed: u64,
}

impl Default for StackTable {
    fn default() -> Self {
        Self::with_limit(MAX_STACKS)
    }
}

impl StackTable {
    /// An empty table that keeps at most `max_stacks` ids.
    pub fn with_limit(max_stacks: usize) -> Self {
        Self {
            stacks: HashMap::new(),
            max_stacks,
            awaited: 0,
            complete: 0,
            truncated: 0,
            broken: 0,
            known: 0,
            by_tables: 0,
            by_frame_pointer: 0,
            by_copy: 0,
            conflicting: 0,
            overflowed: 0,
        }
    }

    /// Notes that an event named this id.
    pub fn expect(&mut self, id: StackId) {
        if self.stacks.contains_key(&id) {
            return;
        }
        if self.stacks.len() >= self.max_stacks {
            self.overflowed += 1;
            return;
        }
        self.stacks.insert(id, None);
        self.awaited += 1;
    }

    /// Takes a stack in. One that is known already stays as it was.
    pub fn add(&mut self, raw: RawStack) {
        let at_limit = self.stacks.len() >= self.max_stacks;
        match self.stacks.get_mut(&raw.id) {
            Some(Some(known)) => {
                // One that was continued has what the kernel side did not find.
                if known.way != StackWay::Copy && *known.pcs != *raw.pcs {
                    self.conflicting += 1;
                }
                return;
            }
            None if at_limit => {
                self.overflowed += 1;
                return;
            }
            Some(None) => self.awaited -= 1,
            None => {}
        }
        let stack = Stack {
            pcs: raw.pcs.into_boxed_slice(),
            end: raw.end,
            way: if raw.by_frame_pointer {
                StackWay::FramePointer
            } else {
                StackWay::Tables
            },
            parted: false,
        };
        self.known += 1;
        *self.ended(stack.end) += 1;
        *self.walked(stack.way) += 1;
        self.stacks.insert(raw.id, Some(stack));
    }

    /// Takes in what a copy of a broken stack gave: all its program counters, from the innermost.
    /// Returns how many of them the stack has now, if it has changed.
    ///
    /// A later copy of the same stack may show other outer frames, as two ways into the same code
    /// may share an id: then only what all have in common is the stack's.
    pub fn continue_by_copy(&mut self, id: StackId, pcs: &[u64], end: StackEnd) -> Option<usize> {
        let mut stack = self.stacks.get_mut(&id)?.take()?;
        let before = (stack.end, stack.way);
        let kept = stack.continue_by_copy(pcs, end);
        *self.ended(before.0) -= 1;
        *self.walked(before.1) -= 1;
        *self.ended(stack.end) += 1;
        *self.walked(stack.way) += 1;
        self.stacks.insert(id, Some(stack));
        kept
    }

    fn ended(&mut self, end: StackEnd) -> &mut u64 {
        match end {
            StackEnd::Complete => &mut self.complete,
            StackEnd::TooDeep => &mut self.truncated,
            StackEnd::Broken => &mut self.broken,
        }
    }

    fn walked(&mut self, way: StackWay) -> &mut u64 {
        match way {
            StackWay::Tables => &mut self.by_tables,
            StackWay::FramePointer => &mut self.by_frame_pointer,
            StackWay::Copy => &mut self.by_copy,
        }
    }

    /// The stack of an id; `None` while its program counters have not come.
    pub fn get(&self, id: StackId) -> Option<&Stack> {
        self.stacks.get(&id)?.as_ref()
    }

    /// What stands for all stacks of a space that have the same program counters as this one, as far as
    /// such there may be.
    pub fn whole_id(&self, space: SpaceId, id: StackId) -> StackId {
        match self.get(id) {
            Some(stack) if stack.may_have_twin() => StackId(whole_stack_id(space.0, &stack.pcs)),
            _ => id,
        }
    }

    /// Every stack whose program counters are known, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (StackId, &Stack)> {
        self.stacks
            .iter()
            .filter_map(|(&id, stack)| Some((id, stack.as_ref()?)))
    }

    /// Ids in use whose program counters have not come.
    pub fn awaited(&self) -> u64 {
        self.awaited
    }

    /// Stacks with more frames than a record holds.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Stacks whose walk ended at something that is no frame.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Stacks whose program counters are known.
    pub fn known(&self) -> u64 {
        self.known
    }

    /// Of the known stacks, those that were walked by unwind tables alone.
    pub fn by_tables(&self) -> u64 {
        self.by_tables
    }

    /// Of the known stacks, those that were continued from a copy.
    pub fn by_copy(&self) -> u64 {
        self.by_copy
    }

    /// Of the known stacks, those with a step by frame pointer, for want of unwind information.
    pub fn by_frame_pointer(&self) -> u64 {
        self.by_frame_pointer
    }

    /// Stacks that came again with other program counters: ids that collided.
    pub fn conflicting(&self) -> u64 {
        self.conflicting
    }

    /// Ids that found no place any more.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(id: u64, end: StackEnd) -> RawStack {
        RawStack {
            id: StackId(id),
            end,
            by_frame_pointer: false,
            pcs: vec![id, 2, 3],
        }
    }

    #[test]
    fn a_stack_is_awaited_from_its_first_use_until_it_comes() {
        let mut stacks = StackTable::default();
        stacks.expect(StackId(1));
        stacks.expect(StackId(1));
        assert_eq!(stacks.awaited(), 1);
        assert_eq!(stacks.get(StackId(1)), None);
        stacks.add(raw(1, StackEnd::Complete));
        stacks.expect(StackId(1));
        assert_eq!(stacks.awaited(), 0);
        assert_eq!(
            stacks.get(StackId(1)).map(|s| s.pcs.to_vec()),
            Some(vec![1, 2, 3])
        );
    }

    #[test]
    fn the_limit_bounds_what_is_kept_but_an_awaited_stack_still_finds_its_place() {
        let mut stacks = StackTable::with_limit(2);
        stacks.expect(StackId(1));
        stacks.add(raw(2, StackEnd::TooDeep));
        stacks.expect(StackId(3));
        stacks.add(raw(4, StackEnd::Broken));
        stacks.add(raw(1, StackEnd::Broken));
        assert_eq!(stacks.overflowed(), 2);
        assert_eq!(stacks.iter().count(), 2);
        assert_eq!((stacks.truncated(), stacks.broken()), (1, 1));
    }

    #[test]
    fn a_stack_that_comes_again_counts_once_and_a_different_one_is_told() {
        let mut stacks = StackTable::default();
        stacks.add(raw(1, StackEnd::Broken));
        stacks.add(raw(1, StackEnd::Broken));
        assert_eq!((stacks.broken(), stacks.conflicting()), (1, 0));
        stacks.add(RawStack {
            pcs: vec![9],
            ..raw(1, StackEnd::Complete)
        });
        assert_eq!(stacks.conflicting(), 1);
        assert_eq!(
            stacks.get(StackId(1)).map(|s| s.pcs.to_vec()),
            Some(vec![1, 2, 3])
        );
    }

    const BROKEN: StackEnd = StackEnd::Broken;
    const COMPLETE: StackEnd = StackEnd::Complete;

    fn pcs(stacks: &StackTable, id: u64) -> Vec<u64> {
        stacks.get(StackId(id)).expect("known").pcs.to_vec()
    }

    fn continued(stacks: &mut StackTable, pcs: &[u64], end: StackEnd) -> Option<usize> {
        stacks.continue_by_copy(StackId(1), pcs, end)
    }

    #[test]
    fn a_copy_completes_a_broken_stack_and_it_counts_as_walked_that_way() {
        let mut stacks = StackTable::default();
        stacks.add(raw(1, BROKEN));
        stacks.add(RawStack {
            by_frame_pointer: true,
            ..raw(2, BROKEN)
        });
        assert_eq!(
            (
                stacks.by_tables(),
                stacks.by_frame_pointer(),
                stacks.by_copy()
            ),
            (1, 1, 0)
        );
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4, 5], COMPLETE), Some(5));
        assert_eq!(pcs(&stacks, 1), [1, 2, 3, 4, 5]);
        assert_eq!((stacks.broken(), stacks.known()), (1, 2));
        stacks.continue_by_copy(StackId(2), &[2, 2, 9], StackEnd::TooDeep);
        assert_eq!((stacks.broken(), stacks.truncated()), (0, 1));
        assert_eq!(
            (
                stacks.by_tables(),
                stacks.by_frame_pointer(),
                stacks.by_copy()
            ),
            (0, 0, 2)
        );
        // Sent again, as the kernel side walked it, it stays as it is.
        stacks.add(raw(1, BROKEN));
        assert_eq!(pcs(&stacks, 1), [1, 2, 3, 4, 5]);
        assert_eq!((stacks.conflicting(), stacks.known()), (0, 2));
        // One that is awaited or not known has nothing to be continued.
        stacks.expect(StackId(3));
        assert_eq!(stacks.continue_by_copy(StackId(3), &[1], COMPLETE), None);
        assert_eq!(stacks.continue_by_copy(StackId(4), &[1], COMPLETE), None);
        assert_eq!((stacks.awaited(), stacks.known()), (1, 2));
    }

    #[test]
    fn copies_that_part_leave_what_they_have_in_common() {
        let mut stacks = StackTable::default();
        stacks.add(raw(1, BROKEN));
        continued(&mut stacks, &[1, 2, 3, 4, 5], COMPLETE);
        assert!(stacks.get(StackId(1)).is_some_and(Stack::wants_copies));
        assert_eq!(
            continued(&mut stacks, &[1, 2, 3, 4, 6, 7], COMPLETE),
            Some(4)
        );
        assert_eq!((pcs(&stacks, 1), stacks.broken()), (vec![1, 2, 3, 4], 1));
        assert!(!stacks.get(StackId(1)).is_some_and(Stack::wants_copies));
        // Nothing puts back what they do not share.
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4, 5], COMPLETE), None);
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4], BROKEN), None);
        assert_eq!(continued(&mut stacks, &[1, 2, 8], COMPLETE), Some(2));
        assert_eq!((pcs(&stacks, 1), stacks.broken()), (vec![1, 2], 1));
        assert_eq!(stacks.by_copy(), 1);
    }

    #[test]
    fn a_later_copy_that_holds_less_takes_nothing_away_and_one_that_holds_more_adds() {
        let mut stacks = StackTable::default();
        stacks.add(raw(1, BROKEN));
        continued(&mut stacks, &[1, 2, 3, 4, 5], BROKEN);
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4], BROKEN), None);
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4, 5], BROKEN), None);
        assert_eq!(
            continued(&mut stacks, &[1, 2, 3, 4, 5, 6], COMPLETE),
            Some(6)
        );
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4], BROKEN), None);
        assert_eq!((pcs(&stacks, 1).len(), stacks.broken()), (6, 0));
        // One that ends earlier, and says that there is no more, is another stack.
        assert_eq!(continued(&mut stacks, &[1, 2, 3, 4], COMPLETE), Some(4));
        assert_eq!(stacks.broken(), 1);
    }
}
