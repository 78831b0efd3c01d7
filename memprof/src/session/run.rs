//! A running trace: what happens each interval, what ends it, and how it is ended.

use std::{
    io,
    process::{ExitCode, ExitStatus},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use memprof_common::counters::{Counter, Counters};
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::Signal,
        time::TimeValLike as _,
    },
    unistd::getpid,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    alerts::Alerts,
    assemble::{self, Choice, Extract, ShownSite},
    check::Gate,
    collector::{Collector, Notice, Shared, monotonic},
    control::set_mark,
    cost::Cost,
    cycles::{Cycles, PEACE},
    is_closed_pipe, left_report,
    output::Output,
    restraint::{self, Restraint},
    signals::Told,
    targets::{Targets, Tracer},
    weight::{Resident, Timeline},
};
use crate::{
    config::{TargetChoice, TraceConfig},
    export::{Exporter, Format},
    growth::{Context, Limit, Losses, Ticks},
    host,
    identity::{Nanoseconds, Pid},
    probes::kernel_side::lost_allocations,
    report::{
        EventKind, Host, LeakDetection, Memprof, Process, Report, Schema, Summary, Target,
        TargetKind, TimelinePoint,
    },
    symbols::{Symbols, guilty::Skips},
    target::{
        launch::Running,
        memory_limit::{self, MemoryLimit},
        process::resident_bytes,
    },
};

/// Time between two looks at the targets' resident memory, and at whether they still live.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// How long a launched command that got the same Ctrl-C has to end before the report is made.
const GRACE: Duration = Duration::from_secs(2);

/// Time between two looks at how far a cycle's command is.
const TURN_PERIOD: Duration = Duration::from_millis(5);
/// Call paths that a check looks at because they leak or grow, beside those that hold most.
const MAX_SUSPECTS: usize = 1000;
/// Targets whose limits are looked at.
const MOST_LIMITS: usize = 16;

/// What ended a trace.
#[derive(Debug)]
pub(super) enum Ended {
    /// The user, by signal.
    Told,
    /// `--duration`.
    TimeIsUp,
    /// Every followed process has ended.
    NobodyLeft,
    /// All cycles are over.
    CyclesDone,
    /// The command of a cycle can't be run.
    CannotAct(anyhow::Error),
    /// The report can't be written any more.
    Unwritable(io::Error),
}

/// A running trace.
pub(super) struct Run {
    config: TraceConfig,
    tracer: Tracer,
    collector: Option<Collector>,
    shared: Shared,
    cost: Cost,
    restraint: Restraint,
    output: Output,
    exporter: Box<dyn Exporter>,
    symbols: Symbols,
    skips: Skips,
    host: Host,
    start: Nanoseconds,
    started_at: SystemTime,
    resident: Resident,
    timeline: Timeline,
    command: Option<Running>,
    command_status: Option<(Pid, ExitStatus)>,
    command_pid: Option<Pid>,
    notes: Vec<String>,
    limit: Option<MemoryLimit>,
    cycles: Option<Cycles>,
    /// When the launched command was let run.
    released_at: Instant,
    gate: Option<Gate>,
    alerts: Option<Alerts>,
}

impl Run {
    pub(super) fn new(
        (config, gate): (TraceConfig, Option<Gate>),
        tracer: Tracer,
        collector: Collector,
        (cost, restraint): (Cost, Restraint),
        output: Output,
        start: Nanoseconds,
    ) -> Self {
        let mut run = Self {
            exporter: config.format.exporter(output.style()),
            alerts: config.on_leak.clone().map(Alerts::new),
            skips: Skips::new(config.skip.iter().map(String::as_str)),
            shared: collector.shared(),
            collector: Some(collector),
            symbols: Symbols::new(&config.debug_dirs),
            config,
            tracer,
            cost,
            restraint,
            output,
            host: host::describe(),
            start,
            started_at: SystemTime::now(),
            resident: Resident::default(),
            timeline: Timeline::default(),
            command: None,
            command_status: None,
            command_pid: None,
            notes: Vec::new(),
            limit: None,
            cycles: None,
            released_at: Instant::now(),
            gate,
        };
        if let Some(cycles) = &run.config.cycles {
            let (cycles, output) = (cycles.clone(), &run.config.output);
            run.cycles = Some(Cycles::begin(cycles, output, &run.shared));
        }
        run.look();
        run
    }

    /// Lets a held command run.
    pub(super) fn release(&mut self, targets: Targets) -> Result<()> {
        if let Some(held) = targets.held {
            if self.cycles.is_some() {
                // What is allocated from now on is of the next cycle.
                std::thread::sleep(PEACE);
            }
            if held.constructors_ran {
                self.notes.push(
                    "allocations that libraries made before the program's start are missing".into(),
                );
            }
            self.command_pid = Some(held.pid());
            self.command = Some(held.release()?);
            self.command_status = None;
            self.released_at = Instant::now();
        }
        Ok(())
    }

    /// Follows the targets until something ends it.
    pub(super) async fn until_end(
        &mut self,
        mut notices: UnboundedReceiver<Notice>,
        mut signals: UnboundedReceiver<Told>,
    ) -> Ended {
        let mut reports = interval(self.config.interval);
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        reports.reset();
        let mut looks = interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut turns = interval(TURN_PERIOD);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let deadline = self
            .config
            .duration
            .map(|duration| Instant::now() + duration);
        let mut warm_up = self
            .gate
            .as_ref()
            .map(|gate| Instant::now() + gate.warm_up());
        loop {
            tokio::select! {
                biased;
                Some(told) = signals.recv() => match told {
                    Told::End(signal) => {
                        self.await_command(signal, &mut notices).await;
                        return Ended::Told;
                    }
                    Told::Mark(at) => {
                        let quiet = self.config.quiet;
                        let label = |number| format!("mark {number}");
                        // One too many is counted, and in the report.
                        let _ = set_mark(&self.shared, at, self.start, quiet, label);
                    }
                },
                () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await },
                    if deadline.is_some() => return Ended::TimeIsUp,
                () = async { sleep_until(warm_up.unwrap_or_else(Instant::now)).await },
                    if warm_up.is_some() => {
                    warm_up = None;
                    self.begin_judging();
                }
                Some(notice) = notices.recv() => match notice {
                    // A process that is gone again needs no probes.
                    Notice::Executed(pid) => drop(self.tracer.look_at(pid)),
                    Notice::AllEnded => match self.launch_again() {
                        Ok(true) => {}
                        Ok(false) => return Ended::NobodyLeft,
                        Err(error) => return Ended::CannotAct(error),
                    },
                },
                _ = turns.tick(), if self.cycles.is_some() => {
                    if let Err(error) = self.take_turn() {
                        return Ended::CannotAct(error);
                    }
                    if self.cycles.as_ref().is_some_and(Cycles::are_done) {
                        return Ended::CyclesDone;
                    }
                }
                _ = looks.tick() => {
                    self.look();
                    if self.all_gone() {
                        return Ended::NobodyLeft;
                    }
                }
                _ = reports.tick() => {
                    if let Err(error) = self.interval_report() {
                        return Ended::Unwritable(error);
                    }
                }
            }
        }
    }

    /// Goes on with the action of the cycles.
    fn take_turn(&mut self) -> Result<()> {
        match &mut self.cycles {
            Some(cycles) => cycles.turn(&self.shared, self.start, self.config.quiet),
            None => Ok(()),
        }
    }

    /// The launched command has ended: if that was a cycle and there are more, launches it again.
    /// Whether it did.
    fn launch_again(&mut self) -> Result<bool> {
        if !self
            .config
            .cycles
            .as_ref()
            .is_some_and(|cycles| cycles.launches)
        {
            return Ok(false);
        }
        let took = self.released_at.elapsed();
        self.note_final_status(&Ended::NobodyLeft);
        let status = self.command_status.map(|(_, status)| status);
        if let Some(cycles) = &mut self.cycles {
            cycles.end_one(took, status, &self.shared, self.start, self.config.quiet);
            if cycles.are_done() {
                return Ok(false);
            }
        }
        let mut targets = Targets::prepare(&self.config)?;
        self.tracer.follow(&targets)?;
        {
            let mut state = self.shared.lock();
            self.tracer.introduce(&mut targets, &mut state);
            state.code.tables().settle();
        }
        self.release(targets)?;
        Ok(true)
    }

    /// Ctrl-C reaches a launched command too: its end is part of the report.
    async fn await_command(&mut self, signal: Signal, notices: &mut UnboundedReceiver<Notice>) {
        if signal != Signal::SIGINT || self.command.is_none() {
            return;
        }
        let ended = async {
            while let Some(notice) = notices.recv().await {
                if notice == Notice::AllEnded {
                    return;
                }
            }
        };
        // One that does not end goes on; the report is made all the same.
        let _ = timeout(GRACE, ended).await;
    }

    /// Weighs the targets, and takes note of a launched command's end.
    fn look(&mut self) {
        let (living, perf_maps): (Vec<Pid>, _) = {
            let mut state = self.shared.lock();
            let living = state.processes.iter().filter(|process| !process.ended);
            let living = living.map(|process| process.facts.pid).collect();
            (living, state.code.take_new_perf_maps())
        };
        self.resident.look(living.iter().copied());
        let resident = self.resident.last.filter(|_| !living.is_empty());
        self.shared.lock().pipeline.hold(monotonic(), resident);
        if let Some(gate) = &mut self.gate {
            gate.weigh(resident);
        }
        if let Some(limit) = self.tightest_limit(&living) {
            self.limit = Some(limit);
        }
        self.cost.look(self.tracer.side());
        self.restrain(&living);
        self.symbols.read_perf_maps(perf_maps);
        self.note_status();
    }

    /// The warm-up is over: what is outstanding by now is no growth.
    fn begin_judging(&mut self) {
        self.look();
        if let Some(gate) = &mut self.gate {
            let now = monotonic();
            let resident = self.resident.last;
            // Without a warm-up the first blocks may be here already, and count.
            if gate.begin(now, resident) {
                self.shared.lock().pipeline.judge_from(now);
            }
        }
    }

    /// The limit of which the least is left for any of the targets.
    fn tightest_limit(&self, living: &[Pid]) -> Option<MemoryLimit> {
        let limits = living.iter().take(MOST_LIMITS).copied();
        limits
            .filter_map(memory_limit::of)
            .min_by_key(MemoryLimit::left)
    }

    /// What judgements depend on besides the series.
    fn context(&self, counters: &Counters, ticks: Ticks) -> Context {
        let hits = counters[Counter::ProbeHits as usize].max(1) as f64;
        let lost_frees = counters[Counter::LostFree as usize];
        let lost = lost_allocations(counters) + lost_frees;
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

    fn leak_detection(&self, extract: &Extract) -> LeakDetection {
        if self.restraint.has_withdrawn() {
            return LeakDetection::not_judged(
                "the probes were taken out to spare the target: what was freed since is not known",
            );
        }
        LeakDetection::judged(&extract.whole, self.limit.map(|limit| limit.bytes))
    }

    /// Spares the targets if tracing takes too much of them.
    fn restrain(&mut self, living: &[Pid]) {
        let now = monotonic();
        let at = seconds_since(self.start, now);
        let (cost, tracer) = (&mut self.cost, &mut self.tracer);
        let step = self
            .restraint
            .look(now, at, living, cost, tracer, &self.shared);
        match step {
            Ok(Some(step)) if !self.config.quiet => {
                eprintln!("memprof: {}", restraint::sentence(&step));
            }
            Ok(_) => {}
            Err(error) => eprintln!("memprof: cannot hold its cost down: {error:#}"),
        }
    }

    fn note_status(&mut self) {
        if let (Some(pid), None, Some(command)) =
            (self.command_pid, self.command_status, &mut self.command)
        {
            self.command_status = command.try_status().map(|status| (pid, status));
        }
    }

    /// Whether every target is gone, though the kernel side has not said so: its word was lost.
    fn all_gone(&self) -> bool {
        let lost = self
            .tracer
            .counters()
            .is_ok_and(|counters| counters[Counter::LostProcess as usize] > 0);
        lost && {
            let state = self.shared.lock();
            state
                .processes
                .iter()
                .all(|process| process.ended || !process.facts.is_alive())
        }
    }

    /// The end of an interval: a point of the timeline, and a report if somebody reads along.
    fn interval_report(&mut self) -> io::Result<()> {
        self.look();
        let wanted = self.config.format.writes_intervals()
            && self.output.takes_intervals()
            && !(self.config.quiet && self.config.format == Format::default());
        let leaks_now = !wanted && self.has_begun_to_leak().map_err(io::Error::other)?;
        if leaks_now {
            let report = self.report(true).map_err(io::Error::other)?;
            self.alert(&report);
            return Ok(());
        }
        if !wanted {
            let elapsed = seconds_since(self.start, monotonic());
            let point = {
                let state = self.shared.lock();
                point(elapsed, &state.pipeline.summary(), self.resident)
            };
            self.timeline.push(point);
            return Ok(());
        }
        let windows = self.config.format.is_whole_by_line();
        let report = self.report(windows).map_err(io::Error::other)?;
        self.alert_if_new(&report);
        let exporter = &mut self.exporter;
        self.output.write(|out| exporter.interval(&report, out))
    }

    /// Judges the whole, for `--on-leak`, where no report is made for other reasons.
    fn has_begun_to_leak(&mut self) -> Result<bool> {
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

    fn alert_if_new(&mut self, report: &Report) {
        let verdict = report.leak_detection.verdict;
        if let Some(alerts) = &mut self.alerts
            && alerts.hear(verdict)
        {
            self.alert(report);
        }
    }

    /// Has the command of `--on-leak` told.
    fn alert(&mut self, report: &Report) {
        let Some(alerts) = &mut self.alerts else {
            return;
        };
        match serde_json::to_vec_pretty(report) {
            Ok(json) => alerts.raise(json),
            Err(error) => eprintln!("memprof: --on-leak: no report to give it: {error}"),
        }
    }

    /// Everything so far, as a report; what was left between marks only on demand.
    fn report(&mut self, windows: bool) -> Result<Report> {
        let counters = self.tracer.counters()?;
        let top = if self.config.format.wants_every_stack() {
            usize::MAX
        } else {
            self.config.top
        };
        let now = monotonic();
        let mut extract = {
            let state = self.shared.lock();
            let choice = Choice {
                filter: &self.config.filter,
                sort: self.config.sort,
                top,
                windows,
                cycles: self.cycles.as_ref(),
                suspects: self.gate.as_ref().map_or(0, |_| MAX_SUSPECTS),
            };
            let context = self.context(&counters, state.pipeline.ticks());
            assemble::extract(&state, &counters, now, choice, &context)
        };
        let nameless = self.read_perf_maps();
        let elapsed = seconds_since(self.start, now);
        self.timeline
            .push(point(elapsed, &extract.summary, self.resident));
        let (symbols, skips) = (&mut self.symbols, &self.skips);
        let mut name = |sites: &[ShownSite]| {
            assemble::name(sites, &extract.modules, symbols, skips, now, elapsed)
        };
        let top_allocators = name(&extract.sites);
        let between_marks = left_report::windows(&extract.left, &mut name);
        let loses = extract.quality.lost.free > 0;
        let by_cycle = extract.left.cycles.take().zip(self.cycles.as_ref());
        let by_cycle = by_cycle
            .map(|(left, run)| left_report::cycles(run, left, self.start, loses, &mut name));
        let mut quality = extract.quality.clone();
        assemble::count_frames(&top_allocators, &mut quality);
        quality.coverage = self.tracer.probed().flat_map(assemble::coverage).collect();
        quality.notes.extend(self.notes());
        quality.notes.extend(nameless);
        quality.notes.append(&mut extract.left.notes);
        if let Some(taken) = self.cost.estimate(self.tracer.side()) {
            quality.overhead.estimated_target_seconds = Some(taken.seconds);
            quality.overhead.estimated_target_seconds_error = Some(taken.error_seconds);
        }
        self.restraint.describe(&mut quality);
        weigh_self(&mut quality.overhead);
        Ok(Report {
            schema: Schema::V1,
            memprof: Memprof::this(),
            host: self.host.clone(),
            target: Target {
                kind: match self.config.target {
                    TargetChoice::Pids(_) => TargetKind::Pid,
                    TargetChoice::Command { .. } => TargetKind::Command,
                },
                processes: self.processes(&extract),
            },
            started_at: timestamp(self.started_at),
            duration_seconds: elapsed,
            events: vec![EventKind::Malloc],
            summary: Summary {
                outstanding_bytes_ci95: extract
                    .uncertainty
                    .interval95(extract.summary.totals.outstanding_bytes()),
                ..summary(&extract.summary, self.start, self.resident)
            },
            leak_detection: self.leak_detection(&extract),
            top_allocators,
            processes: extract.by_process,
            marks: left_report::marks(&self.shared.lock().marks, self.start),
            windows: between_marks,
            cycles: by_cycle,
            timeline: self.timeline.points().to_vec(),
            quality,
            check: None,
        })
    }

    /// Reads what just-in-time compilers have listed so far; what of it will be missing.
    fn read_perf_maps(&mut self) -> Option<String> {
        let (found, processes) = {
            let mut state = self.shared.lock();
            let found = state.code.take_new_perf_maps();
            (found, state.code.perf_maps_left_out())
        };
        let all_read = self.symbols.read_whole_perf_maps(found);
        let functions = self.symbols.perf_map_functions_left_out();
        assemble::perf_map_limits(all_read, functions, processes)
    }

    fn processes(&self, extract: &Extract) -> Vec<Process> {
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
    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        for coverage in self.tracer.probed().flat_map(|probed| probed.coverage()) {
            for refusal in &coverage.refusals {
                notes.push(format!("not probed in {}: {refusal}", coverage.module));
            }
        }
        notes
    }

    /// Gate closed, rings read to their end, report written, probes out: in this order, so that
    /// the target has its peace first and the user the report before the slow part.
    pub(super) fn finish(mut self, ended: Ended) -> Result<ExitCode> {
        self.tracer.side().close_gate()?;
        if let Some(collector) = self.collector.take() {
            collector.finish();
        }
        self.note_final_status(&ended);
        let decided = if is_closed_pipe(&ended) {
            Ok(ExitCode::SUCCESS)
        } else {
            self.final_report(ended)
        };
        let status = self.command_status;
        let quiet = self.config.quiet;
        let of_child = self.config.exit_status_of_child;
        detach(self.tracer, quiet);
        if let Some(alerts) = self.alerts {
            alerts.finish();
        }
        let decided = decided?;
        Ok(match status {
            Some((_, status)) if of_child => ExitCode::from(shell_status(status)),
            _ => decided,
        })
    }

    /// The kernel side tells of a process's end a moment before its parent can ask for it.
    fn note_final_status(&mut self, ended: &Ended) {
        let gone = matches!(ended, Ended::NobodyLeft);
        let until = std::time::Instant::now() + GRACE;
        self.note_status();
        while gone
            && self.command.is_some()
            && self.command_status.is_none()
            && std::time::Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(5));
            self.note_status();
        }
    }

    /// Writes the last report; the exit code by what it says.
    fn final_report(&mut self, ended: Ended) -> Result<ExitCode> {
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
        let mut report = self.report(true)?;
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
}

fn detach(tracer: Tracer, quiet: bool) {
    let side = tracer.into_side();
    let probes = side.probes();
    if !quiet {
        eprintln!("memprof: detaching {probes} probes");
    }
    side.detach();
}

/// An exit status as shells give it: a signal's number above 128.
fn shell_status(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.map_or(1, |code| code as u8)
}

fn summary(totals: &crate::pipeline::Summary, start: Nanoseconds, resident: Resident) -> Summary {
    let sums = &totals.totals;
    let growth = match (resident.start, resident.last) {
        (Some(start), Some(last)) => Some(last as i64 - start as i64),
        _ => None,
    };
    Summary {
        allocated_bytes: sums.allocated_bytes,
        allocated_count: sums.allocated_count,
        freed_bytes: sums.freed_bytes,
        freed_count: sums.freed_count,
        inherited_bytes: sums.inherited_bytes,
        inherited_count: sums.inherited_count,
        discarded_bytes: sums.discarded_bytes,
        discarded_count: sums.discarded_count,
        outstanding_bytes: sums.outstanding_bytes(),
        outstanding_count: sums.outstanding_count(),
        outstanding_bytes_ci95: None,
        peak_outstanding_bytes: totals.peak_outstanding_bytes,
        peak_at_seconds: (totals.peak_outstanding_bytes > 0)
            .then(|| seconds_since(start, totals.peak_at)),
        rss_start_bytes: resident.start,
        rss_end_bytes: resident.last,
        rss_peak_bytes: resident.peak,
        unattributed_bytes: growth.map(|growth| growth - sums.outstanding_bytes() as i64),
    }
}

fn seconds_since(start: Nanoseconds, then: Nanoseconds) -> f64 {
    then.saturating_sub(start) as f64 / 1e9
}

fn point(at_seconds: f64, totals: &crate::pipeline::Summary, resident: Resident) -> TimelinePoint {
    TimelinePoint {
        at_seconds,
        outstanding_bytes: totals.totals.outstanding_bytes(),
        outstanding_count: totals.totals.outstanding_count(),
        rss_bytes: resident.last,
    }
}

/// What memprof itself takes.
fn weigh_self(overhead: &mut crate::report::Overhead) {
    let used = getrusage(UsageWho::RUSAGE_SELF).ok();
    overhead.collector_cpu_seconds = used.map(|used| {
        (used.user_time().num_microseconds() + used.system_time().num_microseconds()) as f64 / 1e6
    });
    overhead.collector_rss_bytes = resident_bytes(Pid(getpid().as_raw() as u32));
}

/// A moment as RFC 3339 in UTC, to the second.
fn timestamp(moment: SystemTime) -> String {
    jiff::Timestamp::try_from(moment)
        .and_then(|moment| moment.round(jiff::Unit::Second))
        .map_or_else(|_| String::new(), |moment| moment.to_string())
}
