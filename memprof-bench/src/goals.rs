//! What memprof has set itself, held against the measurements. Pure.

use serde::Serialize;

use crate::results::{Outcome, Row};
use crate::tracers::Role;
use crate::workloads::{Kind, WORKLOADS};

/// The CPU time that the collector may take for an event, nanoseconds.
const COLLECTOR_NS: f64 = 60.0;

/// What of a row is to be at most how much.
struct Goal {
    role: Role,
    kinds: &'static [Kind],
    measure: Measure,
    limit: f64,
}

#[derive(Clone, Copy)]
enum Measure {
    ToScript,
    ToFloor,
    Collector,
}

/// The goals; a ratio is one of what is added to a pair.
const GOALS: [Goal; 6] = [
    goal(Role::Exact, &[Kind::Loop], Measure::ToScript, 1.0 / 8.0),
    goal(Role::Exact, &[Kind::Loop], Measure::ToFloor, 1.5),
    goal(Role::Exact, &[Kind::Server], Measure::ToScript, 1.0 / 6.0),
    goal(Role::Exact, &[Kind::Server], Measure::ToFloor, 2.0),
    goal(
        Role::Fallback,
        &[Kind::Loop, Kind::Server],
        Measure::ToScript,
        1.0 / 5.0,
    ),
    goal(
        Role::Exact,
        &[Kind::Loop, Kind::Server, Kind::Real],
        Measure::Collector,
        COLLECTOR_NS,
    ),
];

const fn goal(role: Role, kinds: &'static [Kind], measure: Measure, limit: f64) -> Goal {
    Goal {
        role,
        kinds,
        measure,
        limit,
    }
}

/// A goal on a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judged {
    pub(crate) workload: &'static str,
    pub(crate) tracer: &'static str,
    /// What is measured, in words.
    pub(crate) measure: &'static str,
    /// What it may be at most.
    pub(crate) limit: f64,
    /// What it is; `None` if it could not be measured.
    pub(crate) measured: Option<f64>,
    /// Whether the goal is met; `None` if that is not known.
    pub(crate) met: Option<bool>,
}

/// Every goal on every workload that it is about.
pub(crate) fn judge(outcomes: &[Outcome]) -> Vec<Judged> {
    let mut judged = Vec::new();
    for goal in &GOALS {
        for outcome in outcomes {
            let is_this = |kind: &Kind| {
                WORKLOADS
                    .iter()
                    .any(|workload| workload.name == outcome.workload && workload.kind == *kind)
            };
            let row = outcome.rows.iter().find(|row| row.role == goal.role);
            if let Some(row) = row.filter(|_| goal.kinds.iter().any(is_this)) {
                judged.push(goal.judge(outcome.workload, row));
            }
        }
    }
    judged
}

impl Goal {
    fn judge(&self, workload: &'static str, row: &Row) -> Judged {
        let (measure, measured) = match self.measure {
            Measure::ToScript => ("added, to bpftrace's", row.to_script),
            Measure::ToFloor => ("added, to the floor's", row.to_floor),
            Measure::Collector => ("collector's CPU ns per event", row.collector_ns_per_event),
        };
        Judged {
            workload,
            tracer: row.tracer,
            measure,
            limit: self.limit,
            measured,
            met: measured.map(|measured| measured <= self.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::two_rounds;

    fn met(judged: &[Judged], tracer: &str, measure: &str) -> Option<bool> {
        let is_it = |one: &&Judged| one.tracer == tracer && one.measure.contains(measure);
        judged.iter().find(is_it).expect("such a goal").met
    }

    #[test]
    fn a_goal_is_met_missed_or_unknown() {
        // A tenth of the script, twice the floor.
        let judged = judge(&[two_rounds(&WORKLOADS[0])]);
        assert_eq!(met(&judged, "memprof", "bpftrace"), Some(true));
        assert_eq!(met(&judged, "memprof", "floor"), Some(false));
        assert_eq!(met(&judged, "memprof", "collector"), None);
        assert_eq!(met(&judged, "memprof, entry and return", "bpftrace"), None);
    }

    #[test]
    fn real_programs_have_no_goal_but_the_collectors() {
        let real = WORKLOADS
            .iter()
            .find(|workload| workload.kind == Kind::Real);
        let judged = judge(&[two_rounds(real.unwrap())]);
        assert_eq!(judged.len(), 1, "{judged:?}");
    }

    #[test]
    fn servers_have_a_limit_of_their_own() {
        let server = WORKLOADS
            .iter()
            .find(|workload| workload.kind == Kind::Server);
        let judged = judge(&[two_rounds(server.unwrap())]);
        assert_eq!(met(&judged, "memprof", "floor"), Some(true));
    }
}
