//! What in the data led to a verdict, in plain sentences.

use super::generations::Generations;
use super::plateau::{Plateau, Weight};
use super::rate::Rate;
use super::shape::Shape;
use super::ticks::Ticks;
use super::verdict::{Context, Judgement, Verdict};
use super::view::View;
use crate::units::{format_count, format_rate, format_seconds, format_size, format_size_change};

/// No stack leaks enough to be judged alone.
pub(super) const SCATTERED: &str =
    "many call paths leak a little each, none enough to be judged alone; together:";

/// Too many stacks grow to trust the one that looks like a leak.
pub(super) const BY_CHANCE: &str =
    "of so many call paths that grow, one may look like a leak by chance";

/// Some stacks have no history.
pub(super) fn not_followed(stacks: usize) -> String {
    let stacks = format_count(stacks as u64);
    format!("{stacks} call paths came too late to be followed each")
}

/// Resident memory grew, blocks did not.
pub(super) fn unexplained(resident: f64, blocks: f64) -> String {
    let resident = format_size(resident as u64);
    let blocks = format_size_change(blocks as i64);
    format!(
        "resident memory grew by {resident}, outstanding blocks by {blocks}: the rest is held by \
         the allocator, fragmented, or was taken by other means"
    )
}

/// There is no course to speak of.
pub(super) const NO_COURSE: &str = "resident memory was looked at too few times";

/// How resident memory changed.
pub(super) fn resident(before: f64, after: f64) -> String {
    let [from, to] = [before, after].map(|bytes| format_size(bytes as u64));
    if after > before {
        format!("resident memory grew from {from} to {to}")
    } else {
        format!("resident memory went from {from} to {to}")
    }
}

/// Tells in a run's units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller<'a> {
    ticks: &'a Ticks,
    view: &'a View<'a>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(context: &'a Context, view: &'a View<'a>) -> Self {
        Self {
            ticks: &context.ticks,
            view,
        }
    }

    fn time(&self, ticks: f64) -> String {
        format_seconds(self.ticks.seconds(ticks))
    }

    fn per_second(&self, bytes_per_tick: f64) -> String {
        format_rate(bytes_per_tick / self.ticks.seconds(1.0))
    }

    /// What outlives the plateau's age stays.
    pub(super) fn plateau(&self, plateau: &Plateau) -> String {
        let what = match plateau.by {
            Weight::Bytes => "bytes",
            Weight::Blocks => "blocks",
        };
        let age = self.time(plateau.age);
        if plateau.dead_share <= 0.0 {
            return format!("none of the {what} that reached an age of {age} has been freed");
        }
        let share = percent(plateau.dead_share);
        format!("of the {what} that reached an age of {age} only {share} have been freed")
    }

    /// Every generation leaves some.
    pub(super) fn generations(&self, generations: &Generations) -> String {
        let blocks = format_count(generations.blocks.round() as u64);
        let size = format_size(generations.bytes.round() as u64);
        let length = self.time(generations.length());
        format!("{blocks} blocks ({size}) that were allocated over {length} are still there")
    }

    /// Whether they come as fast as before.
    pub(super) fn pace(&self, generations: &Generations) -> String {
        let exponent = generations.exponent;
        if exponent >= 0.9 {
            return "newer generations leave as much as older ones".to_owned();
        }
        format!(
            "what is left per unit of time falls as time^{:.1}",
            exponent - 1.0
        )
    }

    /// How fast.
    pub(super) fn rate(&self, rate: &Rate) -> String {
        let [low, high] = rate.ci95.map(format_rate);
        let mean = format_rate(rate.mean);
        format!("it grows by {mean} (95 % interval {low} to {high})")
    }

    /// How long it has been watched.
    pub(super) fn watched(&self, generations: &Generations) -> String {
        let time = self.time(self.view.now - generations.start);
        format!("seen for {time}: a store that is still filling looks the same until it is full")
    }

    /// Several stacks do what the verb says.
    pub(super) fn stacks(&self, verb: &str, stacks: &[&Judgement]) -> String {
        let sum: f64 = stacks.iter().filter_map(|stack| stack.rate).sum();
        let rate = format_rate(sum);
        match stacks.len() {
            1 => format!("1 call path {verb}s, by {rate}"),
            many => format!("{many} call paths {verb}, together by {rate}"),
        }
    }

    /// Too few blocks to tell.
    pub(super) fn few(&self, blocks: u64) -> String {
        format!(
            "only {} blocks are left: too few to judge",
            format_count(blocks)
        )
    }

    /// Nothing outlived the tick of its birth.
    pub(super) fn nothing_held(&self) -> String {
        if self.view.outstanding > 0.0 {
            let held = format_size(self.view.outstanding as u64);
            return format!("all of its {held} is older than the process or brand-new");
        }
        "nothing is held for longer than an instant".to_owned()
    }

    /// The total does not rise although survivors come.
    pub(super) fn level(&self, since: f64) -> String {
        let time = self.time(self.view.now - since);
        format!("some blocks stay, but the total has been level for {time}: they replace others")
    }

    /// What the course of the total looks like.
    pub(super) fn shape(&self, shape: &Shape) -> String {
        let now = format_size(self.view.outstanding as u64);
        let highest = format_size(self.view.highest as u64);
        let until = self.time(shape.grew_until - self.view.since);
        let since = self.time(self.view.now - shape.grew_until);
        match shape.verdict {
            Verdict::Sawtooth => format!(
                "it fell back {} times by a third or more, from {highest} at the most",
                self.view.falls
            ),
            Verdict::Bounded => format!(
                "it grew for {until} and has stayed at about {now} for {since}, while {} of it \
                 has been replaced",
                percent(shape.renewed)
            ),
            Verdict::WarmUp => format!(
                "it grew for {until} and has stayed at about {now} for {since}, with {} of it \
                 from that time",
                percent(1.0 - shape.renewed)
            ),
            Verdict::Growing => match shape.trend {
                Some(trend) => format!(
                    "the total rises by {} over the whole time (Mann–Kendall p {})",
                    self.per_second(trend.slope),
                    p_value(trend.test.p_value())
                ),
                None => "the total rises".to_owned(),
            },
            _ => match shape.trend {
                Some(trend) => format!(
                    "the total does not grow: {} (95 % interval {} to {}), {now} now",
                    self.per_second(trend.slope),
                    self.per_second(trend.slope_ci95[0]),
                    self.per_second(trend.slope_ci95[1])
                ),
                None => format!("the total does not grow: {now} now"),
            },
        }
    }
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent > 0.0 && percent < 0.1 => "less than 0.1 %".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("= {p:.3}")
    }
}
