//! Two reports, call path by call path.

use std::collections::BTreeMap;

use super::key::{SameBuilds, StackKey};
use super::model::{Amounts, Change, Counts, Diff, DiffSchema, Side, StackChange};
use crate::report::{Memprof, Report, SamplingMode, TopAllocator, Verdict};
use crate::units::format_seconds;

/// Runs whose lengths differ by more than this share are said to.
const TOLERATED_LENGTHS: f64 = 0.1;

/// What puts a call path first: the size of its change in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Bytes outstanding.
    OutstandingBytes,
    /// Blocks outstanding.
    OutstandingCount,
    /// Bytes ever allocated.
    AllocatedBytes,
    /// The growth of the outstanding bytes.
    Rate,
}

#[derive(Default)]
struct Pair<'a> {
    before: Option<(Amounts, &'a TopAllocator)>,
    after: Option<(Amounts, &'a TopAllocator)>,
}

/// Compares two reports, each with the path that it was read from; the `top` call paths that
/// changed most come one by one.
pub fn compare<'a>(
    (before_path, before): (&str, &'a Report),
    (after_path, after): (&str, &'a Report),
    by: By,
    top: usize,
) -> Diff<'a> {
    let sides = (side(before_path, before), side(after_path, after));
    let builds = SameBuilds::of(before, after);
    let mut pairs: BTreeMap<StackKey<'a>, Pair<'a>> = BTreeMap::new();
    for row in &before.top_allocators {
        join(&mut pairs.entry(builds.key(row)).or_default().before, row);
    }
    for row in &after.top_allocators {
        join(&mut pairs.entry(builds.key(row)).or_default().after, row);
    }
    let mut counts = Counts::default();
    let mut stacks: Vec<(f64, StackChange<'a>)> = Vec::new();
    for pair in pairs.into_values() {
        let Some(stack) = stack_change(&pair, &sides) else {
            continue;
        };
        count(&mut counts, &stack);
        if stack.change != Change::Unchanged || stack.verdict_changed {
            stacks.push((size_of_change(&stack, by), stack));
        }
    }
    // What changed alike stays in the order of the names.
    stacks.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    stacks.truncate(top);
    let stacks = (1..)
        .zip(stacks)
        .map(|(rank, (_, stack))| StackChange { rank, ..stack });
    Diff {
        schema: DiffSchema::V1,
        memprof: Memprof::this(),
        outstanding_bytes_change: difference(sides.1.outstanding_bytes, sides.0.outstanding_bytes),
        outstanding_count_change: difference(sides.1.outstanding_count, sides.0.outstanding_count),
        verdict_changed: sides.0.verdict != sides.1.verdict,
        counts,
        stacks: stacks.collect(),
        notes: notes(before, after, &sides),
        before: sides.0,
        after: sides.1,
    }
}

fn side<'a>(path: &str, report: &'a Report) -> Side<'a> {
    let summary = &report.summary;
    let rows = &report.top_allocators;
    let sum = |amount: fn(&TopAllocator) -> u64| {
        rows.iter()
            .fold(0u64, |sum, row| sum.saturating_add(amount(row)))
    };
    // The totals of a sample are rounded, each on its own.
    let rounding = match report.quality.sampling.mode {
        SamplingMode::All => 0,
        SamplingMode::Poisson => rows.len() as u64 + 1,
    };
    let covers = |listed: u64, all: u64| listed.saturating_add(rounding) >= all;
    Side {
        path: path.to_owned(),
        started_at: &report.started_at,
        duration_seconds: report.duration_seconds,
        outstanding_bytes: summary.outstanding_bytes,
        outstanding_count: summary.outstanding_count,
        verdict: report.leak_detection.verdict,
        confidence: report.leak_detection.confidence,
        complete: report.quality.complete,
        stacks_listed: rows.len() as u64,
        lists_every_stack: covers(sum(|row| row.outstanding_bytes), summary.outstanding_bytes)
            && covers(sum(|row| row.outstanding_count), summary.outstanding_count),
    }
}

/// Adds a row to what is known of its call path: several processes may have it.
fn join<'a>(known: &mut Option<(Amounts, &'a TopAllocator)>, row: &'a TopAllocator) {
    let of_row = Amounts {
        outstanding_bytes: row.outstanding_bytes,
        outstanding_count: row.outstanding_count,
        allocated_bytes: row.allocated_bytes,
        allocated_count: row.allocated_count,
        verdict: row.verdict,
        confidence: row.confidence,
        rate_bytes_per_second: row.rate_bytes_per_second,
    };
    let Some((sum, first)) = known else {
        *known = Some((of_row, row));
        return;
    };
    if row.outstanding_bytes > first.outstanding_bytes {
        *first = row;
    }
    let add = |a: &mut u64, b: u64| *a = a.saturating_add(b);
    add(&mut sum.outstanding_bytes, of_row.outstanding_bytes);
    add(&mut sum.outstanding_count, of_row.outstanding_count);
    add(&mut sum.allocated_bytes, of_row.allocated_bytes);
    add(&mut sum.allocated_count, of_row.allocated_count);
    if badness(of_row.verdict) > badness(sum.verdict) {
        (sum.verdict, sum.confidence) = (of_row.verdict, of_row.confidence);
    }
    sum.rate_bytes_per_second = sum
        .rate_bytes_per_second
        .zip(of_row.rate_bytes_per_second)
        .map(|(one, other)| one + other);
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::InsufficientData => 0,
        Verdict::Stable => 1,
        Verdict::Bounded => 2,
        Verdict::Sawtooth => 3,
        Verdict::WarmUp => 4,
        Verdict::Growing => 5,
        Verdict::Leak => 6,
    }
}

/// What became of a call path; `None` if it holds and held nothing as far as is known.
fn stack_change<'a>(pair: &Pair<'a>, sides: &(Side<'a>, Side<'a>)) -> Option<StackChange<'a>> {
    let (_, row) = pair.after.as_ref().or(pair.before.as_ref())?;
    let before = pair.before.as_ref().map(|(amounts, _)| *amounts);
    let after = pair.after.as_ref().map(|(amounts, _)| *amounts);
    let held = |amounts: &Option<Amounts>, side: &Side<'_>| match amounts {
        Some(amounts) => Some((amounts.outstanding_bytes, amounts.outstanding_count)),
        None => side.lists_every_stack.then_some((0, 0)),
    };
    let was = held(&before, &sides.0);
    let is = held(&after, &sides.1);
    let change = match (was, is) {
        (None, Some((_, 0))) | (Some((_, 0)), None) | (None, None) => return None,
        (None, Some(_)) => Change::NotListedBefore,
        (Some(_), None) => Change::NotListedAfter,
        (Some((_, 0)), Some((_, 0))) => return None,
        (Some((_, 0)), Some(_)) => Change::New,
        (Some(_), Some((_, 0))) => Change::Gone,
        (Some(was), Some(is)) if is > was => Change::Grown,
        (Some(was), Some(is)) if is < was => Change::Shrunk,
        _ => Change::Unchanged,
    };
    let known = was.zip(is);
    let verdict_changed = match (&before, &after) {
        (Some(before), Some(after)) => before.verdict != after.verdict,
        _ => false,
    };
    Some(StackChange {
        rank: 0,
        change,
        outstanding_bytes_change: known.map(|((was, _), (is, _))| difference(is, was)),
        outstanding_count_change: known.map(|((_, was), (_, is))| difference(is, was)),
        verdict_changed,
        before,
        after,
        function: row.function.as_deref(),
        file: row.file.as_deref(),
        line: row.line,
        module: row.module.as_deref(),
        stack: &row.stack,
        row,
    })
}

fn count(counts: &mut Counts, stack: &StackChange<'_>) {
    let place = match stack.change {
        Change::New => &mut counts.new,
        Change::Gone => &mut counts.gone,
        Change::Grown => &mut counts.grown,
        Change::Shrunk => &mut counts.shrunk,
        Change::Unchanged => &mut counts.unchanged,
        Change::NotListedBefore => &mut counts.not_listed_before,
        Change::NotListedAfter => &mut counts.not_listed_after,
    };
    *place += 1;
    counts.verdict_changed += u64::from(stack.verdict_changed);
}

/// How much changed, whichever way; of what one side does not list, all that the other has.
fn size_of_change(stack: &StackChange<'_>, by: By) -> f64 {
    let measure = |amounts: &Option<Amounts>| {
        amounts.map_or(0.0, |amounts| match by {
            By::OutstandingBytes => amounts.outstanding_bytes as f64,
            By::OutstandingCount => amounts.outstanding_count as f64,
            By::AllocatedBytes => amounts.allocated_bytes as f64,
            By::Rate => amounts.rate_bytes_per_second.unwrap_or(0.0),
        })
    };
    (measure(&stack.after) - measure(&stack.before)).abs()
}

/// `now - before`, at the limits of `i64` if it is beyond them.
fn difference(now: u64, before: u64) -> i64 {
    let magnitude = i64::try_from(now.abs_diff(before)).unwrap_or(i64::MAX);
    if now >= before { magnitude } else { -magnitude }
}

fn notes(before: &Report, after: &Report, sides: &(Side<'_>, Side<'_>)) -> Vec<String> {
    let mut notes = Vec::new();
    let (one, other) = (before.duration_seconds, after.duration_seconds);
    if (one - other).abs() > TOLERATED_LENGTHS * one.max(other) {
        notes.push(format!(
            "the runs lasted {} and {}: what grows with time differs by that alone",
            format_seconds(one),
            format_seconds(other)
        ));
    }
    for (name, side, report) in [("first", &sides.0, before), ("second", &sides.1, after)] {
        if !side.lists_every_stack {
            notes.push(format!(
                "the {name} report lists {} stacks of those that hold memory: trace with a larger \
                 --top to compare all",
                side.stacks_listed
            ));
        }
        if !side.complete {
            notes.push(format!(
                "the {name} report lost events: its numbers are not exact"
            ));
        }
        if !report.top_touchers.is_empty() {
            notes.push(format!(
                "the {name} report followed page faults: who touched memory first is not compared"
            ));
        }
        if report.quality.sampling.mode == SamplingMode::Poisson {
            notes.push(format!(
                "the {name} report followed a sample of the blocks: its numbers are estimates"
            ));
        }
    }
    notes
}
