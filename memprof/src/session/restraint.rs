//! Does what the governor says: has blocks sampled, takes the probes out, and keeps a record of it.

use std::collections::HashMap;

use anyhow::Result;

use super::{collector::Shared, cost::Cost, targets::Tracer};
use crate::{
    identity::{Nanoseconds, Pid},
    probes::governor::{Account, Action, DEFAULT_SAMPLE_BYTES, Governor, Step},
    report::{GovernorAction, GovernorStep, Quality, SamplingMode},
    target::process::cpu_seconds,
};

/// From when it is told to when the kernel side samples, nanoseconds: long after the last program that
/// read the old word has ended.
const NOTICE: Nanoseconds = 10_000_000;

/// What is done to spare the targets.
pub struct Restraint {
    governor: Option<Governor>,
    sample_bytes: Option<u64>,
    steps: Vec<Step>,
    /// Processor time of each target when it was last seen, seconds.
    cpu: HashMap<Pid, f64>,
    /// What the targets had taken when they were first seen.
    cpu_before: f64,
    detached: bool,
}

impl Restraint {
    /// Samples from the start if that is wanted; while the gate is closed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn begin(
        sample_bytes: Option<u64>,
        max_overhead: Option<f64>,
        tracer: &mut Tracer,
        shared: &Shared,
    ) -> Result<Self> {
        if let Some(bytes) = sample_bytes {
            let schedule = tracer.side().sample(bytes, 0)?;
            shared.lock().pipeline.sample(schedule);
        }
        let distance = sample_bytes.unwrap_or(DEFAULT_SAMPLE_BYTES);
        Ok(Self {
            governor: max_overhead
                .map(|most| Governor::new(most, distance, sample_bytes.is_some())),
            sample_bytes,
            steps: Vec::new(),
            cpu: HashMap::new(),
            cpu_before: 0.0,
            detached: false,
        })
    }

    /// Takes a step if tracing takes too much.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn look(
        &mut self,
        now: Nanoseconds,
        at: f64,
        living: &[Pid],
        cost: &mut Cost,
        tracer: &mut Tracer,
        shared: &Shared,
    ) -> Result<Option<Step>> {
        let Some(governor) = &mut self.governor else {
            return Ok(None);
        };
        for pid in living {
            if let Some(seconds) = cpu_seconds(*pid) {
                let before = self.cpu.insert(*pid, seconds);
                if before.is_none() && at < 1.0 {
                    self.cpu_before += seconds;
                }
            }
        }
        let Some(taken) = cost.estimate(tracer.side()) else {
            return Ok(None);
        };
        let account = Account {
            at,
            tracing: taken.seconds,
            cpu: self.cpu.values().sum::<f64>() - self.cpu_before,
        };
        let Some(step) = governor.look(account) else {
            return Ok(None);
        };
        match step.action {
            Action::Sample(bytes) => {
                let schedule = tracer.side().sample(bytes, now + NOTICE)?;
                shared.lock().pipeline.sample(schedule);
                self.sample_bytes = Some(bytes);
                cost.measure_anew();
            }
            Action::Detach => {
                tracer.side().withdraw()?;
                self.detached = true;
            }
        }
        self.steps.push(step);
        Ok(Some(step))
    }

    /// Whether the probes were taken out.
    pub fn has_withdrawn(&self) -> bool {
        self.detached
    }

    /// Tells a report what was done.
    pub fn describe(&self, quality: &mut Quality) {
        quality.sampling.mean_bytes = self.sample_bytes;
        if self.sample_bytes.is_some() {
            quality.sampling.mode = SamplingMode::Poisson;
        }
        quality.governor = self.steps.iter().map(report_step).collect();
        if self.detached {
            quality.complete = false;
        }
        quality.notes.extend(self.steps.iter().map(sentence));
    }
}

fn report_step(step: &Step) -> GovernorStep {
    GovernorStep {
        at_seconds: step.at,
        action: match step.action {
            Action::Sample(_) => GovernorAction::Sample,
            Action::Detach => GovernorAction::Detach,
        },
        share: step.share,
    }
}

/// A step in words.
pub fn sentence(step: &Step) -> String {
    let share = step.share * 100.0;
    let at = step.at;
    match step.action {
        Action::Sample(bytes) => format!(
            "tracing took {share:.1} % of the target's processor time: from {at:.1} s on, blocks are \
             sampled, one in {bytes} bytes on average"
        ),
        Action::Detach => format!(
            "tracing took {share:.1} % of the target's processor time: the probes were taken out \
             at {at:.1} s, and what was freed since is not known"
        ),
    }
}
