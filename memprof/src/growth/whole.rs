//! The verdict on a process, or on all of them: more than that of its worst stack.
//!
//! A leak may be spread over many stacks, each with too little of it to be judged alone; the sum
//! of those is judged like one stack. What stacks leak adds up. And resident memory that grows
//! without blocks to explain it is no leak that a free could cure, but is told.

use super::course::Course;
use super::judge::{judge, unjudgeable};
use super::reasons::{self, Teller};
use super::series::Series;
use super::ticks::Tick;
use super::verdict::{Context, Judgement, Verdict};
use super::view::View;

/// A stack with the verdict on it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Its series.
    pub series: &'a Series,
    /// What [`judge`] said of it, at the same time and in the same context; `None` if it was not
    /// judged, because there can't be much to it (see [`Series::may_leak`]).
    pub judgement: Option<&'a Judgement>,
}

impl<'a> Judged<'a> {
    fn with(&self, verdict: Verdict) -> Option<&'a Judgement> {
        self.judgement
            .filter(|judgement| judgement.verdict == verdict)
    }

    fn is_sparse(&self) -> bool {
        !self.series.is_refused() && self.judgement.is_none_or(|judgement| judgement.sparse)
    }
}

/// Stacks that grow make the whole grow, and small leaks together are the whole's, if they hold at
/// least this share of it.
const LEAST_SHARE: f64 = 0.05;
/// Resident memory grows without explanation if it did so by more than this share of itself …
const UNEXPLAINED_SHARE: f64 = 0.1;
/// … and this many bytes, and if blocks explain less than half of it.
const UNEXPLAINED_BYTES: f64 = 4e6;

/// Judges all stacks of a process, or of all processes, together. `total` is the course of their
/// outstanding bytes, `resident` that of the resident memory, if it was followed.
pub fn judge_whole(
    stacks: &[Judged],
    total: &Course,
    resident: Option<&Course>,
    now: Tick,
    context: &Context,
) -> Judgement {
    let since = total.since();
    let all = Series::sum(stacks.iter().map(|stack| stack.series), since, now);
    let view = View::of_whole(&all, total, now);
    if let Some(reason) = unjudgeable(&view, context) {
        return Judgement::insufficient(reason);
    }
    let scattered = stacks.iter().filter(|stack| stack.is_sparse());
    let scattered = Series::sum(scattered.map(|stack| stack.series), since, now);
    let matters = |held: u64| held as f64 >= LEAST_SHARE * view.outstanding;
    let scattered_matters = matters(scattered.outstanding_bytes());
    let scattered = judge(&scattered, now, context);
    let with = |verdict| stacks.iter().filter_map(move |stack| stack.with(verdict));
    let leaking: Vec<&Judgement> = with(Verdict::Leak).collect();
    let growing: Vec<&Judgement> = with(Verdict::Growing).collect();
    let held_by_growing: u64 = stacks
        .iter()
        .filter(|stack| stack.with(Verdict::Growing).is_some())
        .map(|stack| stack.series.outstanding_bytes())
        .sum();
    let mut judgement = Judgement::measured(&view, context);
    let teller = Teller::new(context, &view);
    if !leaking.is_empty() {
        judgement.add_up(Verdict::Leak, &leaking, &view, context);
        judgement.reasons.push(teller.stacks("leak", &leaking));
        if let Some(worst) = worst(&leaking) {
            judgement.reasons.extend(worst.reasons.iter().cloned());
        }
    } else if scattered.verdict == Verdict::Leak && scattered_matters {
        judgement.add_up(Verdict::Leak, &[&scattered], &view, context);
        judgement.reasons.push(reasons::SCATTERED.to_owned());
        judgement.reasons.extend(scattered.reasons.iter().cloned());
    } else {
        judgement.name(&view, &view.cohorts(), context);
        if !growing.is_empty() {
            if matters(held_by_growing) {
                judgement.add_up(Verdict::Growing, &growing, &view, context);
            }
            judgement.reasons.push(teller.stacks("grow", &growing));
        }
    }
    let refused = stacks.iter().filter(|stack| stack.series.is_refused());
    let refused = refused.count();
    if refused > 0 {
        judgement.reasons.push(reasons::not_followed(refused));
    }
    judgement.reasons.extend(unexplained(total, resident));
    judgement
}

/// Tells if resident memory grew by much more than blocks explain.
fn unexplained(total: &Course, resident: Option<&Course>) -> Option<String> {
    let (before, after) = resident?.ends()?;
    let (blocks_before, blocks_after) = total.ends()?;
    let (grown, explained) = (after - before, blocks_after - blocks_before);
    let much = grown > UNEXPLAINED_BYTES.max(UNEXPLAINED_SHARE * before);
    (much && explained < grown / 2.0).then(|| reasons::unexplained(grown, explained))
}

fn worst<'a>(judgements: &[&'a Judgement]) -> Option<&'a Judgement> {
    let rate = |judgement: &Judgement| judgement.rate.unwrap_or(0.0);
    judgements
        .iter()
        .copied()
        .max_by(|a, b| rate(a).total_cmp(&rate(b)))
}
