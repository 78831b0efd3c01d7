//! What following page faults may cost at most, held against the measurements. Pure.

use serde::Serialize;

use super::results::{Outcome, Row};
use crate::statistics::Spread;
use crate::tracers::Role;
use crate::workloads::Kind;

/// Of programs that do nothing but touch new pages, and of real ones; in times the untraced program's.
const MOST_ON_PAGES: f64 = 1.3;
const MOST_ON_REAL: f64 = 1.02;

/// A goal on a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judged {
    pub(crate) workload: &'static str,
    /// What is measured, in words.
    pub(crate) measure: &'static str,
    /// What it may be at most.
    pub(crate) limit: f64,
    /// What it is; `None` if it could not be measured.
    pub(crate) memprof: Option<f64>,
    /// What it is under the script, about which there is no goal.
    pub(crate) bpftrace: Option<f64>,
    /// Whether the goal is reached; `None` if that is not known.
    pub(crate) reached: Option<bool>,
}

/// Every goal on every workload that it is about.
pub(crate) fn judge(outcomes: &[Outcome]) -> Vec<Judged> {
    let mut judged = Vec::new();
    for outcome in outcomes {
        let limit = match outcome.kind {
            Kind::Pages => MOST_ON_PAGES,
            _ => MOST_ON_REAL,
        };
        judged.push(one(outcome, "CPU ×", limit, |row| row.cpu_ratio));
        if outcome.kind == Kind::Pages {
            judged.push(one(outcome, "own time ×", limit, |row| row.own_ratio));
        }
    }
    judged
}

fn one(
    outcome: &Outcome,
    measure: &'static str,
    limit: f64,
    of: fn(&Row) -> Option<Spread>,
) -> Judged {
    let median = |role| {
        let row = outcome.rows.iter().find(|row| row.role == role)?;
        Some(of(row)?.median)
    };
    let memprof = median(Role::Exact);
    Judged {
        workload: outcome.workload,
        measure,
        limit,
        memprof,
        bpftrace: median(Role::Script),
        reached: memprof.map(|memprof| memprof <= limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::WORKLOADS;
    use crate::faults::results::tests::two_rounds;

    #[test]
    fn a_quarter_more_is_little_for_pages_and_too_much_for_real_programs() {
        let outcomes: Vec<Outcome> = WORKLOADS.iter().map(two_rounds).collect();
        for judged in judge(&outcomes) {
            let is_pages = judged.workload.starts_with("pages");
            assert_eq!(judged.reached, Some(is_pages), "{judged:?}");
            assert_eq!(judged.bpftrace, None);
        }
    }

    #[test]
    fn pages_have_a_goal_by_their_own_clock_too() {
        let judged = judge(&[two_rounds(&WORKLOADS[0])]);
        let measures: Vec<&str> = judged.iter().map(|one| one.measure).collect();
        assert_eq!(measures, ["CPU ×", "own time ×"]);
    }

    #[test]
    fn a_goal_that_was_not_measured_is_neither_reached_nor_missed() {
        let mut outcome = two_rounds(&WORKLOADS[0]);
        outcome.rows.iter_mut().for_each(|row| row.cpu_ratio = None);
        assert_eq!(judge(&[outcome])[0].reached, None);
    }
}
