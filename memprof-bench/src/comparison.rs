//! A comparison, run in rounds: every workload in turn, under every tracer in turn.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::goals::{self, Judged};
use crate::measure::Bench;
use crate::results::{Cell, Outcome, outcome};
use crate::tracers::{Role, TRACERS, Tracer, Way};
use crate::workloads::{Program, Workload};

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds, if there is time for them.
    pub(crate) rounds: usize,
    /// No round is begun that would end later than this, by how long the longest took.
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Serialize)]
pub(crate) struct Comparison {
    /// On what it was measured, and how, line by line.
    pub(crate) conditions: Vec<String>,
    /// Where the floor's probes are.
    pub(crate) places: Vec<String>,
    pub(crate) goals: Vec<Judged>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Comparison {
    /// What memprof itself, or the untraced program, could not do: that is no mere lack of a peer.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for outcome in &self.outcomes {
            for (row, cell) in outcome.rows.iter().zip(&outcome.cells) {
                let is_ours = matches!(row.role, Role::Untraced | Role::Exact);
                if let Some(refusal) = cell.refusal.as_ref().filter(|_| is_ours) {
                    failures.push(format!("{}, {}: {refusal}", outcome.workload, row.tracer));
                }
            }
        }
        failures
    }
}

/// Measures `workloads` under the tracers of allocations.
pub(crate) fn run(bench: &Bench, workloads: &[&Workload], extent: Extent) -> Comparison {
    let measured = measure_rounds(bench, workloads, &TRACERS, extent);
    let pairs = workloads.iter().zip(&measured.cells);
    let outcomes: Vec<Outcome> = pairs
        .map(|(workload, cells)| outcome(workload, cells))
        .collect();
    let mut conditions = vec![machine(), bench.floor.describe()];
    conditions.extend(measured.conditions);
    Comparison {
        conditions,
        places: places(bench, workloads),
        goals: goals::judge(&outcomes),
        outcomes,
    }
}

/// What was measured in rounds.
pub(crate) struct Measured<const N: usize> {
    /// Of each workload a cell for each tracer.
    pub(crate) cells: Vec<[Cell; N]>,
    /// How it was measured, line by line.
    pub(crate) conditions: Vec<String>,
}

/// Measures `workloads` under `tracers`, telling on standard error how far it is.
pub(crate) fn measure_rounds<const N: usize>(
    bench: &Bench,
    workloads: &[&Workload],
    tracers: &[Tracer; N],
    extent: Extent,
) -> Measured<N> {
    let load_before = load_average();
    let start = Instant::now();
    let mut cells: Vec<[Cell; N]> = Vec::new();
    for workload in workloads {
        cells.push(std::array::from_fn(|number| Cell {
            refusal: bench.refusal(workload, &tracers[number]),
            ..Cell::default()
        }));
    }
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while rounds < extent.rounds && (rounds == 0 || start.elapsed() + longest <= extent.time) {
        let round_start = Instant::now();
        for (workload, cells) in workloads.iter().zip(&mut cells) {
            eprintln!(
                "round {} of {}, {:3.0} s: {}",
                rounds + 1,
                extent.rounds,
                start.elapsed().as_secs_f64(),
                workload.name
            );
            for (tracer, cell) in tracers.iter().zip(cells) {
                if is_due(tracer, cell, rounds) {
                    measure_into(cell, bench, workload, tracer, rounds);
                }
            }
        }
        longest = longest.max(round_start.elapsed());
        rounds += 1;
    }
    let unknown = || "unknown".to_owned();
    let conditions = vec![
        format!(
            "rounds: {rounds}; a figure of a round is the median of {} pieces of work; {:.0} s in all",
            bench.repeats,
            start.elapsed().as_secs_f64()
        ),
        format!(
            "load average before {}, after {}",
            load_before.unwrap_or_else(unknown),
            load_average().unwrap_or_else(unknown),
        ),
    ];
    Measured { cells, conditions }
}

/// The slowest run once.
fn is_due(tracer: &Tracer, cell: &Cell, round: usize) -> bool {
    let once = matches!(tracer.way, Way::Memcheck);
    cell.refusal.is_none() && !(once && round > 0)
}

/// What fails once is not tried again; what was measured before stays.
fn measure_into(
    cell: &mut Cell,
    bench: &Bench,
    workload: &Workload,
    tracer: &Tracer,
    round: usize,
) {
    match bench.measure(workload, tracer, round) {
        Ok(measurement) => cell.measurements.push(measurement),
        Err(error) => {
            eprintln!("  {}: {error:#}", tracer.name);
            cell.refusal = Some(format!("{error:#}"));
        }
    }
}

/// What the figures depend on.
pub(crate) fn machine() -> String {
    let host = memprof::host::describe();
    let model = cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
    format!(
        "Linux {} {}, {} CPUs: {model}",
        host.kernel, host.arch, host.cpus
    )
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn load_average() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_ascii_whitespace().next().map(str::to_owned)
}

/// Of one workload for each allocator: the C programs share theirs.
fn places(bench: &Bench, workloads: &[&Workload]) -> Vec<String> {
    let mut places: Vec<String> = Vec::new();
    let mut seen_c = false;
    for workload in workloads {
        let is_c = matches!(workload.program, Program::C { .. });
        if is_c && std::mem::replace(&mut seen_c, true) {
            continue;
        }
        match bench.places(workload) {
            Ok(found) => places.extend(found),
            Err(error) => places.push(format!("{}: {error:#}", workload.name)),
        }
    }
    places.sort();
    places.dedup();
    places
}
