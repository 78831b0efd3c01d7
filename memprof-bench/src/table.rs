//! The comparison as Markdown. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use memprof::units::format_count;

use crate::comparison::Comparison;
use crate::goals::Judged;
use crate::results::{Outcome, Row};
use crate::statistics::Spread;
use crate::tracers::{Role, TRACERS, Tracer};

/// What stands where nothing is known.
pub(crate) const UNKNOWN: &str = "–";

/// The whole page.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut page = String::from("# What tracing costs the target\n\n");
    for line in &comparison.conditions {
        push(&mut page, format_args!("- {line}"));
    }
    page.push_str("\n![What tracing adds to a pair](comparison.svg)\n\n");
    page.push_str(LEGEND);
    page.push_str("\n## Goals\n\n");
    page.push_str(&goals(&comparison.goals));
    page.push_str("\n## Added nanoseconds per pair\n\n");
    page.push_str(&overview(&comparison.outcomes));
    page.push_str("\nNot measured:\n\n");
    page.push_str(&refusals(&comparison.outcomes));
    page.push_str("\n## Measurements\n");
    for outcome in &comparison.outcomes {
        push(
            &mut page,
            format_args!("\n### {}: {}\n", outcome.workload, outcome.does),
        );
        page.push_str(&table(outcome));
    }
    push_compared(&mut page, &TRACERS);
    page.push_str("\nWhere memprof probed `malloc`, and in how many measurements:\n\n");
    page.push_str(&malloc_probes(&comparison.outcomes));
    page.push_str("\nThe floor's probes:\n\n");
    for place in &comparison.places {
        push(&mut page, format_args!("- {place}"));
    }
    page
}

/// The section that says what each tracer is.
pub(crate) fn push_compared(page: &mut String, tracers: &[Tracer]) {
    page.push_str("\n## What was compared\n\n");
    for tracer in tracers {
        push(page, format_args!("- **{}**: {}", tracer.name, tracer.does));
    }
}

const LEGEND: &str = "\
A pair is an allocation and its free. *CPU* is the target's own CPU time per pair, all its work \
included, median of the rounds (least to most); *added* is that less the untraced program's of the \
same round. *CPU ×* and *wall ×* are times the untraced program's; *÷ floor* and *÷ bpftrace* compare \
what is added. *Collector* is memprof's own CPU time per allocation or free; *lost* what it says it \
lost, in all rounds.\n";

/// The goals, each with what was measured.
fn goals(judged: &[Judged]) -> String {
    let mut text = String::from(
        "| workload | tracer | what | goal | measured | met |\n|---|---|---|--:|--:|---|\n",
    );
    for one in judged {
        let met = match one.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        };
        push(
            &mut text,
            format_args!(
                "| {} | {} | {} | ≤ {} | {} | {met} |",
                one.workload,
                one.tracer,
                one.measure,
                ratio(Some(one.limit)),
                ratio(one.measured),
            ),
        );
    }
    text
}

/// What each tracer adds to a pair of each workload, medians alone.
fn overview(outcomes: &[Outcome]) -> String {
    let names = TRACERS
        .iter()
        .filter(|tracer| tracer.role != Role::Untraced);
    let names: Vec<&str> = names.map(|tracer| tracer.name).collect();
    let mut text = format!(
        "| | {} |\n|---|{}\n",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    for outcome in outcomes {
        let rows = outcome.rows.iter().filter(|row| row.role != Role::Untraced);
        let medians = rows.map(|row| {
            row.added_ns_per_pair
                .map_or(UNKNOWN.to_owned(), |added| whole(added.median))
        });
        let medians: Vec<String> = medians.collect();
        push(
            &mut text,
            format_args!("| {} | {} |", outcome.workload, medians.join(" | ")),
        );
    }
    text
}

/// Who could not be measured, why, and on which workloads.
fn refusals(outcomes: &[Outcome]) -> String {
    let rows = outcomes.iter().flat_map(|outcome| {
        let rows = outcome.rows.iter();
        rows.map(|row| (outcome.workload, row.tracer, row.refusal.as_deref()))
    });
    refused(rows, outcomes.len())
}

/// The same of rows of any table: workload, tracer and reason, with how many workloads there are.
pub(crate) fn refused<'a>(
    rows: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>,
    workloads: usize,
) -> String {
    let mut grouped: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (workload, tracer, refusal) in rows {
        if let Some(refusal) = refusal {
            let group = grouped.entry((tracer, one_line(refusal)));
            group.or_default().push(workload);
        }
    }
    let mut text = String::new();
    for ((tracer, refusal), on) in grouped {
        let on = match on.len() == workloads {
            true => "everywhere".to_owned(),
            false => on.join(", "),
        };
        push(&mut text, format_args!("- {tracer}: {refusal} ({on})"));
    }
    if text.is_empty() {
        text.push_str("- nothing was left out\n");
    }
    text
}

/// The places that each mode chose for `malloc`. More than one for an allocator says that something
/// was in its way.
fn malloc_probes(outcomes: &[Outcome]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for outcome in outcomes {
        for (row, cell) in outcome.rows.iter().zip(&outcome.cells) {
            let places = cell.measurements.iter();
            for place in places.filter_map(|one| one.malloc_probes.as_deref()) {
                *counts.entry((row.tracer, place)).or_default() += 1;
            }
        }
    }
    let lines = counts
        .iter()
        .map(|((tracer, place), count)| format!("- {tracer}: {place} ({count})\n"));
    lines.collect()
}

/// A workload's rows.
fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| | CPU ns | added ns | CPU × | wall × | ÷ floor | ÷ bpftrace | collector ns | lost |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in &outcome.rows {
        push(&mut text, format_args!("{}", cells(row)));
    }
    text
}

fn cells(row: &Row) -> String {
    let figures = [
        spread(row.cpu_ns_per_pair),
        spread(row.added_ns_per_pair),
        ratio(row.cpu_ratio),
        ratio(row.wall_ratio),
        ratio(row.to_floor),
        ratio(row.to_script),
        row.collector_ns_per_event.map_or(UNKNOWN.to_owned(), whole),
        row.lost_events.map_or(UNKNOWN.to_owned(), format_count),
    ];
    format!("| {} | {} |", row.tracer, figures.join(" | "))
}

pub(crate) fn spread(spread: Option<Spread>) -> String {
    let Some(spread) = spread else {
        return UNKNOWN.to_owned();
    };
    if spread.least == spread.most {
        return whole(spread.median);
    }
    format!(
        "{} ({} to {})",
        whole(spread.median),
        whole(spread.least),
        whole(spread.most)
    )
}

/// Rounded, with separators; the noise can make it negative.
pub(crate) fn whole(number: f64) -> String {
    let sign = if number.round() < 0.0 { "−" } else { "" };
    format!("{sign}{}", format_count(number.abs().round() as u64))
}

/// Small ratios as fractions, which is how the goals are put.
fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => UNKNOWN.to_owned(),
        Some(ratio) if ratio > 0.0 && ratio < 0.5 => {
            let denominator = 1.0 / ratio;
            match (denominator - denominator.round()).abs() < 1e-9 {
                true => format!("1/{denominator:.0}"),
                false => format!("1/{denominator:.1}"),
            }
        }
        Some(ratio) if ratio.abs() < 10.0 => format!("{ratio:.2}"),
        Some(ratio) => whole(ratio),
    }
}

/// The last line of what a program said is mostly the one that matters; a table has room for one.
fn one_line(text: &str) -> &str {
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or(text)
}

pub(crate) fn push(page: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::two_rounds;
    use crate::workloads::WORKLOADS;

    #[test]
    fn a_row_has_median_and_spread_of_what_was_added() {
        let text = table(&two_rounds(&WORKLOADS[0]));
        let row = text.lines().find(|line| line.starts_with("| memprof |"));
        assert_eq!(
            row.unwrap(),
            "| memprof | 3,150 (2,100 to 4,200) | 3,000 (2,000 to 4,000) | 21 | 21 | 2.00 | 1/10 | – | 1 |"
        );
    }

    #[test]
    fn who_could_not_run_is_in_the_table_with_the_reason() {
        let outcomes = [two_rounds(&WORKLOADS[0]), two_rounds(&WORKLOADS[1])];
        let text = table(&outcomes[0]);
        assert!(text.contains("| valgrind | – | – |"), "{text}");
        let text = refusals(&outcomes);
        assert!(
            text.contains("- valgrind: not today (everywhere)"),
            "{text}"
        );
    }

    #[test]
    fn a_reason_that_holds_for_some_workloads_names_them() {
        let mut other = two_rounds(&WORKLOADS[1]);
        other.rows.iter_mut().for_each(|row| row.refusal = None);
        let text = refusals(&[two_rounds(&WORKLOADS[0]), other]);
        assert!(text.contains("- valgrind: not today (loop-1)"), "{text}");
    }

    #[test]
    fn the_overview_has_a_column_for_every_tracer() {
        let text = overview(&[two_rounds(&WORKLOADS[0])]);
        let row = "| loop-1 | 1,500 | 3,000 | – | – | 30,000 | 500 | – |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn where_memprof_probed_is_counted_over_all_measurements() {
        let text = malloc_probes(&[two_rounds(&WORKLOADS[0]), two_rounds(&WORKLOADS[1])]);
        assert_eq!(text, "- memprof: `push r12` (4)\n");
    }

    #[test]
    fn one_round_has_no_spread() {
        assert_eq!(spread(Spread::of([1_234.4])), "1,234");
    }

    #[test]
    fn ratios_below_a_half_are_fractions() {
        let shown = [
            Some(0.125),
            Some(2.0 / 15.0),
            Some(0.5),
            Some(-0.02),
            Some(12.4),
            None,
        ]
        .map(ratio);
        assert_eq!(shown, ["1/8", "1/7.5", "0.50", "-0.02", "12", "–"]);
    }

    #[test]
    fn a_goal_says_whether_it_is_met() {
        let judged = crate::goals::judge(&[two_rounds(&WORKLOADS[0])]);
        let text = goals(&judged);
        assert!(text.contains("| ≤ 1/8 | 1/10 | yes |"), "{text}");
        assert!(text.contains("| ≤ 1.50 | 2.00 | no |"), "{text}");
        assert!(text.contains("| – | not measured |"), "{text}");
    }
}
