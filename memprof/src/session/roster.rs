//! Every process that was followed: those that live, and of those that have ended the latest.
//!
//! An id alone is no identity, it comes back; so processes are looked up by the address space that they
//! live in, or by the id of one that lives.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    identity::{Nanoseconds, Pid, SpaceId},
    pipeline::MAX_ENDED_SPACES,
    target::process::ProcessFacts,
};

/// Spaces of one process that are remembered: it has a new one with each program that it runs.
const MAX_SPACES: usize = 8;

/// A process that was followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Who it is.
    pub facts: ProcessFacts,
    /// Its cgroup, if it could be read.
    pub cgroup: Option<String>,
    /// When it ended.
    pub ended_at: Option<Nanoseconds>,
    /// Which one it was: the first is 0.
    pub number: u64,
    /// Where it lives, or lived: the last comes last.
    spaces: VecDeque<SpaceId>,
    /// Of a fork: the space of the first ancestor whose memory it has a copy of.
    origin: Option<SpaceId>,
    /// It has run another program before this one.
    has_run_another: bool,
}

impl Followed {
    /// The address space that it lives in, or lived in last.
    pub fn space(&self) -> Option<SpaceId> {
        self.spaces.back().copied()
    }

    /// The space whose memory it began with, if it began as a copy of another process and still runs that
    /// program: the parent's, or what that began with.
    pub fn origin(&self) -> Option<SpaceId> {
        self.origin
    }

    /// Whether it began to run its program while it was followed.
    pub fn has_run_another(&self) -> bool {
        self.has_run_another
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }
}

/// The processes, in the order in which they were met.
#[derive(Debug)]
pub struct Roster {
    met: BTreeMap<u64, Followed>,
    next: u64,
    living: HashMap<Pid, u64>,
    by_space: HashMap<SpaceId, u64>,
    ended: VecDeque<u64>,
    most_ended: usize,
}

impl Default for Roster {
    fn default() -> Self {
        Self::with_limit(MAX_ENDED_SPACES)
    }
}

impl Roster {
    fn with_limit(most_ended: usize) -> Self {
        Self {
            met: BTreeMap::new(),
            next: 0,
            living: HashMap::new(),
            by_space: HashMap::new(),
            ended: VecDeque::new(),
            most_ended,
        }
    }

    /// A process is followed from now on. One of the same id that was thought to live is gone.
    pub fn add(
        &mut self,
        facts: ProcessFacts,
        cgroup: Option<String>,
        space: SpaceId,
        at: Nanoseconds,
    ) {
        self.end(facts.pid, at);
        let number = self.next;
        self.next += 1;
        self.living.insert(facts.pid, number);
        // Of several that share a space, the first gives it its name.
        self.by_space.entry(space).or_insert(number);
        let process = Followed {
            facts,
            cgroup,
            ended_at: None,
            number,
            spaces: VecDeque::from([space]),
            origin: None,
            has_run_another: false,
        };
        self.met.insert(number, process);
    }

    /// A process has a child. Of one that was over before it could be looked at, it is known that it
    /// was a copy of its parent.
    pub fn add_child(
        &mut self,
        parent_space: SpaceId,
        child: ProcessFacts,
        cgroup: Option<String>,
        space: SpaceId,
        at: Nanoseconds,
    ) {
        let parent = self.of_space(parent_space);
        let origin = parent.and_then(Followed::origin).unwrap_or(parent_space);
        let parents_program_began = parent.is_some_and(Followed::has_run_another);
        let pid = child.pid;
        let parent = parent.filter(|_| child.comm.is_none());
        let (facts, cgroup) = match parent {
            Some(parent) => {
                let facts = ProcessFacts {
                    pid: child.pid,
                    start_ticks: child.start_ticks,
                    ..parent.facts.clone()
                };
                (facts, parent.cgroup.clone())
            }
            None => (child, cgroup),
        };
        self.add(facts, cgroup, space, at);
        if let Some(number) = self.living.get(&pid)
            && let Some(process) = self.met.get_mut(number)
        {
            process.origin = Some(origin);
            process.has_run_another = parents_program_began;
        }
    }

    /// A process runs another program, in another space.
    pub fn replace(&mut self, facts: ProcessFacts, cgroup: Option<String>, space: SpaceId) {
        let Some(number) = self.living.get(&facts.pid) else {
            return;
        };
        let Some(process) = self.met.get_mut(number) else {
            return;
        };
        if facts.comm.is_some() {
            process.facts = facts;
            process.cgroup = cgroup;
        }
        process.origin = None;
        process.has_run_another = true;
        self.by_space.insert(space, *number);
        process.spaces.push_back(space);
        if process.spaces.len() > MAX_SPACES
            && let Some(oldest) = process.spaces.pop_front()
        {
            self.by_space.remove(&oldest);
        }
    }

    /// A process has ended; the one that ended first is forgotten if there are too many.
    pub fn end(&mut self, pid: Pid, at: Nanoseconds) {
        let Some(number) = self.living.remove(&pid) else {
            return;
        };
        if let Some(process) = self.met.get_mut(&number) {
            process.ended_at = Some(at);
        }
        self.ended.push_back(number);
        if self.ended.len() > self.most_ended
            && let Some(oldest) = self.ended.pop_front()
            && let Some(process) = self.met.remove(&oldest)
        {
            for space in process.spaces {
                if self.by_space.get(&space) == Some(&oldest) {
                    self.by_space.remove(&space);
                }
            }
        }
    }

    /// Those that are remembered, in the order in which they were met.
    pub fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.met.values()
    }

    /// Those that live.
    pub fn living(&self) -> impl Iterator<Item = &Followed> {
        self.iter().filter(|process| !process.has_ended())
    }

    /// Whether nobody lives any more.
    pub fn is_over(&self) -> bool {
        self.living.is_empty()
    }

    /// The process that a space is called by.
    pub fn of_space(&self, space: SpaceId) -> Option<&Followed> {
        self.met.get(self.by_space.get(&space)?)
    }

    /// Processes that were met.
    pub fn met(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pid: u32, comm: &str) -> ProcessFacts {
        ProcessFacts {
            pid: Pid(pid),
            start_ticks: 0,
            comm: Some(comm.to_owned()),
            exe: None,
            cmdline: None,
        }
    }

    fn name(roster: &Roster, space: u32) -> Option<&str> {
        roster.of_space(SpaceId(space))?.facts.comm.as_deref()
    }

    #[test]
    fn a_fork_began_with_its_first_ancestors_memory_until_it_runs_another_program() {
        let mut roster = Roster::default();
        let origin = |roster: &Roster, space| {
            let process = roster.of_space(SpaceId(space)).unwrap();
            (process.origin(), process.has_run_another())
        };
        roster.add(facts(7, "first"), None, SpaceId(1), 10);
        assert_eq!(origin(&roster, 1), (None, false));
        roster.add_child(SpaceId(1), facts(8, "child"), None, SpaceId(2), 20);
        roster.add_child(SpaceId(2), facts(9, "grandchild"), None, SpaceId(3), 30);
        assert_eq!(origin(&roster, 3), (Some(SpaceId(1)), false));
        roster.replace(facts(9, "another"), None, SpaceId(4));
        assert_eq!(origin(&roster, 4), (None, true));
        roster.add_child(SpaceId(4), facts(10, "its child"), None, SpaceId(5), 40);
        assert_eq!(origin(&roster, 5), (Some(SpaceId(4)), true));
    }

    #[test]
    fn two_lives_of_an_id_are_two_processes() {
        let mut roster = Roster::default();
        roster.add(facts(7, "first"), None, SpaceId(1), 10);
        roster.end(Pid(7), 20);
        roster.add(facts(7, "second"), None, SpaceId(2), 30);
        assert_eq!(
            (name(&roster, 1), name(&roster, 2)),
            (Some("first"), Some("second"))
        );
        assert_eq!(roster.living().count(), 1);
        // The end of the second was lost.
        roster.add(facts(7, "third"), None, SpaceId(3), 40);
        assert_eq!(name(&roster, 2), Some("second"));
        assert_eq!((roster.living().count(), roster.met()), (1, 3));
    }

    #[test]
    fn a_child_that_was_over_too_soon_is_called_as_its_parent() {
        let mut roster = Roster::default();
        roster.add(facts(7, "server"), Some("/web".to_owned()), SpaceId(1), 0);
        let gone = ProcessFacts {
            comm: None,
            ..facts(8, "")
        };
        roster.add_child(SpaceId(1), gone, None, SpaceId(2), 1);
        assert_eq!(name(&roster, 2), Some("server"));
        let child = roster.of_space(SpaceId(2)).unwrap();
        assert_eq!(
            (child.facts.pid, child.cgroup.as_deref()),
            (Pid(8), Some("/web"))
        );
    }

    #[test]
    fn an_exec_gives_a_process_another_name_and_keeps_it_for_what_it_held_before() {
        let mut roster = Roster::default();
        roster.add(facts(7, "sh"), None, SpaceId(1), 10);
        roster.replace(facts(7, "server"), None, SpaceId(2));
        assert_eq!(
            (name(&roster, 1), name(&roster, 2)),
            (Some("server"), Some("server"))
        );
        assert_eq!(roster.iter().count(), 1);
    }

    #[test]
    fn of_those_that_ended_the_latest_are_remembered() {
        let mut roster = Roster::with_limit(2);
        for number in 1..=1000 {
            roster.add(facts(number, "short"), None, SpaceId(number), 0);
            roster.replace(facts(number, "short"), None, SpaceId(10_000 + number));
            roster.end(Pid(number), 1);
        }
        assert_eq!((roster.iter().count(), roster.met()), (2, 1000));
        assert_eq!(roster.by_space.len(), 4);
        assert_eq!(
            (name(&roster, 998), name(&roster, 10_999)),
            (None, Some("short"))
        );
        assert!(roster.is_over());
    }

    #[test]
    fn one_process_that_runs_ever_new_programs_takes_bounded_room() {
        let mut roster = Roster::default();
        roster.add(facts(7, "sh"), None, SpaceId(1), 0);
        for space in 2..1000 {
            roster.replace(facts(7, "sh"), None, SpaceId(space));
        }
        assert_eq!(roster.by_space.len(), MAX_SPACES);
        assert_eq!(name(&roster, 999), Some("sh"));
    }

    #[test]
    fn of_processes_that_share_a_space_the_first_names_it() {
        let mut roster = Roster::default();
        roster.add(facts(7, "parent"), None, SpaceId(1), 0);
        roster.add(facts(8, "child"), None, SpaceId(1), 0);
        roster.end(Pid(8), 1);
        assert_eq!(name(&roster, 1), Some("parent"));
    }
}
