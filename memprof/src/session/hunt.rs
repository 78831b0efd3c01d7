//! `memprof hunt`, wired: watch, look closely at who grows, say what was found, go on.
//!
//! The watch goes on in a thread of its own, also while one process is probed. An exact look is a trace
//! of that process alone, with probes of its own, which nobody else pays for.

mod findings;
mod news;
mod watch;

use std::{
    io,
    pin::pin,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use self::{
    findings::{found, unprobed},
    watch::Watch,
};
use super::{
    allow_many_files, begin, new_runtime,
    output::Output,
    run::{Ended, own_cpu_seconds},
    say_probes,
    signals::{self, Told},
    targets::Targets,
};
use crate::{
    config::{HuntConfig, TraceConfig},
    export::{write_find, write_hunt},
    failure::BadInput,
    host,
    hunt::{Conclusion, Growth, Patience, Question, WatchedId, conclude},
    report::{Find, FindKind, HuntOverhead, Report},
    target::process::ProcessFacts,
};

/// Time between two looks at the list of those that grow.
const TURN_PERIOD: Duration = Duration::from_millis(250);
/// An exact look that could last no longer than this, for the hunt ends, is not begun.
const SHORTEST_LOOK: Duration = Duration::from_secs(2);

/// Finds that are kept whole, each some 10 to 100 KiB; further ones are told when they are made.
const MAX_FINDS: usize = 256;

/// Hunts as configured; memprof's exit code.
///
/// # Errors
/// Bad input, found before anything is touched, or a failure of memprof or the kernel.
pub fn hunt(config: HuntConfig) -> Result<ExitCode> {
    let output = Output::open(&config.tracing.output, config.format)?;
    let scope = watch::Scope::new(&config.tracing.target)?;
    host::require_tracing()?;
    allow_many_files();
    let mut signals = signals::listen()?;
    let mut hunt = Hunt {
        started_at: SystemTime::now(),
        start: Instant::now(),
        watch: Watch::start(scope, config.min_growth)?,
        output,
        looks: 0,
        overhead: HuntOverhead::default(),
        finds: Vec::new(),
        made: 0,
        leaks: 0,
        config,
    };
    hunt.say_begin();
    let ended = new_runtime()?.block_on(hunt.go(&mut signals))?;
    hunt.finish(ended)
}

/// A running hunt.
struct Hunt {
    config: HuntConfig,
    output: Output,
    watch: Watch,
    started_at: SystemTime,
    start: Instant,
    looks: u64,
    overhead: HuntOverhead,
    finds: Vec<Find>,
    /// How many there were.
    made: u64,
    /// Of these, those that say what leaks.
    leaks: u64,
}

impl Hunt {
    /// Watches until something ends it.
    async fn go(&mut self, signals: &mut UnboundedReceiver<Told>) -> Result<Ended> {
        let mut turns = interval(TURN_PERIOD);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut news = interval(self.config.interval);
        news.set_missed_tick_behavior(MissedTickBehavior::Skip);
        news.reset();
        let deadline = self.deadline();
        loop {
            tokio::select! {
                biased;
                Some(told) = signals.recv() => match told {
                    Told::End(_) => return Ok(Ended::Told),
                    // There is no trace to set a mark in.
                    Told::Mark(_) => {}
                },
                () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await },
                    if deadline.is_some() => return Ok(Ended::TimeIsUp),
                _ = news.tick() => self.watch.say_news(&self.config, self.seconds()),
                _ = turns.tick() => {
                    let next = self.watch.list().next(self.seconds());
                    if let Some((id, growth)) = next
                        && let Some(most) = self.time_for_a_look()
                        && let Some(ended) = self.look_at(id, growth, most, &mut news, signals).await?
                    {
                        return Ok(ended);
                    }
                    if self.config.finds.is_some_and(|most| self.leaks >= most) {
                        return Ok(Ended::KnowsEnough);
                    }
                    if !self.config.tracing.target.is_wide() && self.watch.list().living() == 0 {
                        return Ok(Ended::NobodyLeft);
                    }
                }
            }
        }
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn deadline(&self) -> Option<Instant> {
        let duration = self.config.tracing.duration?;
        Some(self.start + duration)
    }

    fn time_for_a_look(&self) -> Option<Duration> {
        let Some(deadline) = self.deadline() else {
            return Some(self.config.probe_for);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        (left >= SHORTEST_LOOK).then(|| left.min(self.config.probe_for))
    }

    /// Probes one process for a time, and takes down what that shows. What ended the hunt meanwhile, if
    /// something did.
    async fn look_at(
        &mut self,
        id: WatchedId,
        growth: Growth,
        at_most: Duration,
        news: &mut Interval,
        signals: &mut UnboundedReceiver<Told>,
    ) -> Result<Option<Ended>> {
        // It may run another program by now.
        let present = ProcessFacts::read(id.pid).filter(|facts| WatchedId::of(facts) == id);
        let Some(facts) = present.filter(ProcessFacts::is_alive) else {
            // The watch has not noticed yet.
            self.watch.list().end(id);
            return Ok(None);
        };
        if let Some(process) = self.watch.list().get_mut(id) {
            process.facts = facts.clone();
        }
        self.looks += 1;
        self.say_look(&facts, &growth, at_most);
        let follows_faults = host::require_faults().is_ok();
        let closely = self.config.look(facts.pid, at_most, follows_faults);
        let looked = self.probe(&facts, closely, &growth, news, signals).await?;
        let at = self.seconds();
        let (find, ended) = match looked {
            Looked::Unprobed(error) => {
                // What memprof was not let do may go the next time.
                let for_good = error.is::<BadInput>();
                let (touched, ended) = match for_good && follows_faults && facts.is_alive() {
                    true => {
                        self.touched(&facts, &growth, at_most, news, signals)
                            .await?
                    }
                    false => (None, None),
                };
                self.note_look(id, FindKind::Unprobed.name(), |patience| match for_good {
                    true => patience.settle(),
                    false => patience.looked(at, growth.rate),
                });
                let find = unprobed(&facts, &growth, at, &error, touched);
                (Some(find), ended)
            }
            Looked::Probed(report, ended) => {
                let config = &self.config;
                let conclusion = conclude(&report, self.question(&growth), config.min_growth);
                self.charge(&report);
                let said = match conclusion {
                    Conclusion::Find(kind, ..) => kind.name(),
                    Conclusion::Innocent(_) => "innocent",
                };
                self.note_look(id, said, |patience| match conclusion.is_leak() {
                    true => patience.found(at, growth.rate),
                    false => patience.looked(at, growth.rate),
                });
                self.leaks += u64::from(conclusion.is_leak());
                self.say_looked(&facts, &report, &conclusion);
                let find = found(&facts, &growth, at, &conclusion, report);
                (find, matches!(ended, Ended::Told).then_some(ended))
            }
        };
        let Some(find) = find else {
            return Ok(ended);
        };
        self.made += 1;
        if let Err(error) = self.tell(&find) {
            return Ok(Some(Ended::Unwritable(error)));
        }
        if self.finds.len() < MAX_FINDS {
            self.finds.push(find);
        }
        Ok(ended)
    }

    /// What a look came to, and how long the process has peace then.
    fn note_look(&self, id: WatchedId, said: &'static str, wait: impl FnOnce(&mut Patience)) {
        if let Some(process) = self.watch.list().get_mut(id) {
            process.said = Some(said);
            wait(&mut process.patience);
        }
    }

    fn question(&self, growth: &Growth) -> Question {
        Question {
            min_confidence: self.config.min_confidence,
            rate: growth.rate,
        }
    }

    /// Who touches the memory first of a process that can't be probed; and what ended the hunt meanwhile, if
    /// something did.
    async fn touched(
        &mut self,
        facts: &ProcessFacts,
        growth: &Growth,
        at_most: Duration,
        news: &mut Interval,
        signals: &mut UnboundedReceiver<Told>,
    ) -> Result<(Option<Box<Report>>, Option<Ended>)> {
        let by_faults = self.config.look_by_faults(facts.pid, at_most);
        match self.probe(facts, by_faults, growth, news, signals).await? {
            Looked::Unprobed(_) => Ok((None, None)),
            Looked::Probed(report, ended) => {
                self.charge(&report);
                let ended = matches!(ended, Ended::Told).then_some(ended);
                Ok((Some(report), ended))
            }
        }
    }

    /// Traces one process alone, until its verdict is clear or the time is up.
    async fn probe(
        &self,
        facts: &ProcessFacts,
        config: TraceConfig,
        growth: &Growth,
        news: &mut Interval,
        signals: &mut UnboundedReceiver<Told>,
    ) -> Result<Looked> {
        let cpu_before = own_cpu_seconds();
        let verbose = config.verbose;
        let mut targets = Targets {
            processes: vec![facts.clone()],
            held: None,
        };
        let begun = begin(
            (config, None),
            Output::Nowhere,
            &mut targets,
            |_, _, tracer| {
                if verbose {
                    say_probes(tracer);
                }
            },
        );
        let (mut run, heard) = match begun {
            Ok(begun) => begun,
            // What is wrong with one process is no end of the hunt.
            Err(error) => return Ok(Looked::Unprobed(error)),
        };
        run.ask(self.question(growth));
        let ended = {
            let mut end = pin!(run.until_end(heard, signals));
            loop {
                tokio::select! {
                    ended = &mut end => break ended,
                    _ = news.tick() => self.watch.say_news(&self.config, self.seconds()),
                }
            }
        };
        let mut report = run.conclude(&ended)?;
        let cpu = own_cpu_seconds().zip(cpu_before);
        report.quality.overhead.collector_cpu_seconds = cpu.map(|(after, before)| after - before);
        Ok(Looked::Probed(Box::new(report), ended))
    }

    fn charge(&mut self, report: &Report) {
        let taken = &report.quality.overhead;
        self.overhead.probe_hits += taken.probe_hits.unwrap_or(0);
        self.overhead.estimated_target_seconds += taken.estimated_target_seconds.unwrap_or(0.0);
    }

    /// Writes a find for those who read along.
    fn tell(&mut self, find: &Find) -> io::Result<()> {
        let (format, style) = (self.config.format, self.output.style());
        let number = self.made;
        self.output
            .write(|out| write_find(find, number, format, style, out))
    }

    /// Writes the report.
    fn finish(mut self, ended: Ended) -> Result<ExitCode> {
        self.say_end(&ended);
        match ended {
            Ended::Unwritable(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            Ended::Unwritable(error) => return Err(error).context("cannot write the report"),
            _ => {}
        }
        let hunt = self.report();
        let (format, style) = (self.config.format, self.output.style());
        crate::offline::written(&mut self.output, |out| {
            write_hunt(&hunt, format, style, out)
        })
    }
}

/// What came of an attempt to probe a process.
enum Looked {
    /// It was probed, until something ended that.
    Probed(Box<Report>, Ended),
    /// It can't be probed.
    Unprobed(anyhow::Error),
}
