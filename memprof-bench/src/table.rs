//! The comparison as Markdown. Pure.

use std::fmt::Write as _;

use memprof::units::format_count;

use crate::comparison::Comparison;
use crate::goals::Judged;
use crate::results::{Outcome, Row};
use crate::statistics::Spread;
use crate::tracers::TRACERS;

/// What stands where nothing is known.
const UNKNOWN: &str = "–";

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
    page.push_str("\n## Measurements\n");
    for outcome in &comparison.outcomes {
        push(
            &mut page,
            format_args!("\n### {}: {}\n", outcome.workload, outcome.does),
        );
        page.push_str(&table(outcome));
    }
    page.push_str("\n## What was compared\n\n");
    for tracer in &TRACERS {
        push(
            &mut page,
            format_args!("- **{}**: {}", tracer.name, tracer.does),
        );
    }
    page.push_str("\nThe floor's probes:\n\n");
    for place in &comparison.places {
        push(&mut page, format_args!("- {place}"));
    }
    page
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

/// A workload's rows; what could not be measured follows with its reason.
fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| | CPU ns | added ns | CPU × | wall × | ÷ floor | ÷ bpftrace | collector ns | lost |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in &outcome.rows {
        push(&mut text, format_args!("{}", cells(row)));
    }
    text.push('\n');
    for row in &outcome.rows {
        if let Some(refusal) = &row.refusal {
            push(
                &mut text,
                format_args!("- {}: {}", row.tracer, one_line(refusal)),
            );
        }
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

fn spread(spread: Option<Spread>) -> String {
    let Some(spread) = spread else {
        return UNKNOWN.to_owned();
    };
    format!(
        "{} ({} to {})",
        whole(spread.median),
        whole(spread.least),
        whole(spread.most)
    )
}

/// Rounded, with separators; the noise can make it negative.
fn whole(number: f64) -> String {
    let sign = if number.round() < 0.0 { "−" } else { "" };
    format!("{sign}{}", format_count(number.abs().round() as u64))
}

/// Small ratios as fractions, which is how the goals are put.
fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => UNKNOWN.to_owned(),
        Some(ratio) if ratio > 0.0 && ratio < 0.5 => format!("1/{:.1}", 1.0 / ratio),
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

fn push(page: &mut String, line: std::fmt::Arguments<'_>) {
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
            "| memprof | 3,150 (2,100 to 4,200) | 3,000 (2,000 to 4,000) | 21 | 21 | 2.00 | 1/10.0 | – | 1 |"
        );
    }

    #[test]
    fn who_could_not_run_is_in_the_table_with_the_reason() {
        let text = table(&two_rounds(&WORKLOADS[0]));
        assert!(text.contains("| valgrind | – | – |"), "{text}");
        assert!(text.contains("- valgrind: not today"), "{text}");
    }

    #[test]
    fn ratios_below_a_half_are_fractions() {
        let shown = [Some(0.125), Some(0.5), Some(-0.02), Some(12.4), None].map(ratio);
        assert_eq!(shown, ["1/8.0", "0.50", "-0.02", "12", "–"]);
    }

    #[test]
    fn a_goal_says_whether_it_is_met() {
        let judged = crate::goals::judge(&[two_rounds(&WORKLOADS[0])]);
        let text = goals(&judged);
        assert!(text.contains("| ≤ 1/8.0 | 1/10.0 | yes |"), "{text}");
        assert!(text.contains("| ≤ 1.50 | 2.00 | no |"), "{text}");
        assert!(text.contains("| – | not measured |"), "{text}");
    }
}
