//! Compares two looks. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::change::{
    Change, Figure, FigureChange, GroupChange, SnapshotDiff, SnapshotDiffSchema, SnapshotSide,
};
use super::groups::OTHERS;
use super::model::{Amounts, Group, MappingKind, Snapshot};
use crate::report::Memprof;

/// What changed from one look to another, each with the path that it was read from.
pub fn compare<'a>(
    (before_path, before): (&str, &'a Snapshot),
    (after_path, after): (&str, &'a Snapshot),
) -> SnapshotDiff<'a> {
    let same_process = is_same_process(before, after);
    let mapped = before.mappings.as_ref().zip(after.mappings.as_ref());
    let is_others = |name: &&str| *name == OTHERS;
    SnapshotDiff {
        schema: SnapshotDiffSchema::V1,
        memprof: Memprof::this(),
        before: side(before_path, before),
        after: side(after_path, after),
        same_process,
        figures: figures(before, after),
        by_kind: mapped.map(|(before, after)| {
            let of = |group: &Group<MappingKind>| group.name;
            let is_others = |name: &MappingKind| *name == MappingKind::Others;
            changes(&before.by_kind, &after.by_kind, of, is_others)
        }),
        by_file: mapped
            .map(|(before, after)| changes(&before.by_file, &after.by_file, name, is_others)),
        by_permissions: mapped.map(|(before, after)| {
            changes(
                &before.by_permissions,
                &after.by_permissions,
                name,
                is_others,
            )
        }),
        notes: notes(before, after, same_process),
    }
}

fn name(group: &Group<String>) -> &str {
    &group.name
}

fn side<'a>(path: &str, snapshot: &'a Snapshot) -> SnapshotSide<'a> {
    SnapshotSide {
        path: path.to_owned(),
        taken_at: &snapshot.taken_at,
        label: snapshot.label.as_deref(),
        process: &snapshot.process,
    }
}

/// A process is known by its id and its start; ids come back.
fn is_same_process(before: &Snapshot, after: &Snapshot) -> bool {
    let (one, other) = (&before.process, &after.process);
    one.pid == other.pid && one.started_seconds_after_boot == other.started_seconds_after_boot
}

fn figures(before: &Snapshot, after: &Snapshot) -> Vec<FigureChange> {
    let value = |snapshot: &Snapshot, figure: Figure| {
        let memory = &snapshot.memory;
        let mappings = snapshot.mappings.as_ref();
        let cgroup = snapshot.cgroup.as_ref();
        match figure {
            Figure::RssBytes => memory.rss_bytes,
            Figure::PssBytes => memory.pss_bytes,
            Figure::UssBytes => memory.uss_bytes,
            Figure::SwapBytes => memory.swap_bytes,
            Figure::PeakRssBytes => memory.peak_rss_bytes,
            Figure::VirtualBytes => memory.virtual_bytes,
            Figure::PageTablesBytes => memory.page_tables_bytes,
            Figure::Mappings => mappings.map(|mappings| mappings.count),
            Figure::Threads => snapshot.threads.count,
            Figure::OpenFiles => snapshot.open_files.map(|files| files.count),
            Figure::CgroupUsageBytes => cgroup.and_then(|cgroup| cgroup.usage_bytes),
            Figure::AvailableBytes => snapshot.system.and_then(|system| system.available_bytes),
        }
    };
    let change = |name: Figure| {
        let (before, after) = (value(before, name), value(after, name));
        FigureChange {
            name,
            change: before.zip(after).map(|(was, is)| difference(is, was)),
            before,
            after,
        }
    };
    let largest_first = |figure: &FigureChange| Reverse(figure.change.map_or(0, i64::unsigned_abs));
    // The process's own sizes, what it has, and what is not its alone.
    let mut own = [
        Figure::RssBytes,
        Figure::PssBytes,
        Figure::UssBytes,
        Figure::SwapBytes,
        Figure::PeakRssBytes,
        Figure::VirtualBytes,
        Figure::PageTablesBytes,
    ]
    .map(change);
    own.sort_by_key(largest_first);
    let mut numbers = [Figure::Mappings, Figure::Threads, Figure::OpenFiles].map(change);
    numbers.sort_by_key(largest_first);
    let around = [Figure::CgroupUsageBytes, Figure::AvailableBytes].map(change);
    own.into_iter().chain(numbers).chain(around).collect()
}

/// The groups that differ, the largest change of what is in memory or swapped out first, then by size.
fn changes<'a, S, K: Copy + Ord>(
    before: &'a [Group<S>],
    after: &'a [Group<S>],
    name: impl Fn(&'a Group<S>) -> K,
    is_others: impl Fn(&K) -> bool,
) -> Vec<GroupChange<K>> {
    type Sides = [Option<(u64, Amounts)>; 2];
    let mut both: BTreeMap<K, Sides> = BTreeMap::new();
    // Where some are added up, one that is not listed may be among them.
    let mut lists_all = [true; 2];
    for (at, groups) in [before, after].into_iter().enumerate() {
        for group in groups {
            let name = name(group);
            lists_all[at] &= !is_others(&name);
            // A saved look may have been written by anyone: of a name that is there twice, the last.
            both.entry(name).or_default()[at] = Some((group.mappings, group.amounts));
        }
    }
    let mut changes: Vec<GroupChange<K>> = both
        .into_iter()
        .filter_map(|(name, [before, after])| change(name, before, after, lists_all))
        .collect();
    changes.sort_by_key(|change| {
        let (mut present, mut size) = (0, 0);
        for (sign, side) in [(-1, change.before), (1, change.after)] {
            let amounts = side.unwrap_or_default();
            present += sign * (i128::from(amounts.rss_bytes) + i128::from(amounts.swap_bytes));
            size += sign * i128::from(amounts.size_bytes);
        }
        Reverse((present.unsigned_abs(), size.unsigned_abs()))
    });
    changes
}

fn change<K>(
    name: K,
    before: Option<(u64, Amounts)>,
    after: Option<(u64, Amounts)>,
    lists_all: [bool; 2],
) -> Option<GroupChange<K>> {
    if before == after {
        return None;
    }
    let change = match (before, after) {
        (None, _) if !lists_all[0] => Change::NotListedBefore,
        (_, None) if !lists_all[1] => Change::NotListedAfter,
        (None, _) => Change::New,
        (_, None) => Change::Gone,
        (Some((_, was)), Some((_, is))) => {
            let size =
                |one: Amounts| (one.rss_bytes.saturating_add(one.swap_bytes), one.size_bytes);
            match size(is).cmp(&size(was)) {
                std::cmp::Ordering::Greater => Change::Grown,
                std::cmp::Ordering::Less => Change::Shrunk,
                std::cmp::Ordering::Equal => Change::Changed,
            }
        }
    };
    // What is not there holds nothing, unless it is only not listed.
    let known = |side: Option<(u64, Amounts)>, lists_all| match side {
        None if lists_all => Some(Default::default()),
        side => side,
    };
    let sides = known(before, lists_all[0]).zip(known(after, lists_all[1]));
    let by = |field: fn(&Amounts) -> u64| {
        sides.map(|((_, was), (_, is))| difference(field(&is), field(&was)))
    };
    Some(GroupChange {
        name,
        change,
        rss_bytes_change: by(|amounts| amounts.rss_bytes),
        pss_bytes_change: by(|amounts| amounts.pss_bytes),
        uss_bytes_change: by(|amounts| amounts.uss_bytes),
        swap_bytes_change: by(|amounts| amounts.swap_bytes),
        size_bytes_change: by(|amounts| amounts.size_bytes),
        mappings_change: sides.map(|((was, _), (is, _))| difference(is, was)),
        before: before.map(|side| side.1),
        after: after.map(|side| side.1),
    })
}

/// `now - before`, at the limits of `i64` if it is beyond them.
fn difference(now: u64, before: u64) -> i64 {
    let magnitude = i64::try_from(now.abs_diff(before)).unwrap_or(i64::MAX);
    if now >= before { magnitude } else { -magnitude }
}

fn notes(before: &Snapshot, after: &Snapshot, same_process: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !same_process {
        notes.push("the snapshots are of two processes, or of two lives of one id".to_owned());
    }
    for (which, snapshot) in [("first", before), ("second", after)] {
        if snapshot.mappings.is_none() {
            notes.push(format!(
                "the {which} snapshot has no mappings: groups can't be compared"
            ));
        }
    }
    if before.memory.source != after.memory.source {
        notes.push(
            "RSS and swap are counted page by page in one snapshot, in the other they are the kernel's \
             counters, which may lag by some pages"
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::model::{Mappings, Memory, MemorySource, SnapshotProcess, SnapshotSchema};
    use super::*;
    use crate::report::Host;

    fn snapshot(files: &[(&str, u64, u64)]) -> Snapshot {
        let by_file = files.iter().map(|(name, rss, size)| Group {
            name: (*name).to_owned(),
            mappings: 1,
            amounts: Amounts {
                rss_bytes: *rss,
                size_bytes: *size,
                ..Amounts::default()
            },
        });
        let rss = files
            .iter()
            .fold(0_u64, |sum, file| sum.saturating_add(file.1));
        Snapshot {
            schema: SnapshotSchema::V1,
            memprof: Memprof::this(),
            host: Host {
                kernel: String::new(),
                arch: String::new(),
                cpus: 1,
            },
            taken_at: "2026-11-21T12:00:00.000Z".to_owned(),
            label: None,
            process: SnapshotProcess {
                pid: 7,
                started_seconds_after_boot: Some(1.5),
                ..SnapshotProcess::default()
            },
            memory: Memory {
                source: MemorySource::Smaps,
                rss_bytes: Some(rss),
                ..Memory::default()
            },
            mappings: Some(Mappings {
                count: files.len() as u64,
                by_file: by_file.collect(),
                ..Mappings::default()
            }),
            threads: Default::default(),
            open_files: None,
            system: None,
            cgroup: None,
            notes: Vec::new(),
        }
    }

    fn compared<'a>(before: &'a Snapshot, after: &'a Snapshot) -> SnapshotDiff<'a> {
        compare(("a", before), ("b", after))
    }

    fn files<'a>(diff: &SnapshotDiff<'a>) -> Vec<(&'a str, Change, Option<i64>)> {
        let files = diff.by_file.as_ref().unwrap().iter();
        files
            .map(|one| (one.name, one.change, one.rss_bytes_change))
            .collect()
    }

    #[test]
    fn the_largest_change_comes_first_and_what_stayed_is_left_out() {
        let before = snapshot(&[
            ("/a", 100, 100),
            ("/b", 50, 50),
            ("/c", 7, 7),
            ("/d", 0, 10),
        ]);
        let after = snapshot(&[
            ("/a", 130, 130),
            ("/c", 7, 7),
            ("/d", 0, 99),
            ("/e", 900, 900),
        ]);
        let diff = compared(&before, &after);
        assert_eq!(
            files(&diff),
            [
                ("/e", Change::New, Some(900)),
                ("/b", Change::Gone, Some(-50)),
                ("/a", Change::Grown, Some(30)),
                ("/d", Change::Grown, Some(0)),
            ]
        );
        let rss = diff.figures[0];
        assert_eq!((rss.name, rss.change), (Figure::RssBytes, Some(880)));
        let pss = diff.figures.iter().find(|one| one.name == Figure::PssBytes);
        assert_eq!(pss.unwrap().change, None, "unknown is not zero");
        assert!(diff.same_process && diff.notes.is_empty());
    }

    #[test]
    fn a_look_and_itself_differ_in_nothing() {
        let one = snapshot(&[("/a", 1, 1), (OTHERS, 5, 5)]);
        let diff = compared(&one, &one);
        assert_eq!(files(&diff), []);
        assert!(
            diff.figures
                .iter()
                .all(|figure| figure.change.is_none_or(|change| change == 0))
        );
    }

    #[test]
    fn what_may_be_among_the_others_is_neither_new_nor_gone() {
        let before = snapshot(&[("/a", 5, 5), (OTHERS, 50, 50)]);
        let after = snapshot(&[("/b", 9, 9), (OTHERS, 50, 50)]);
        assert_eq!(
            files(&compared(&before, &after)),
            [
                ("/b", Change::NotListedBefore, None),
                ("/a", Change::NotListedAfter, None),
            ]
        );
    }

    #[test]
    fn another_process_and_missing_mappings_are_said() {
        let before = snapshot(&[("/a", 5, 5)]);
        let mut after = snapshot(&[]);
        after.mappings = None;
        after.memory.source = MemorySource::Status;
        after.process.started_seconds_after_boot = Some(2.0);
        let diff = compared(&before, &after);
        assert!(!diff.same_process);
        assert!(diff.by_file.is_none() && diff.by_kind.is_none());
        assert_eq!(diff.notes.len(), 3, "{:?}", diff.notes);
    }

    #[test]
    fn sizes_that_nothing_has_do_no_harm() {
        let before = snapshot(&[("/a", u64::MAX, u64::MAX)]);
        let after = snapshot(&[("/a", 0, 0)]);
        let diff = compared(&before, &after);
        assert_eq!(files(&diff), [("/a", Change::Shrunk, Some(-i64::MAX))]);
    }
}
