//! Scripted events through the collector: what each kind of event does to the totals. The random
//! counterpart is `pipeline_model.rs`.

use memprof::events::event::{Event, Nanoseconds, Pid, RawStack, SpaceId, StackEnd, StackId, What};
use memprof::pipeline::{
    Counts, Limits, Pipeline, ProcessTotals, ShownFilter, SiteSnapshot, Summary,
};
use memprof::stacks::SiteTotals;
use memprof_common::event::whole_stack_id;

const A: StackId = StackId(0xa);
const B: StackId = StackId(0xb);
const PARENT: SpaceId = SpaceId(1);
const CHILD: SpaceId = SpaceId(2);
const SECOND: Nanoseconds = 1_000_000_000;

/// A pipeline with a clock that each event advances by a second.
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
        pipeline.add_process(Pid(100), PARENT);
        Self { pipeline, now: 0 }
    }

    fn apply(&mut self, space: SpaceId, what: What) {
        self.now += SECOND;
        let time = self.now;
        self.pipeline.apply(Event { time, space, what });
    }

    fn alloc(&mut self, space: SpaceId, address: u64, size: u64, stack: StackId) {
        let what = What::Alloc {
            address,
            size,
            stack,
        };
        self.apply(space, what);
    }

    fn free(&mut self, space: SpaceId, address: u64) {
        self.apply(space, What::Free { address });
    }

    fn resize_free(&mut self, space: SpaceId, address: u64) {
        self.apply(space, What::ResizeFree { address });
    }

    fn resize_failed(&mut self, space: SpaceId, address: u64) {
        self.apply(space, What::ResizeFailed { address });
    }

    fn fork(&mut self, space: SpaceId, pid: u32, child: u32, child_space: SpaceId) {
        let what = What::Fork {
            pid: Pid(pid),
            child: Pid(child),
            child_space,
        };
        self.apply(space, what);
    }

    fn exec(&mut self, space: SpaceId, pid: u32, new_space: SpaceId) {
        let pid = Pid(pid);
        self.apply(space, What::Exec { pid, new_space });
    }

    fn exit(&mut self, space: SpaceId, pid: u32) {
        self.apply(space, What::Exit { pid: Pid(pid) });
    }

    fn summary(&self) -> Summary {
        self.pipeline.summary()
    }

    /// Bytes and blocks outstanding over all.
    fn outstanding(&self) -> (u64, u64) {
        let totals = self.summary().totals;
        (totals.outstanding_bytes(), totals.outstanding_count())
    }

    fn counts(&self) -> Counts {
        self.pipeline.counts()
    }

    fn process(&self, space: SpaceId) -> Option<ProcessTotals> {
        self.pipeline.processes().find(|p| p.space == space)
    }

    fn members(&self, space: SpaceId) -> Vec<Pid> {
        self.process(space).expect("a known space").members
    }

    fn totals(&self, space: SpaceId) -> SiteTotals {
        self.process(space).expect("a known space").totals
    }

    fn sites(&self, filter: &ShownFilter) -> Vec<SiteSnapshot> {
        self.pipeline.snapshot(self.now, filter).sites
    }

    fn outstanding_by_stack(&self) -> Vec<(Option<StackId>, u64)> {
        self.sites(&ShownFilter::default())
            .iter()
            .map(|site| (site.stack, site.totals.outstanding_bytes()))
            .collect()
    }
}

#[test]
fn a_realloc_is_one_free_and_one_allocation() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.resize_free(PARENT, 0x1000);
    script.alloc(PARENT, 0x1000, 300, B);
    let totals = script.summary().totals;
    assert_eq!((totals.allocated_bytes, totals.allocated_count), (400, 2));
    assert_eq!((totals.freed_bytes, totals.freed_count), (100, 1));
    assert_eq!(
        script.outstanding_by_stack(),
        [(Some(A), 0), (Some(B), 300)]
    );
    assert_eq!(script.counts(), Counts::default());
}

#[test]
fn a_failed_realloc_leaves_the_block_as_it_was() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    let before = script.sites(&ShownFilter::default());
    script.resize_free(PARENT, 0x1000);
    assert_eq!(script.outstanding(), (0, 0));
    script.resize_failed(PARENT, 0x1000);
    // Site, size, birth, totals: nothing has changed.
    assert_eq!(script.sites(&ShownFilter::default()), before);
    assert_eq!(script.outstanding(), (100, 1));
    script.free(PARENT, 0x1000);
    assert_eq!(script.outstanding(), (0, 0));
    assert_eq!(script.counts(), Counts::default());
}

#[test]
fn a_failed_realloc_of_an_unknown_block_is_no_unknown_free() {
    let mut script = Script::new();
    script.resize_free(PARENT, 0x1000);
    assert_eq!(script.counts().unknown_frees, 1);
    script.resize_failed(PARENT, 0x1000);
    assert_eq!(script.counts().unknown_frees, 0);
    script.resize_failed(PARENT, 0x1000);
    assert_eq!(script.counts().resize_failures_unmatched, 1);
    assert_eq!(script.outstanding(), (0, 0));
}

#[test]
fn a_failed_realloc_does_not_overwrite_a_newer_block() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.resize_free(PARENT, 0x1000);
    script.alloc(PARENT, 0x1000, 7, B);
    script.resize_failed(PARENT, 0x1000);
    assert_eq!(script.outstanding(), (7, 1));
    assert_eq!(script.counts().resize_failures_superseded, 1);
}

#[test]
fn an_allocation_at_a_live_address_reconciles_the_lost_free() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.alloc(PARENT, 0x1000, 30, B);
    assert_eq!(script.outstanding(), (30, 1));
    assert_eq!(script.summary().totals.freed_bytes, 100);
    assert_eq!(script.counts().superseded, 1);
    assert_eq!(script.pipeline.live_blocks(), 1);
}

#[test]
fn a_forked_child_has_copies_and_the_two_part_ways() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.alloc(PARENT, 0x2000, 20, B);
    script.free(PARENT, 0x2000);
    script.alloc(PARENT, 0x3000, 5, B);
    script.fork(PARENT, 100, 101, CHILD);
    assert_eq!(script.outstanding(), (210, 4));
    script.free(CHILD, 0x1000);
    script.alloc(CHILD, 0x1000, 1, B);
    script.free(PARENT, 0x3000);

    let parent = script.totals(PARENT);
    assert_eq!(parent.outstanding_bytes(), 100);
    assert_eq!(parent.inherited_bytes, 0);
    let child = script.totals(CHILD);
    assert_eq!((child.inherited_bytes, child.inherited_count), (105, 2));
    assert_eq!((child.allocated_bytes, child.freed_bytes), (1, 100));
    assert_eq!(child.outstanding_bytes(), 6);
    assert_eq!(script.counts(), Counts::default());
}

#[test]
fn a_vfork_child_shares_its_parents_blocks_until_it_execs() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.fork(PARENT, 100, 101, PARENT);
    script.free(PARENT, 0x1000);
    script.alloc(PARENT, 0x2000, 40, A);
    assert_eq!(script.members(PARENT), [Pid(100), Pid(101)]);
    // A report names the parent, not the guest.
    assert_eq!(script.sites(&ShownFilter::default())[0].pid, Some(Pid(100)));
    script.exec(PARENT, 101, CHILD);
    assert_eq!(script.outstanding(), (40, 1));
    assert_eq!(script.summary().totals.discarded_count, 0);
    assert_eq!(script.members(PARENT), [Pid(100)]);
    assert_eq!(script.members(CHILD), [Pid(101)]);
    assert_eq!(script.counts(), Counts::default());
}

#[test]
fn an_exec_discards_the_blocks_and_gives_their_memory_back() {
    let mut script = Script::new();
    for i in 0..10_000 {
        script.alloc(PARENT, 0x1000 + 16 * i, 10, A);
    }
    let full = script.pipeline.table_bytes();
    script.exec(PARENT, 100, CHILD);
    assert!(script.pipeline.table_bytes() < full / 100);
    assert_eq!(script.outstanding(), (0, 0));
    let totals = script.summary().totals;
    assert_eq!(totals.discarded_bytes, 100_000);
    assert_eq!(totals.discarded_count, 10_000);
    assert_eq!(script.totals(PARENT), totals);
    assert_eq!(script.process(PARENT).map(|p| p.ended), Some(true));
    assert_eq!(script.process(CHILD).map(|p| p.ended), Some(false));
    assert_eq!(script.pipeline.live_blocks(), 0);
    // The old program's blocks are no blocks of the new one.
    script.free(CHILD, 0x1000);
    assert_eq!(script.counts().unknown_frees, 1);
}

#[test]
fn a_realloc_that_an_exec_cut_short_does_not_come_back() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.resize_free(PARENT, 0x1000);
    script.exec(PARENT, 100, CHILD);
    script.resize_failed(PARENT, 0x1000);
    assert_eq!(script.counts().resize_failures_unmatched, 1);
    assert_eq!(script.outstanding(), (0, 0));
}

#[test]
fn what_is_outstanding_at_exit_is_the_final_state() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.exit(PARENT, 100);
    assert_eq!(script.outstanding(), (100, 1));
    let process = script.process(PARENT).expect("kept");
    assert!(process.ended);
    assert_eq!(process.pid, Some(Pid(100)));
    assert_eq!(script.sites(&ShownFilter::default())[0].shown_bytes, 100);
}

#[test]
fn two_lives_of_one_pid_do_not_mix() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.exit(PARENT, 100);
    let second_life = SpaceId(9);
    script.pipeline.add_process(Pid(100), second_life);
    script.free(second_life, 0x1000);
    script.alloc(second_life, 0x1000, 8, A);
    assert_eq!(script.totals(PARENT).outstanding_bytes(), 100);
    assert_eq!(script.totals(second_life).outstanding_bytes(), 8);
    assert_eq!(script.counts().unknown_frees, 1);
    assert_eq!(script.counts().superseded, 0);
}

#[test]
fn the_peak_is_the_highest_moment_and_its_time() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.alloc(PARENT, 0x2000, 50, A);
    script.free(PARENT, 0x1000);
    script.alloc(PARENT, 0x1000, 60, A);
    let summary = script.summary();
    assert_eq!(summary.peak_outstanding_bytes, 150);
    assert_eq!(summary.peak_at, 2 * SECOND);
}

#[test]
fn a_space_whose_process_event_was_lost_is_followed_and_counted() {
    let mut script = Script::new();
    script.alloc(CHILD, 0x1000, 100, A);
    assert_eq!(script.counts().unannounced_spaces, 1);
    assert_eq!(script.process(CHILD).map(|p| p.pid), Some(None));
    // A fork that comes after all finds the space in use: nothing is copied over it.
    script.alloc(PARENT, 0x2000, 5, A);
    script.fork(PARENT, 100, 101, CHILD);
    assert_eq!(script.totals(CHILD).outstanding_bytes(), 100);
    assert_eq!(script.counts().unmatched_processes, 1);
    assert_eq!(script.members(CHILD), [Pid(101)]);
}

#[test]
fn a_space_that_only_its_exit_tells_a_pid_of_has_ended_then() {
    let mut script = Script::new();
    script.alloc(CHILD, 0x1000, 100, A);
    script.exit(CHILD, 55);
    let process = script.process(CHILD).expect("kept");
    assert!(process.ended);
    assert_eq!(process.pid, Some(Pid(55)));
}

#[test]
fn filters_choose_what_is_shown_and_leave_the_totals_whole() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.alloc(PARENT, 0x2000, 7, A);
    script.alloc(PARENT, 0x3000, 5_000, A);
    script.alloc(PARENT, 0x4000, 200, A);
    let filter = ShownFilter {
        min_age_ns: SECOND,
        min_size: 10,
        max_size: 1_000,
    };
    let site = script.sites(&filter)[0];
    assert_eq!((site.shown_bytes, site.shown_count), (100, 1));
    assert_eq!(site.totals.outstanding_bytes(), 5_307);
    // One second, rounded down to a tick of 2^24 ns.
    let oldest = SECOND >> 24 << 24;
    assert_eq!(site.oldest_birth, Some(oldest));
    // Each bound belongs to what is shown.
    let exact = ShownFilter {
        min_age_ns: script.now - oldest,
        min_size: 100,
        max_size: 100,
    };
    assert_eq!(script.sites(&exact)[0].shown_count, 1);
}

#[test]
fn a_snapshot_gives_rates_against_an_earlier_one() {
    let mut script = Script::new();
    let all = ShownFilter::default();
    script.alloc(PARENT, 0x1000, 100, A);
    let earlier = script.pipeline.snapshot(script.now, &all);
    script.alloc(PARENT, 0x2000, 50, A);
    script.alloc(PARENT, 0x3000, 30, B);
    let later = script.pipeline.snapshot(script.now, &all);
    let rates: Vec<_> = later
        .sites
        .iter()
        .map(|site| later.rate_since(&earlier, site))
        .collect();
    assert_eq!(rates, [25.0, 15.0]);
}

#[test]
fn stacks_are_known_awaited_or_at_fault() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 100, A);
    script.alloc(PARENT, 0x2000, 100, B);
    assert_eq!(script.pipeline.stacks().awaited(), 2);
    let raw = RawStack {
        id: A,
        end: StackEnd::TooDeep,
        by_frame_pointer: false,
        pcs: vec![1, 2],
    };
    script.apply(PARENT, What::Stack(Box::new(raw)));
    let stacks = script.pipeline.stacks();
    assert_eq!((stacks.awaited(), stacks.truncated()), (1, 1));
    assert!(stacks.get(A).is_some() && stacks.get(B).is_none());
}

/// A broken stack, told from others by more than its program counters.
fn broken(id: StackId, pcs: &[u64]) -> What {
    What::Stack(Box::new(RawStack {
        id,
        end: StackEnd::Broken,
        by_frame_pointer: false,
        pcs: pcs.to_vec(),
    }))
}

#[test]
fn stacks_with_the_same_frames_are_one_row_whatever_their_ids() {
    let mut script = Script::new();
    let whole = StackId(whole_stack_id(PARENT.0, &[10, 20, 30, 40]));
    // The first has blocks before it is known that it is the last one.
    script.alloc(PARENT, 0x1000, 1, A);
    script.alloc(PARENT, 0x2000, 2, B);
    script.alloc(PARENT, 0x3000, 4, whole);
    script.alloc(PARENT, 0x4000, 8, StackId(7));
    script.alloc(PARENT, 0x5000, 16, StackId(8));
    script.alloc(CHILD, 0x5000, 32, A);
    for id in [A, B, StackId(7), StackId(8)] {
        script.apply(PARENT, broken(id, &[10, 20]));
    }
    let raw = RawStack {
        id: whole,
        end: StackEnd::Complete,
        by_frame_pointer: false,
        pcs: vec![10, 20, 30, 40],
    };
    script.apply(PARENT, What::Stack(Box::new(raw)));
    let rows = |script: &Script| -> Vec<_> {
        let snapshot = script.pipeline.snapshot(1000, &ShownFilter::default());
        let rows = snapshot.sites.iter();
        rows.map(|row| (row.space, row.stack, row.shown_bytes, row.shown_count))
            .collect()
    };
    // Broken at different depths, they look the same.
    assert_eq!(
        rows(&script),
        [
            (PARENT, Some(A), 1 + 2 + 8 + 16, 4),
            (PARENT, Some(whole), 4, 1),
            (CHILD, Some(A), 32, 1),
        ]
    );
    for id in [A, B] {
        let pcs = [10, 20, 30, 40];
        script.pipeline.continue_stack(id, &pcs, StackEnd::Complete);
    }
    script
        .pipeline
        .continue_stack(StackId(7), &[10, 20, 31], StackEnd::Complete);
    assert_eq!(
        rows(&script),
        [
            (PARENT, Some(A), 1 + 2 + 4, 3),
            (PARENT, Some(StackId(7)), 8, 1),
            (PARENT, Some(StackId(8)), 16, 1),
            (CHILD, Some(A), 32, 1),
        ]
    );
}

#[test]
fn the_limit_of_live_blocks_holds_for_allocations_and_forks() {
    let mut script = Script::with_limits(Limits {
        live_blocks: 3,
        ..Limits::default()
    });
    script.alloc(PARENT, 0x1000, 10, A);
    script.alloc(PARENT, 0x2000, 10, A);
    // Two copies would make four.
    script.fork(PARENT, 100, 101, CHILD);
    assert_eq!(script.counts().overflowed, 2);
    script.alloc(PARENT, 0x3000, 10, A);
    script.alloc(PARENT, 0x4000, 10, A);
    assert_eq!(script.counts().overflowed, 3);
    assert_eq!(script.outstanding(), (30, 3));
    // Superseding needs no room.
    script.alloc(PARENT, 0x3000, 20, A);
    assert_eq!(script.outstanding(), (40, 3));
    assert_eq!(script.pipeline.live_blocks(), 3);
}

#[test]
fn stacks_beyond_the_limit_of_sites_go_to_the_common_one() {
    let mut script = Script::with_limits(Limits {
        sites: 1,
        ..Limits::default()
    });
    script.alloc(PARENT, 0x1000, 1, A);
    script.alloc(PARENT, 0x2000, 2, B);
    script.alloc(PARENT, 0x3000, 4, StackId(3));
    script.free(PARENT, 0x2000);
    assert_eq!(script.outstanding_by_stack(), [(Some(A), 1), (None, 4)]);
    assert_eq!(script.counts().overflowed_sites, 2);
}

#[test]
fn the_oldest_ended_space_is_retired_into_the_sums() {
    let mut script = Script::with_limits(Limits {
        ended_spaces: 2,
        ..Limits::default()
    });
    for i in 0..4 {
        let space = SpaceId(10 + i);
        script.pipeline.add_process(Pid(10 + i), space);
        script.alloc(space, 0x1000, 1 << i, A);
        script.alloc(space, 0x2000, 1 << i, A);
        script.resize_free(space, 0x1000);
        script.alloc(space, 0x3000, 7, A);
        script.exit(space, 10 + i);
        // Retiring one space must not confuse the next event's: this one's, or below another's.
        script.free(space, 0x3000);
        assert_eq!(script.totals(space).outstanding_bytes(), 1 << i);
        script.alloc(PARENT, 0x1000 * u64::from(i), 100, B);
    }
    assert_eq!(script.counts().retired_spaces, 2);
    assert!(script.process(SpaceId(11)).is_none() && script.process(SpaceId(12)).is_some());
    let mut sum = script.pipeline.retired();
    assert_eq!(sum.outstanding_bytes(), 1 + 2);
    script.pipeline.processes().for_each(|p| sum.add(&p.totals));
    assert_eq!(sum, script.summary().totals);
    assert_eq!(script.pipeline.live_blocks(), 2 + 4);
    script.free(SpaceId(12), 0x2000);
    assert_eq!(script.totals(SpaceId(12)).outstanding_bytes(), 0);
    // A retired space comes back empty, and nothing of its old life with it.
    script.resize_failed(SpaceId(10), 0x1000);
    assert_eq!(script.counts().resize_failures_unmatched, 1);
    script.free(PARENT, 0x3000);
    assert_eq!(script.totals(PARENT).outstanding_bytes(), 300);
}

#[test]
fn what_windows_left_is_told_by_the_rows_of_the_snapshot() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x1000, 1, A);
    script.alloc(PARENT, 0x2000, 2, B);
    for id in [A, B] {
        script.apply(PARENT, broken(id, &[10, 20]));
    }
    let mark = script.now + SECOND / 2;
    script.alloc(PARENT, 0x3000, 4, B);
    script.alloc(PARENT, 0x4000, 8, B);
    script.free(PARENT, 0x4000);
    script.fork(PARENT, 100, 101, CHILD);
    script.exit(CHILD, 101);
    let snapshot = script
        .pipeline
        .snapshot(script.now, &ShownFilter::default());
    let windows = script.pipeline.windows(&[mark], &snapshot);
    // The child's copies were born when the parent's were.
    let bytes: Vec<u64> = windows.totals.iter().map(|total| total.bytes).collect();
    assert_eq!(bytes, [2 * (1 + 2), 2 * 4]);
    assert_eq!(bytes.iter().sum::<u64>(), script.outstanding().0);
    // Stacks with the same frames are one row, of which each cell is a part.
    let cells: Vec<_> = windows
        .cells
        .iter()
        .map(|cell| {
            let row = snapshot.find(cell.space, cell.site).expect("a row");
            (cell.window, row.space, row.stack, cell.left.bytes)
        })
        .collect();
    assert_eq!(
        cells,
        [
            (0, PARENT, Some(A), 3),
            (0, CHILD, Some(A), 3),
            (1, PARENT, Some(A), 4),
            (1, CHILD, Some(A), 4),
        ]
    );
}

#[test]
fn what_was_there_before_judging_begins_stays_in_the_totals_and_is_no_growth() {
    use memprof::growth::{Context, Verdict};
    // Ticks of 67 ms: a block every 100 ms, and twice as many at first.
    let step = SECOND / 10;
    let mut pipeline = Pipeline::new(0, 1);
    pipeline.add_process(Pid(100), PARENT);
    let mut now = 0;
    let mut address = 0x1000;
    let mut run = |pipeline: &mut Pipeline, stack, steps: u64, size: u64| {
        for _ in 0..steps {
            now += step;
            address += 0x1000;
            let what = What::Alloc {
                address,
                size,
                stack,
            };
            pipeline.apply(Event {
                time: now,
                space: PARENT,
                what,
            });
            pipeline.hold(now, None);
        }
        now
    };
    let warm = run(&mut pipeline, A, 200, 1000);
    let verdict = |pipeline: &Pipeline, now| {
        let context = Context::new(pipeline.ticks());
        pipeline.judge(now, &context).whole.verdict
    };
    assert_eq!(verdict(&pipeline, warm), Verdict::Leak);

    pipeline.judge_from(warm);
    assert_eq!(pipeline.judged_peak_bytes(), 200_000);
    // Each of these is freed at once; the old ones stay.
    let free_soon = |pipeline: &mut Pipeline| {
        let mut now = warm;
        for _ in 0..200 {
            now += step;
            for what in [
                What::Alloc {
                    address: 0xfff0,
                    size: 500,
                    stack: B,
                },
                What::Free { address: 0xfff0 },
            ] {
                let space = PARENT;
                pipeline.apply(Event {
                    time: now,
                    space,
                    what,
                });
            }
            pipeline.hold(now, None);
        }
        now
    };
    let end = free_soon(&mut pipeline);
    assert_ne!(verdict(&pipeline, end), Verdict::Leak);
    assert_ne!(verdict(&pipeline, end), Verdict::Growing);
    let totals = pipeline.summary();
    assert_eq!(totals.totals.outstanding_bytes(), 200_000);
    assert_eq!(totals.peak_outstanding_bytes, 200_500);
    assert_eq!(pipeline.judged_peak_bytes(), 200_500);
}

#[test]
fn the_peak_of_a_run_may_be_before_judging_begins() {
    let mut script = Script::new();
    script.alloc(PARENT, 0x10, 900, A);
    script.alloc(PARENT, 0x20, 100, A);
    script.free(PARENT, 0x10);
    script.pipeline.judge_from(script.now);
    script.alloc(PARENT, 0x30, 50, A);
    let summary = script.summary();
    assert_eq!(summary.peak_outstanding_bytes, 1000);
    assert_eq!(summary.peak_at, 2 * SECOND);
    assert_eq!(script.pipeline.judged_peak_bytes(), 150);
}
