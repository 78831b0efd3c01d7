//! Who holds how much: a row for each process, and sums of them by what they have in common.

use std::collections::HashMap;

use procfs::process::Process as Proc;

use super::{collector::State, roster::Followed, targets::Tracer, touchers};
use crate::{
    identity::{Pid, SpaceId},
    pipeline::Judged,
    report::{Group, GroupBy, ProcessCoverage, ProcessTotals, Verdict},
    target::{cgroups::container, process::resident_bytes},
};

/// Processes whose share of resident memory is read: the kernel looks through all their pages for it.
const MOST_SHARES: usize = 64;

/// A row, with the space that the process lives in.
pub struct Row {
    /// The row.
    pub totals: ProcessTotals,
    space: SpaceId,
}

/// A row for each process that is remembered, the most first. Blocks of programs that it ran before are
/// in what it allocated.
pub fn rows(state: &State, judged: &Judged, faults: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut known: HashMap<Result<u64, SpaceId>, usize> = HashMap::new();
    for process in state.pipeline.processes() {
        let Some(pid) = process.pid else { continue };
        let who = state.processes.of_space(process.space);
        let ended = who.map_or(process.ended, Followed::has_ended);
        // Of one that is forgotten each space has a row.
        let key = who.map(|who| who.number).ok_or(process.space);
        let at = *known.entry(key).or_insert_with(|| {
            rows.push(Row {
                totals: ProcessTotals {
                    pid: pid.0,
                    comm: who.and_then(|who| who.facts.comm.clone()),
                    cgroup: who.and_then(|who| who.cgroup.clone()),
                    container: who.and_then(|who| container(who.cgroup.as_deref()?)),
                    ended,
                    ..ProcessTotals::default()
                },
                space: process.space,
            });
            rows.len() - 1
        });
        let row = &mut rows[at].totals;
        row.allocated_bytes += process.totals.allocated_bytes;
        row.allocated_count += process.totals.allocated_count;
        row.freed_bytes += process.totals.freed_bytes;
        row.freed_count += process.totals.freed_count;
        row.outstanding_bytes += process.totals.outstanding_bytes();
        row.outstanding_count += process.totals.outstanding_count();
        if faults {
            touchers::add_to_process(row, &process.touched);
        }
        if let Some(judgement) = judged.processes.get(&process.space) {
            row.verdict = Some(judgement.verdict);
            row.confidence = judgement.confidence;
            row.rate_bytes_per_second = judgement.rate;
            row.rate_ci95_bytes_per_second = judgement.rate_ci95;
        }
    }
    rows.sort_by_key(|row| {
        let most = std::cmp::Reverse((
            row.totals.outstanding_bytes,
            row.totals.touched_resident_bytes,
        ));
        (most, row.totals.pid, row.space)
    });
    rows
}

/// Adds what is asked of the system: resident memory, and which allocators are probed.
pub fn complete(rows: &mut [Row], tracer: &Tracer) {
    for row in rows {
        let pid = Pid(row.totals.pid);
        if !row.totals.ended {
            row.totals.rss_bytes = resident_bytes(pid);
        }
        row.totals.coverage = tracer.probed_in(pid).map(|all| {
            all.map(|one| ProcessCoverage {
                module: one.module.clone(),
                allocator: one.allocator.clone(),
            })
            .collect()
        });
    }
}

/// What was freed since is not known.
pub fn forget_verdicts(rows: &mut [Row]) {
    for Row { totals, .. } in rows {
        totals.verdict = None;
        totals.confidence = None;
        totals.rate_bytes_per_second = None;
        totals.rate_ci95_bytes_per_second = None;
    }
}

/// Adds the shares of resident memory of those that have most of it.
pub fn read_shares(rows: &mut [Row]) {
    let mut largest: Vec<&mut Row> = rows.iter_mut().collect();
    largest.sort_by_key(|row| std::cmp::Reverse(row.totals.rss_bytes));
    for row in largest.into_iter().take(MOST_SHARES) {
        if row.totals.rss_bytes.is_some() {
            row.totals.pss_bytes = share_bytes(Pid(row.totals.pid));
        }
    }
}

/// Pages of a process, those that it shares with others in part, bytes.
fn share_bytes(pid: Pid) -> Option<u64> {
    let rollup = Proc::new(i32::try_from(pid.0).ok()?)
        .ok()?
        .smaps_rollup()
        .ok()?;
    let all = rollup.memory_map_rollup.into_iter().next()?;
    all.extension.map.get("Pss").copied()
}

/// Sums over what the processes have in common, the most first; none if each is its own.
pub fn groups(rows: &[Row], by: GroupBy) -> Vec<Group> {
    let mut groups: HashMap<Option<&str>, Vec<&ProcessTotals>> = HashMap::new();
    for row in rows {
        let name = match by {
            GroupBy::Process => return Vec::new(),
            GroupBy::Comm => row.totals.comm.as_deref(),
            GroupBy::Cgroup => row.totals.cgroup.as_deref(),
            GroupBy::All => None,
        };
        groups.entry(name).or_default().push(&row.totals);
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(name, members)| group(name, &members, by))
        .collect();
    groups.sort_by(|a, b| {
        let bytes = |one: &Group| (one.outstanding_bytes, one.touched_resident_bytes);
        let by_bytes = bytes(b).cmp(&bytes(a));
        by_bytes.then_with(|| a.name.cmp(&b.name))
    });
    groups
}

fn group(name: Option<&str>, members: &[&ProcessTotals], by: GroupBy) -> Group {
    let sum = |quantity: fn(&ProcessTotals) -> u64| members.iter().map(|one| quantity(one)).sum();
    let living = || members.iter().filter(|one| !one.ended);
    let worst = members
        .iter()
        .filter(|one| one.verdict.is_some())
        .max_by(|a, b| {
            let key = |one: &ProcessTotals| (one.verdict.map(gravity), one.confidence);
            key(a)
                .partial_cmp(&key(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    let mut group = Group {
        name: name.map(str::to_owned),
        container: name.filter(|_| by == GroupBy::Cgroup).and_then(container),
        processes: members.len() as u64,
        living: living().count() as u64,
        allocated_bytes: sum(|one| one.allocated_bytes),
        allocated_count: sum(|one| one.allocated_count),
        freed_bytes: sum(|one| one.freed_bytes),
        freed_count: sum(|one| one.freed_count),
        outstanding_bytes: sum(|one| one.outstanding_bytes),
        outstanding_count: sum(|one| one.outstanding_count),
        rss_bytes: living().map(|one| one.rss_bytes).sum(),
        pss_bytes: living().map(|one| one.pss_bytes).sum(),
        verdict: worst.and_then(|one| one.verdict),
        confidence: worst.and_then(|one| one.confidence),
        rate_bytes_per_second: members
            .iter()
            .filter_map(|one| one.rate_bytes_per_second)
            .reduce(|a, b| a + b),
        ..Group::default()
    };
    touchers::add_to_group(&mut group, members);
    group
}

/// The worse, the more.
fn gravity(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Leak => 6,
        Verdict::Growing => 5,
        Verdict::WarmUp => 4,
        Verdict::Sawtooth => 3,
        Verdict::Bounded => 2,
        Verdict::Stable => 1,
        Verdict::InsufficientData => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32, comm: &str, outstanding: u64, verdict: Verdict) -> Row {
        Row {
            totals: ProcessTotals {
                pid,
                comm: Some(comm.to_owned()),
                cgroup: Some("/docker/x".to_owned()),
                outstanding_bytes: outstanding,
                rss_bytes: Some(10),
                pss_bytes: (pid != 3).then_some(5),
                verdict: Some(verdict),
                rate_bytes_per_second: (pid != 2).then_some(1.5),
                ..ProcessTotals::default()
            },
            space: SpaceId(pid),
        }
    }

    #[test]
    fn a_group_is_as_bad_as_the_worst_in_it_and_holds_what_all_hold() {
        let rows = [
            row(1, "web", 10, Verdict::Stable),
            row(2, "web", 20, Verdict::Leak),
            row(3, "db", 25, Verdict::Bounded),
        ];
        let by_name = groups(&rows, GroupBy::Comm);
        let [web, db] = &by_name[..] else {
            panic!("{by_name:?}");
        };
        assert_eq!((web.name.as_deref(), web.processes), (Some("web"), 2));
        assert_eq!(
            (web.outstanding_bytes, web.verdict),
            (30, Some(Verdict::Leak))
        );
        assert_eq!((web.rss_bytes, web.pss_bytes), (Some(20), Some(10)));
        assert_eq!(web.rate_bytes_per_second, Some(1.5));
        assert_eq!(
            (db.rss_bytes, db.pss_bytes),
            (Some(10), None),
            "not known of all"
        );
        assert_eq!(groups(&rows, GroupBy::All).len(), 1);
        assert_eq!(groups(&rows, GroupBy::Process), []);
    }
}
