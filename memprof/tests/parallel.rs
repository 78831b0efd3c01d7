//! Events applied by several threads, with the live tables divided, beside the same events one by one:
//! every total, snapshot and judgement is the same.

use std::cell::RefCell;

use memprof::events::event::{Event, Nanoseconds, Pid, RawStack, SpaceId, StackEnd, StackId, What};
use memprof::events::order::Order;
use memprof::growth::Context;
use memprof::live::Division;
use memprof::pipeline::{Hastened, Limits, Pipeline, ShownFilter, Workers};
use memprof_common::sampling::Schedule;
use proptest::prelude::*;

const SPACE: SpaceId = SpaceId(1);
const STEP: Nanoseconds = 1_000_000;

/// Both ways of applying events.
struct Both {
    alone: Pipeline,
    helped: Pipeline,
    workers: Workers,
    now: Nanoseconds,
    waiting: Vec<Event>,
}

impl Both {
    fn new(part_bits: u32, chunk: usize, limits: Limits) -> Self {
        let workers = Workers::start(2, || {}).expect("threads can be started");
        Self::with(workers, part_bits, chunk, limits)
    }

    fn with(workers: Workers, part_bits: u32, chunk: usize, limits: Limits) -> Self {
        let mut both = Self {
            alone: Pipeline::with_limits(0, 1, limits),
            helped: Pipeline::with_limits(0, 1, limits),
            workers: workers.in_chunks_of(chunk),
            now: 0,
            waiting: Vec::new(),
        };
        both.helped.divide(Division {
            part_bits,
            whole_up_to: 10,
        });
        both.each(|pipeline| pipeline.add_process(Pid(1), SPACE));
        both
    }

    fn each(&mut self, mut act: impl FnMut(&mut Pipeline)) {
        act(&mut self.alone);
        act(&mut self.helped);
    }

    fn happens(&mut self, space: SpaceId, what: What) {
        self.now += STEP;
        let time = self.now;
        self.waiting.push(Event { time, space, what });
    }

    fn alloc(&mut self, address: u64, size: u64, stack: u64) {
        let stack = StackId(stack);
        let what = What::Alloc {
            address,
            size,
            stack,
        };
        self.happens(SPACE, what);
    }

    fn free(&mut self, address: u64) {
        self.happens(SPACE, What::Free { address });
    }

    /// Has what happened so far applied in both ways.
    fn apply(&mut self) {
        let mut order = Order::new();
        for event in &self.waiting {
            order.push(event.clone());
            self.alone.apply(event.clone());
        }
        self.waiting.clear();
        let mut hastened = Hastened {
            pipeline: &mut self.helped,
            workers: &mut self.workers,
            least_run: 1,
        };
        order.flush(&mut hastened);
    }

    fn assert_same(&mut self) {
        self.apply();
        let (one, other) = (&self.alone, &self.helped);
        assert_eq!(one.summary(), other.summary());
        assert_eq!(one.counts(), other.counts());
        assert_eq!(one.retired(), other.retired());
        assert_eq!(one.live_blocks(), other.live_blocks());
        assert!(one.processes().eq(other.processes()));
        let filter = ShownFilter {
            min_age_ns: 40 * STEP,
            min_size: 100,
            max_size: 900,
        };
        let snapshot = one.snapshot(self.now, &filter);
        let other_snapshot = other.snapshot(self.now, &filter);
        assert_eq!(snapshot.sites.len(), other_snapshot.sites.len());
        let context = Context::new(one.ticks());
        let (judged, other_judged) = (
            one.judge(self.now, &context),
            other.judge(self.now, &context),
        );
        assert_eq!(judged.whole, other_judged.whole);
        for (site, mut other_site) in snapshot.sites.iter().zip(other_snapshot.sites) {
            // A sum of fractions, in the order of tables.
            let interval = |one: &memprof::pipeline::SiteSnapshot| {
                one.uncertainty.interval95(one.totals.outstanding_bytes())
            };
            let bounds = interval(site).into_iter().flatten();
            let other_bounds = interval(&other_site).into_iter().flatten();
            assert!(bounds.zip(other_bounds).all(|(a, b)| a.abs_diff(b) <= 1));
            other_site.uncertainty = site.uncertainty;
            assert_eq!(*site, other_site);
            assert_eq!(
                one.judgement(&judged, site, self.now, &context),
                other.judgement(&other_judged, site, self.now, &context)
            );
        }
        let marks = [self.now / 3, self.now / 2];
        let windows = one.windows(&marks, &snapshot);
        assert_eq!(
            windows,
            other.windows(&marks, &other.snapshot(self.now, &filter))
        );
    }
}

fn stack(id: u64) -> What {
    What::Stack(Box::new(RawStack {
        id: StackId(id),
        end: StackEnd::Complete,
        by_frame_pointer: false,
        pcs: vec![10, 20, id],
    }))
}

fn fork(child: u32, child_space: u32) -> What {
    What::Fork {
        pid: Pid(1),
        child: Pid(child),
        child_space: SpaceId(child_space),
    }
}

/// A hundred blocks, something rare amid them, and half of them freed: as much happens to each block
/// before as behind it.
fn amid_a_run(rare: What) -> Both {
    let mut both = Both::new(2, 16, Limits::default());
    for i in 0..50 {
        both.alloc(0x1000 + 16 * i, i, i % 5);
    }
    both.happens(SPACE, What::ResizeFree { address: 0x1010 });
    both.happens(SPACE, rare);
    for i in 25..100 {
        both.alloc(0x1000 + 16 * i, i, i % 7);
    }
    for i in (0..100).step_by(2) {
        both.free(0x1000 + 16 * i);
    }
    both.assert_same();
    assert_eq!(both.workers.used(), 2);
    both
}

#[test]
fn a_stack_that_arrives_amid_a_run_is_known_to_what_follows() {
    let both = amid_a_run(stack(3));
    assert!(both.helped.stacks().get(StackId(3)).is_some());
}

#[test]
fn a_fork_amid_a_run_copies_what_was_live_then() {
    let mut both = amid_a_run(fork(2, 2));
    let child = SpaceId(2);
    let copied = |pipeline: &Pipeline| {
        let mut children = pipeline.processes().filter(|one| one.space == child);
        children.next().expect("the child").totals.inherited_count
    };
    assert_eq!(copied(&both.helped), 49);
    // Both go on from there, in one run.
    for i in 0..50 {
        let address = 0x1000 + 16 * i;
        both.happens(child, What::Free { address });
        both.free(address);
        both.happens(child, What::ResizeFree { address });
    }
    both.assert_same();
}

#[test]
fn a_vfork_amid_a_run_shares_the_blocks() {
    let mut both = amid_a_run(fork(2, SPACE.0));
    both.happens(SPACE, What::Exit { pid: Pid(2) });
    both.free(0x1030);
    both.assert_same();
}

#[test]
fn an_exec_amid_a_run_drops_the_blocks_of_before() {
    let both = amid_a_run(What::Exec {
        pid: Pid(1),
        new_space: SpaceId(9),
    });
    assert_eq!(both.helped.summary().totals.discarded_count, 49);
}

#[test]
fn an_exit_amid_a_run_keeps_the_blocks() {
    let both = amid_a_run(What::Exit { pid: Pid(1) });
    assert!(both.helped.processes().all(|process| process.ended));
}

#[test]
fn a_resize_that_fails_amid_a_run_has_its_block_back() {
    let both = amid_a_run(What::ResizeFailed { address: 0x1010 });
    assert_eq!(both.helped.counts().unknown_frees, 0);
    assert_eq!(both.helped.counts().resize_failures_unmatched, 0);
}

/// Each block is in a part of its own, its resize in one run and its failure behind it.
#[test]
fn resizes_fail_in_every_part_of_a_table() {
    let mut both = Both::new(3, 7, Limits::default());
    let address = |i: u64| 0x7f00_0000_0000 + 48 * i;
    for i in 0..64 {
        both.alloc(address(i), 8 * i, i % 3);
    }
    for i in 0..64 {
        both.happens(
            SPACE,
            What::ResizeFree {
                address: address(i),
            },
        );
    }
    // Taken by others meanwhile, some of them.
    for i in (0..64).step_by(4) {
        both.alloc(address(i), 1, 9);
    }
    for i in 0..64 {
        let address = address(i);
        both.happens(SPACE, What::ResizeFailed { address });
    }
    both.assert_same();
    let counts = both.helped.counts();
    assert_eq!(counts.resize_failures_superseded, 16);
    assert_eq!(both.helped.live_blocks(), 64);
}

/// One block more than there is room for, at the end of a run; superseding and freeing make room.
#[test]
fn the_limit_of_live_blocks_is_kept_to_the_block() {
    for room in 95..=105 {
        let limits = Limits {
            live_blocks: room,
            ..Limits::default()
        };
        let mut both = Both::new(2, 8, limits);
        for i in 0..90 {
            both.alloc(0x1000 + 16 * i, 10, i % 4);
        }
        both.apply();
        for i in 80..102 {
            both.alloc(0x1000 + 16 * i, 20, i % 50);
        }
        both.free(0x1000);
        both.alloc(0x9000, 30, 60);
        both.assert_same();
        let overflowed = both.helped.counts().overflowed;
        assert_eq!(overflowed > 0, room < 102, "{overflowed} with {room}");
    }
}

#[test]
fn stacks_beyond_the_limit_of_sites_share_the_common_one() {
    let limits = Limits {
        sites: 5,
        ..Limits::default()
    };
    let mut both = Both::new(2, 4, limits);
    for i in 0..100 {
        both.alloc(0x1000 + 16 * i, i, i % 9);
        both.free(0x1000 + 16 * (i / 2));
    }
    both.assert_same();
    assert!(both.helped.counts().overflowed_sites > 0);
}

#[test]
fn spaces_that_nobody_announced_are_found_amid_a_run() {
    let mut both = Both::new(3, 32, Limits::default());
    for i in 0..200 {
        let what = What::Alloc {
            address: 0x1000,
            size: i,
            stack: StackId(i % 3),
        };
        both.happens(SpaceId(100 + (i % 20) as u32), what);
    }
    both.assert_same();
    let counts = both.helped.counts();
    assert_eq!((counts.unannounced_spaces, counts.superseded), (20, 180));
}

#[test]
fn a_pipeline_that_is_not_divided_refuses_runs_and_they_are_applied_all_the_same() {
    let mut both = Both::new(0, 8, Limits::default());
    for i in 0..100 {
        both.alloc(0x1000 + 16 * (i % 60), i, i % 9);
    }
    both.assert_same();
    assert_eq!(both.workers.used(), 0);
    assert_eq!(both.helped.live_blocks(), 60);
}

/// A random event: which process, address and stack are numbers to choose by.
fn event() -> impl Strategy<Value = (u32, What)> {
    // Most of them in two processes, which may have many blocks.
    let space = prop_oneof![6 => Just(1u32), 3 => Just(2), 1 => 3u32..12];
    let address = prop_oneof![
        30 => (0u64..600).prop_map(|i| 0x7f00_0000_0000 + 16 * i),
        1 => 0x7f00_0000_0001u64..0x7f00_0000_0008,
    ];
    let size = prop_oneof![40 => 0u64..2000, 1 => (1u64 << 32)..(1 << 34)];
    let what =
        (address, size, 0u64..30, 0u32..1000).prop_map(|(address, size, stack, kind)| match kind {
            0..520 => What::Alloc {
                address,
                size,
                stack: StackId(stack),
            },
            520..850 => What::Free { address },
            850..970 => What::ResizeFree { address },
            970..985 => What::ResizeFailed { address },
            985..988 => fork(100 + kind, 3 + address as u32 % 9),
            988..990 => fork(100 + kind, 1),
            990..992 => What::Exec {
                pid: Pid(1 + kind % 3),
                new_space: SpaceId(20 + stack as u32),
            },
            992..994 => What::Exit {
                pid: Pid(1 + kind % 3),
            },
            _ => self::stack(stack),
        });
    (space, what)
}

thread_local! {
    /// Threads are started once, not for every run.
    static WORKERS: RefCell<Option<Workers>> = const { RefCell::new(None) };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_runs_end_the_same_within_any_limits_and_sampled_or_not(
        events in prop::collection::vec(event(), 1..3000),
        batch in 1usize..2000,
        chunk in prop_oneof![1usize..20, 100usize..3000],
        part_bits in 1u32..=3,
        live_blocks in prop_oneof![Just(1usize << 20), 1usize..1500],
        sites in prop_oneof![Just(1000usize), 1usize..30],
        mean_bytes in prop_oneof![Just(0u64), 1u64..5000],
        ticks in 0u32..6,
    ) {
        let kept = WORKERS.take().or_else(|| Workers::start(2, || {}));
        let limits = Limits { live_blocks, sites, ended_spaces: 2, ..Limits::default() };
        let workers = kept.expect("threads can be started");
        let mut both = Both::with(workers, part_bits, chunk, limits);
        both.each(|pipeline| {
            pipeline.add_process(Pid(2), SpaceId(2));
            let from = 500 * STEP;
            pipeline.sample(Schedule { before: 0, from, after: mean_bytes });
        });
        for (index, (space, what)) in events.into_iter().enumerate() {
            both.happens(SpaceId(space), what);
            // Some of a tick of growth pass in the run, and several at the end of a batch.
            if index % batch == batch - 1 {
                both.apply();
                both.now += u64::from(ticks) << 26;
                let now = both.now;
                both.each(|pipeline| pipeline.hold(now, None));
            }
        }
        both.assert_same();
        WORKERS.set(Some(both.workers));
    }
}
