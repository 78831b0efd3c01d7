//! All processes that are watched, and whose turn it is to be looked at closely.

use std::collections::BTreeMap;

use super::{patience::Patience, series::Series, significance::Growth};
use crate::{identity::Pid, target::process::ProcessFacts};

/// Processes that are watched at one time; the rest is counted.
pub const MAX_WATCHED: usize = 4096;
/// Processes that grew and have ended since, of which the latest are remembered.
const MAX_ENDED: usize = 256;

/// A process: its id and its start, for ids come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchedId {
    /// Its id.
    pub pid: Pid,
    /// Clock ticks since boot.
    pub start_ticks: u64,
}

impl WatchedId {
    /// That of `facts`.
    pub fn of(facts: &ProcessFacts) -> Self {
        Self {
            pid: facts.pid,
            start_ticks: facts.start_ticks,
        }
    }
}

/// A process that is watched, or was. Times are seconds from the hunt's start.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Who it is.
    pub facts: ProcessFacts,
    /// When it was first weighed, and how much it had.
    pub first: Option<(f64, u64)>,
    /// The same of the last time.
    pub last: Option<(f64, u64)>,
    /// The latest growth that was significant.
    pub growth: Option<Growth>,
    /// Whether it has ended.
    pub has_ended: bool,
    /// What was done about it.
    pub patience: Patience,
    /// What the last exact look said, in one word.
    pub said: Option<&'static str>,
    series: Series,
}

impl Watched {
    fn new(facts: ProcessFacts, min_growth: u64) -> Self {
        Self {
            facts,
            first: None,
            last: None,
            growth: None,
            has_ended: false,
            patience: Patience::default(),
            said: None,
            series: Series::new(min_growth),
        }
    }

    /// The growth that is significant now.
    pub fn grows(&self) -> Option<Growth> {
        self.series.growth().filter(|_| !self.has_ended)
    }

    /// By how many bytes it grew since it is watched.
    pub fn grown(&self) -> i64 {
        match (self.first, self.last) {
            (Some((_, first)), Some((_, last))) => last.cast_signed() - first.cast_signed(),
            _ => 0,
        }
    }
}

/// The processes.
#[derive(Debug)]
pub struct Watchlist {
    min_growth: u64,
    living: BTreeMap<WatchedId, Watched>,
    /// Those that grew, in the order in which they ended.
    ended: Vec<Watched>,
    met: u64,
    left_out: u64,
}

impl Watchlist {
    /// Nobody yet; growth below so many bytes is not significant.
    pub fn new(min_growth: u64) -> Self {
        Self {
            min_growth,
            living: BTreeMap::new(),
            ended: Vec::new(),
            met: 0,
            left_out: 0,
        }
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.living.len() < MAX_WATCHED
    }

    /// A process is watched from now on.
    pub fn add(&mut self, facts: ProcessFacts) {
        let id = WatchedId::of(&facts);
        self.met += 1;
        self.living.insert(id, Watched::new(facts, self.min_growth));
    }

    /// So many processes of the scope find no room at present.
    pub fn leave_out(&mut self, processes: u64) {
        self.left_out = self.left_out.max(processes);
    }

    /// A process had so many bytes at the time `at`.
    pub fn note(&mut self, id: WatchedId, at: f64, bytes: u64) {
        let Some(process) = self.living.get_mut(&id) else {
            return;
        };
        process.series.note(at, bytes);
        process.first = process.first.or(Some((at, bytes)));
        process.last = Some((at, bytes));
        process.growth = process.series.growth().or(process.growth);
    }

    /// A process has ended.
    pub fn end(&mut self, id: WatchedId) {
        let Some(mut process) = self.living.remove(&id) else {
            return;
        };
        process.has_ended = true;
        if process.growth.is_some() {
            if self.ended.len() == MAX_ENDED {
                self.ended.remove(0);
            }
            self.ended.push(process);
        }
    }

    /// Who is to be looked at next: of those that grow and were not looked at in vain lately, the one
    /// that grows fastest.
    pub fn next(&self, at: f64) -> Option<(WatchedId, Growth)> {
        let growing = self.living.iter().filter_map(|(id, process)| {
            let growth = process.grows()?;
            process
                .patience
                .allows(at, &growth)
                .then_some((*id, growth))
        });
        growing.max_by(|one, other| one.1.rate.total_cmp(&other.1.rate))
    }

    /// A process, also one that grew and has ended.
    pub fn get_mut(&mut self, id: WatchedId) -> Option<&mut Watched> {
        let ended = self.ended.iter_mut();
        let mut ended = ended.filter(|process| WatchedId::of(&process.facts) == id);
        self.living.get_mut(&id).or_else(|| ended.next_back())
    }

    /// Those that grow now, the fastest first.
    pub fn growing(&self) -> Vec<(&Watched, Growth)> {
        let growing = self.living.values();
        let growing = growing.filter_map(|process| Some((process, process.grows()?)));
        let mut growing: Vec<_> = growing.collect();
        growing.sort_by(|one, other| other.1.rate.total_cmp(&one.1.rate));
        growing
    }

    /// Those whose growth was significant at some time, the fastest first.
    pub fn grown(&self) -> Vec<&Watched> {
        let all = self.living.values().chain(&self.ended);
        let mut grown: Vec<_> = all.filter(|process| process.growth.is_some()).collect();
        let rate = |process: &Watched| process.growth.map_or(0.0, |growth| growth.rate);
        grown.sort_by(|one, other| rate(other).total_cmp(&rate(one)));
        grown
    }

    /// How many are watched now.
    pub fn living(&self) -> usize {
        self.living.len()
    }

    /// How many were watched at some time.
    pub fn met(&self) -> u64 {
        self.met
    }

    /// How many found no room, at the worst moment.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pid: u32, start_ticks: u64) -> ProcessFacts {
        ProcessFacts {
            pid: Pid(pid),
            start_ticks,
            comm: Some(format!("p{pid}")),
            exe: None,
            cmdline: None,
        }
    }

    fn id(pid: u32) -> WatchedId {
        WatchedId::of(&facts(pid, 1))
    }

    /// Processes 1 to 4 that grow by so many MiB a second, watched for so many seconds.
    fn watched(seconds: u32) -> Watchlist {
        let mut list = Watchlist::new(1 << 20);
        (1..=4).for_each(|pid| list.add(facts(pid, 1)));
        for step in 0..2 * seconds {
            for (pid, rate) in [(1, 0), (2, 1), (3, 4), (4, 2)] {
                list.note(id(pid), f64::from(step) / 2.0, u64::from(rate * step) << 19);
            }
        }
        list
    }

    fn next(list: &Watchlist, at: f64) -> Option<u32> {
        list.next(at).map(|(id, _)| id.pid.0)
    }

    #[test]
    fn the_fastest_comes_first_and_waits_after_a_look() {
        let mut list = watched(20);
        assert_eq!(next(&list, 20.0), Some(3));
        list.get_mut(id(3)).expect("watched").patience.settle();
        let four = list.get_mut(id(4)).expect("watched");
        four.patience.looked(20.0, 2.0 * 1048576.0);
        assert_eq!(next(&list, 20.0), Some(2));
        list.get_mut(id(2)).expect("watched").patience.settle();
        assert_eq!(next(&list, 20.0), None);
        assert_eq!(next(&list, 100.0), Some(4));
        let growing: Vec<u32> = list.growing().iter().map(|one| one.0.facts.pid.0).collect();
        assert_eq!(growing, [3, 4, 2]);
        assert_eq!((list.living(), list.met()), (4, 4));
    }

    #[test]
    fn of_those_that_ended_the_ones_that_grew_are_remembered_within_bounds() {
        let mut list = watched(20);
        list.end(id(1));
        list.end(id(3));
        assert_eq!(next(&list, 20.0), Some(4));
        let grown: Vec<u32> = list.grown().iter().map(|one| one.facts.pid.0).collect();
        assert_eq!(grown, [3, 4, 2]);
        assert!(list.get_mut(id(3)).is_some_and(|process| process.has_ended));
        assert!(list.get_mut(id(1)).is_none());
        for start in 2..1000 {
            let life = facts(3, start);
            list.add(life.clone());
            let id = WatchedId::of(&life);
            for step in 0..40u32 {
                list.note(id, f64::from(step) / 2.0, u64::from(step) << 20);
            }
            list.end(id);
        }
        assert_eq!(list.ended.len(), MAX_ENDED);
    }

    #[test]
    fn another_life_of_an_id_is_another_process() {
        let mut list = watched(20);
        list.add(facts(3, 2));
        list.note(id(3), 20.5, 200 << 20);
        let later = WatchedId::of(&facts(3, 2));
        list.note(later, 20.5, 1 << 20);
        let second = list.get_mut(later).expect("watched");
        assert_eq!((second.grows(), second.grown()), (None, 0));
        assert_eq!(list.living(), 5);
        // Word of one that was never watched is no matter.
        list.note(id(9), 1.0, 1);
        list.end(id(9));
    }
}
