//! What a hunt has found, as its report has it.

use std::path::PathBuf;

use anyhow::Error;

use super::{
    super::run::{own_cpu_seconds, scope_of, timestamp},
    Hunt,
};
use crate::{
    config::TargetChoice,
    host,
    hunt::{Conclusion, Growth, Watched, Watchlist, guiltiest, suspected_rate},
    report::{
        Find, FindKind, GrownProcess, Hunt as HuntReport, HuntOverhead, HuntSchema, HuntScope,
        Memprof, Report, Verdict, WatchedGrowth,
    },
    target::process::ProcessFacts,
    units::{format_rate, format_seconds, format_size},
};

/// What an exact look came to; `None` if it had nothing to show.
pub(super) fn found(
    facts: &ProcessFacts,
    growth: &Growth,
    at: f64,
    conclusion: &Conclusion,
    report: Box<Report>,
) -> Option<Find> {
    let Conclusion::Find(kind, verdict, confidence) = *conclusion else {
        return None;
    };
    let mut why = why(kind, growth, &report);
    let has_ended = !facts.is_alive();
    if has_ended {
        why.push_str("; it ended while it was looked at");
    }
    let guilty = guiltiest(&report);
    Some(Find {
        at_seconds: at,
        kind,
        why,
        looked_for_seconds: Some(report.duration_seconds),
        verdict,
        confidence,
        function: guilty.and_then(|one| one.function.clone()),
        file: guilty.and_then(|one| one.file.clone()),
        line: guilty.and_then(|one| one.line),
        report: Some(report),
        ..nothing_of(facts, growth)
    })
}

/// A process that grows and can't be probed; `touched`: what page faults told of it, if they were followed.
pub(super) fn unprobed(
    facts: &ProcessFacts,
    growth: &Growth,
    at: f64,
    error: &Error,
    touched: Option<Box<Report>>,
) -> Find {
    let mut why = if touched.is_some() || facts.is_alive() {
        format!("it grows, and its allocator can't be probed: {error:#}")
    } else {
        "it grew, and ended before it could be probed".to_owned()
    };
    if let Some(touched) = &touched {
        why.push_str(&first_touch(touched));
    }
    Find {
        at_seconds: at,
        why,
        looked_for_seconds: touched.as_ref().map(|report| report.duration_seconds),
        report: touched,
        ..nothing_of(facts, growth)
    }
}

fn nothing_of(facts: &ProcessFacts, growth: &Growth) -> Find {
    Find {
        at_seconds: 0.0,
        pid: facts.pid.0,
        comm: facts.comm.clone(),
        exe: path(facts.exe.as_ref()),
        kind: FindKind::Unprobed,
        why: String::new(),
        watched: watched(growth),
        looked_for_seconds: None,
        verdict: Verdict::InsufficientData,
        confidence: None,
        function: None,
        file: None,
        line: None,
        report: None,
    }
}

fn why(kind: FindKind, growth: &Growth, report: &Report) -> String {
    let judged = || {
        let first = report.leak_detection.reasons.first().cloned();
        first.unwrap_or_else(|| "the exact look judged it so".to_owned())
    };
    match kind {
        FindKind::Leak => judged(),
        FindKind::Growing => format!("a leak, or a store that is still filling: {}", judged()),
        FindKind::Elsewhere => {
            let beyond = report.summary.unattributed_bytes.unwrap_or(0);
            format!(
                "its blocks don't grow, but its resident memory did by {} beyond them in {}: mappings, \
                 or pages of older blocks that are touched only now{}",
                format_size(beyond.unsigned_abs()),
                format_seconds(report.duration_seconds),
                first_touch(report)
            )
        }
        FindKind::Undecided | FindKind::Unprobed => format!(
            "the exact look was not sure of more than {} of {}: {}",
            format_rate(suspected_rate(report)),
            format_rate(growth.rate),
            judged()
        ),
    }
}

/// Who touched most of what became resident, as the end of a sentence; nothing if nobody is known to have.
fn first_touch(report: &Report) -> String {
    let Some(most) = report.top_touchers.first() else {
        return String::new();
    };
    let place = match (&most.function, &most.file, most.line) {
        (Some(function), Some(file), Some(line)) => format!("{function} {file}:{line}"),
        (Some(function), ..) => function.clone(),
        (None, ..) => match &most.module {
            Some(module) => format!("a path without a name in {module}"),
            None => "a path without a name".to_owned(),
        },
    };
    format!(
        "; meanwhile {} of memory was first touched by {place}, who need not be the one that holds it",
        format_size(most.touched_bytes)
    )
}

fn watched(growth: &Growth) -> WatchedGrowth {
    WatchedGrowth {
        growth_bytes: growth.bytes.max(0.0) as u64,
        seconds: growth.seconds,
        rate_bytes_per_second: growth.rate,
        rate_ci95_bytes_per_second: growth.rate_ci95,
    }
}

fn path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

fn grown(process: &Watched) -> Option<GrownProcess> {
    let (first, last, growth) = (process.first?, process.last?, process.growth?);
    Some(GrownProcess {
        pid: process.facts.pid.0,
        comm: process.facts.comm.clone(),
        exe: path(process.facts.exe.as_ref()),
        has_ended: process.has_ended,
        watched_seconds: [first.0, last.0],
        first_bytes: first.1,
        last_bytes: last.1,
        growth: watched(&growth),
        grows: process.grows().is_some(),
        looks: process.patience.looks(),
        said: process.said.map(str::to_owned),
    })
}

impl Hunt {
    /// All that it found.
    pub(super) fn report(&mut self) -> HuntReport {
        let list = self.watch.list();
        let left_out = self.made - self.finds.len() as u64;
        let overhead = HuntOverhead {
            own_cpu_seconds: own_cpu_seconds(),
            watch_cpu_seconds: self.watch.cpu_seconds(),
            ..self.overhead
        };
        HuntReport {
            schema: HuntSchema::V1,
            memprof: Memprof::this(),
            host: host::describe(),
            started_at: timestamp(self.started_at),
            duration_seconds: self.start.elapsed().as_secs_f64(),
            scope: scope(&self.config.tracing.target),
            processes_watched: list.met(),
            processes_left_out: list.left_out(),
            min_growth_bytes: self.config.min_growth,
            min_confidence: self.config.min_confidence,
            looks: self.looks,
            overhead,
            growing: list.grown().into_iter().filter_map(grown).collect(),
            notes: notes(&list, left_out),
            finds_left_out: left_out,
            finds: std::mem::take(&mut self.finds),
        }
    }
}

fn notes(list: &Watchlist, finds_left_out: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if list.left_out() > 0 {
        notes.push(format!(
            "{} processes were not watched: there was room for {} at one time",
            list.left_out(),
            crate::hunt::MAX_WATCHED
        ));
    }
    if finds_left_out > 0 {
        notes.push(format!(
            "{finds_left_out} further finds were told when they were made, and are not kept"
        ));
    }
    notes
}

fn scope(target: &TargetChoice) -> HuntScope {
    let (kind, names, cgroups) = scope_of(target);
    HuntScope {
        kind,
        pids: match target {
            TargetChoice::Pids(pids) => pids.iter().map(|pid| pid.0).collect(),
            _ => Vec::new(),
        },
        names,
        cgroups,
    }
}
