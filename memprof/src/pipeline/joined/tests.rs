//! Scripted blocks and touches, and what is said of both together.

use memprof_common::event::PAGE_BYTES;
use memprof_common::sampling::Schedule;

use super::*;
use crate::events::event::{Event, MappingKind, PageMemory, PageToucher, Pid, TouchHow, What};
use crate::pipeline::{Limits, PageLimits};

const HOLDER: StackId = StackId(0xb);
const MAPPER: StackId = StackId(0xc);
const ONE: StackId = StackId(0x1);
const OTHER: StackId = StackId(0x2);
const SPACE: SpaceId = SpaceId(1);
const BASE: u64 = 1 << 30;

struct Script {
    pipeline: Pipeline,
    now: u64,
}

impl Script {
    fn new(pages: PageLimits) -> Self {
        let limits = Limits {
            pages,
            ..Limits::default()
        };
        let mut pipeline = Pipeline::with_limits(0, 1, limits);
        pipeline.add_process(Pid(100), SPACE);
        Self { pipeline, now: 0 }
    }

    fn apply(&mut self, what: What) {
        self.now += 1_000_000;
        self.pipeline.apply(Event {
            time: self.now,
            space: SPACE,
            what,
        });
    }

    fn alloc(&mut self, page: u64, size: u64) {
        self.apply(What::Alloc {
            address: BASE + page * PAGE_BYTES,
            size,
            stack: HOLDER,
        });
    }

    fn touch(&mut self, page: u64, pages: u32, stack: StackId, memory: PageMemory) {
        self.apply(What::Touch {
            address: BASE + page * PAGE_BYTES,
            pages,
            stack,
            memory,
            by: PageToucher::Program,
            how: TouchHow::Counted,
        });
    }

    /// What is known of the sites, the holder's first.
    fn sites(&self) -> Vec<JoinedSite> {
        let spaces = self.pipeline.joined().expect("few blocks");
        let [one] = &spaces[..] else {
            panic!("one space");
        };
        let sites = one.sites.as_ref().expect("its pages are on record");
        let mut sites: Vec<_> = sites.iter().collect();
        sites.sort_by_key(|(site, _)| **site);
        sites
            .into_iter()
            .map(|(_, joined)| joined.clone())
            .collect()
    }
}

fn bytes(joined: &JoinedSite, stack: StackId) -> u64 {
    joined.first_touched.get(&stack).map_or(0, |one| one.bytes)
}

#[test]
fn blocks_and_mappings_know_who_touched_them_first() {
    let mut script = Script::new(PageLimits::default());
    script.touch(0, 2, ONE, PageMemory::Anonymous);
    script.alloc(0, 10 * PAGE_BYTES);
    script.touch(4, 1, OTHER, PageMemory::Anonymous);
    script.apply(What::Map {
        address: BASE + 100 * PAGE_BYTES,
        length: 50 * PAGE_BYTES,
        stack: MAPPER,
        kind: MappingKind::Anonymous,
        inner: false,
    });
    script.touch(140, 4, OTHER, PageMemory::Anonymous);
    let sites = script.sites();
    let [holder, mapper] = &sites[..] else {
        panic!("two sites: {sites:?}");
    };
    assert_eq!(holder.held_bytes, 10 * PAGE_BYTES);
    assert_eq!(holder.touched_bytes, 3 * PAGE_BYTES);
    assert_eq!(bytes(holder, ONE), 2 * PAGE_BYTES);
    assert_eq!(bytes(holder, OTHER), PAGE_BYTES);
    assert_eq!(mapper.held_bytes, 50 * PAGE_BYTES);
    assert_eq!(
        (mapper.touched_bytes, bytes(mapper, OTHER)),
        (4 * PAGE_BYTES, 4 * PAGE_BYTES)
    );
    let mut both = holder.clone();
    both.add(mapper);
    assert_eq!(
        (both.touched_bytes, bytes(&both, OTHER)),
        (7 * PAGE_BYTES, 5 * PAGE_BYTES)
    );
}

#[test]
fn where_blocks_were_sampled_or_pages_forgotten_nothing_is_said() {
    let mut script = Script::new(PageLimits {
        regions: 1,
        sites: 4,
    });
    script.alloc(0, 100);
    script.touch(0, 1, ONE, PageMemory::Anonymous);
    script.apply(What::Exit { pid: Pid(100) });
    assert_eq!(script.sites()[0].touched_bytes, 100);
    // Another process needs the only region.
    script.pipeline.add_process(Pid(101), SpaceId(2));
    script.pipeline.apply(Event {
        time: script.now + 1,
        space: SpaceId(2),
        what: What::Touch {
            address: BASE,
            pages: 1,
            stack: ONE,
            memory: PageMemory::Anonymous,
            by: PageToucher::Program,
            how: TouchHow::Counted,
        },
    });
    let spaces = script.pipeline.joined().expect("few blocks");
    assert_eq!(
        spaces,
        [JoinedSpace {
            space: SPACE,
            sites: None
        }]
    );

    let mut script = Script::new(PageLimits::default());
    script.pipeline.sample(Schedule {
        before: 1 << 19,
        from: 0,
        after: 1 << 19,
    });
    assert_eq!(script.pipeline.joined(), Err(NotJoined::Sampled));
}

#[test]
fn a_block_that_realloc_moved_keeps_its_pages() {
    let mut script = Script::new(PageLimits::default());
    let alloc = |page: u64, pages: u64| What::Alloc {
        address: BASE + page * PAGE_BYTES + 16,
        size: pages * PAGE_BYTES,
        stack: HOLDER,
    };
    let resize = |page: u64| What::ResizeFree {
        address: BASE + page * PAGE_BYTES + 16,
    };
    script.touch(0, 32, ONE, PageMemory::Anonymous);
    script.apply(alloc(0, 100));
    script.apply(resize(0));
    script.apply(alloc(1000, 200));
    let sites = script.sites();
    assert_eq!(bytes(&sites[0], ONE), 32 * PAGE_BYTES - 16);
    // Another time it is copied: the new pages are touched, and the old ones given back.
    script.apply(resize(1000));
    script.touch(2016, 32, OTHER, PageMemory::Anonymous);
    script.apply(What::GiveBack {
        address: BASE + 1000 * PAGE_BYTES,
        length: 200 * PAGE_BYTES,
    });
    script.apply(alloc(2016, 300));
    let sites = script.sites();
    assert_eq!(sites[0].touched_bytes, 32 * PAGE_BYTES - 16);
    assert_eq!(bytes(&sites[0], OTHER), 32 * PAGE_BYTES - 16);
}

#[test]
fn pages_of_files_are_not_said_to_be_at_a_place() {
    let mut script = Script::new(PageLimits::default());
    script.touch(0, 4, ONE, PageMemory::Anonymous);
    script.touch(4, 1, ONE, PageMemory::File);
    script.touch(5, 1, ONE, PageMemory::Shared);
    script.touch(513, 1, OTHER, PageMemory::Anonymous);
    let base = BASE / PAGE_BYTES;
    let runs = script.pipeline.placed_runs(SPACE);
    assert_eq!(
        runs,
        [base..base + 4, base + 5..base + 6, base + 513..base + 514]
    );
}
