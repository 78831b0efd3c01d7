//! From measurements to the rows of the table. Pure.
//!
//! Whatever is compared was measured in the same round, one after the other: differences and ratios
//! are taken round by round, and of those the median.

use serde::Serialize;

use crate::statistics::{Spread, median};
use crate::tracers::{Role, TRACERS};
use crate::workloads::Workload;

/// A workload under a tracer in one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measurement {
    pub(crate) round: usize,
    /// The target's CPU time, nanoseconds.
    pub(crate) cpu_ns_per_unit: f64,
    /// Time on the wall, nanoseconds.
    pub(crate) wall_ns_per_unit: f64,
    /// Allocations that memprof counted; `None` of other tracers.
    pub(crate) pairs_per_unit: Option<f64>,
    /// The CPU time of memprof itself while the target worked, per allocation or free.
    pub(crate) collector_ns_per_event: Option<f64>,
    /// The same with its start, warm-up and report in it, in its own words.
    pub(crate) collector_seconds_in_all: Option<f64>,
    /// Events that memprof says it lost; `None` of other tracers, which do not say.
    pub(crate) lost_events: Option<u64>,
    /// Where memprof says that it has probed `malloc`: another tool's probes keep it from the
    /// cheapest place.
    pub(crate) malloc_probes: Option<String>,
    /// Time on the wall by the program's own clock, nanoseconds; `None` of programs that don't tell.
    pub(crate) own_ns_per_unit: Option<f64>,
    /// Page faults, as the kernel accounts them.
    pub(crate) faults_per_unit: f64,
    /// The CPU time of memprof itself while the target worked.
    pub(crate) collector_ns_per_unit: Option<f64>,
    /// Pages that memprof saw become resident, from when it was attached; `None` if it was not to
    /// follow them or does not say.
    pub(crate) touched_pages_per_unit: Option<f64>,
}

/// What is known of a workload under one tracer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cell {
    pub(crate) measurements: Vec<Measurement>,
    /// Why there are none, or no more.
    pub(crate) refusal: Option<String>,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) tracer: &'static str,
    #[serde(skip)]
    pub(crate) role: Role,
    /// The target's CPU time per pair of an allocation and its free, with all the work between.
    pub(crate) cpu_ns_per_pair: Option<Spread>,
    /// How much of that the tracer added.
    pub(crate) added_ns_per_pair: Option<Spread>,
    /// The target's CPU time, and time on the wall, in times those of the untraced program.
    pub(crate) cpu_ratio: Option<f64>,
    pub(crate) wall_ratio: Option<f64>,
    /// What was added, in times what the floor and the script add.
    pub(crate) to_floor: Option<f64>,
    pub(crate) to_script: Option<f64>,
    pub(crate) collector_ns_per_event: Option<f64>,
    pub(crate) lost_events: Option<u64>,
    /// Why something is missing.
    pub(crate) refusal: Option<String>,
}

/// A workload's part of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) workload: &'static str,
    pub(crate) does: &'static str,
    /// `None` if neither the program nor memprof tells.
    pub(crate) pairs_per_unit: Option<f64>,
    pub(crate) rows: Vec<Row>,
    /// All measurements, in the order of the rows.
    pub(crate) cells: Vec<Cell>,
}

/// What the cells of a workload, one for each of [`TRACERS`], say.
pub(crate) fn outcome(workload: &Workload, cells: &[Cell; TRACERS.len()]) -> Outcome {
    let cell_of = |role: Role| {
        let mut both = TRACERS.iter().zip(cells);
        both.find_map(|(tracer, cell)| (tracer.role == role).then_some(cell))
    };
    let pairs_per_unit = workload.pairs_per_unit.or_else(|| {
        let counted = cell_of(Role::Exact)?.measurements.iter();
        median(counted.filter_map(|measurement| measurement.pairs_per_unit)).filter(|n| *n > 0.0)
    });
    let rounds = Rounds {
        untraced: cell_of(Role::Untraced),
        floor: cell_of(Role::Floor),
        script: cell_of(Role::Script),
        pairs_per_unit,
    };
    let rows = TRACERS.iter().zip(cells);
    Outcome {
        workload: workload.name,
        does: workload.does,
        pairs_per_unit,
        rows: rows
            .map(|(tracer, cell)| rounds.row(tracer.name, tracer.role, cell))
            .collect(),
        cells: cells.to_vec(),
    }
}

/// What rows are held against.
struct Rounds<'cells> {
    untraced: Option<&'cells Cell>,
    floor: Option<&'cells Cell>,
    script: Option<&'cells Cell>,
    pairs_per_unit: Option<f64>,
}

impl Rounds<'_> {
    fn row(&self, tracer: &'static str, role: Role, cell: &Cell) -> Row {
        let all = &cell.measurements;
        let of_each = |figure: &dyn Fn(&Measurement) -> Option<f64>| {
            Spread::of(all.iter().filter_map(figure))
        };
        let is_base = role == Role::Untraced;
        let ratio_to = |base: Option<&Cell>| {
            let ratio = |one: &Measurement| {
                let base = self.added_ns(in_round(&base?.measurements, one.round)?)?;
                // A base that is lost in the noise has no multiples.
                (base > 0.0).then_some(self.added_ns(one)? / base)
            };
            of_each(&ratio)
                .map(|spread| spread.median)
                .filter(|_| !is_base)
        };
        let untraced = |one: &Measurement| in_round(&self.untraced?.measurements, one.round);
        Row {
            tracer,
            role,
            cpu_ns_per_pair: of_each(&|one| Some(one.cpu_ns_per_unit / self.pairs_per_unit?)),
            added_ns_per_pair: of_each(&|one| self.added_ns(one)).filter(|_| !is_base),
            cpu_ratio: of_each(&|one| Some(one.cpu_ns_per_unit / untraced(one)?.cpu_ns_per_unit))
                .map(|spread| spread.median),
            wall_ratio: of_each(&|one| {
                Some(one.wall_ns_per_unit / untraced(one)?.wall_ns_per_unit)
            })
            .map(|spread| spread.median),
            to_floor: ratio_to(self.floor),
            to_script: ratio_to(self.script),
            collector_ns_per_event: of_each(&|one| one.collector_ns_per_event)
                .map(|spread| spread.median),
            lost_events: all
                .iter()
                .filter_map(|one| one.lost_events)
                .reduce(|a, b| a + b),
            refusal: cell.refusal.clone(),
        }
    }

    /// What tracing added to a pair in that round.
    fn added_ns(&self, one: &Measurement) -> Option<f64> {
        let untraced = in_round(&self.untraced?.measurements, one.round)?;
        Some((one.cpu_ns_per_unit - untraced.cpu_ns_per_unit) / self.pairs_per_unit?)
    }
}

/// What was measured in that round.
pub(crate) fn in_round(measurements: &[Measurement], round: usize) -> Option<&Measurement> {
    measurements.iter().find(|one| one.round == round)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::workloads::WORKLOADS;

    pub(crate) fn measured(round: usize, cpu: f64, wall: f64) -> Measurement {
        Measurement {
            round,
            cpu_ns_per_unit: cpu,
            wall_ns_per_unit: wall,
            pairs_per_unit: None,
            collector_ns_per_event: None,
            collector_seconds_in_all: None,
            lost_events: None,
            malloc_probes: None,
            own_ns_per_unit: None,
            faults_per_unit: 0.0,
            collector_ns_per_unit: None,
            touched_pages_per_unit: None,
        }
    }

    /// Each tracer's CPU time, round by round; memprof counts 2 pairs a unit.
    fn cells(times: [&[f64]; TRACERS.len()]) -> [Cell; TRACERS.len()] {
        let mut number = 0;
        times.map(|times| {
            let role = TRACERS[number].role;
            number += 1;
            let rounds = times.iter().enumerate();
            let measurements = rounds
                .map(|(round, time)| Measurement {
                    pairs_per_unit: (role == Role::Exact).then_some(2.0),
                    lost_events: (role == Role::Exact).then_some(round as u64),
                    malloc_probes: (role == Role::Exact).then(|| "`push r12`".to_owned()),
                    ..measured(round, *time, *time)
                })
                .collect();
            Cell {
                measurements,
                refusal: times.is_empty().then(|| "not today".to_owned()),
            }
        })
    }

    /// A comparison in two rounds, the second on a machine half as fast.
    pub(crate) fn two_rounds(workload: &Workload) -> Outcome {
        let untraced: &[f64] = &[100.0, 200.0];
        let floor: &[f64] = &[1_100.0, 2_200.0];
        let memprof: &[f64] = &[2_100.0, 4_200.0];
        let script: &[f64] = &[20_100.0, 40_200.0];
        outcome(
            workload,
            &cells([untraced, floor, memprof, &[], &[], script, &[600.0], &[]]),
        )
    }

    fn row(outcome: &Outcome, role: Role) -> &Row {
        outcome.rows.iter().find(|row| row.role == role).unwrap()
    }

    #[test]
    fn what_is_added_is_the_difference_to_the_same_rounds_untraced_program() {
        let outcome = two_rounds(&WORKLOADS[0]);
        let added = row(&outcome, Role::Exact).added_ns_per_pair.unwrap();
        assert_eq!(
            (added.least, added.median, added.most),
            (2_000.0, 3_000.0, 4_000.0)
        );
        assert_eq!(row(&outcome, Role::Untraced).added_ns_per_pair, None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_so_a_machine_that_slows_down_does_not_change_them() {
        let outcome = two_rounds(&WORKLOADS[0]);
        let memprof = row(&outcome, Role::Exact);
        assert_eq!(memprof.to_floor, Some(2.0));
        assert_eq!(memprof.to_script, Some(0.1));
        assert_eq!(memprof.cpu_ratio, Some(21.0));
        // It ran in the first round alone.
        assert_eq!(row(&outcome, Role::Peer).to_floor, Some(0.5));
    }

    #[test]
    fn where_the_program_does_not_tell_its_pairs_memprof_counts_them() {
        let counted = WORKLOADS
            .iter()
            .find(|workload| workload.pairs_per_unit.is_none());
        let outcome = two_rounds(counted.unwrap());
        assert_eq!(outcome.pairs_per_unit, Some(2.0));
        let floor = row(&outcome, Role::Floor).added_ns_per_pair.unwrap();
        assert_eq!(floor.least, 500.0);
    }

    #[test]
    fn what_nobody_counted_is_unknown_but_ratios_of_whole_times_are_there() {
        let counted = WORKLOADS
            .iter()
            .find(|workload| workload.pairs_per_unit.is_none());
        let outcome = outcome(
            counted.unwrap(),
            &cells([&[100.0], &[300.0], &[], &[], &[], &[], &[], &[]]),
        );
        let floor = row(&outcome, Role::Floor);
        assert_eq!(floor.added_ns_per_pair, None);
        assert_eq!(floor.cpu_ratio, Some(3.0));
    }

    #[test]
    fn a_floor_below_the_noise_has_no_multiples() {
        let outcome = outcome(
            &WORKLOADS[0],
            &cells([&[100.0], &[90.0], &[300.0], &[], &[], &[], &[], &[]]),
        );
        assert_eq!(row(&outcome, Role::Exact).to_floor, None);
    }

    #[test]
    fn losses_of_all_rounds_add_up() {
        let outcome = two_rounds(&WORKLOADS[0]);
        assert_eq!(row(&outcome, Role::Exact).lost_events, Some(1));
        assert_eq!(row(&outcome, Role::Script).lost_events, None);
    }
}
