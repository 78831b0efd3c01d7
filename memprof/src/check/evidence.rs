//! Whether the record is good enough to decide by.

use super::Watched;
use crate::report::{GovernorAction, Report, Verdict};
use crate::units::format_seconds;

/// A shorter run passes nothing: 60 of the ticks in which growth is judged.
pub const LEAST_SECONDS: f64 = 4.0;

/// What stands against deciding, in plain sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Why the blocks on record are not what there was: nothing that rests on them is proved.
    pub(super) spoiled: Vec<String>,
    /// Why it was too little: what was found is proved, that there is nothing more is not.
    pub(super) short: Vec<String>,
}

impl Evidence {
    pub(super) fn of(report: &Report, watched: &Watched, max_lost: f64) -> Self {
        let mut evidence = Self::default();
        evidence.spoiled.extend(losses(report, max_lost));
        if let Some(step) = report
            .quality
            .governor
            .iter()
            .find(|step| step.action == GovernorAction::Detach)
        {
            evidence.spoiled.push(format!(
                "the probes were taken out at {} to spare the target",
                format_seconds(step.at_seconds)
            ));
        }
        match watched.seconds {
            None => evidence
                .short
                .push("the run ended within its warm-up".to_owned()),
            Some(seconds) if seconds < LEAST_SECONDS => evidence.short.push(format!(
                "growth was watched for {} only: it takes at least {}",
                format_seconds(seconds),
                format_seconds(LEAST_SECONDS)
            )),
            Some(_) => {}
        }
        let verdict = &report.leak_detection;
        if evidence.is_good() && verdict.verdict == Verdict::InsufficientData {
            let why = match verdict.reasons.as_slice() {
                [] => "growth could not be judged".to_owned(),
                reasons => format!("growth could not be judged: {}", reasons.join("; ")),
            };
            evidence.short.push(why);
        }
        evidence
    }

    pub(super) fn is_good(&self) -> bool {
        self.spoiled.is_empty() && self.short.is_empty()
    }
}

fn losses(report: &Report, max_lost: f64) -> Option<String> {
    let lost = report.quality.lost;
    let ends = lost.free.saturating_add(lost.unmap);
    if ends > 0 {
        return Some(format!(
            "{ends} frees were lost: what looks outstanding may have been freed"
        ));
    }
    let total = lost.total() as f64;
    let seen = report.quality.overhead.probe_hits.unwrap_or(0) as f64;
    let share = total / (total + seen).max(1.0);
    (share > max_lost).then(|| {
        format!(
            "{:.2} % of the events were lost, more than the {:.2} % of --max-lost",
            100.0 * share,
            100.0 * max_lost
        )
    })
}
