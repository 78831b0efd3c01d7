//! A process's pages, drawn up by hand, and what each counts as.

// A process with one range in memory.
#![allow(clippy::single_range_in_vec_init)]

use super::*;
use crate::snapshot::{classify, parse_smaps};

const KIB: u64 = 1024;
const BASE: u64 = 0x7f00_1000_0000;

/// A process: its mappings as (start, end, what follows in smaps' first line), its resident ranges, its
/// blocks.
#[derive(Clone, Copy, Default)]
struct Case<'a> {
    mappings: &'a [(u64, u64, &'a str)],
    resident: &'a [Range<u64>],
    blocks: &'a [(u64, u64)],
    mapped: Option<&'a [(Range<u64>, Owner)]>,
    before: Option<Before<'a>>,
    maps_blocks_alone: bool,
    known: Blocks,
}

fn pages(ranges: &[Range<u64>]) -> ResidentPages {
    let mut pages = ResidentPages::default();
    for range in ranges {
        pages.insert(range.clone());
    }
    pages
}

impl Case<'_> {
    fn tally(&self) -> Tally {
        let resident = pages(self.resident);
        let mut text = String::new();
        for (start, end, rest) in self.mappings {
            let rss = resident.resident_bytes(*start..*end) / KIB;
            text += &format!("{start:x}-{end:x} {rest}\nRss: {rss} kB\n");
        }
        let regions = parse_smaps(text.as_bytes()).unwrap();
        let classes = classify(&regions.kept, &[]);
        let mut held = HeldPages::new(&resident);
        for (address, size) in self.blocks {
            held.add(*address, *size);
        }
        let tally = tally(&Memory {
            regions: &regions,
            classes: &classes,
            resident: &resident,
            held: &held,
            blocks: self.known,
            mapped: self.mapped,
            before: self.before.unwrap_or(Before::Nothing),
            maps_blocks_alone: self.maps_blocks_alone,
        });
        assert_eq!(
            tally.total(),
            regions.total.rss_bytes,
            "nothing counts twice"
        );
        tally
    }
}

fn told(tally: &Tally) -> Vec<(PartKind, u64)> {
    let all = PartKind::ALL.into_iter();
    all.map(|part| (part, tally.bytes(part)))
        .filter(|(_, bytes)| *bytes > 0)
        .collect()
}

const HEAP: &str = "rw-p 0 0:0 0 [heap]";
const NAMELESS: &str = "rw-p 0 0:0 0 ";

#[test]
fn a_heap_is_blocks_what_is_beside_them_and_what_is_free() {
    let tally = Case {
        mappings: &[(BASE, BASE + 64 * KIB, HEAP)],
        // Of 16 pages 10 were touched; a block lies on one that was not.
        resident: &[BASE..BASE + 40 * KIB],
        blocks: &[
            (BASE + 16, 100),
            (BASE + 8 * KIB + 16, 1000),
            (BASE + 60 * KIB, 500),
        ],
        ..Case::default()
    }
    .tally();
    assert_eq!(
        told(&tally),
        [
            (PartKind::Held, 1100),
            (PartKind::SlackWithSurvivors, 8 * KIB - 1100),
            (PartKind::SlackFree, 32 * KIB),
        ]
    );
    assert!(!tally.is_guessed(PartKind::SlackFree));
}

#[test]
fn what_the_kernel_names_is_what_it_says() {
    let at = |number: u64| BASE + number * 64 * KIB;
    let range = |number| at(number)..at(number) + 8 * KIB;
    let tally = Case {
        mappings: &[
            (at(0), at(0) + 8 * KIB, "r-xp 0 fe:0 5 /usr/bin/a"),
            (at(1), at(1) + 8 * KIB, "rw-p 0 fe:0 5 /usr/bin/a"),
            // Its variables that begin as zeros.
            (at(1) + 8 * KIB, at(1) + 16 * KIB, NAMELESS),
            (at(2), at(2) + 8 * KIB, "rw-s 0 0:1 5 /memfd:x (deleted)"),
            (at(3), at(3) + 8 * KIB, "rw-p 0 0:0 0 [stack]"),
            (at(4), at(4) + 8 * KIB, "r-xp 0 0:0 0 [vdso]"),
            (at(5), at(5) + 8 * KIB, "rwxp 0 0:0 0 "),
        ],
        resident: &[
            range(0),
            at(1)..at(1) + 16 * KIB,
            range(2),
            range(3),
            range(4),
            range(5),
        ],
        ..Case::default()
    }
    .tally();
    assert_eq!(
        told(&tally),
        [
            (PartKind::Stacks, 8 * KIB),
            (PartKind::MappedFiles, 32 * KIB),
            (PartKind::Shared, 8 * KIB),
            (PartKind::Unexplained, 8 * KIB),
        ]
    );
}

/// The kernel makes one mapping of neighbours: a program's own memory beside a large block of glibc's.
#[test]
fn memory_beside_a_large_block_that_glibc_mapped_is_not_its_slack() {
    let large = 200 * KIB;
    let case = Case {
        mappings: &[(BASE, BASE + 600 * KIB, NAMELESS)],
        resident: &[BASE..BASE + 600 * KIB],
        blocks: &[(BASE + 16, large - 16)],
        maps_blocks_alone: true,
        ..Case::default()
    };
    assert_eq!(
        told(&case.tally()),
        [
            (PartKind::Held, large - 16),
            (PartKind::SlackWithSurvivors, 16),
            (PartKind::Unexplained, 400 * KIB),
        ]
    );
    // Another allocator may have cut the block from it; that is a guess.
    let other = Case {
        maps_blocks_alone: false,
        ..case
    }
    .tally();
    assert_eq!(other.bytes(PartKind::SlackFree), 400 * KIB);
    assert!(other.is_guessed(PartKind::SlackFree));
    // And a small block was cut from an arena even in glibc.
    let arena = Case {
        blocks: &[(BASE + 16, large - 16), (BASE + 300 * KIB + 48, 100)],
        maps_blocks_alone: true,
        mappings: &[(BASE, BASE + 600 * KIB, NAMELESS)],
        resident: &[BASE..BASE + 600 * KIB],
        ..Case::default()
    }
    .tally();
    assert_eq!(arena.bytes(PartKind::Unexplained), 0);
}

#[test]
fn what_was_in_memory_before_is_told_from_what_came() {
    let before = pages(&[BASE..BASE + 40 * KIB]);
    let case = Case {
        mappings: &[
            (BASE, BASE + 80 * KIB, HEAP),
            (BASE + 100 * KIB, BASE + 120 * KIB, NAMELESS),
        ],
        resident: &[BASE..BASE + 80 * KIB, BASE + 100 * KIB..BASE + 120 * KIB],
        // One in old memory, one in new.
        blocks: &[(BASE + 32, 100), (BASE + 44 * KIB, 100)],
        before: Some(Before::Pages(&before)),
        ..Case::default()
    };
    let tally = case.tally();
    assert_eq!(
        told(&tally),
        [
            (PartKind::Held, 200),
            (PartKind::SlackWithSurvivors, 4 * KIB - 100),
            (PartKind::SlackFree, 36 * KIB),
            (PartKind::BeforeAttaching, 40 * KIB - 100),
            (PartKind::Unexplained, 20 * KIB),
        ]
    );
    assert_eq!(tally.before, Some(PartKnownBy::Pages));
    let unknown = Case {
        before: Some(Before::Unknown),
        ..case
    }
    .tally();
    assert_eq!(unknown.before, None);
    assert_eq!(unknown.bytes(PartKind::BeforeAttaching), 0);
}

#[test]
fn who_mapped_memory_is_believed_before_what_it_looks_like() {
    let owner = |account, kind| Owner {
        account,
        kind,
        birth: 0,
    };
    let site = Account::Site(3);
    let range = |from: u64, to: u64| BASE + from * KIB..BASE + to * KIB;
    let mapped = [
        (range(0, 20), owner(site, MappedKind::Anonymous)),
        (
            range(20, 40),
            owner(Account::Allocator, MappedKind::Anonymous),
        ),
        (range(40, 60), owner(site, MappedKind::ThreadStack)),
    ];
    let before = pages(&[range(0, 80)]);
    let tally = Case {
        mappings: &[(BASE, BASE + 80 * KIB, NAMELESS)],
        resident: &[range(0, 80)],
        mapped: Some(&mapped),
        before: Some(Before::Pages(&before)),
        ..Case::default()
    }
    .tally();
    assert_eq!(
        told(&tally),
        [
            (PartKind::SlackFree, 20 * KIB),
            (PartKind::MappedByProgram, 20 * KIB),
            (PartKind::BeforeAttaching, 20 * KIB),
            (PartKind::Stacks, 20 * KIB),
        ]
    );
    assert!(tally.is_by_events(PartKind::SlackFree));
}

#[test]
fn what_has_a_guard_as_stacks_have_and_blocks_is_no_stack() {
    let case = Case {
        mappings: &[
            (BASE, BASE + 4 * KIB, "---p 0 0:0 0 "),
            (BASE + 4 * KIB, BASE + 260 * KIB, NAMELESS),
        ],
        resident: &[BASE + 4 * KIB..BASE + 104 * KIB],
        ..Case::default()
    };
    let stack = case.tally();
    assert_eq!(told(&stack), [(PartKind::Stacks, 100 * KIB)]);
    assert!(stack.is_guessed(PartKind::Stacks));
    let pool = Case {
        blocks: &[(BASE + 8 * KIB, 4 * KIB)],
        ..case
    }
    .tally();
    assert_eq!(
        told(&pool),
        [(PartKind::Held, 4 * KIB), (PartKind::SlackFree, 96 * KIB)]
    );
}

#[test]
fn of_a_sample_the_blocks_are_estimated_and_the_slack_is_one() {
    let case = Case {
        mappings: &[(BASE, BASE + 80 * KIB, HEAP)],
        resident: &[BASE..BASE + 80 * KIB],
        blocks: &[(BASE + 32, 100)],
        known: Blocks::Sampled(50.0 * 1024.0),
        ..Case::default()
    };
    assert_eq!(
        told(&case.tally()),
        [(PartKind::Held, 50 * KIB), (PartKind::Slack, 30 * KIB)]
    );
    let unseen = Case {
        known: Blocks::Unseen,
        blocks: &[],
        ..case
    };
    assert_eq!(told(&unseen.tally()), [(PartKind::Slack, 80 * KIB)]);
    // No more can be held than there is.
    let much = Case {
        known: Blocks::Sampled(1e12),
        ..case
    };
    assert_eq!(told(&much.tally()), [(PartKind::Held, 80 * KIB)]);
}

#[test]
fn what_was_not_looked_up_is_not_explained() {
    let mut resident = pages(&[BASE..BASE + 80 * KIB]);
    let text = format!(
        "{BASE:x}-{:x} {HEAP}\nRss: 80 kB\n{:x}-{:x} {NAMELESS}\nRss: 40 kB\n",
        BASE + 80 * KIB,
        BASE + 1024 * KIB * 1024,
        BASE + 1025 * KIB * 1024,
    );
    let regions = parse_smaps(text.as_bytes()).unwrap();
    resident.cut(BASE + 4 * KIB * 1024);
    let tally = tally(&Memory {
        regions: &regions,
        classes: &classify(&regions.kept, &[]),
        resident: &resident,
        held: &HeldPages::new(&resident),
        blocks: Blocks::Seen,
        mapped: None,
        before: Before::Nothing,
        maps_blocks_alone: true,
    });
    assert_eq!(
        told(&tally),
        [
            (PartKind::SlackFree, 80 * KIB),
            (PartKind::Unexplained, 40 * KIB)
        ]
    );
    assert_eq!(tally.rest.not_looked_at, 40 * KIB);
}
