//! The verdict on one series: is it a leak, may it be one, or what is it else.

use super::cohorts::Cohort;
use super::generations::{self, Generations};
use super::least_squares;
use super::line_rule;
use super::plateau::{self, Plateau};
use super::prior::leak_not_store;
use super::projection;
use super::rate::{self, Rate};
use super::reasons::Teller;
use super::series::Series;
use super::severity::Severity;
use super::shape::{self, Shape};
use super::ticks::Tick;
use super::verdict::{Context, Judgement, Verdict};
use super::view::View;
use crate::units::format_seconds;

/// Fewer ticks than this say nothing.
pub const MIN_TICKS: u32 = 12;
/// Survivors that make a leak: so many blocks …
const MIN_BLOCKS: u32 = 5;
/// … of so many intervals of births …
const MIN_GENERATIONS: usize = 4;
/// … over so many ticks, and these shares of the whole time and of the plateau's age.
const MIN_LENGTH: f64 = 6.0;
const MIN_LENGTH_SHARE: f64 = 0.1;
const MIN_LENGTH_OF_AGE: f64 = 0.5;
/// A silence at the end that is less probable than this means that growth has ended.
const ENDED: f64 = 0.005;
/// A total that surely rises at less than this share of the rate at which survivors come is level:
/// they take the place of what is freed.
const LEVEL: f64 = 0.7;
/// Growth goes on rather than slows from this probability on …
const GOES_ON: f64 = 0.5;
/// … and is a leak's rather than just growth from these on: that it goes on and nothing is freed,
/// and that, knowing stores, it is a leak.
pub(super) const STRONG: f64 = 0.75;
const MIN_CONFIDENCE: f64 = 0.4;
/// No verdict but a leak's is surer than this: the next minute may change it.
const MOST_SURE: f64 = 0.9;

impl Series {
    /// Whether this can be called a leak, or growing like one: whether enough is left of enough
    /// generations, and not only of long ago. Cheap enough to ask of every series before
    /// [`judge`], which takes some 15 to 40 µs.
    pub fn may_leak(&self, now: Tick) -> bool {
        let Some(history) = self.history() else {
            return false;
        };
        let mut holding = history
            .bins
            .as_slice()
            .iter()
            .filter(|bin| bin.kept_count > 0);
        let Some(first) = holding.next() else {
            return false;
        };
        let (mut generations, mut blocks, mut last) = (1, first.kept_count, first.last);
        for bin in holding {
            generations += 1;
            blocks = blocks.saturating_add(bin.kept_count);
            last = bin.last;
        }
        let length = f64::from(now.saturating_sub(first.first)).max(1.0);
        let busy = f64::from(last - first.first + 1) / length;
        generations >= MIN_GENERATIONS
            && blocks >= MIN_BLOCKS
            && busy.powi(MIN_GENERATIONS as i32) > ENDED
    }
}

/// Judges a series as it was at the end of the tick before `now`.
pub fn judge(series: &Series, now: Tick, context: &Context) -> Judgement {
    let view = View::of(series, now);
    if let Some(reason) = unjudgeable(&view, context) {
        return Judgement::insufficient(reason);
    }
    if series.is_refused() {
        return Judgement::insufficient("there are too many call paths to follow each".to_owned());
    }
    let mut judgement = Judgement::measured(&view, context);
    let cohorts = view.cohorts();
    if let Some(plateau) = plateau::find(&view)
        && let Some(generations) = generations::find(&cohorts, &plateau, view.now)
        && judgement.weigh(&view, &plateau, &generations, context)
    {
        return judgement;
    }
    judgement.name(&view, &cohorts, context);
    judgement
}

/// Why nothing can be said at all.
pub(super) fn unjudgeable(view: &View, context: &Context) -> Option<String> {
    if let Some(loss) = context.losses.spoil() {
        return Some(loss);
    }
    let time = format_seconds(context.ticks.seconds(view.span().max(0.0)));
    (view.span() < f64::from(MIN_TICKS)).then(|| format!("it was seen for {time} only"))
}

impl Judgement {
    /// What can be measured whatever the verdict: the line and the trend of the total.
    pub(super) fn measured(view: &View, context: &Context) -> Self {
        let seconds = |tick: f64| context.ticks.seconds(tick - view.since);
        let points: Vec<(f64, f64)> = view
            .totals
            .iter()
            .map(|point| (seconds(point.0), point.1))
            .collect();
        let line = least_squares::fit(&points);
        let trend = shape::trend(&points);
        Self {
            line,
            line_says_leak: line.is_some_and(|line| line_rule::says_leak(&line, &points)),
            rate: trend.map(|trend| trend.slope),
            rate_ci95: trend.map(|trend| trend.slope_ci95),
            trend,
            reasons: Vec::new(),
            ..Self::insufficient(String::new())
        }
    }

    /// Whether what the generations left is a leak, or growth that may be one. False leaves it to
    /// the course of the total.
    fn weigh(
        &mut self,
        view: &View,
        plateau: &Plateau,
        generations: &Generations,
        context: &Context,
    ) -> bool {
        let least_length = MIN_LENGTH
            .max(MIN_LENGTH_SHARE * view.span())
            .max(MIN_LENGTH_OF_AGE * plateau.age);
        self.sparse =
            generations.blocks < f64::from(MIN_BLOCKS) || generations.holding < MIN_GENERATIONS;
        if self.sparse
            || generations.length() < least_length
            || generations.steady <= GOES_ON
            || generations.silence <= ENDED
        {
            return false;
        }
        let teller = Teller::new(context, view);
        let rate = rate::of(generations);
        if let Some(since) = shape::level_since(&view.totals, generations.start, LEVEL * rate.mean)
        {
            self.reasons.push(teller.level(since));
            return false;
        }
        let rate = rate.per_second(&context.ticks);
        let seconds = context.ticks.seconds(view.now - generations.start);
        let strength = plateau.evidence * generations.steady;
        let confidence = strength * leak_not_store(seconds, generations.kept_share);
        self.reasons = vec![
            teller.plateau(plateau),
            teller.generations(generations),
            teller.pace(generations),
            teller.rate(&rate),
        ];
        self.strength = Some(strength);
        if strength >= STRONG && confidence >= MIN_CONFIDENCE {
            self.verdict = Verdict::Leak;
            self.confidence = Some(confidence);
        } else {
            self.verdict = Verdict::Growing;
            self.confidence = Some(strength.min(MOST_SURE));
        }
        self.reasons.push(teller.watched(generations));
        let left = (rate.mean * seconds).min(view.outstanding);
        self.project(view, rate, left, context);
        true
    }

    /// The sum of what stacks leak or grow. Their intervals add as those of independent rates, each
    /// side by itself (Zou and Donner 2008, Statistics in Medicine 27, 1693–1702).
    pub(super) fn add_up(
        &mut self,
        verdict: Verdict,
        stacks: &[&Self],
        view: &View,
        context: &Context,
    ) {
        let (mut mean, mut below, mut above, mut left) = (0.0, 0.0, 0.0, 0);
        let mut confidence: f64 = 0.0;
        for stack in stacks {
            let rate = stack.rate.unwrap_or(0.0);
            let [low, high] = stack.rate_ci95.unwrap_or([rate; 2]);
            mean += rate;
            below += (rate - low).powi(2);
            above += (high - rate).powi(2);
            left += stack.left.unwrap_or(0);
            confidence = confidence.max(stack.confidence.unwrap_or(0.0));
        }
        self.verdict = verdict;
        self.confidence = Some(confidence);
        let ci95 = [mean - below.sqrt(), mean + above.sqrt()];
        self.project(view, Rate { mean, ci95 }, left as f64, context);
    }

    /// Takes over a rate per second and what it has left, and what follows from them.
    fn project(&mut self, view: &View, rate: Rate, left: f64, context: &Context) {
        let mean = rate.mean;
        self.rate = Some(mean);
        self.rate_ci95 = Some(rate.ci95);
        self.left = Some(left as u64);
        self.projected_24h = Some(projection::in_24_hours(view.outstanding as u64, mean));
        self.seconds_to_limit = context
            .limit
            .and_then(|limit| projection::seconds_to(limit, mean));
        self.severity = Some(context.severity.of(left as u64, mean));
    }

    /// Names the course of the total.
    pub(super) fn name(&mut self, view: &View, cohorts: &[Cohort], context: &Context) {
        let Some(shape) = shape::of(&view.totals, view.falls, cohorts) else {
            self.verdict = Verdict::Stable;
            self.severity = Some(Severity::None);
            self.confidence = Some(MOST_SURE);
            self.projected_24h = Some(view.outstanding as u64);
            self.reasons.push(Teller::new(context, view).nothing_held());
            return;
        };
        let blocks: u64 = view.bins.iter().map(|bin| u64::from(bin.kept_count)).sum();
        if shape.verdict == Verdict::Growing && blocks < u64::from(MIN_BLOCKS) {
            let few = Teller::new(context, view).few(blocks);
            self.reasons.insert(0, few);
            return;
        }
        self.take_shape(&shape, view, context);
    }

    /// Takes over what the course of the total is called.
    pub(super) fn take_shape(&mut self, shape: &Shape, view: &View, context: &Context) {
        self.verdict = shape.verdict;
        self.severity = Some(Severity::None);
        self.confidence = Some(shape.confidence);
        self.reasons
            .insert(0, Teller::new(context, view).shape(shape));
        let held = match shape.verdict {
            Verdict::Sawtooth => view.highest,
            _ => view.outstanding,
        };
        self.projected_24h = Some(held as u64);
        if matches!(shape.verdict, Verdict::Bounded | Verdict::WarmUp) {
            // What it grew by at the start is not how it grows.
            let since: Vec<(f64, f64)> = view
                .totals
                .iter()
                .filter(|point| point.0 >= shape.grew_until)
                .copied()
                .collect();
            let trend = shape::trend(&since);
            let per_second = |rate: f64| rate / context.ticks.seconds(1.0);
            self.rate = trend.map(|trend| per_second(trend.slope));
            self.rate_ci95 = trend.map(|trend| trend.slope_ci95.map(per_second));
        }
        if shape.verdict == Verdict::Growing
            && let Some(trend) = shape.trend
        {
            let rate = Rate {
                mean: trend.slope,
                ci95: trend.slope_ci95,
            }
            .per_second(&context.ticks);
            self.project(view, rate, view.outstanding, context);
        }
    }
}
