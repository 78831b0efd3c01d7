//! Reports of a running trace: of an interval, for an alert, at the end.

use std::{io, process::ExitCode};

use anyhow::{Context as _, Result};
use memprof_common::counters::{Counter, Counters};

use super::{
    super::{
        assemble::{self, Choice, Extract, ShownSite},
        by_process,
        collector::monotonic,
        joined, left_report, touchers,
    },
    Ended, Run,
    figures::{point, summary, timestamp, weigh_self, with_mappings},
};
use crate::{
    config::TargetChoice,
    export::Format,
    growth::{Context, Limit, Losses, Ticks},
    identity::seconds_since,
    probes::kernel_side::{lost_allocations, lost_ends},
    report::{
        EventKind, LeakDetection, Memprof, Process, Report, Schema, Summary, Target, TargetKind,
    },
};

/// Call paths that a check looks at because they leak or grow, beside those that hold most.
const MAX_SUSPECTS: usize = 1000;

impl Run {
    /// The end of an interval: a point of the timeline, and a report if somebody reads along.
    pub(super) fn interval_report(&mut self) -> io::Result<()> {
        self.look();
        let wanted = self.config.format.writes_intervals()
            && self.output.takes_intervals()
            && !(self.config.quiet && self.config.format == Format::default());
        let leaks_now = !wanted && self.has_begun_to_leak().map_err(io::Error::other)?;
        if leaks_now {
            let report = self.report(true, false).map_err(io::Error::other)?;
            self.alert(&report);
            return Ok(());
        }
        if !wanted {
            let elapsed = seconds_since(self.start, monotonic());
            let point = {
                let state = self.shared.lock();
                let faults = self.config.events.faults;
                let touched = faults.then(|| state.pipeline.touched());
                point(elapsed, &state.pipeline.summary(), touched, self.resident)
            };
            self.timeline.push(point);
            return Ok(());
        }
        let windows = self.config.format.is_whole_by_line();
        let report = self.report(windows, false).map_err(io::Error::other)?;
        self.alert_if_new(&report);
        let exporter = &mut self.exporter;
        self.output.write(|out| exporter.interval(&report, out))
    }

    /// Writes the last report; the exit code by what it says.
    pub(super) fn final_report(&mut self, ended: Ended) -> Result<ExitCode> {
        match ended {
            Ended::Unwritable(error) => return Err(error).context("cannot write the report"),
            Ended::CannotAct(error) => {
                let done = self.cycles.as_ref().map_or(0, |cycles| cycles.done().len());
                if done == 0 {
                    return Err(error);
                }
                let note = format!("the cycles ended after {done}: {error:#}");
                self.notes.push(note);
            }
            _ => {}
        }
        let mut report = self.report(true, true)?;
        if let Some(gate) = &self.gate {
            let peak = self.shared.lock().pipeline.judged_peak_bytes();
            report.check = Some(gate.decide(&report, peak, monotonic()));
        }
        self.alert_if_new(&report);
        let exporter = &mut self.exporter;
        let written = self.output.write(|out| exporter.finish(&report, out));
        match written.and_then(|()| self.output.finish()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.context("cannot write the report")?,
        }
        let code = report.check.map_or(0, |check| check.exit_code);
        Ok(ExitCode::from(code))
    }

    /// Judges the whole, for `--on-leak`, where no report is made for other reasons.
    pub(super) fn has_begun_to_leak(&mut self) -> Result<bool> {
        if self.alerts.is_none() || self.restraint.has_withdrawn() {
            return Ok(false);
        }
        let counters = self.tracer.counters()?;
        let verdict = {
            let state = self.shared.lock();
            let context = self.context(&counters, state.pipeline.ticks());
            state.pipeline.judge(monotonic(), &context).whole.verdict
        };
        let alerts = self.alerts.as_mut();
        Ok(alerts.is_some_and(|alerts| alerts.hear(verdict)))
    }

    /// Whether what is known by now answers the question that was asked, if one was.
    pub(super) fn knows_enough(&self) -> bool {
        let Some(question) = self.question else {
            return false;
        };
        if self.restraint.has_withdrawn() {
            // There is no more to come.
            return true;
        }
        let Ok(counters) = self.tracer.counters() else {
            return false;
        };
        let now = monotonic();
        let state = self.shared.lock();
        let context = self.context(&counters, state.pipeline.ticks());
        let judged = state.pipeline.judge(now, &context);
        let whole = (judged.whole.verdict, judged.whole.confidence);
        let leaks = judged.leaks().map(|one| (one.confidence, one.rate));
        question.is_answered(whole, leaks, seconds_since(self.start, now))
    }

    pub(super) fn alert_if_new(&mut self, report: &Report) {
        let verdict = report.leak_detection.verdict;
        if let Some(alerts) = &mut self.alerts
            && alerts.hear(verdict)
        {
            self.alert(report);
        }
    }

    /// Has the command of `--on-leak` told.
    pub(super) fn alert(&mut self, report: &Report) {
        let Some(alerts) = &mut self.alerts else {
            return;
        };
        match serde_json::to_vec_pretty(report) {
            Ok(json) => alerts.raise(json),
            Err(error) => eprintln!("memprof: --on-leak: no report to give it: {error}"),
        }
    }

    /// Everything so far, as a report; what was left between marks, and the processes' shares of resident
    /// memory, only on demand.
    pub(super) fn report(&mut self, windows: bool, shares: bool) -> Result<Report> {
        let counters = self.tracer.counters()?;
        let top = if self.config.format.wants_every_stack() {
            usize::MAX
        } else {
            self.config.top
        };
        self.learn();
        let events = self.config.events;
        if shares && events.faults {
            joined::drop_gone_pages(&self.shared);
        }
        let joins = windows && events.faults && (events.malloc || events.mmap);
        let now = monotonic();
        let mut extract = {
            let state = self.shared.lock();
            let choice = Choice {
                filter: &self.config.filter,
                sort: self.config.sort,
                group_by: self.config.group_by,
                top,
                windows,
                cycles: self.cycles.as_ref(),
                suspects: if self.gate.is_some() || self.question.is_some() {
                    MAX_SUSPECTS
                } else {
                    0
                },
                faults: events.faults,
                joins: joins.then_some(&self.reconciler),
            };
            let context = self.context(&counters, state.pipeline.ticks());
            assemble::extract(&state, &counters, now, choice, &context)
        };
        let nameless = self.read_perf_maps();
        let elapsed = seconds_since(self.start, now);
        let touched = extract.touched.as_ref().map(|touched| touched.totals);
        self.timeline
            .push(point(elapsed, &extract.summary, touched, self.resident));
        let (symbols, skips) = (&mut self.symbols, &self.skips);
        let mut name = |sites: &[ShownSite]| {
            assemble::name(sites, &extract.modules, symbols, skips, now, elapsed)
        };
        let top_allocators = name(&extract.sites);
        let between_marks = left_report::windows(&extract.left, &mut name);
        let loses = extract.quality.lost.free + extract.quality.lost.unmap > 0;
        let by_cycle = extract.left.cycles.take().zip(self.cycles.as_ref());
        let by_cycle = by_cycle
            .map(|(left, run)| left_report::cycles(run, left, self.start, loses, &mut name));
        let top_touchers = extract.touched.as_ref().map(|touched| {
            let (symbols, skips) = (&mut self.symbols, &self.skips);
            touchers::name(&touched.touchers, &extract.modules, symbols, skips)
        });
        let top_touchers = top_touchers.unwrap_or_default();
        let mut quality = extract.quality.clone();
        assemble::count_frames(&top_allocators, &top_touchers, &mut quality);
        quality.coverage = self.tracer.probed().flat_map(assemble::coverage).collect();
        quality.notes.extend(self.notes());
        quality.notes.extend(nameless);
        quality.notes.append(&mut extract.left.notes);
        let joined = extract.joined.as_mut();
        quality
            .notes
            .extend(joined.and_then(|joined| joined.note.take()));
        if let Some(taken) = self.cost.estimate(self.tracer.side()) {
            quality.overhead.estimated_target_seconds = Some(taken.seconds);
            quality.overhead.estimated_target_seconds_error = Some(taken.error_seconds);
        }
        self.restraint.describe(&mut quality);
        let mut by_process = std::mem::take(&mut extract.by_process);
        by_process::complete(&mut by_process, &self.tracer);
        if self.restraint.has_withdrawn() {
            by_process::forget_verdicts(&mut by_process);
        }
        if shares {
            by_process::read_shares(&mut by_process);
        }
        weigh_self(&mut quality.overhead);
        if shares {
            self.reconcile(true);
        }
        let (reconciliation, reconciliation_unknown) = self.reconciler.last();
        let (names, cgroups) = chosen_by(&self.config.target);
        Ok(Report {
            reconciliation,
            reconciliation_unknown,
            schema: Schema::V1,
            memprof: Memprof::this(),
            host: self.host.clone(),
            target: Target {
                names,
                cgroups,
                kind: target_kind(&self.config.target),
                processes: self.processes(&extract),
                processes_met: Some(extract.processes_met),
            },
            started_at: timestamp(self.started_at),
            duration_seconds: elapsed,
            events: self.events(),
            summary: Summary {
                outstanding_bytes_ci95: extract
                    .uncertainty
                    .interval95(extract.summary.totals.outstanding_bytes()),
                ..self.summary(&extract)
            },
            leak_detection: self.leak_detection(&extract),
            top_allocators,
            top_touchers,
            group_by: self.config.group_by,
            groups: by_process::groups(&by_process, self.config.group_by),
            processes: by_process.into_iter().map(|row| row.totals).collect(),
            marks: left_report::marks(&self.shared.lock().marks, self.start),
            windows: between_marks,
            cycles: by_cycle,
            timeline: self.timeline.points().to_vec(),
            quality,
            check: None,
        })
    }

    pub(super) fn events(&self) -> Vec<EventKind> {
        let events = self.config.events;
        let kinds = [
            events.malloc.then_some(EventKind::Malloc),
            events.mmap.then_some(EventKind::Mmap),
            events.faults.then_some(EventKind::Faults),
        ];
        kinds.into_iter().flatten().collect()
    }

    pub(super) fn summary(&self, extract: &Extract) -> Summary {
        let events = self.config.events;
        let mut summary = summary(&extract.summary, self.start, self.resident);
        if events.mmap {
            summary = with_mappings(summary, &extract.mapped);
        }
        if let Some(touched) = &extract.touched {
            summary = touchers::with_touched(summary, touched);
        }
        if let Some(joined) = &extract.joined {
            summary = joined.add_to(summary);
        }
        if !events.malloc && !events.mmap {
            // Nothing is outstanding that could explain any of it.
            summary.unattributed_bytes = None;
        }
        summary
    }

    /// Reads what just-in-time compilers have listed so far; what of it will be missing.
    pub(super) fn read_perf_maps(&mut self) -> Option<String> {
        let (found, processes) = {
            let mut state = self.shared.lock();
            let found = state.code.take_new_perf_maps();
            (found, state.code.perf_maps_left_out())
        };
        let all_read = self.symbols.read_whole_perf_maps(found);
        let functions = self.symbols.perf_map_functions_left_out();
        assemble::perf_map_limits(all_read, functions, processes)
    }

    pub(super) fn processes(&self, extract: &Extract) -> Vec<Process> {
        let mut processes = assemble::processes(&extract.processes);
        if let Some((pid, status)) = &self.command_status {
            use std::os::unix::process::ExitStatusExt as _;
            let command = processes.iter_mut().find(|process| process.pid == pid.0);
            if let Some(process) = command {
                process.exit_status = status.code();
                process.exit_signal = status.signal();
            }
        }
        processes
    }

    /// What limits the numbers, beside what is counted.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        if self.config.events.mmap {
            notes.push(
                "what following mappings costs at each system call is not in the cost".to_owned(),
            );
        }
        notes.extend(self.tracer.limit());
        for coverage in self.tracer.probed().flat_map(|probed| probed.coverage()) {
            for refusal in &coverage.refusals {
                notes.push(format!("not probed in {}: {refusal}", coverage.module));
            }
        }
        notes
    }

    /// What judgements depend on besides the series.
    pub(super) fn context(&self, counters: &Counters, ticks: Ticks) -> Context {
        let hits = counters[Counter::ProbeHits as usize].max(1) as f64;
        let lost_frees = lost_ends(counters);
        let lost_maps = counters[Counter::LostMap as usize];
        let lost = lost_allocations(counters) + lost_maps + lost_frees;
        Context {
            losses: Losses {
                frees: lost_frees,
                share: lost as f64 / (hits + lost as f64),
                tolerated: self.config.max_lost,
            },
            limit: self.limit.map(|limit| Limit {
                bytes: limit.bytes,
                used: limit.used,
            }),
            severity: self.config.severity,
            ..Context::new(ticks)
        }
    }

    pub(super) fn leak_detection(&self, extract: &Extract) -> LeakDetection {
        if self.restraint.has_withdrawn() {
            return LeakDetection::not_judged(
                "the probes were taken out to spare the target: what was freed since is not known",
            );
        }
        LeakDetection::judged(&extract.whole, self.limit.map(|limit| limit.bytes))
    }
}

/// How a target was named: its kind, the names and the cgroups.
pub(in crate::session) fn scope_of(
    target: &TargetChoice,
) -> (TargetKind, Vec<String>, Vec<String>) {
    let (names, cgroups) = chosen_by(target);
    (target_kind(target), names, cgroups)
}

/// The names and the cgroups that the target was chosen by.
fn chosen_by(target: &TargetChoice) -> (Vec<String>, Vec<String>) {
    let TargetChoice::Wide(scope) = target else {
        return Default::default();
    };
    let names = scope.names.iter().map(|name| name.as_str().to_owned());
    let cgroups = scope.cgroups.iter().map(|cgroup| cgroup.path.clone());
    (names.collect(), cgroups.collect())
}

fn target_kind(target: &TargetChoice) -> TargetKind {
    match target {
        TargetChoice::Pids(_) => TargetKind::Pid,
        TargetChoice::Command { .. } => TargetKind::Command,
        TargetChoice::Wide(scope) if !scope.cgroups.is_empty() => TargetKind::Cgroup,
        TargetChoice::Wide(scope) if !scope.names.is_empty() => TargetKind::Comm,
        TargetChoice::Wide(_) => TargetKind::All,
    }
}
