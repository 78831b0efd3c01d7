//! The stacks of a report against the truth, frame by frame.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::truth::{LIBRARY, Stacks};
use crate::harness::Report;

/// The allocator's function and the witness's, inside of what the truth begins with.
const INNER_FRAMES: usize = 2;
/// Frames of a stack that memprof records (`MAX_FRAMES`), less those.
const MOST_FRAMES: usize = 128 - INNER_FRAMES;
/// Differences that are shown.
const SHOWN: usize = 5;

/// How many allocations have the stack that they came from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Allocations of the truth.
    pub(crate) allocations: u64,
    /// With every frame right, and none missing or too many.
    pub(crate) exact: u64,
    /// With right frames, and outer ones missing.
    pub(crate) truncated: u64,
    /// With right frames as far as the truth goes, which may be unfinished, and more beyond.
    pub(crate) further: u64,
    /// With a wrong frame, one too many, or no stack.
    pub(crate) failed: u64,
    /// Allocations of the report that the truth does not know, beyond those that failed.
    pub(crate) unexpected: u64,
}

/// A stack that differs, and the one of the truth that shares most frames with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    allocations: u64,
    seen: Vec<u64>,
    nearest: Vec<u64>,
}

/// Takes off the truth what memprof has no room for; how many allocations that concerns.
pub(crate) fn cut_to_limit(truth: &mut Stacks) -> u64 {
    let mut cut = 0;
    for (mut stack, allocations) in std::mem::take(truth) {
        if stack.len() > MOST_FRAMES {
            stack.truncate(MOST_FRAMES);
            cut += allocations;
        }
        *truth.entry(stack).or_default() += allocations;
    }
    cut
}

/// Compares the stacks of a report with the truth.
pub(crate) fn compare(
    truth: &Stacks,
    unfinished: &BTreeSet<Vec<u64>>,
    report: &Stacks,
) -> (Shares, Vec<Difference>) {
    let mut shares = Shares {
        allocations: truth.values().sum(),
        ..Shares::default()
    };
    let (mut missing, mut surplus) = (truth.clone(), report.clone());
    for (stack, seen) in &mut surplus {
        if let Some(told) = missing.get_mut(stack) {
            let both = (*told).min(*seen);
            shares.exact += both;
            *told -= both;
            *seen -= both;
        }
    }
    surplus.retain(|_, seen| *seen > 0);
    missing.retain(|_, told| *told > 0);

    let mut differences = Vec::new();
    for (stack, seen) in &mut surplus {
        differences.push(Difference {
            allocations: *seen,
            seen: stack.clone(),
            nearest: nearest(truth, stack),
        });
        let mut account_for = |told: &mut u64, share: &mut u64| {
            let both = (*told).min(*seen);
            *share += both;
            *told -= both;
            *seen -= both;
        };
        let mut inner = (1..stack.len()).rev().map(|count| &stack[..count]);
        let inner = inner.find(|inner| unfinished.contains(*inner));
        if let Some(told) = inner.and_then(|inner| missing.get_mut(inner)) {
            account_for(told, &mut shares.further);
        }
        // The map is sorted: what a stack is the beginning of stands right behind it.
        let longer = missing.range_mut(stack.clone()..);
        for (_, told) in longer.take_while(|(longer, _)| longer.starts_with(stack)) {
            account_for(told, &mut shares.truncated);
        }
    }
    shares.failed = missing.values().sum();
    shares.unexpected = surplus.values().sum::<u64>().saturating_sub(shares.failed);
    (shares, differences)
}

/// The stack of the truth that has most frames in common with `stack` from the inside.
fn nearest(truth: &Stacks, stack: &[u64]) -> Vec<u64> {
    let common = |other: &[u64]| other.iter().zip(stack).take_while(|(a, b)| a == b).count();
    // The map is sorted, so it is one of the neighbours.
    let before = truth.range(..stack.to_vec()).next_back();
    let after = truth.range(stack.to_vec()..).next();
    [before, after]
        .into_iter()
        .flatten()
        .max_by_key(|(other, _)| common(other))
        .map(|(other, _)| other.clone())
        .unwrap_or_default()
}

/// The stacks of one process in a report, without the frames that the truth does not begin with;
/// and how many allocations did not come through the witness.
pub(crate) fn stacks_of(report: &Report, pid: u64) -> (Stacks, u64) {
    let mut stacks = Stacks::new();
    let mut unwitnessed = 0;
    for row in report.rows().iter().filter(|row| row["pid"] == pid) {
        let allocations = row["allocated_count"].as_u64().expect("a count");
        let frames: Vec<&Value> = physical_frames(row).collect();
        if !frames.get(1).is_some_and(|frame| is_the_witness(frame)) {
            unwitnessed += allocations;
            continue;
        }
        let pcs = frames[INNER_FRAMES..].iter().map(|frame| address(frame));
        *stacks.entry(pcs.collect()).or_default() += allocations;
    }
    (stacks, unwitnessed)
}

/// What was inlined has no frame on the stack.
fn physical_frames(row: &Value) -> impl Iterator<Item = &Value> {
    let frames = row["stack"].as_array().expect("a stack is a list");
    frames.iter().filter(|frame| frame["inlined"] == false)
}

fn is_the_witness(frame: &Value) -> bool {
    let text = |field: &str| frame[field].as_str().unwrap_or_default();
    text("module").ends_with(LIBRARY) || text("function").starts_with("__wrap_")
}

fn address(frame: &Value) -> u64 {
    let text = frame["address"].as_str().expect("every frame has one");
    let digits = text.strip_prefix("0x").expect("addresses are hexadecimal");
    u64::from_str_radix(digits, 16).expect("addresses are hexadecimal")
}

/// What the report says about an address, for a person who looks for the reason of a difference.
pub(crate) struct Names(BTreeMap<u64, String>);

impl Names {
    pub(crate) fn of(report: &Report) -> Self {
        let frames = report.rows().iter().flat_map(physical_frames);
        let named = frames.map(|frame| {
            let text = |field: &str| frame[field].as_str().unwrap_or("?").to_owned();
            let name = format!("{} {}+{}", text("function"), text("module"), text("offset"));
            (address(frame), name)
        });
        Self(named.collect())
    }

    /// The first differences, side by side from where they differ.
    pub(crate) fn show(&self, differences: &[Difference]) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for difference in differences.iter().take(SHOWN) {
            let (seen, nearest) = (&difference.seen, &difference.nearest);
            let alike = seen.iter().zip(nearest).take_while(|(a, b)| a == b);
            let from = alike.count();
            let _ = writeln!(
                text,
                "{} allocations differ from frame {from} on; seen {} frames, truth {}",
                difference.allocations,
                seen.len(),
                nearest.len()
            );
            let about = from.saturating_sub(2)..(from + 4).min(seen.len().max(nearest.len()));
            for index in about {
                let side = |stack: &[u64]| match stack.get(index) {
                    Some(pc) => format!("{pc:#x} {}", self.name(*pc)),
                    None => "-".to_owned(),
                };
                let _ = writeln!(
                    text,
                    "  {index:3} seen  {}\n      truth {}",
                    side(seen),
                    side(nearest)
                );
            }
        }
        text
    }

    fn name(&self, pc: u64) -> &str {
        self.0
            .get(&pc)
            .map_or("(not in the report)", String::as_str)
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64| part as f64 * 100.0 / self.allocations.max(1) as f64;
        write!(
            formatter,
            "{:6.2} % exact, {:5.2} % truncated, {:5.2} % failed",
            share(self.exact),
            share(self.truncated),
            share(self.failed)
        )?;
        if self.further > 0 {
            write!(formatter, ", {:.2} % go further", share(self.further))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(stacks: &[(&[u64], u64)]) -> Stacks {
        let owned = stacks.iter().map(|(pcs, count)| (pcs.to_vec(), *count));
        owned.collect()
    }

    /// 16 allocations, the single one from a stack that may go on.
    fn shares_of(report: &[(&[u64], u64)]) -> (Shares, Vec<Difference>) {
        let truth = stacks(&[(&[1, 2, 3], 10), (&[1, 2, 4], 5), (&[7, 8], 1)]);
        let unfinished = BTreeSet::from([vec![7, 8]]);
        compare(&truth, &unfinished, &stacks(report))
    }

    const ALL: Shares = Shares {
        allocations: 16,
        exact: 0,
        truncated: 0,
        further: 0,
        failed: 0,
        unexpected: 0,
    };

    #[test]
    fn equal_stacks_are_exact() {
        let (shares, differences) = shares_of(&[(&[1, 2, 3], 10), (&[1, 2, 4], 5), (&[7, 8], 1)]);
        assert_eq!(shares, Shares { exact: 16, ..ALL });
        assert_eq!(differences, []);
    }

    #[test]
    fn a_stack_that_ends_early_is_truncated() {
        let (shares, differences) = shares_of(&[(&[1, 2], 12), (&[1, 2, 4], 3), (&[7, 8], 1)]);
        let expected = Shares {
            exact: 4,
            truncated: 12,
            ..ALL
        };
        assert_eq!(shares, expected);
        assert_eq!(differences.len(), 1);
    }

    #[test]
    fn a_wrong_frame_one_too_many_and_an_allocation_not_seen_have_failed() {
        let (shares, differences) = shares_of(&[(&[1, 9, 3], 10), (&[1, 2, 4, 5], 5)]);
        assert_eq!(shares, Shares { failed: 16, ..ALL });
        assert_eq!(differences[0].nearest, [1, 2, 4]);
    }

    #[test]
    fn a_stack_that_goes_on_where_the_truth_is_unfinished_goes_further() {
        let report: &[(&[u64], u64)] = &[(&[1, 2, 3, 4], 10), (&[1, 2, 4], 5), (&[7, 8, 9], 1)];
        let expected = Shares {
            exact: 5,
            further: 1,
            failed: 10,
            ..ALL
        };
        assert_eq!(shares_of(report).0, expected);
    }

    #[test]
    fn an_allocation_that_nobody_made_is_unexpected() {
        let (shares, _) = shares_of(&[(&[1, 2, 3], 11), (&[1, 2, 4], 5), (&[7, 8], 1)]);
        let expected = Shares {
            exact: 16,
            unexpected: 1,
            ..ALL
        };
        assert_eq!(shares, expected);
    }
}
