//! Marks, windows and cycles, as the report lists them.

use std::os::unix::process::ExitStatusExt as _;

use super::assemble::ShownSite;
use super::{
    cycles::Cycles,
    left::{Left, LeftByCycles},
    marks::Marks,
};
use crate::{
    identity::{Nanoseconds, seconds_since},
    report::{self, CycleKind, LeftPerCycle, Mark, TopAllocator, Window},
    units::format_size,
};

/// The marks.
pub fn marks(marks: &Marks, start: Nanoseconds) -> Vec<Mark> {
    let marks = marks.all().iter();
    marks
        .map(|mark| Mark {
            at_seconds: seconds_since(start, mark.at),
            label: mark.label.clone(),
        })
        .collect()
}

/// What was left between them.
pub fn windows(
    left: &Left,
    mut name: impl FnMut(&[ShownSite]) -> Vec<TopAllocator>,
) -> Vec<Window> {
    let windows = left.windows.iter();
    windows
        .map(|window| Window {
            from: window.from.clone(),
            to: window.to.clone(),
            left_bytes: window.left.bytes,
            left_count: window.left.count,
            top_allocators: name(&window.sites),
        })
        .collect()
}

/// What the cycles left. `loses`: frees were lost, and their blocks look outstanding.
pub fn cycles(
    run: &Cycles,
    left: LeftByCycles<ShownSite>,
    start: Nanoseconds,
    loses: bool,
    mut name: impl FnMut(&[ShownSite]) -> Vec<TopAllocator>,
) -> report::Cycles {
    let config = run.config();
    let kind = if config.launches {
        CycleKind::Launch
    } else {
        CycleKind::Action
    };
    let failed = run
        .done()
        .iter()
        .filter(|done| done.status.is_some_and(|status| !status.success()))
        .count();
    let cycles = (1..)
        .zip(run.done())
        .zip(&left.left)
        .map(|((number, done), left)| report::Cycle {
            number,
            at_seconds: seconds_since(start, done.end),
            command_seconds: done.command.as_secs_f64(),
            exit_status: done
                .status
                .and_then(|status| status.code().filter(|_| status.signal().is_none())),
            left_bytes: left.bytes,
            left_count: left.count,
            outstanding_bytes: done.outstanding.bytes,
            outstanding_count: done.outstanding.count,
        });
    let (leaks, reasons) = judge(kind, &left, failed == run.done().len(), loses);
    let grows = kind == CycleKind::Action;
    let (paths, sites): (Vec<_>, Vec<_>) = left.paths.into_iter().unzip();
    report::Cycles {
        kind,
        command: config
            .command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        requested: config.count,
        completed: run.done().len() as u32,
        failed: failed as u32,
        warm_up: config.warm_up,
        left_bytes_per_cycle: left.all.left_bytes,
        left_count_per_cycle: left.all.left_count,
        // Of processes that ended the sum is held, which grows by what each left.
        growth_bytes_per_cycle: left.all.growth_bytes.filter(|_| grows),
        growth_bytes_per_cycle_ci95: left.all.growth_bytes_ci95.filter(|_| grows),
        leaks,
        reasons,
        cycles: cycles.collect(),
        top_allocators: paths
            .into_iter()
            .zip(name(&sites))
            .map(|(path, allocator)| LeftPerCycle {
                left_bytes_per_cycle: path.left_bytes,
                left_count_per_cycle: path.left_count,
                cycles: path.cycles,
                leaks: path.leaks.filter(|_| leaks.is_some()),
                allocator,
            })
            .collect(),
    }
}

/// Whether the cycles leak, and why that is said.
fn judge(
    kind: CycleKind,
    left: &LeftByCycles<ShownSite>,
    failed_all: bool,
    loses: bool,
) -> (Option<bool>, Vec<String>) {
    if kind == CycleKind::Launch {
        let reason = "each cycle is a process of its own: what it held is gone with it";
        return (None, vec![reason.to_owned()]);
    }
    if failed_all {
        let reason = "every command failed: look at what it says, and at its exit status";
        return (None, vec![reason.to_owned()]);
    }
    if loses {
        let reason = "frees were lost: what they freed looks left behind";
        return (None, vec![reason.to_owned()]);
    }
    let Some(leaks) = left.leaks else {
        let reason = "too few cycles after the warm-up";
        return (None, vec![reason.to_owned()]);
    };
    let leaking = left
        .paths
        .iter()
        .filter(|(path, _)| path.leaks == Some(true));
    let per_cycle: f64 = leaking.clone().map(|(path, _)| path.left_bytes).sum();
    let reason = if leaks {
        format!(
            "nearly every cycle left blocks at the same {}, {} a cycle; a store that is not full \
             yet looks the same: more cycles tell",
            match leaking.count() {
                1 => "call path".to_owned(),
                paths => format!("{paths} call paths"),
            },
            format_size(per_cycle.max(0.0) as u64)
        )
    } else {
        "no call path was left something by nearly every cycle".to_owned()
    };
    (Some(leaks), vec![reason])
}
