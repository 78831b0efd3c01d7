//! All of it together: passed, failed, or not to be told.

use super::evidence::Evidence;
use super::{Policy, Watched, cycles, thresholds, verdicts};
use crate::report::{Check, Outcome, Report};

/// Holds a finished report against a policy.
///
/// What is proved fails, however little was seen. A record that is spoilt by losses proves nothing
/// about blocks, but resident memory needs none. It passes only if the evidence is good enough.
pub fn decide(report: &Report, watched: &Watched, policy: &Policy) -> Check {
    let evidence = Evidence::of(report, watched, policy.criteria.max_lost);
    let is_looked_at = evidence.spoiled.is_empty() && watched.seconds.is_some();
    let mut found = if is_looked_at {
        verdicts::find(report, policy)
    } else {
        verdicts::Found::default()
    };
    if is_looked_at {
        cycles::find(report, policy, &mut found);
    }
    let mut not_judged = evidence.spoiled.clone();
    not_judged.extend(evidence.short.iter().cloned());
    if evidence.spoiled.is_empty() {
        let passed = thresholds::of_blocks(report, watched, policy);
        found.failures.extend(passed);
    }
    let resident = thresholds::of_resident_memory(watched, policy);
    found.failures.extend(resident);
    if evidence.is_good() {
        not_judged.extend(thresholds::unknown(report, watched, policy));
        not_judged.extend(cycles::unknown(report));
    }
    let outcome = match (found.failures.is_empty(), not_judged.is_empty()) {
        (false, _) => Outcome::Failed,
        (true, true) => Outcome::Passed,
        (true, false) => Outcome::Undecided,
    };
    // Of what was not looked at nothing was used.
    let unused = policy.suppressions.iter().zip(&found.used);
    let unused = unused.filter(|one| !one.1);
    Check {
        outcome,
        exit_code: outcome.exit_code(),
        judged_seconds: watched.seconds,
        unused_suppressions: unused.map(|one| one.0.to_string()).collect(),
        failures: found.failures,
        suppressed: found.suppressed,
        in_baseline: found.in_baseline,
        not_judged,
        criteria: policy.criteria,
    }
}
