//! From measurements to the rows of the table of page faults. Pure.
//!
//! Whatever is compared was measured in the same round, one after the other: differences and ratios
//! are taken round by round, and of those the median.

use serde::Serialize;

use super::TRACERS;
use crate::results::{Cell, Measurement, in_round};
use crate::statistics::{Spread, median};
use crate::tracers::Role;
use crate::workloads::{Kind, Workload};

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) tracer: &'static str,
    #[serde(skip)]
    pub(crate) role: Role,
    /// The target's CPU time, in times that of the untraced program.
    pub(crate) cpu_ratio: Option<Spread>,
    /// Time by the program's own clock, in times that of the untraced program; `None` if it has none.
    pub(crate) own_ratio: Option<Spread>,
    /// Time on the wall, in times that of the untraced program.
    pub(crate) wall_ratio: Option<f64>,
    /// The target's CPU time per page that it touches; `None` of programs that do other things.
    pub(crate) cpu_ns_per_page: Option<Spread>,
    /// How much of that the tracer added.
    pub(crate) added_ns_per_page: Option<Spread>,
    /// Pages that memprof saw become resident for each fault that the kernel accounts: less than one where
    /// pages are there already and only mapped anew.
    pub(crate) pages_per_fault: Option<f64>,
    /// The collector's own CPU time, as a share of what the target took.
    pub(crate) collector_share: Option<f64>,
    /// Events that memprof lost; `None` of a build that doesn't count what it saw of pages.
    pub(crate) lost_events: Option<u64>,
    /// Why something is missing.
    pub(crate) refusal: Option<String>,
}

/// A workload's part of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) workload: &'static str,
    pub(crate) does: &'static str,
    #[serde(skip)]
    pub(crate) kind: Kind,
    /// Page faults of the untraced program in a second of its CPU time.
    pub(crate) faults_per_second: Option<f64>,
    pub(crate) rows: Vec<Row>,
    /// All measurements, in the order of the rows.
    pub(crate) cells: Vec<Cell>,
}

/// What the cells of a workload, one for each of [`TRACERS`], say.
pub(crate) fn outcome(workload: &Workload, cells: &[Cell; TRACERS.len()]) -> Outcome {
    let all = || TRACERS.iter().zip(cells);
    let untraced = all().find(|(tracer, _)| tracer.role == Role::Untraced);
    let untraced = untraced.map_or(&[][..], |(_, cell)| &cell.measurements);
    Outcome {
        workload: workload.name,
        does: workload.does,
        kind: workload.kind,
        faults_per_second: median(
            untraced
                .iter()
                .map(|one| one.faults_per_unit / one.cpu_ns_per_unit * 1e9),
        ),
        rows: all()
            .map(|(tracer, cell)| Row {
                tracer: tracer.name,
                role: tracer.role,
                refusal: cell.refusal.clone(),
                ..row(workload.kind, tracer.role, cell, untraced)
            })
            .collect(),
        cells: cells.to_vec(),
    }
}

fn row(kind: Kind, role: Role, cell: &Cell, untraced: &[Measurement]) -> Row {
    let of_each = |figure: &dyn Fn(&Measurement) -> Option<f64>| {
        Spread::of(cell.measurements.iter().filter_map(figure))
    };
    let ratio = |figure: &dyn Fn(&Measurement) -> Option<f64>| {
        of_each(&|one| Some(figure(one)? / figure(in_round(untraced, one.round)?)?))
    };
    let added = |one: &Measurement| {
        let base = in_round(untraced, one.round)?;
        Some(one.cpu_ns_per_unit - base.cpu_ns_per_unit)
    };
    // A unit of these programs is a page.
    let is_per_page = kind == Kind::Pages;
    let tells = |one: &&Measurement| one.touched_pages_per_unit.is_some();
    let lost = cell.measurements.iter().filter(tells);
    Row {
        tracer: "",
        role,
        cpu_ratio: ratio(&|one| Some(one.cpu_ns_per_unit)),
        own_ratio: ratio(&|one| one.own_ns_per_unit),
        wall_ratio: ratio(&|one| Some(one.wall_ns_per_unit)).map(|spread| spread.median),
        cpu_ns_per_page: of_each(&|one| Some(one.cpu_ns_per_unit)).filter(|_| is_per_page),
        added_ns_per_page: of_each(&added).filter(|_| is_per_page && role != Role::Untraced),
        pages_per_fault: of_each(&|one| Some(one.touched_pages_per_unit? / one.faults_per_unit))
            .map(|spread| spread.median)
            .filter(|_| is_per_page),
        collector_share: of_each(&|one| Some(one.collector_ns_per_unit? / one.cpu_ns_per_unit))
            .map(|spread| spread.median),
        lost_events: lost.filter_map(|one| one.lost_events).reduce(|a, b| a + b),
        refusal: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::faults::WORKLOADS;
    use crate::results::tests::measured;

    /// Each tracer's CPU time, round by round, with a fault a unit.
    fn cells(times: [&[f64]; TRACERS.len()]) -> [Cell; TRACERS.len()] {
        times.map(|times| Cell {
            measurements: times
                .iter()
                .enumerate()
                .map(|(round, time)| Measurement {
                    own_ns_per_unit: Some(2.0 * time),
                    faults_per_unit: 1.0,
                    ..measured(round, *time, 3.0 * time)
                })
                .collect(),
            refusal: times.is_empty().then(|| "not today".to_owned()),
        })
    }

    /// A comparison in two rounds, the second on a machine half as fast: memprof takes a quarter more, and
    /// the script did not run.
    pub(crate) fn two_rounds(workload: &Workload) -> Outcome {
        let memprof: &[f64] = &[1_250.0, 2_500.0];
        outcome(
            workload,
            &cells([&[1_000.0, 2_000.0], &[1_010.0, 1_980.0], memprof, &[]]),
        )
    }

    fn row_of(outcome: &Outcome, role: Role) -> &Row {
        outcome.rows.iter().find(|row| row.role == role).unwrap()
    }

    #[test]
    fn a_machine_that_slows_down_does_not_change_ratios() {
        let outcome = two_rounds(&WORKLOADS[0]);
        let memprof = row_of(&outcome, Role::Exact);
        assert_eq!(memprof.cpu_ratio, Spread::of([1.25]));
        assert_eq!(memprof.own_ratio, Spread::of([1.25]));
        assert_eq!(memprof.wall_ratio, Some(1.25));
        assert_eq!(memprof.added_ns_per_page, Spread::of([250.0, 500.0]));
        assert_eq!(outcome.faults_per_second, Some(750_000.0));
    }

    #[test]
    fn the_second_untraced_run_says_how_far_noise_reaches() {
        let outcome = two_rounds(&WORKLOADS[0]);
        let control = row_of(&outcome, Role::Control).cpu_ratio.unwrap();
        assert_eq!((control.least, control.most), (0.99, 1.01));
    }

    #[test]
    fn only_of_programs_that_touch_pages_and_nothing_else_there_are_figures_of_a_page() {
        let is_real = |workload: &&Workload| workload.kind == Kind::Real;
        let outcome = two_rounds(WORKLOADS.iter().find(is_real).unwrap());
        let memprof = row_of(&outcome, Role::Exact);
        assert_eq!(memprof.cpu_ns_per_page, None);
        assert_eq!(memprof.added_ns_per_page, None);
        assert!(memprof.cpu_ratio.is_some());
    }

    #[test]
    fn what_did_not_run_has_a_reason_and_no_figures() {
        let outcome = two_rounds(&WORKLOADS[0]);
        let script = row_of(&outcome, Role::Script);
        assert_eq!(script.cpu_ratio, None);
        assert_eq!(script.refusal.as_deref(), Some("not today"));
    }

    #[test]
    fn losses_are_unknown_of_a_build_that_does_not_count_pages() {
        let mut cells = cells([&[1_000.0], &[1_000.0], &[1_250.0], &[]]);
        let memprof = &mut cells[2].measurements[0];
        memprof.lost_events = Some(0);
        let before = outcome(&WORKLOADS[0], &cells);
        assert_eq!(row_of(&before, Role::Exact).lost_events, None);
        cells[2].measurements[0].touched_pages_per_unit = Some(1.0);
        let after = outcome(&WORKLOADS[0], &cells);
        assert_eq!(row_of(&after, Role::Exact).lost_events, Some(0));
        assert_eq!(row_of(&after, Role::Exact).pages_per_fault, Some(1.0));
    }
}
