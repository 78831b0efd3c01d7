//! The comparison of page faults as Markdown. Pure.

use super::goals::Judged;
use super::results::{Outcome, Row};
use super::{Comparison, TRACERS};
use crate::statistics::Spread;
use crate::table::{UNKNOWN, push, push_compared, refused, spread, whole};
use crate::tracers::Role;

/// The whole page.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let outcomes = &comparison.outcomes;
    let mut page = String::from("# What following page faults costs the target\n\n");
    for line in &comparison.conditions {
        push(&mut page, format_args!("- {line}"));
    }
    page.push('\n');
    page.push_str(LEGEND);
    page.push_str("\n## Goals\n\n");
    page.push_str(&goals(&comparison.goals));
    page.push_str("\n## CPU time, in times the untraced program's\n\n");
    page.push_str(&overview(outcomes));
    page.push_str("\nNot measured:\n\n");
    let rows = outcomes.iter().flat_map(|outcome| {
        let rows = outcome.rows.iter();
        rows.map(|row| (outcome.workload, row.tracer, row.refusal.as_deref()))
    });
    page.push_str(&refused(rows, outcomes.len()));
    page.push_str("\n## Measurements\n");
    for outcome in outcomes {
        push(
            &mut page,
            format_args!("\n### {}: {}\n", outcome.workload, outcome.does),
        );
        page.push_str(&table(outcome));
    }
    push_compared(&mut page, &TRACERS);
    page
}

const LEGEND: &str = "\
*CPU ×* is the target's own CPU time, user and system, in times the untraced program's of the same \
round, median of the rounds (least to most); *own ×* is time by the program's own clock, *wall ×* time \
on the wall. *Faults* are those that the kernel accounts to the untraced program in a second of its CPU \
time. *Pages seen* is how many memprof saw become resident for each fault; *collector* memprof's own CPU \
time as a share of the target's; *lost* what it says it lost, in all rounds.\n";

/// The goals, each with what was measured.
fn goals(judged: &[Judged]) -> String {
    let mut text = String::from(
        "| workload | what | goal | memprof | | bpftrace |\n|---|---|--:|--:|---|--:|\n",
    );
    for one in judged {
        let reached = match one.reached {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "not measured",
        };
        push(
            &mut text,
            format_args!(
                "| {} | {} | ≤ {} | {} | {reached} | {} |",
                one.workload,
                one.measure,
                one.limit,
                times(one.memprof),
                times(one.bpftrace),
            ),
        );
    }
    text
}

/// Medians alone: what each tracer makes of each workload's CPU time, and what it adds to a page.
fn overview(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| | faults a CPU second | untraced, again | memprof | bpftrace | memprof, ns a page | bpftrace, ns a page |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for outcome in outcomes {
        let of = |role: Role, figure: fn(&Row) -> Option<Spread>| {
            let row = outcome.rows.iter().find(|row| row.role == role)?;
            Some(figure(row)?.median)
        };
        let cpu = |role| times(of(role, |row| row.cpu_ratio));
        let added = |role| number(of(role, |row| row.added_ns_per_page));
        let figures = [
            number(outcome.faults_per_second),
            cpu(Role::Control),
            cpu(Role::Exact),
            cpu(Role::Script),
            added(Role::Exact),
            added(Role::Script),
        ];
        push(
            &mut text,
            format_args!("| {} | {} |", outcome.workload, figures.join(" | ")),
        );
    }
    text
}

/// A workload's rows.
fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| | CPU × | own × | wall × | CPU ns a page | added ns a page | pages seen | collector | lost |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in &outcome.rows {
        let figures = [
            reach(row.cpu_ratio),
            reach(row.own_ratio),
            times(row.wall_ratio),
            spread(row.cpu_ns_per_page),
            spread(row.added_ns_per_page),
            times(row.pages_per_fault),
            times(row.collector_share),
            number(row.lost_events.map(|lost| lost as f64)),
        ];
        push(
            &mut text,
            format_args!("| {} | {} |", row.tracer, figures.join(" | ")),
        );
    }
    text
}

fn number(number: Option<f64>) -> String {
    number.map_or(UNKNOWN.to_owned(), whole)
}

/// To the thousandth: the goals are about hundredths.
fn times(ratio: Option<f64>) -> String {
    ratio.map_or(UNKNOWN.to_owned(), |ratio| format!("{ratio:.3}"))
}

fn reach(spread: Option<Spread>) -> String {
    match spread {
        None => UNKNOWN.to_owned(),
        Some(Spread {
            median,
            least,
            most,
        }) if least == most => times(Some(median)),
        Some(Spread {
            median,
            least,
            most,
        }) => format!("{median:.3} ({least:.3} to {most:.3})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::WORKLOADS;
    use crate::faults::goals::judge;
    use crate::faults::results::tests::two_rounds;

    fn page() -> String {
        let outcomes: Vec<Outcome> = WORKLOADS.iter().map(two_rounds).collect();
        markdown(&Comparison {
            conditions: vec!["a machine".to_owned()],
            goals: judge(&outcomes),
            outcomes,
        })
    }

    #[test]
    fn goals_say_whether_they_are_reached() {
        let page = page();
        for line in [
            "| pages-whole | CPU × | ≤ 1.3 | 1.250 | reached | – |",
            "| pages-byte | own time × | ≤ 1.3 | 1.250 | reached | – |",
            "| sqlite | CPU × | ≤ 1.02 | 1.250 | missed | – |",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }

    #[test]
    fn the_overview_has_the_noise_beside_what_is_measured() {
        let row = "| pages-whole | 750,000 | 1.000 | 1.250 | – | 375 | – |";
        assert!(page().contains(row), "{}", page());
    }

    #[test]
    fn who_could_not_run_is_on_the_page_with_the_reason() {
        assert!(page().contains("- bpftrace: not today (everywhere)"));
    }

    #[test]
    fn a_row_has_median_and_spread() {
        let text = table(&two_rounds(&WORKLOADS[0]));
        let row = "| untraced, again | 1.000 (0.990 to 1.010) | 1.000 (0.990 to 1.010) | 1.000 |";
        assert!(text.contains(row), "{text}");
    }
}
