//! What is said of the growth of each site, and of the whole.

use hashbrown::HashMap;

use super::snapshot::SiteSnapshot;
use super::space::Space;
use crate::events::event::{Nanoseconds, SpaceId};
use crate::growth::{
    Context, Course, Judgement, Series, Tick, Verdict, judge as judge_one, judge_all,
};

/// How long before the last of them spaces may have ended to be judged with it, if none lives any
/// more, nanoseconds.
const TOGETHER: Nanoseconds = 250_000_000;

/// Judgements.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Of everything that lives, or that ended last.
    pub whole: Judgement,
    /// By space and site, of what could be a leak.
    sites: HashMap<(SpaceId, u32), Judgement>,
}

pub(super) fn judge(
    spaces: &[Space],
    outstanding: &Course,
    resident: &Course,
    now: Nanoseconds,
    context: &Context,
) -> Judged {
    // What has ended grows no longer, and would look as if it had stopped to.
    let lives = spaces.iter().any(|space| space.ended_at.is_none());
    let last_end = spaces.iter().filter_map(|space| space.ended_at).max();
    let end = match last_end {
        Some(end) if !lives => end,
        _ => now,
    };
    let counts = |space: &&Space| match space.ended_at {
        None => true,
        Some(ended) => !lives && ended + TOGETHER >= end,
    };
    let mut keys = Vec::new();
    let mut series: Vec<&Series> = Vec::new();
    for space in spaces.iter().filter(counts) {
        for (site, one) in (0..).zip(&space.series) {
            keys.push((space.id, site));
            series.push(one);
        }
    }
    let tick = next_tick(end, context);
    let verdicts = judge_all(&series, outstanding, Some(resident), tick, context);
    let sites = keys.into_iter().zip(verdicts.stacks);
    Judged {
        whole: verdicts.whole,
        sites: sites
            .filter_map(|(key, judgement)| Some((key, judgement?)))
            .collect(),
    }
}

impl Judged {
    /// Whether a site was said to leak, or to grow as a leak does.
    pub fn is_suspect(&self, site: &SiteSnapshot) -> bool {
        let judgement = self.sites.get(&(site.space, site.site));
        judgement.is_some_and(|one| matches!(one.verdict, Verdict::Leak | Verdict::Growing))
    }

    /// Of one site: as it was judged with the others, or by itself if it was not.
    pub(super) fn of_site(
        &self,
        space: &Space,
        site: u32,
        now: Nanoseconds,
        context: &Context,
    ) -> Option<Judgement> {
        if let Some(judgement) = self.sites.get(&(space.id, site)) {
            return Some(judgement.clone());
        }
        let end = space.ended_at.unwrap_or(now);
        let series = space.series.get(site as usize)?;
        Some(judge_one(series, next_tick(end, context), context))
    }
}

/// The tick after that of `time`, which is whole as far as can be told.
fn next_tick(time: Nanoseconds, context: &Context) -> Tick {
    context.ticks.of(time).saturating_add(1)
}
