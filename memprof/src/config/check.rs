//! `memprof check`, validated.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

use super::{TraceConfig, rate, size, time};
use crate::{
    bad_input,
    cli::CheckArgs,
    export::Format,
    growth::Severity,
    report::{Criteria, FailOn},
};

/// What `memprof check` asks for beside what to trace.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// What fails.
    pub criteria: Criteria,
    /// From when on it is judged.
    pub warm_up: Duration,
    /// Call paths that may fail.
    pub suppressions: Option<PathBuf>,
    /// A report with what failed before.
    pub baseline: Option<PathBuf>,
}

impl TraceConfig {
    /// Validates the arguments of a check.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn of_check(args: CheckArgs) -> Result<Self> {
        let common = Self::common(args.target, args.tracing)?;
        if !common.events.malloc && !common.events.mmap {
            return Err(bad_input!(
                "a check judges what is held, which page faults don't say: give --events malloc,faults"
            ));
        }
        let warm_up = time("--warm-up", &args.warm_up)?;
        if let Some(duration) = common.duration
            && warm_up >= duration
        {
            return Err(bad_input!(
                "--warm-up {} leaves nothing to judge of --duration: give a longer --duration",
                args.warm_up
            ));
        }
        let sizes = |option, text: Option<&str>| text.map(|text| size(option, text)).transpose();
        let criteria = Criteria {
            fail_on: fail_on(&args.fail_on)?,
            confidence: confidence("--confidence", &args.confidence)?,
            severity: severity(args.severity.as_deref())?,
            max_growth_bytes_per_second: args
                .max_growth
                .map(|text| rate("--max-growth", &text))
                .transpose()?,
            max_outstanding_bytes: sizes("--max-outstanding", args.max_outstanding.as_deref())?,
            max_rss_bytes: sizes("--max-rss", args.max_rss.as_deref())?,
            max_lost: common.max_lost,
        };
        Ok(Self {
            format: Format::of_check(&args.format)
                .map_err(|error| bad_input!("--format: {error}"))?,
            check: Some(CheckConfig {
                criteria,
                warm_up,
                suppressions: args.suppressions,
                baseline: args.baseline,
            }),
            ..common
        })
    }
}

fn fail_on(text: &str) -> Result<FailOn> {
    match text {
        "leak" => Ok(FailOn::Leak),
        "growing" => Ok(FailOn::Growing),
        other => Err(bad_input!(
            "--fail-on {other:?} is unknown: give leak or growing"
        )),
    }
}

pub(super) fn confidence(option: &str, text: &str) -> Result<f64> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err(bad_input!(
            "{option} {text:?}: give a number from 0 to 1, such as 0.8"
        )),
    }
}

fn severity(text: Option<&str>) -> Result<Severity> {
    match text {
        None => Ok(Severity::None),
        Some("minor") => Ok(Severity::Minor),
        Some("moderate") => Ok(Severity::Moderate),
        Some("severe") => Ok(Severity::Severe),
        Some(other) => Err(bad_input!(
            "--severity {other:?} is unknown: give minor, moderate or severe"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn config(words: &[&str]) -> Result<TraceConfig> {
        let words = ["memprof", "check"].iter().chain(words);
        match Cli::try_parse_from(words).expect("it parses").command {
            Command::Check(args) => TraceConfig::of_check(*args),
            _ => panic!("check"),
        }
    }

    fn refusal(words: &[&str]) -> String {
        let words: Vec<&str> = ["--pid", "1"].iter().chain(words).copied().collect();
        let error = config(&words).expect_err("it makes no sense");
        assert!(error.is::<crate::failure::BadInput>());
        let line = error.to_string();
        assert_eq!(line.lines().count(), 1);
        line
    }

    #[test]
    fn any_leak_fails_unless_something_else_is_asked_for() {
        let check = config(&["--", "ls"]).expect("it makes sense").check;
        let criteria = check.expect("a check").criteria;
        let expected = Criteria {
            fail_on: FailOn::Leak,
            confidence: 0.4,
            severity: Severity::None,
            max_growth_bytes_per_second: None,
            max_outstanding_bytes: None,
            max_rss_bytes: None,
            max_lost: 0.001,
        };
        assert_eq!(criteria, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        assert!(refusal(&["--warm-up", "30s", "--duration", "30s"]).contains("leaves nothing"));
        assert!(refusal(&["--events", "faults"]).contains("malloc,faults"));
        assert!(refusal(&["--warm-up", "soon"]).contains("--warm-up"));
        assert!(refusal(&["--fail-on", "stable"]).contains("leak or growing"));
        assert!(refusal(&["--confidence", "80"]).contains("from 0 to 1"));
        assert!(refusal(&["--confidence", "NaN"]).contains("from 0 to 1"));
        assert!(refusal(&["--severity", "bad"]).contains("moderate"));
        assert!(refusal(&["--max-growth", "10MB"]).contains("10MB/h"));
        assert!(refusal(&["--max-rss", "much"]).contains("--max-rss"));
        assert!(refusal(&["--max-outstanding", "7QB"]).contains("--max-outstanding"));
        assert!(refusal(&["--format", "jsonl"]).contains("text, json, junit, github"));
    }
}
