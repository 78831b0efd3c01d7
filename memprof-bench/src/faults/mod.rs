//! What following page faults costs the target: `memprof trace --events faults` beside a script of
//! bpftrace that has the same tracepoints. There is no floor here, nor another peer: nobody else tells of
//! each page who touched it first.

mod goals;
mod results;
mod table;

use serde::Serialize;

use self::goals::Judged;
use self::results::{Outcome, outcome};
use crate::comparison::{Extent, machine, measure_rounds};
use crate::measure::Bench;
use crate::tracers::{Role, Script, Tracer, Way};
use crate::workloads::{Kind, PYTHON, Program, REDIS, SQLITE, Workload};

pub(crate) use self::table::markdown;

/// What is compared, in the order of the table.
pub(crate) const TRACERS: [Tracer; 4] = [
    Tracer {
        name: "untraced",
        does: "the program alone",
        role: Role::Untraced,
        way: Way::Untraced,
        divisor: 1,
    },
    Tracer {
        name: "untraced, again",
        does: "the program alone a second time: so far reaches the noise of the machine",
        role: Role::Control,
        way: Way::Untraced,
        divisor: 1,
    },
    Tracer {
        name: "memprof",
        does: "`memprof trace --events faults`: every touch with its whole stack, what is given back too",
        role: Role::Exact,
        way: Way::Memprof(&["--events", "faults"]),
        divisor: 1,
    },
    Tracer {
        name: "bpftrace",
        does: "the same tracepoints as a script: `page_fault_user` and `page_fault_kernel` counted by \
               `ustack`, resident memory from `rss_stat`",
        role: Role::Script,
        way: Way::Bpftrace(Script::Faults),
        divisor: 1,
    },
];

const fn pages(name: &'static str, does: &'static str, touched: &'static str) -> Workload {
    Workload {
        name,
        does,
        program: Program::C {
            source: "pages",
            frame_pointers: false,
            argument: touched,
        },
        kind: Kind::Pages,
        units: 150_000,
        pairs_per_unit: None,
        for_slow_peers: false,
        in_quick: true,
    }
}

/// What is traced, in the order of the table. The real programs do more at a time than where every
/// allocation is traced: a difference of a hundredth takes tenths of a second to show.
pub(crate) const WORKLOADS: [Workload; 6] = [
    pages(
        "pages-whole",
        "16 MiB mapped, every page written whole, unmapped, again and again",
        "whole",
    ),
    pages(
        "pages-byte",
        "the same with one byte written of each page",
        "byte",
    ),
    Workload {
        units: 400_000,
        ..SQLITE
    },
    Workload {
        units: 4_000,
        ..PYTHON
    },
    Workload {
        name: "python-objects",
        does: "python3 parses JSON and keeps it all, then drops it, with its own allocator",
        program: Program::Python {
            script: "grow_objects",
            through_malloc: false,
        },
        units: 2_000,
        ..PYTHON
    },
    Workload {
        units: 250_000,
        ..REDIS
    },
];

/// What came of it.
#[derive(Serialize)]
pub(crate) struct Comparison {
    /// On what it was measured, and how, line by line.
    pub(crate) conditions: Vec<String>,
    pub(crate) goals: Vec<Judged>,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Comparison {
    /// What memprof itself, or the untraced program, could not do: that is no mere lack of a peer.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for outcome in &self.outcomes {
            for row in outcome.rows.iter().filter(|row| row.role != Role::Script) {
                if let Some(refusal) = &row.refusal {
                    failures.push(format!("{}, {}: {refusal}", outcome.workload, row.tracer));
                }
            }
        }
        failures
    }
}

/// Measures `workloads`, of [`WORKLOADS`], telling on standard error how far it is.
pub(crate) fn run(bench: &Bench, workloads: &[&Workload], extent: Extent) -> Comparison {
    let measured = measure_rounds(bench, workloads, &TRACERS, extent);
    let pairs = workloads.iter().zip(&measured.cells);
    let outcomes: Vec<Outcome> = pairs
        .map(|(workload, cells)| outcome(workload, cells))
        .collect();
    let mut conditions = vec![machine()];
    conditions.extend(measured.conditions);
    Comparison {
        conditions,
        goals: goals::judge(&outcomes),
        outcomes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ratios_are_taken_of_is_there_once() {
        for role in [Role::Untraced, Role::Control, Role::Exact, Role::Script] {
            let count = TRACERS.iter().filter(|tracer| tracer.role == role).count();
            assert_eq!(count, 1, "{role:?}");
        }
    }

    #[test]
    fn every_workload_has_a_name_of_its_own() {
        let mut names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
    }
}
