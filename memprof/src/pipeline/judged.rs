//! What is said of the growth of each site, and of the whole.

use hashbrown::HashMap;

use super::snapshot::SiteSnapshot;
use super::space::Space;
use crate::events::event::{Nanoseconds, Pid, SpaceId};
use crate::growth::{
    Context, Course, Judgement, Series, Tick, Verdict, judge as judge_one, judge_if_it_may_leak,
    judge_resident, judge_together, judge_whole,
};

/// How long before the last of them spaces may have ended to be judged with it, if none lives any
/// more, nanoseconds.
const TOGETHER: Nanoseconds = 250_000_000;

/// What growth is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// What is outstanding, call path by call path.
    #[default]
    Outstanding,
    /// Resident memory, of processes and of the whole: where only page faults are followed, which don't
    /// say who holds what.
    Resident,
}

/// Judgements.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Of everything that lives, or that ended last.
    pub whole: Judgement,
    /// By space, of those that live, or that ended last.
    pub processes: HashMap<SpaceId, Judgement>,
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
    let (counted, end) = counted(spaces, now);
    let tick = next_tick(end, context);
    let mut sites = HashMap::new();
    let mut processes = HashMap::new();
    let judgements: Vec<Vec<Option<Judgement>>> = counted
        .iter()
        .map(|space| {
            let series = space.series.iter();
            let judge = |one| judge_if_it_may_leak(one, tick, context);
            series.map(judge).collect()
        })
        .collect();
    let mut all = Vec::new();
    for (space, judgements) in counted.iter().zip(&judgements) {
        let first = all.len();
        all.extend(space.series.iter().zip(judgements));
        if counted.len() > 1
            && let Some(course) = &space.course
        {
            let whole = judge_whole(&all[first..], course, None, tick, context);
            processes.insert(space.id, whole);
        }
        for (site, judgement) in (0..).zip(judgements) {
            if let Some(judgement) = judgement {
                sites.insert((space.id, site), judgement.clone());
            }
        }
    }
    let whole = judge_whole(&all, outstanding, Some(resident), tick, context);
    if let [one] = &counted[..] {
        processes.insert(one.id, whole.clone());
    }
    Judged {
        whole,
        sites,
        processes,
    }
}

/// Judges resident memory: of the whole by a course and what it is now, of each process by what it touched
/// and did not give back. No call path is judged.
pub(super) fn judge_resident_memory(
    spaces: &[Space],
    (course, bytes): (&Course, u64),
    now: Nanoseconds,
    context: &Context,
) -> Judged {
    let (counted, end) = counted(spaces, now);
    let tick = next_tick(end, context);
    let only = match &counted[..] {
        [one] => one.pid(),
        _ => None,
    };
    let whole = judge_resident(course, bytes as f64, tick, context);
    let whole = with_advice(whole, only);
    let mut processes = HashMap::new();
    for space in &counted {
        let judgement = match &space.course {
            _ if counted.len() == 1 => whole.clone(),
            Some(course) => {
                let bytes = space.touches.sum().resident_bytes();
                let judgement = judge_resident(course, bytes as f64, tick, context);
                with_advice(judgement, space.pid())
            }
            None => continue,
        };
        processes.insert(space.id, judgement);
    }
    Judged {
        whole,
        processes,
        sites: HashMap::new(),
    }
}

/// Of growth, what to do about it.
fn with_advice(mut judgement: Judgement, pid: Option<Pid>) -> Judgement {
    if judgement.verdict == Verdict::Growing {
        let pid = pid.map_or_else(|| "PID".to_owned(), |pid| pid.0.to_string());
        judgement.reasons.push(format!(
            "page faults say who touched memory first, not who holds it: run `memprof trace --pid {pid}` \
             or `memprof hunt` for the path that holds it"
        ));
    }
    judgement
}

/// The spaces to judge by, and up to when: those that live, or that ended last. What has ended grows no
/// longer, and would look as if it had stopped to.
fn counted(spaces: &[Space], now: Nanoseconds) -> (Vec<&Space>, Nanoseconds) {
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
    (spaces.iter().filter(counts).collect(), end)
}

impl Judged {
    /// Whether a site was said to leak, or to grow as a leak does.
    pub fn is_suspect(&self, site: &SiteSnapshot) -> bool {
        let judgement = self.sites.get(&(site.space, site.site));
        judgement.is_some_and(|one| matches!(one.verdict, Verdict::Leak | Verdict::Growing))
    }

    /// What was said of the call paths that leak.
    pub fn leaks(&self) -> impl Iterator<Item = &Judgement> {
        let sites = self.sites.values();
        sites.filter(|one| one.verdict == Verdict::Leak)
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

/// Judges sites of one call path in several spaces as one: those that live, or if none does, all.
pub(super) fn together(
    spaces: &[Space],
    indices: &HashMap<SpaceId, usize>,
    sites: &[(SpaceId, u32)],
    now: Nanoseconds,
    context: &Context,
) -> Option<Judgement> {
    let found = sites
        .iter()
        .filter_map(|(space, site)| Some((&spaces[*indices.get(space)?], *site)));
    let (living, ended): (Vec<_>, Vec<_>) = found.partition(|one| one.0.ended_at.is_none());
    let (members, end) = if living.is_empty() {
        let end = ended.iter().filter_map(|one| one.0.ended_at).max();
        (ended, end.unwrap_or(now))
    } else {
        (living, now)
    };
    let series: Vec<&Series> = members
        .iter()
        .filter_map(|(space, site)| space.series.get(*site as usize))
        .collect();
    judge_together(&series, next_tick(end, context), context)
}

/// The tick after that of `time`, which is whole as far as can be told.
fn next_tick(time: Nanoseconds, context: &Context) -> Tick {
    context.ticks.of(time).saturating_add(1)
}
