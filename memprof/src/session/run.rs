//! A running trace: what happens each interval, what ends it, and how it is ended.

mod figures;
mod looks;
mod reporting;
mod turns;

pub(super) use self::{
    figures::{own_cpu_seconds, timestamp},
    reporting::scope_of,
};

use std::{
    io,
    process::{ExitCode, ExitStatus},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    alerts::Alerts,
    check::Gate,
    collector::{Collector, Notice, Shared},
    control::set_mark,
    cost::Cost,
    cycles::{Cycles, PEACE},
    is_closed_pipe,
    output::Output,
    reconcile::Reconciler,
    restraint::Restraint,
    signals::Told,
    targets::{Targets, Tracer},
    weight::{Resident, Timeline},
};
use crate::{
    config::TraceConfig,
    export::Exporter,
    host,
    hunt::Question,
    identity::{Nanoseconds, Pid},
    pipeline::Subject,
    report::{Host, Report},
    symbols::{Symbols, guilty::Skips},
    target::{launch::Running, memory_limit::MemoryLimit},
};

/// Time between two looks at the targets' resident memory, and at whether they still live.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Time between two words on how far detaching is.
const DETACH_NEWS: Duration = Duration::from_secs(3);
/// How long a launched command that got the same Ctrl-C has to end before the report is made.
const GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at how far a cycle's command is.
const TURN_PERIOD: Duration = Duration::from_millis(5);

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
    /// What was to be found out is known.
    KnowsEnough,
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
    next_weighing: Instant,
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
    reconciler: Reconciler,
    /// What is to be found out, if it is not to go on after that.
    question: Option<Question>,
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
            reconciler: Reconciler::begin(
                &config.target,
                &collector.shared(),
                start,
                config.interval,
            ),
            exporter: config.format.exporter(output.style()),
            alerts: config.on_leak.clone().map(Alerts::new),
            skips: Skips::new(config.skip.iter().map(String::as_str))
                .and_functions(config.families.asked_symbols()),
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
            next_weighing: Instant::now(),
            timeline: Timeline::default(),
            command: None,
            command_status: None,
            command_pid: None,
            notes: Vec::new(),
            limit: None,
            cycles: None,
            released_at: Instant::now(),
            gate,
            question: None,
        };
        let events = run.config.events;
        if events.faults && !events.malloc && !events.mmap {
            run.shared.lock().pipeline.judge_by(Subject::Resident);
        }
        if let Some(cycles) = &run.config.cycles {
            let (cycles, output) = (cycles.clone(), &run.config.output);
            run.cycles = Some(Cycles::begin(cycles, output, &run.shared));
        }
        run.look();
        run
    }

    /// What the collector knows.
    pub(super) fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// When it began.
    pub(super) fn start(&self) -> Nanoseconds {
        self.start
    }

    /// Lets it end as soon as the answer is known: looked for at each interval.
    pub(super) fn ask(&mut self, question: Question) {
        self.question = Some(question);
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
        signals: &mut UnboundedReceiver<Told>,
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
                    Notice::NewCode(pid) => {
                        let _ = self.tracer.look_at(pid);
                        let found = self.tracer.take_territory();
                        self.shared.lock().learn(found);
                    }
                    Notice::Forked { parent, child } => self.tracer.inherit(parent, child),
                    // Others will come.
                    Notice::AllEnded if self.config.target.is_wide() => {}
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
                    if self.knows_enough() {
                        return Ended::KnowsEnough;
                    }
                }
            }
        }
    }

    /// Gate closed, rings read to their end, report written, probes out: in this order, so that
    /// the target has its peace first and the user the report before the slow part.
    pub(super) fn finish(mut self, ended: Ended) -> Result<ExitCode> {
        self.quieten(&ended)?;
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

    /// The same in the same order, but that the report is handed back and not written.
    pub(super) fn conclude(mut self, ended: &Ended) -> Result<Report> {
        self.quieten(ended)?;
        let report = self.report(true, true);
        if let Ok(report) = &report {
            self.alert_if_new(report);
        }
        detach(self.tracer, self.config.quiet);
        if let Some(alerts) = self.alerts {
            alerts.finish();
        }
        report
    }

    /// No work in the target from here on, and all that it did on record.
    fn quieten(&mut self, ended: &Ended) -> Result<()> {
        self.tracer.side().close_gate()?;
        if let Some(collector) = self.collector.take() {
            collector.finish();
        }
        self.note_final_status(ended);
        Ok(())
    }
}

fn detach(tracer: Tracer, quiet: bool) {
    let side = tracer.into_side();
    let probes = side.probes();
    if !quiet {
        eprintln!("memprof: detaching {probes} probes");
    }
    let mut last_told = Instant::now();
    side.detach(|left| {
        if !quiet && last_told.elapsed() >= DETACH_NEWS {
            last_told = Instant::now();
            eprintln!("memprof: {left} probes to go");
        }
    });
}

/// An exit status as shells give it: a signal's number above 128.
fn shell_status(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.map_or(1, |code| code as u8)
}
