//! The verdict on a process, or on all of them: more than that of its worst stack.
//!
//! Of many stacks that grow, one may look like a leak by chance: the evidence has to be the stronger.
//! A leak may be spread over many stacks, each with too little of it to be judged alone; the sum
//! of those is judged like one stack. What stacks leak adds up. And resident memory that grows
//! without blocks to explain it is no leak that a free could cure, but is told.

use super::course::Course;
use super::judge::{STRONG, judge, unjudgeable};
use super::reasons::{self, Teller};
use super::series::Series;
use super::ticks::Tick;
use super::verdict::{Context, Judgement, Verdict};
use super::view::View;

/// What is said of stacks and of the whole that they make.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Of each stack, in the order in which they were given; `None` for those that can't be a leak
    /// and so were not looked at closely (see [`Series::may_leak`]).
    pub stacks: Vec<Option<Judgement>>,
    /// Of the process, or of the run.
    pub whole: Judgement,
}

/// Stacks that grow make the whole grow, and small leaks together are the whole's, if they hold at
/// least this share of it.
const LEAST_SHARE: f64 = 0.05;
/// Resident memory grows without explanation if it did so by more than this share of itself …
const UNEXPLAINED_SHARE: f64 = 0.1;
/// … and this many bytes, and if blocks explain less than half of it.
const UNEXPLAINED_BYTES: f64 = 4e6;

/// Judges every stack of a process, or of all processes, and the whole. `total` is the course of
/// their outstanding bytes, `resident` that of the resident memory, if it was followed.
pub fn judge_all(
    stacks: &[&Series],
    total: &Course,
    resident: Option<&Course>,
    now: Tick,
    context: &Context,
) -> Verdicts {
    let judgements: Vec<Option<Judgement>> = stacks
        .iter()
        .map(|series| judge_if_it_may_leak(series, now, context))
        .collect();
    let judged: Vec<Judged> = stacks.iter().copied().zip(&judgements).collect();
    Verdicts {
        whole: judge_whole(&judged, total, resident, now, context),
        stacks: judgements,
    }
}

/// Judges a stack; `None` if it can't be a leak, and so was not looked at closely.
pub fn judge_if_it_may_leak(series: &Series, now: Tick, context: &Context) -> Option<Judgement> {
    series.may_leak(now).then(|| judge(series, now, context))
}

/// Judges stacks of several processes that are one call path. What grows is judged by their sum, of
/// which each may have too little; else the one that holds most speaks for all. `None` without any.
pub fn judge_together(stacks: &[&Series], now: Tick, context: &Context) -> Option<Judgement> {
    let most = stacks.iter().max_by_key(|one| one.outstanding_bytes())?;
    let since = stacks.iter().map(|one| one.since()).min()?;
    if stacks.len() > 1 {
        let sum = judge(
            &Series::sum(stacks.iter().copied(), since, now),
            now,
            context,
        );
        if matches!(sum.verdict, Verdict::Leak | Verdict::Growing) {
            return Some(sum);
        }
    }
    Some(judge(most, now, context))
}

/// A stack with what was said of it.
pub type Judged<'a> = (&'a Series, &'a Option<Judgement>);

/// Judges the whole that stacks make, by what was said of each; see [`judge_all`].
pub fn judge_whole(
    stacks: &[Judged],
    total: &Course,
    resident: Option<&Course>,
    now: Tick,
    context: &Context,
) -> Judgement {
    let since = total.since();
    let all = Series::sum(stacks.iter().map(|stack| stack.0), since, now);
    let view = View::of_whole(&all, total, now);
    if let Some(reason) = unjudgeable(&view, context) {
        return Judgement::insufficient(reason);
    }
    let scattered = stacks.iter().filter(|stack| is_sparse(stack));
    let scattered = Series::sum(scattered.map(|stack| stack.0), since, now);
    let matters = |held: u64| held as f64 >= LEAST_SHARE * view.outstanding;
    let scattered_matters = matters(scattered.outstanding_bytes());
    let scattered = judge(&scattered, now, context);
    let with = |verdict| {
        let judged = stacks
            .iter()
            .filter_map(|stack| Some((stack.0, stack.1.as_ref()?)));
        judged.filter(move |stack| stack.1.verdict == verdict)
    };
    let leaking: Vec<&Judgement> = with(Verdict::Leak).map(|stack| stack.1).collect();
    let growing = || with(Verdict::Growing).chain(with(Verdict::Leak));
    let held_by_growing = growing().map(|stack| stack.0.outstanding_bytes()).sum();
    let growing: Vec<&Judgement> = growing().map(|stack| stack.1).collect();
    let mut judgement = Judgement::measured(&view, context);
    let teller = Teller::new(context, &view);
    let surest = strongest(&growing);
    if !leaking.is_empty() && surest >= STRONG {
        judgement.add_up(Verdict::Leak, &leaking, &view, context);
        judgement.reasons.push(teller.stacks("leak", &leaking));
        if let Some(worst) = worst(&leaking) {
            judgement.reasons.extend(worst.reasons.iter().cloned());
        }
        judgement.confidence = judgement.confidence.map(|it| it.min(surest));
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
            if !leaking.is_empty() {
                judgement.reasons.push(reasons::BY_CHANCE.to_owned());
            }
        }
    }
    let refused = stacks.iter().filter(|stack| stack.0.is_refused());
    let refused = refused.count();
    if refused > 0 {
        judgement.reasons.push(reasons::not_followed(refused));
    }
    judgement.reasons.extend(unexplained(total, resident));
    judgement
}

/// The strength of the best evidence, given that the more stacks grow, the more likely it is that
/// one of them looks like a leak by chance: the odds of each are divided by their number (Westfall,
/// Johnson and Utts 1997, "A Bayesian perspective on the Bonferroni adjustment", Biometrika 84,
/// 419–427).
fn strongest(growing: &[&Judgement]) -> f64 {
    let strengths = growing.iter().filter_map(|judgement| judgement.strength);
    let most = strengths.fold(0.0, f64::max);
    let others = growing.len() as f64 * (1.0 - most);
    most / (most + others).max(f64::MIN_POSITIVE)
}

/// Whether there was too little of it to be judged alone, though it may count in a sum.
fn is_sparse((series, judgement): &Judged) -> bool {
    let sparse = judgement.as_ref().is_none_or(|judgement| judgement.sparse);
    sparse && !series.is_refused()
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
