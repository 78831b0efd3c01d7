//! The gate of `memprof check`: what it reads before anything is traced, what it watches on the
//! way, and the decision at the end.

use std::{fs::File, io::Read as _, path::Path, time::Duration};

use anyhow::Result;

use crate::{
    bad_input,
    check::{Baseline, Policy, Suppressions, Watched, decide},
    config::CheckConfig,
    growth::SeverityBounds,
    identity::{Nanoseconds, seconds_since},
    report::{Check, Report},
    saved,
};

/// A larger file of suppressions is refused.
const MAX_SUPPRESSIONS_BYTES: u64 = 1 << 20;

/// What a check keeps while the trace runs.
pub(super) struct Gate {
    policy: Policy,
    warm_up: Duration,
    judged_since: Option<Nanoseconds>,
    peak_rss: Option<u64>,
}

impl Gate {
    /// Reads the files that the user named.
    ///
    /// # Errors
    /// Bad input if they can't be read or make no sense.
    pub(super) fn open(config: &CheckConfig, bounds: SeverityBounds) -> Result<Self> {
        let suppressions = config.suppressions.as_deref().map(suppressions);
        let baseline = config.baseline.as_deref().map(baseline);
        Ok(Self {
            policy: Policy {
                criteria: config.criteria,
                bounds,
                suppressions: suppressions.transpose()?.unwrap_or_default(),
                baseline: baseline.transpose()?,
            },
            warm_up: config.warm_up,
            judged_since: None,
            peak_rss: None,
        })
    }

    /// From when on it is judged.
    pub(super) fn warm_up(&self) -> Duration {
        self.warm_up
    }

    /// The warm-up is over. Whether there was one.
    pub(super) fn begin(&mut self, now: Nanoseconds, resident: Option<u64>) -> bool {
        self.judged_since = Some(now);
        self.peak_rss = resident;
        !self.warm_up.is_zero()
    }

    /// Takes note of the resident memory.
    pub(super) fn weigh(&mut self, resident: Option<u64>) {
        if self.judged_since.is_some() {
            self.peak_rss = self.peak_rss.max(resident);
        }
    }

    /// The decision.
    pub(super) fn decide(&self, report: &Report, peak_outstanding: u64, now: Nanoseconds) -> Check {
        let watched = Watched {
            seconds: self.judged_since.map(|since| seconds_since(since, now)),
            peak_outstanding_bytes: peak_outstanding,
            peak_rss_bytes: self.peak_rss,
        };
        decide(report, &watched, &self.policy)
    }
}

fn suppressions(path: &Path) -> Result<Suppressions> {
    let refused = |why: String| bad_input!("--suppressions {}: {why}", path.display());
    let file = File::open(path).map_err(|error| refused(error.kind().to_string()))?;
    let mut text = String::new();
    let read = file
        .take(MAX_SUPPRESSIONS_BYTES + 1)
        .read_to_string(&mut text);
    read.map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > MAX_SUPPRESSIONS_BYTES {
        return Err(refused(format!(
            "over {} MiB",
            MAX_SUPPRESSIONS_BYTES >> 20
        )));
    }
    Suppressions::parse(&text).map_err(|error| refused(error.to_string()))
}

fn baseline(path: &Path) -> Result<Baseline> {
    let report = saved::read(path).map_err(|error| bad_input!("--baseline: {error}"))?;
    Ok(Baseline::of(&report))
}
