//! Scripted mappings, and what they do to the totals.

use super::*;
use crate::events::event::{Event, Pid, What};
use crate::pipeline::{Limits, ShownFilter};

const A: StackId = StackId(0xa);
const B: StackId = StackId(0xb);
const SPACE: SpaceId = SpaceId(1);
const CHILD: SpaceId = SpaceId(2);
const PAGE: u64 = 4096;

/// A pipeline with a clock that each event advances by a second. Addresses and lengths in pages.
struct Script {
    pipeline: Pipeline,
    now: Nanoseconds,
}

impl Script {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let mut pipeline = Pipeline::with_limits(0, 1, limits);
        pipeline.add_process(Pid(100), SPACE);
        Self { pipeline, now: 0 }
    }

    fn apply(&mut self, space: SpaceId, what: What) {
        self.now += 1_000_000_000;
        let time = self.now;
        self.pipeline.apply(Event { time, space, what });
    }

    fn map_as(&mut self, stack: StackId, kind: MappingKind, inner: bool, at: u64, pages: u64) {
        let what = What::Map {
            address: at * PAGE,
            length: pages * PAGE,
            stack,
            kind,
            inner,
        };
        self.apply(SPACE, what);
    }

    fn map(&mut self, stack: StackId, at: u64, pages: u64) {
        self.map_as(stack, MappingKind::Anonymous, false, at, pages);
    }

    fn unmap(&mut self, space: SpaceId, at: u64, pages: u64) {
        let (address, length) = (at * PAGE, pages * PAGE);
        self.apply(space, What::Unmap { address, length });
    }

    fn unmap_failed(&mut self, at: u64, pages: u64) {
        let (address, length) = (at * PAGE, pages * PAGE);
        self.apply(SPACE, What::UnmapFailed { address, length });
    }

    fn remap(&mut self, stack: StackId, old: (u64, u64), new: (u64, u64), copies: bool) {
        if !copies {
            self.unmap(SPACE, old.0, old.1);
        }
        let remap = Remap {
            old_address: old.0 * PAGE,
            old_length: if copies { 0 } else { old.1 * PAGE },
            address: new.0 * PAGE,
            length: new.1 * PAGE,
            copies,
            stack,
            inner: false,
        };
        self.apply(SPACE, What::Remap(Box::new(remap)));
    }

    /// Pages and mappings outstanding.
    fn outstanding(&self) -> (u64, u64) {
        let totals = self.pipeline.summary().totals;
        (
            totals.outstanding_bytes() / PAGE,
            totals.outstanding_count(),
        )
    }

    /// Pages by stack, of all spaces, as a report shows them.
    fn by_stack(&self) -> Vec<(u64, u64)> {
        let snapshot = self.pipeline.snapshot(self.now, &ShownFilter::default());
        let sites = snapshot.sites.iter().map(|site| {
            assert_eq!(site.shown_bytes, site.totals.outstanding_bytes());
            assert_eq!(site.shown_count, site.totals.outstanding_count());
            (
                site.stack.map_or(0, |stack| stack.0),
                site.shown_bytes / PAGE,
            )
        });
        sites.collect()
    }

    fn pages_of(&self, kind: MappingKind) -> u64 {
        self.pipeline.mapped().of(kind).bytes / PAGE
    }

    fn own_pages(&self) -> u64 {
        self.pipeline.mapped().allocators.bytes / PAGE
    }
}

#[test]
fn a_mapping_that_loses_a_part_is_still_one() {
    let mut script = Script::new();
    script.map(A, 10, 10);
    script.unmap(SPACE, 12, 3);
    assert_eq!(script.outstanding(), (7, 1));
    assert_eq!(script.by_stack(), [(0xa, 7)]);
    let totals = script.pipeline.summary().totals;
    assert_eq!((totals.freed_bytes, totals.freed_count), (3 * PAGE, 0));
    script.unmap(SPACE, 0, 100);
    let totals = script.pipeline.summary().totals;
    assert_eq!((totals.freed_bytes, totals.freed_count), (10 * PAGE, 1));
    assert_eq!(script.outstanding(), (0, 0));
    assert_eq!(script.pipeline.mapped(), MappedTotals::default());
    assert_eq!(script.pipeline.counts().unknown_unmaps, 0);
}

#[test]
fn an_unmapping_that_fails_changes_nothing() {
    let mut script = Script::new();
    script.map(A, 10, 10);
    script.map(B, 20, 5);
    let before = (script.by_stack(), script.pipeline.mapped());
    script.unmap(SPACE, 15, 8);
    assert_eq!(script.outstanding(), (7, 2));
    script.unmap_failed(15, 8);
    assert_eq!((script.by_stack(), script.pipeline.mapped()), before);
    let totals = script.pipeline.summary().totals;
    assert_eq!((totals.freed_bytes, totals.freed_count), (0, 0));
    script.unmap(SPACE, 50, 1);
    assert_eq!(script.pipeline.counts().unknown_unmaps, 1);
    script.unmap_failed(50, 1);
    assert_eq!(script.pipeline.counts().unknown_unmaps, 0);
    script.unmap_failed(50, 1);
    assert_eq!(script.pipeline.counts().unmap_failures_unmatched, 1);
}

#[test]
fn what_grows_or_moves_belongs_to_who_asked_and_what_shrinks_stays_its_owners() {
    let mut script = Script::new();
    script.map(A, 10, 4);
    script.remap(B, (10, 4), (10, 2), false);
    assert_eq!(script.by_stack(), [(0xa, 2)]);
    assert_eq!(script.outstanding(), (2, 1));
    script.remap(B, (10, 2), (50, 8), false);
    assert_eq!(script.by_stack(), [(0xa, 0), (0xb, 8)]);
    let totals = script.pipeline.summary().totals;
    assert_eq!((totals.allocated_count, totals.freed_count), (2, 1));
    script.unmap(SPACE, 50, 8);
    assert_eq!(script.outstanding(), (0, 0));
}

#[test]
fn a_copy_leaves_the_old_mapping_and_is_of_its_kind() {
    let mut script = Script::new();
    script.map_as(A, MappingKind::Shared, false, 10, 4);
    script.remap(B, (10, 4), (50, 4), true);
    assert_eq!(script.by_stack(), [(0xa, 4), (0xb, 4)]);
    assert_eq!(script.pages_of(MappingKind::Shared), 8);
}

#[test]
fn what_allocators_map_and_files_are_no_memory_of_the_programs() {
    let mut script = Script::new();
    script.pipeline.decide(A, true);
    script.map(A, 10, 4);
    script.map_as(B, MappingKind::Heap, true, 100, 2);
    script.map_as(B, MappingKind::File, false, 200, 7);
    assert_eq!(script.outstanding(), (0, 0));
    assert_eq!((script.own_pages(), script.by_stack().len()), (6, 0));
    assert_eq!(script.pipeline.mapped().files.bytes, 7 * PAGE);
    script.map_as(B, MappingKind::Heap, false, 102, 1);
    assert_eq!(script.pages_of(MappingKind::Heap), 1);
    // An allocator gives back what it has, without a call path that says so.
    script.unmap(SPACE, 10, 4);
    assert_eq!(script.own_pages(), 2);
}

#[test]
fn an_allocator_that_is_found_out_later_takes_over_what_its_stacks_have_mapped() {
    let mut script = Script::new();
    script.map(A, 10, 4);
    script.map(B, 20, 1);
    script.unmap(SPACE, 13, 1);
    assert!(script.pipeline.awaits_decision(A));
    script.pipeline.decide(A, false);
    assert_eq!(script.outstanding(), (4, 2));
    script.pipeline.decide(A, true);
    assert_eq!(script.outstanding(), (1, 1));
    assert_eq!(script.by_stack(), [(0xb, 1)]);
    let totals = script.pipeline.summary().totals;
    assert_eq!((totals.allocated_bytes, totals.freed_bytes), (PAGE, 0));
    assert_eq!(script.own_pages(), 3);
    script.map(A, 30, 5);
    script.unmap(SPACE, 10, 3);
    assert_eq!((script.own_pages(), script.outstanding()), (5, (1, 1)));
    assert_eq!(script.pipeline.charged_stacks(), [B]);
}

#[test]
fn a_child_has_copies_and_an_exec_leaves_them() {
    let mut script = Script::new();
    script.map(A, 10, 4);
    script.map_as(B, MappingKind::File, false, 50, 3);
    let fork = What::Fork {
        pid: Pid(100),
        child: Pid(101),
        child_space: CHILD,
    };
    script.apply(SPACE, fork);
    assert_eq!(script.outstanding(), (8, 2));
    assert_eq!(script.pipeline.mapped().files.bytes, 6 * PAGE);
    script.unmap(CHILD, 10, 3);
    assert_eq!(script.by_stack(), [(0xa, 4), (0xa, 1)]);
    let (pid, new_space) = (Pid(101), SpaceId(3));
    script.apply(CHILD, What::Exec { pid, new_space });
    assert_eq!(script.outstanding(), (4, 1));
    assert_eq!(script.pages_of(MappingKind::Anonymous), 4);
    assert_eq!(script.pipeline.mapped().files.bytes, 3 * PAGE);
    // What a process held at its exit stays on record.
    script.apply(SPACE, What::Exit { pid: Pid(100) });
    assert_eq!(script.outstanding(), (4, 1));
}

#[test]
fn mappings_beyond_the_limit_are_counted_and_still_replace_others() {
    let mut script = Script::with_limits(Limits {
        mappings: 2,
        ..Limits::default()
    });
    script.map(A, 10, 4);
    script.map(A, 20, 4);
    script.map(B, 12, 2);
    assert_eq!(script.outstanding(), (6, 2));
    assert_eq!(script.pipeline.counts().overflowed_mappings, 1);
    script.unmap(SPACE, 0, 100);
    script.map(B, 12, 2);
    assert_eq!(script.by_stack(), [(0xa, 0), (0xb, 2)]);
}

#[test]
fn no_more_than_so_many_ends_are_remembered() {
    let mut script = Script::new();
    script.map(A, 0, 10_000);
    for page in 0..2 * REMEMBERED as u64 {
        script.unmap(SPACE, 2 * page, 1);
    }
    assert_eq!(script.pipeline.mapped.removals.len(), REMEMBERED);
    assert_eq!(script.pipeline.mapped.remembered_parts, REMEMBERED);
    script.unmap_failed(0, 1);
    assert_eq!(script.pipeline.counts().unmap_failures_unmatched, 1);
    script.unmap_failed(4 * REMEMBERED as u64 - 2, 1);
    assert_eq!(script.pipeline.mapped.remembered_parts, REMEMBERED - 1);
}
