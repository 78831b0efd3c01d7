//! Who touched pages first: the call paths to show, and their names.

use std::cmp::Reverse;

use super::{assemble::report_frame, collector::State};
use crate::{
    config::Sort,
    events::event::PageMemory,
    pipeline::{FaultCounts, ToucherSnapshot},
    report::{FaultQuality, Frame, Group, HexStackId, ProcessTotals, Summary, TopToucher},
    stacks::TouchTotals,
    symbols::{
        Symbols,
        guilty::{Skips, guilty_frame},
    },
    target::modules::{FrameAddress, Modules},
};

use memprof_common::{
    counters::{Counter, Counters},
    event::PAGE_BYTES,
};

/// A call path to show.
pub struct ShownToucher {
    toucher: ToucherSnapshot,
    places: Box<[FrameAddress]>,
}

/// What a report says of pages, copied out of the lock.
pub struct Touched {
    /// Totals over all.
    pub totals: TouchTotals,
    /// The call paths to show, in order.
    pub touchers: Vec<ShownToucher>,
    /// How far it can be trusted.
    pub quality: FaultQuality,
}

/// Copies out of the state what a report shows, `top` call paths of it.
pub fn extract(state: &State, counters: &Counters, sort: Sort, top: usize) -> Touched {
    let key = |one: &ToucherSnapshot| match sort {
        Sort::Allocated => {
            one.totals.touched_bytes + one.totals.inherited_bytes + one.totals.copied_bytes
        }
        Sort::Outstanding | Sort::Count | Sort::Rate => one.totals.resident_bytes(),
    };
    let mut touchers = state.pipeline.touchers();
    touchers.retain(|one| key(one) > 0);
    touchers.sort_by_key(|one| (Reverse(key(one)), one.space, one.site));
    touchers.truncate(top);
    let show = |toucher: ToucherSnapshot| {
        let places = toucher.stack.and_then(|stack| state.places.get(&stack));
        ShownToucher {
            places: places.cloned().unwrap_or_default(),
            toucher,
        }
    };
    Touched {
        totals: state.pipeline.touched(),
        touchers: touchers.into_iter().map(show).collect(),
        quality: quality(&state.pipeline.fault_counts(), counters),
    }
}

fn quality(counts: &FaultCounts, counters: &Counters) -> FaultQuality {
    FaultQuality {
        lost_changes: counters[Counter::LostPages as usize],
        placeless_changes: counters[Counter::PlacelessChanges as usize],
        guessed_pages: counts.guessed_pages,
        around_pages: counts.around_pages,
        populated_bytes: counts.populated_pages * PAGE_BYTES,
        unplaced_bytes: counts.unplaced_bytes,
        superseded_pages: counts.superseded_pages,
        found_gone_pages: counts.found_gone_pages,
        pages_not_followed: counts.not_followed_pages,
        stacks_not_followed: counts.overflowed_sites,
    }
}

/// Names the frames of the shown paths, innermost first, and the one that touched.
pub fn name(
    touchers: &[ShownToucher],
    modules: &Modules,
    symbols: &mut Symbols,
    skips: &Skips,
) -> Vec<TopToucher> {
    let named = (1..).zip(touchers).map(|(rank, shown)| {
        let frames = symbols.symbolize(modules, &shown.places);
        let guilty =
            guilty_frame(&frames, skips).map(|index| report_frame(&frames[index], modules));
        let guilty = guilty.unwrap_or_default();
        let stack: Vec<Frame> = frames
            .iter()
            .map(|frame| report_frame(frame, modules))
            .collect();
        let ToucherSnapshot {
            pid,
            stack: id,
            totals,
            ..
        } = &shown.toucher;
        TopToucher {
            rank,
            pid: pid.map_or(0, |pid| pid.0),
            stack_id: HexStackId(id.map_or(0, |id| id.0)),
            resident_bytes: totals.resident_bytes(),
            touched_bytes: totals.touched_bytes,
            given_back_bytes: totals.given_back_bytes,
            anonymous_bytes: totals.resident_of(PageMemory::Anonymous),
            file_bytes: totals.resident_of(PageMemory::File),
            shared_bytes: totals.resident_of(PageMemory::Shared),
            huge_bytes: totals.huge_bytes(),
            by_kernel_bytes: totals.by_kernel_bytes(),
            copied_bytes: totals.copied_bytes,
            inherited_bytes: totals.inherited_bytes,
            function: guilty.function,
            file: guilty.file,
            line: guilty.line,
            directory: guilty.directory,
            module: guilty.module,
            stack,
        }
    });
    named.collect()
}

/// The totals of a run, with what was touched first.
pub fn with_touched(summary: Summary, touched: &TouchTotals) -> Summary {
    Summary {
        touched_bytes: Some(touched.touched_bytes),
        given_back_bytes: Some(touched.given_back_bytes),
        touched_resident_bytes: Some(touched.resident_bytes()),
        touched_anonymous_bytes: Some(touched.resident_of(PageMemory::Anonymous)),
        touched_file_bytes: Some(touched.resident_of(PageMemory::File)),
        touched_shared_bytes: Some(touched.resident_of(PageMemory::Shared)),
        touched_huge_bytes: Some(touched.huge_bytes()),
        touched_by_kernel_bytes: Some(touched.by_kernel_bytes()),
        touched_inherited_bytes: Some(touched.inherited_bytes),
        touched_copied_bytes: Some(touched.copied_bytes),
        ..summary
    }
}

/// Adds what a program of a process touched first to the process's row.
pub fn add_to_process(row: &mut ProcessTotals, touched: &TouchTotals) {
    let add = |sum: &mut Option<u64>, bytes: u64| *sum = Some(sum.unwrap_or(0) + bytes);
    add(&mut row.touched_bytes, touched.touched_bytes);
    add(&mut row.touched_resident_bytes, touched.resident_bytes());
    let of = |memory| touched.resident_of(memory);
    add(&mut row.touched_anonymous_bytes, of(PageMemory::Anonymous));
    add(&mut row.touched_file_bytes, of(PageMemory::File));
    add(&mut row.touched_shared_bytes, of(PageMemory::Shared));
}

/// Adds what the members of a group touched first to the group.
pub fn add_to_group(group: &mut Group, members: &[&ProcessTotals]) {
    let resident = members.iter().map(|one| one.touched_resident_bytes);
    group.touched_resident_bytes = resident.sum();
}
