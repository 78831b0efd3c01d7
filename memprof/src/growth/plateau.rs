//! The age beyond which nothing of a stack dies any more.
//!
//! A population of which a part never dies shows it by a survival curve that levels off: the
//! cure-fraction model (Boag 1949; Maller and Zhou 1996, "Survival Analysis with Long-Term
//! Survivors"), and whether it levels off can only be said if blocks were followed for long enough
//! beyond that age (their "sufficient follow-up"). Ages come in classes, and those still live are
//! censored at their present age, as in a life table (Cutler and Ederer 1958): who dies or is lost
//! from sight within a class was at risk for half of it.
//!
//! Against a plateau stands the heaviest tail in common use, Pareto's, with a constant chance to
//! die per octave of age. Its exponent is the deaths beyond an age over the time at risk in
//! logarithms of age (Hill 1975, with censoring): at a plateau it is next to nothing.

use super::ages::{age_class, youngest_of};
use super::distributions::gamma_below;
use super::view::View;

/// Of what reached the plateau's age, at most this share died later.
const MAX_DEAD_SHARE: f64 = 0.10;
/// The most that a tail's exponent may be: 10 % of what is left dies in the next octave of age.
const MAX_TAIL: f64 = 0.15;
/// The tail that evidence is weighed against: 19 % die per octave.
const HEAVY_TAIL: f64 = 0.30;
/// If blocks beyond its age have lately died at more than this share of the pace at which others
/// reached it, it is none: a store has begun to turn over.
const TURNING: f64 = 0.3;
/// A plateau begins before this share of the time, or it has not been followed for long enough.
const MAX_AGE_SHARE: f64 = 0.55;

/// What a population is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Bytes,
    Blocks,
}

/// Where deaths end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plateau {
    /// From this age on, ticks.
    pub(super) age: f64,
    /// Of what reached it, the share that died later all the same.
    pub(super) dead_share: f64,
    /// How probable it is that the tail is not a heavy one, 0 to 1.
    pub(super) evidence: f64,
    /// What was weighed: bytes, or blocks where large blocks that come and go hide the rest.
    pub(super) by: Weight,
    /// Of what reached the age of a class, the share that died later; by class.
    later: Vec<f64>,
}

impl Plateau {
    /// Of what has reached an age (at least the plateau's), the share that is likely to stay.
    pub(super) fn staying(&self, age: f64) -> f64 {
        let class = age_class(age.max(0.0) as u32);
        1.0 - self.later.get(class).copied().unwrap_or(0.0)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    dead_bytes: f64,
    dead_blocks: f64,
    live_bytes: f64,
    live_blocks: f64,
    recent_dead: f64,
}

impl Class {
    fn dead(&self, by: Weight) -> f64 {
        match by {
            Weight::Bytes => self.dead_bytes,
            Weight::Blocks => self.dead_blocks,
        }
    }

    fn live(&self, by: Weight) -> f64 {
        match by {
            Weight::Bytes => self.live_bytes,
            Weight::Blocks => self.live_blocks,
        }
    }

    fn add(&mut self, other: &Self) {
        self.dead_bytes += other.dead_bytes;
        self.dead_blocks += other.dead_blocks;
        self.live_bytes += other.live_bytes;
        self.live_blocks += other.live_blocks;
        self.recent_dead += other.recent_dead;
    }
}

/// The youngest age from which a plateau holds, by bytes or else by blocks.
pub(super) fn find(view: &View) -> Option<Plateau> {
    let classes = by_age(view);
    youngest(view, &classes, Weight::Bytes).or_else(|| youngest(view, &classes, Weight::Blocks))
}

fn youngest(view: &View, classes: &[Class], by: Weight) -> Option<Plateau> {
    let beyond = beyond(classes, by);
    let holds = |(age, beyond): &(f64, Beyond)| {
        let dead = beyond.older.dead(by);
        *age <= MAX_AGE_SHARE * view.span()
            && beyond.older.live(by) > 0.0
            && dead <= MAX_DEAD_SHARE * (dead + beyond.older.live(by))
            && dead <= MAX_TAIL * beyond.risk
            && !is_turning(view, *age, &beyond.older)
    };
    let ages = (0..).map(|class| youngest_of(class) as f64);
    let (age, found) = ages.zip(beyond.iter().copied()).skip(1).find(holds)?;
    // A rate's posterior after so many deaths, with Jeffreys' prior of half a death.
    let deaths = found.older.dead_blocks + 0.5;
    Some(Plateau {
        age,
        dead_share: found.dead_share(by),
        evidence: gamma_below(HEAVY_TAIL, deaths, found.blocks_at_risk),
        by,
        later: beyond.iter().map(|beyond| beyond.dead_share(by)).collect(),
    })
}

/// Whether blocks beyond an age have begun to die, by more than chance (a Poisson number's standard
/// deviation).
fn is_turning(view: &View, age: f64, older: &Class) -> bool {
    let recently = view.now - view.recent_since;
    let inflow = older.live_blocks / (view.span() - age) * recently;
    older.recent_dead - older.recent_dead.sqrt() > TURNING * inflow
}

/// What became of all that reached the age of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Beyond {
    older: Class,
    /// Time at risk in natural logarithms of age, times what was at risk.
    risk: f64,
    blocks_at_risk: f64,
}

impl Beyond {
    fn dead_share(&self, by: Weight) -> f64 {
        let dead = self.older.dead(by);
        let all = dead + self.older.live(by);
        if all > 0.0 { dead / all } else { 0.0 }
    }
}

/// By class, from each on; the first, of age 0, has no logarithm and is left empty.
fn beyond(classes: &[Class], by: Weight) -> Vec<Beyond> {
    let mut all = vec![Beyond::default(); classes.len()];
    let mut now = Beyond::default();
    for (index, class) in classes.iter().enumerate().skip(1).rev() {
        let length = (youngest_of(index + 1) as f64 / youngest_of(index) as f64).ln();
        let older = now.older;
        let at_risk =
            |by| older.live(by) + older.dead(by) + (class.live(by) + class.dead(by)) / 2.0;
        now.risk += length * at_risk(by);
        now.blocks_at_risk += length * at_risk(Weight::Blocks);
        now.older.add(class);
        all[index] = now;
    }
    all
}

/// Deaths and the living by age.
fn by_age(view: &View) -> Vec<Class> {
    let oldest = age_class(view.span().max(0.0) as u32);
    let mut classes = vec![Class::default(); (oldest + 1).max(view.deaths.len())];
    for (class, deaths) in classes.iter_mut().zip(view.deaths) {
        class.dead_bytes = deaths.bytes as f64;
        class.dead_blocks = f64::from(deaths.count);
        let per_byte = f64::from(deaths.count) / (deaths.bytes as f64).max(1.0);
        class.recent_dead = deaths.recent_bytes() * per_byte;
    }
    for bin in view.bins.iter().filter(|bin| bin.kept_count > 0) {
        let youngest = (view.now - 1.0 - f64::from(bin.last)).max(0.0);
        let oldest = youngest + bin.width();
        let mut below = youngest;
        let first = age_class(youngest as u32);
        for (index, class) in classes.iter_mut().enumerate().skip(first) {
            let until = (youngest_of(index + 1) as f64).min(oldest);
            let share = (until - below) / bin.width();
            class.live_bytes += share * bin.kept_bytes as f64;
            class.live_blocks += share * f64::from(bin.kept_count);
            below = until;
            if below >= oldest {
                break;
            }
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::{Room, Series, Tick};

    /// A series of blocks, each with its birth and the age at which it dies.
    fn series(mut blocks: Vec<(Tick, Tick)>, end: Tick) -> Series {
        let mut room = Room::default();
        let mut series = Series::new(0);
        blocks.sort_unstable();
        let mut deaths: Vec<(Tick, Tick)> = blocks
            .iter()
            .map(|(birth, life)| (birth.saturating_add(*life), *birth))
            .collect();
        deaths.sort_unstable();
        let mut deaths = deaths.into_iter().peekable();
        for (birth, _) in blocks {
            while let Some((death, born)) = deaths.next_if(|death| death.0 < birth) {
                series.died(born, death, 10, &mut room);
            }
            series.born(birth, 10, &mut room);
        }
        while let Some((death, born)) = deaths.next_if(|death| death.0 < end) {
            series.died(born, death, 10, &mut room);
        }
        series.advance(end, &mut room);
        series
    }

    #[test]
    fn the_exponent_of_a_heavy_tail_is_estimated_under_censoring() {
        let blocks = (0..4000).map(|i: u32| {
            let chance = (f64::from(i * 7919 % 4000) + 0.5) / 4000.0;
            (i % 1000, (4.0 * chance.powf(-1.0 / 0.6)).floor() as Tick)
        });
        let series = series(blocks.collect(), 1000);
        let classes = by_age(&View::of(&series, 1000));
        let from_4 = beyond(&classes, Weight::Blocks)[age_class(4)];
        let tail = from_4.older.dead_blocks / from_4.blocks_at_risk;
        // scipy 1.17.1, the blocks that reached an age of 4, ages plus a half:
        //   i = np.arange(4000); birth = i % 1000; u = (i * 7919 % 4000 + .5) / 4000
        //   life = np.floor(4 * u ** (-1 / .6)); dead = life < 1000 - birth
        //   known = np.where(dead, life, 999 - birth); k = known >= 4
        //   data = CensoredData(uncensored=known[k & dead] + .5, right=known[k & ~dead] + .5)
        //   pareto.fit(data, floc=0, fscale=4)
        let scipy = 0.599_707;
        assert!((tail / scipy - 1.0).abs() < 0.03, "{tail}");
    }

    #[test]
    fn a_plateau_begins_where_the_mortal_have_died() {
        // Every fourth block stays, the others live for up to 20 ticks.
        let blocks = (0..2000).map(|i: u32| {
            let life = if i.is_multiple_of(4) {
                Tick::MAX
            } else {
                i % 21
            };
            (i / 10, life)
        });
        let series = series(blocks.collect(), 200);
        let view = View::of(&series, 200);
        let plateau = find(&view).expect("a plateau");
        // Of those at 20 and beyond an eighth still dies, of those at 24 none.
        assert_eq!(plateau.age, 24.0);
        assert!(plateau.dead_share <= MAX_DEAD_SHARE && plateau.evidence > 0.99);
        assert!(plateau.staying(100.0) > 0.999);
    }

    #[test]
    fn blocks_that_all_die_in_time_have_no_plateau() {
        let cache = (0..2000).map(|i: u32| (i / 10, 70));
        let cache = series(cache.collect(), 200);
        assert_eq!(find(&View::of(&cache, 200)), None);
        let heavy = (0..2000).map(|i: u32| {
            let chance = (f64::from(i * 7919 % 2000) + 0.5) / 2000.0;
            (i / 10, chance.powf(-2.0) as Tick)
        });
        let heavy = series(heavy.collect(), 200);
        assert_eq!(find(&View::of(&heavy, 200)), None);
    }

    #[test]
    fn a_few_survivors_are_weak_evidence() {
        let few = series(vec![(10, Tick::MAX), (50, Tick::MAX), (90, Tick::MAX)], 100);
        let evidence_of = |series: &Series| {
            let view = View::of(series, 100);
            find(&view).expect("a plateau").evidence
        };
        let many = (0..100).map(|i| (i, Tick::MAX));
        let many = series(many.collect(), 100);
        assert!(evidence_of(&few) < 0.99 && evidence_of(&many) > 0.999);
    }

    #[test]
    fn small_blocks_that_stay_are_found_among_large_ones_that_come_and_go() {
        let mut room = Room::default();
        let mut series = Series::new(0);
        for tick in 0..200 {
            (0..20).for_each(|_| series.born(tick, 64, &mut room));
            series.born(tick, 1 << 20, &mut room);
            if let Some(birth) = Tick::checked_sub(tick, 120) {
                series.died(birth, tick, 1 << 20, &mut room);
            }
        }
        series.advance(200, &mut room);
        let plateau = find(&View::of(&series, 200)).expect("a plateau");
        assert_eq!(plateau.by, Weight::Blocks);
    }
}
