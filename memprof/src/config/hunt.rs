//! `memprof hunt`, validated.

use std::time::Duration;

use anyhow::Result;

use super::{
    Events, TargetChoice, TraceConfig, check::confidence, interval, size, target::attaches, time,
};
use crate::{
    bad_input,
    cli::{HuntArgs, ScopeArgs, TargetArgs},
    export::Format,
    identity::Pid,
    probes::{families::Families, kernel_side::Children},
};

/// The shortest exact look: with less nothing is judged.
const SHORTEST_LOOK: Duration = Duration::from_secs(5);
/// Time between two judgements in an exact look.
const JUDGING_PERIOD: Duration = Duration::from_secs(1);

/// A validated `memprof hunt`.
#[derive(Debug)]
pub struct HuntConfig {
    /// Who is watched, how long, and how an exact look is traced; of its format nothing is used.
    pub tracing: TraceConfig,
    /// Time between two words on who grows.
    pub interval: Duration,
    /// The longest exact look.
    pub probe_for: Duration,
    /// Less growth is not significant, bytes.
    pub min_growth: u64,
    /// How sure a verdict must be to be a find.
    pub min_confidence: f64,
    /// After so many finds it is over.
    pub finds: Option<u64>,
    /// Text, JSON or lines of JSON.
    pub format: Format,
}

impl HuntConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: HuntArgs) -> Result<Self> {
        if !args.command.is_empty() {
            return Err(bad_input!(
                "hunt watches processes that run already and launches none: give the command to \
                 memprof trace -- COMMAND"
            ));
        }
        let scope = if attaches(&args.scope) {
            args.scope
        } else {
            ScopeArgs {
                all: true,
                ..ScopeArgs::default()
            }
        };
        let who = TargetArgs {
            scope,
            ..TargetArgs::default()
        };
        let probe_for = time("--probe-for", &args.probe_for)?;
        if probe_for < SHORTEST_LOOK {
            return Err(bad_input!(
                "--probe-for {} is too short to judge anything: give at least {SHORTEST_LOOK:?}",
                args.probe_for
            ));
        }
        let min_growth = size("--min-growth", &args.min_growth)?;
        if min_growth == 0 {
            return Err(bad_input!(
                "--min-growth 0 would have every process probed: give a size such as 1MiB"
            ));
        }
        Ok(Self {
            tracing: TraceConfig::common(who, args.tracing)?,
            interval: interval(&args.interval)?,
            probe_for,
            min_growth,
            min_confidence: confidence("--min-confidence", &args.min_confidence)?,
            finds: args.finds.as_deref().map(finds).transpose()?,
            format: format(&args.format)?,
        })
    }

    /// How `pid` is looked at closely, for at most so long: that process alone, with nothing to say. With
    /// `faults` it is followed too who touches its memory first, for what grows may not be in blocks.
    pub fn look(&self, pid: Pid, at_most: Duration, faults: bool) -> TraceConfig {
        TraceConfig {
            target: TargetChoice::Pids(vec![pid]),
            children: Children::Ignored,
            duration: Some(at_most),
            interval: JUDGING_PERIOD,
            quiet: true,
            events: Events {
                faults: faults || self.tracing.events.faults,
                ..self.tracing.events
            },
            ..self.tracing.clone()
        }
    }

    /// The same by page faults alone: of a process without an allocator that could be probed.
    pub fn look_by_faults(&self, pid: Pid, at_most: Duration) -> TraceConfig {
        TraceConfig {
            events: Events {
                malloc: false,
                mmap: false,
                faults: true,
            },
            sample_bytes: None,
            max_overhead: None,
            families: Families::default(),
            ..self.look(pid, at_most, true)
        }
    }
}

fn finds(text: &str) -> Result<u64> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(bad_input!(
            "--finds {text:?}: give a number of leaks, such as 1"
        )),
    }
}

fn format(name: &str) -> Result<Format> {
    if !matches!(name, "text" | "json" | "jsonl") {
        return Err(bad_input!(
            "--format {name:?} is none that a hunt has: give text, json or jsonl"
        ));
    }
    name.parse()
        .map_err(|error| bad_input!("--format: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{Cli, Command},
        target::scope::WideScope,
    };
    use clap::Parser as _;

    fn config(words: &[&str]) -> Result<HuntConfig> {
        let words = ["memprof", "hunt"].iter().chain(words);
        match Cli::try_parse_from(words).expect("it parses").command {
            Command::Hunt(args) => HuntConfig::new(*args),
            _ => panic!("hunt"),
        }
    }

    fn refusal(words: &[&str]) -> String {
        let error = config(words).expect_err("it makes no sense");
        assert!(error.is::<crate::failure::BadInput>());
        let line = error.to_string();
        assert_eq!(line.lines().count(), 1);
        line
    }

    #[test]
    fn without_a_target_everything_is_watched_and_one_process_is_probed() {
        let config = config(&["--probe-for", "20s", "-v"]).expect("it makes sense");
        let all = TargetChoice::Wide(WideScope::default());
        assert_eq!(config.tracing.target, all);
        let look = config.look(Pid(7), Duration::from_secs(20), true);
        assert_eq!(look.target, TargetChoice::Pids(vec![Pid(7)]));
        assert_eq!(look.children, Children::Ignored);
        assert!(look.quiet && look.verbose);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        assert!(refusal(&["--", "ls"]).contains("memprof trace -- COMMAND"));
        assert!(refusal(&["--pid", "1", "--all"]).contains("kinds of target"));
        assert!(refusal(&["--pid", "0"]).contains("no process id"));
        assert!(refusal(&["--probe-for", "1s"]).contains("too short"));
        assert!(refusal(&["--min-growth", "0"]).contains("1MiB"));
        assert!(refusal(&["--min-growth", "much"]).contains("--min-growth"));
        assert!(refusal(&["--min-confidence", "2"]).contains("--min-confidence"));
        assert!(refusal(&["--finds", "0"]).contains("--finds"));
        assert!(refusal(&["--interval", "1ms"]).contains("too short"));
        assert!(refusal(&["--format", "folded"]).contains("jsonl"));
        assert!(refusal(&["--duration", "0"]).contains("--duration"));
    }
}
