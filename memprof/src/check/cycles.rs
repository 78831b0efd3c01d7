//! Which call paths fail because nearly every cycle left something there. Suppressions count, a
//! baseline and a severity don't: what an action leaves each time is one block or many.

use super::{Policy, verdicts::Found};
use crate::report::{Criterion, CycleKind, Cycles, Failure, LeftPerCycle, Report};
use crate::units::{format_count, format_size};

/// Adds what the cycles say.
pub(super) fn find(report: &Report, policy: &Policy, found: &mut Found) {
    let Some(cycles) = &report.cycles else {
        return;
    };
    let counted = cycles.completed.saturating_sub(cycles.warm_up);
    let leaking = cycles.top_allocators.iter();
    for path in leaking.filter(|path| path.leaks == Some(true)) {
        let failure = failure_of(path, counted);
        if !found.suppress(&path.allocator, &failure, &policy.suppressions) {
            found.failures.push(failure);
        }
    }
}

/// Why the cycles that were asked for say nothing. What launched programs hold at their end is not
/// judged by cycles at all.
pub(super) fn unknown(report: &Report) -> Vec<String> {
    let asked = |cycles: &&Cycles| cycles.kind == CycleKind::Action;
    let Some(cycles) = report.cycles.as_ref().filter(asked) else {
        return Vec::new();
    };
    let mut unknown = Vec::new();
    if cycles.completed < cycles.requested {
        unknown.push(format!(
            "--cycles: {} of {} were done",
            cycles.completed, cycles.requested
        ));
    }
    if cycles.leaks.is_none() {
        unknown.push(format!("--cycles: {}", cycles.reasons.join("; ")));
    }
    unknown
}

fn failure_of(path: &LeftPerCycle, counted: u32) -> Failure {
    Failure {
        criterion: Criterion::Cycles,
        reason: format!(
            "left {} a cycle in the median, by {} of {} cycles, {} blocks in all",
            format_size(path.left_bytes_per_cycle.max(0.0) as u64),
            path.cycles,
            counted,
            format_count(path.allocator.shown_count)
        ),
        allocator: Some(path.allocator.clone()),
    }
}
