//! Scripted faults, and what they do to the totals.

use proptest::prelude::*;

use super::*;
use crate::events::event::{Event, Nanoseconds, What};
use crate::growth::{Context, Verdict};
use crate::pipeline::{Limits, Subject};

const A: StackId = StackId(0xa);
const B: StackId = StackId(0xb);
const SPACE: SpaceId = SpaceId(1);
const CHILD: SpaceId = SpaceId(2);

/// A pipeline with a clock that each event advances by a second. Addresses and lengths in pages.
struct Script {
    pipeline: Pipeline,
    now: Nanoseconds,
}

impl Script {
    fn new() -> Self {
        Self::with_limits(PageLimits::default())
    }

    fn with_limits(pages: PageLimits) -> Self {
        let limits = Limits {
            pages,
            ..Limits::default()
        };
        let mut pipeline = Pipeline::with_limits(0, 1, limits);
        pipeline.add_process(Pid(100), SPACE);
        Self { pipeline, now: 0 }
    }

    fn apply(&mut self, space: SpaceId, what: What) {
        self.now += 1_000_000_000;
        let time = self.now;
        self.pipeline.apply(Event { time, space, what });
    }

    fn touch_as(
        &mut self,
        space: SpaceId,
        stack: StackId,
        (at, pages): (u64, u32),
        memory: PageMemory,
        how: TouchHow,
    ) {
        let what = What::Touch {
            address: at * PAGE_BYTES,
            pages,
            stack,
            memory,
            by: PageToucher::Program,
            how,
        };
        self.apply(space, what);
    }

    fn touch(&mut self, stack: StackId, at: u64, pages: u32) {
        let memory = PageMemory::Anonymous;
        self.touch_as(SPACE, stack, (at, pages), memory, TouchHow::Counted);
    }

    fn touch_file(&mut self, stack: StackId, at: u64, pages: u32) {
        let memory = PageMemory::File;
        self.touch_as(SPACE, stack, (at, pages), memory, TouchHow::Counted);
    }

    fn give_back(&mut self, space: SpaceId, at: u64, pages: u64) {
        let (address, length) = (at * PAGE_BYTES, pages * PAGE_BYTES);
        self.apply(space, What::GiveBack { address, length });
    }

    fn copy(&mut self, space: SpaceId, stack: StackId, at: u64) {
        let address = at * PAGE_BYTES;
        let by = PageToucher::Program;
        self.apply(space, What::CopyPage { address, stack, by });
    }

    fn fork(&mut self) {
        let (child, child_space) = (Pid(101), CHILD);
        self.apply(
            SPACE,
            What::Fork {
                pid: Pid(100),
                child,
                child_space,
            },
        );
    }

    /// Resident pages by space and stack.
    fn resident(&self) -> Vec<(u32, u64, u64)> {
        let touchers = self.pipeline.touchers();
        let row = |one: &ToucherSnapshot| {
            let stack = one.stack.map_or(0, |stack| stack.0);
            (one.space.0, stack, one.totals.resident_bytes() / PAGE_BYTES)
        };
        touchers.iter().map(row).collect()
    }

    fn numbers(&self, space: SpaceId) -> Vec<u64> {
        let runs = self.pipeline.resident_runs(space);
        runs.into_iter().flatten().collect()
    }
}

#[test]
fn a_huge_page_counts_at_its_size_around_the_address() {
    let mut script = Script::new();
    script.touch(A, 3 * REGION_PAGES + 77, 512);
    script.touch(B, 10 * REGION_PAGES + 5, 4);
    assert_eq!(script.resident(), [(1, 0xa, 512), (1, 0xb, 4)]);
    let numbers = script.numbers(SPACE);
    assert_eq!(numbers[0], 3 * REGION_PAGES);
    assert_eq!(numbers[512], 10 * REGION_PAGES + 4);
    assert_eq!(script.pipeline.touched().huge_bytes(), 2 << 20);
    script.give_back(SPACE, 3 * REGION_PAGES + 12, 500);
    assert_eq!(script.pipeline.touched().huge_bytes(), 12 * PAGE_BYTES);
}

#[test]
fn a_files_pages_are_those_around_that_were_not_there_yet() {
    let mut script = Script::new();
    script.touch_file(A, 33, 1);
    script.touch_file(B, 40, 4);
    assert_eq!(script.numbers(SPACE), [32, 33, 34, 35, 40]);
    assert_eq!(script.pipeline.fault_counts().around_pages, 3);
    script.touch_file(B, 41, 16);
    assert_eq!(
        script.numbers(SPACE).len(),
        16,
        "all of the window, as the kernel says"
    );
    let counts = script.pipeline.fault_counts();
    assert_eq!(counts.superseded_pages, 5);
    assert_eq!(script.resident(), [(1, 0xa, 0), (1, 0xb, 16)]);
    // More than one window at once.
    script.touch_file(A, 120, 40);
    assert!(script.numbers(SPACE).contains(&120));
    assert_eq!(script.resident()[0], (1, 0xa, 40));
}

#[test]
fn a_page_that_is_touched_again_was_given_back_unseen() {
    let mut script = Script::new();
    script.touch_file(A, 7, 1);
    script.touch(B, 7, 1);
    assert_eq!(script.resident(), [(1, 0xa, 0), (1, 0xb, 1)]);
    assert_eq!(script.pipeline.fault_counts().superseded_pages, 1);
    assert_eq!(script.pipeline.touched().given_back_bytes, PAGE_BYTES);
}

#[test]
fn what_is_partly_covered_is_not_given_back() {
    let mut script = Script::new();
    script.touch(A, 0x100, 4);
    let what = What::GiveBack {
        address: 0x100 * PAGE_BYTES + 1,
        length: 3 * PAGE_BYTES,
    };
    script.apply(SPACE, what);
    assert_eq!(script.numbers(SPACE), [0x100, 0x103]);
    // Nothing is there.
    script.give_back(SPACE, 0, 1 << 50);
    script.give_back(SPACE, 0, 1);
    assert_eq!(script.resident(), [(1, 0xa, 0)]);
}

#[test]
fn the_heap_shrinks_from_its_new_end_on() {
    let mut script = Script::new();
    script.touch(A, 0x100, 16);
    script.touch(B, 0x10_0000, 1);
    let address = 0x104 * PAGE_BYTES + 8;
    script.apply(SPACE, What::GiveBackHeap { address });
    assert_eq!(script.resident(), [(1, 0xa, 5), (1, 0xb, 1)]);
}

#[test]
fn what_a_call_populates_is_at_most_the_range_and_stays_whose_it_was() {
    let mut script = Script::new();
    script.touch(A, 0x100, 2);
    let (memory, how) = (PageMemory::Anonymous, TouchHow::Populated);
    script.touch_as(SPACE, B, (0x100, 10), memory, how);
    script.touch_as(SPACE, B, (0, 5), PageMemory::Shared, how);
    assert_eq!(script.resident(), [(1, 0xa, 2), (1, 0xb, 8 + 5)]);
    let counts = script.pipeline.fault_counts();
    assert_eq!(counts.populated_pages, 8);
    assert_eq!(counts.unplaced_bytes, 5 * PAGE_BYTES);
    script.give_back(SPACE, 0, 1 << 40);
    let touched = script.pipeline.touched();
    assert_eq!(touched.resident_bytes(), 5 * PAGE_BYTES);
    assert_eq!(touched.resident_of(PageMemory::Shared), 5 * PAGE_BYTES);
    assert_eq!(touched.unplaced_bytes(), 5 * PAGE_BYTES);
}

#[test]
fn a_fork_copies_no_page_and_a_write_does() {
    let mut script = Script::new();
    script.touch(A, 0x100, 4);
    script.touch_file(A, 0x200, 1);
    script.fork();
    assert_eq!(script.resident(), [(1, 0xa, 5), (2, 0xa, 4)]);
    script.copy(CHILD, B, 0x101);
    script.copy(CHILD, B, 0x101);
    script.copy(SPACE, B, 0x200);
    assert_eq!(script.resident(), [(1, 0xa, 5), (2, 0xa, 3), (2, 0xb, 1)]);
    let touched = script.pipeline.touched();
    assert_eq!(touched.copied_bytes, PAGE_BYTES);
    assert_eq!(touched.inherited_bytes, 4 * PAGE_BYTES);
    assert_eq!(touched.resident_bytes(), 9 * PAGE_BYTES);
}

#[test]
fn a_parent_whose_child_runs_another_program_writes_to_its_own_pages() {
    let mut script = Script::new();
    script.touch(A, 0x100, 4);
    script.fork();
    let (pid, new_space) = (Pid(101), SpaceId(3));
    script.apply(CHILD, What::Exec { pid, new_space });
    script.copy(SPACE, B, 0x100);
    assert_eq!(script.resident(), [(1, 0xa, 4), (2, 0xa, 0)]);
    assert_eq!(script.pipeline.touched().copied_bytes, 0);
}

#[test]
fn a_process_that_exited_keeps_its_last_state_and_frees_its_room_when_that_is_short() {
    let mut script = Script::with_limits(PageLimits {
        regions: 2,
        sites: 1,
    });
    script.touch(A, 1, 1);
    script.fork();
    script.apply(CHILD, What::Exit { pid: Pid(101) });
    assert_eq!(script.numbers(CHILD), [1]);
    script.touch(B, 5 * REGION_PAGES, 1);
    assert!(script.numbers(CHILD).is_empty());
    script.touch(B, 7 * REGION_PAGES, 4);
    let counts = script.pipeline.fault_counts();
    assert_eq!((counts.not_followed_pages, counts.overflowed_sites), (4, 2));
    assert_eq!(script.resident(), [(1, 0xa, 1), (1, 0, 1), (2, 0xa, 1)]);
}

#[test]
fn pages_that_the_kernel_no_longer_has_are_charged_to_their_site() {
    let mut script = Script::new();
    script.touch(A, 0x100, 8);
    script.touch(B, 0x108, 8);
    script
        .pipeline
        .drop_gone_pages(SPACE, |number| number % 4 == 0);
    assert_eq!(script.resident(), [(1, 0xa, 2), (1, 0xb, 2)]);
    assert_eq!(script.pipeline.fault_counts().found_gone_pages, 12);
    let bytes = script
        .pipeline
        .touchers_in(SPACE, 0x104 * PAGE_BYTES + 96, 5 * PAGE_BYTES);
    assert_eq!(bytes, [(Some(A), PAGE_BYTES - 96), (Some(B), PAGE_BYTES)]);
}

#[test]
fn resident_memory_that_grows_is_said_to_grow_and_no_path_to_leak() {
    let mut script = Script::new();
    script.pipeline.judge_by(Subject::Resident);
    for second in 0..120 {
        script.touch(A, 0x1000 + second * 16, 16);
        let resident = 10 * (1 << 20) + script.pipeline.touched().resident_bytes();
        script.pipeline.hold(script.now, Some(resident));
    }
    let context = Context::new(script.pipeline.ticks());
    let judged = script.pipeline.judge(script.now, &context);
    // From 10 MiB by 7.5 MiB.
    assert_eq!(judged.whole.verdict, Verdict::Growing);
    let rate = judged.whole.rate.expect("a rate");
    assert!((rate - 65536.0).abs() < 3000.0, "{rate}");
    let reasons = judged.whole.reasons.join("; ");
    assert!(
        reasons.starts_with("resident memory grew from 10"),
        "{reasons}"
    );
    assert!(reasons.contains("memprof trace --pid 100"), "{reasons}");
    assert_eq!(judged.processes[&SPACE], judged.whole);
}

#[test]
fn each_process_is_judged_by_what_it_touched_and_kept() {
    let mut script = Script::new();
    script.pipeline.judge_by(Subject::Resident);
    script.touch(A, 0x1000, 1024);
    script.fork();
    for second in 0..120 {
        let memory = PageMemory::Anonymous;
        let at = (0x8000 + second * 64, 64);
        script.touch_as(CHILD, B, at, memory, TouchHow::Counted);
        script.pipeline.hold(script.now, None);
    }
    let context = Context::new(script.pipeline.ticks());
    let judged = script.pipeline.judge(script.now, &context);
    assert_eq!(judged.processes[&SPACE].verdict, Verdict::Stable);
    assert_eq!(judged.processes[&CHILD].verdict, Verdict::Growing);
}

#[derive(Clone, Debug)]
enum Step {
    Touch(u64, u32, u64, u8, u8),
    Copy(u64, u64),
    GiveBack(u64, u64),
    Heap(u64),
    Gone(u64),
    Fork,
    Exec,
    Switch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0u64..4000;
    let pages = prop_oneof![Just(1u32), 1u32..40, Just(512), Just(0)];
    let step = prop_oneof![
        100 => (at(), pages, 0u64..6, 0u8..3, 0u8..3)
            .prop_map(|(at, pages, stack, memory, how)| Step::Touch(at, pages, stack, memory, how)),
        40 => (at(), 0u64..6).prop_map(|(at, stack)| Step::Copy(at, stack)),
        20 => (at(), 0u64..900).prop_map(|(at, pages)| Step::GiveBack(at, pages)),
        3 => at().prop_map(Step::Heap),
        3 => (2u64..5).prop_map(Step::Gone),
        5 => Just(Step::Fork),
        2 => Just(Step::Exec),
        10 => Just(Step::Switch),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens, the sum over the sites is what the table holds and what has no place.
    #[test]
    fn totals_stay_in_step_with_the_pages(steps in steps(), regions in 3usize..40) {
        let mut script = Script::with_limits(PageLimits { regions, sites: 4 });
        let mut spaces = vec![SPACE];
        let mut at = 0;
        for step in steps {
            let space = spaces[at];
            let pid = Pid(100 + at as u32);
            match step {
                Step::Touch(at, pages, stack, memory, how) => {
                    let memory = [PageMemory::File, PageMemory::Anonymous, PageMemory::Shared]
                        [usize::from(memory)];
                    let how = [TouchHow::Counted, TouchHow::Guessed, TouchHow::Populated]
                        [usize::from(how)];
                    script.touch_as(space, StackId(stack), (at, pages), memory, how);
                }
                Step::Copy(at, stack) => script.copy(space, StackId(stack), at),
                Step::GiveBack(at, pages) => script.give_back(space, at, pages),
                Step::Heap(at) => {
                    let address = at * PAGE_BYTES;
                    script.apply(space, What::GiveBackHeap { address });
                }
                Step::Gone(divisor) => {
                    let stays = |number: u64| !number.is_multiple_of(divisor);
                    script.pipeline.drop_gone_pages(space, stays);
                }
                Step::Fork => {
                    let child = spaces.len() as u32;
                    let (child, child_space) = (Pid(100 + child), SpaceId(10 + child));
                    script.apply(space, What::Fork { pid, child, child_space });
                    spaces.push(child_space);
                }
                Step::Exec => {
                    let new_space = SpaceId(1000 + script.now as u32 / 1_000_000_000);
                    script.apply(space, What::Exec { pid, new_space });
                    spaces[at] = new_space;
                }
                Step::Switch => at = (at + 1) % spaces.len(),
            }
        }
        let mut taken = 0;
        for space in &script.pipeline.spaces {
            let touches = &space.touches;
            let mut sum = TouchTotals::default();
            for (_, _, totals) in touches.iter() {
                prop_assert_eq!(
                    totals.resident_bytes() + totals.given_back_bytes,
                    totals.touched_bytes + totals.inherited_bytes + totals.copied_bytes
                );
                sum.add(totals);
            }
            prop_assert_eq!(sum, touches.sum());
            let known = space.pages.len() * PAGE_BYTES + sum.unplaced_bytes();
            prop_assert_eq!(sum.resident_bytes(), known);
            taken += space.pages.regions();
        }
        prop_assert_eq!(script.pipeline.touched.room + taken, regions);
    }
}
