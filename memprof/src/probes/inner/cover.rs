//! The choice of instructions: a set that every way to a block passes exactly once, and no way to
//! NULL at all.

use std::collections::BTreeSet;

use memprof_common::{
    allocator::Shape,
    placement::{InnerPlace, PRESERVED_REGISTERS, SizeAt},
};

use super::{
    Emulated, InnerSite, Task,
    graph::{Edge, Graph},
    results::{Results, Way},
    values::{CALL_PRESERVED, FIRST, Place, SECOND, State, Value, Values},
};
use crate::probes::placement::{SAVED_WORDS, is_emulated, text};

/// Probes that may take the place of two: each takes its time to attach and detach.
const MAX_SITES: usize = 4;
/// Sets that are tried before the search is given up.
const MAX_TRIED: usize = 4_096;

/// What the choice is made from.
pub(super) struct Cover<'a> {
    pub(super) graph: &'a Graph,
    pub(super) values: &'a Values,
    pub(super) results: &'a Results,
    pub(super) shape: Shape,
    pub(super) emulated: Emulated,
}

/// How often the ways to a moment have passed a set of instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    never: bool,
    once: bool,
    more: bool,
}

impl Passed {
    fn again(self) -> Self {
        Self {
            never: false,
            once: self.never,
            more: self.once || self.more,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            never: self.never || other.never,
            once: self.once || other.once,
            more: self.more || other.more,
        }
    }
}

/// What is wrong with a set.
enum Flaw {
    /// This instruction is an exit with a block, or leads to one, and the set is not passed.
    Missed(usize),
    /// Some way passes it twice, or passes it and fails.
    Miscounted,
}

impl Cover<'_> {
    /// The probes.
    ///
    /// Errors: there are none that can be proved.
    pub(super) fn find(&self) -> Result<Vec<InnerSite>, String> {
        let with_size = self.candidates(|state| self.size_in(state).is_some());
        let with_result = self.candidates(|_| true);
        if with_result.is_empty() {
            return Err("the result is at no emulated instruction".to_owned());
        }
        let mut tried = 0;
        for candidates in [&with_size, &with_result] {
            for most in 1..=MAX_SITES {
                let mut set = Vec::new();
                if self.search(candidates, most, &mut set, &mut tried) {
                    return self.sites(&set);
                }
            }
        }
        Err("no set of instructions is passed once by every way to a block".to_owned())
    }

    /// Emulated instructions at which a register holds the result, and which `fits`.
    fn candidates(&self, fits: impl Fn(&State) -> bool) -> BTreeSet<usize> {
        (0..self.graph.nodes.len())
            .filter(|&node| {
                self.is_probed_cheaply(node)
                    && self.result_in(node).is_some()
                    && self.values.states[node].as_ref().is_some_and(&fits)
            })
            .collect()
    }

    fn is_probed_cheaply(&self, number: usize) -> bool {
        let node = &self.graph.nodes[number];
        is_emulated(&node.instruction, &node.bytes, self.emulated)
    }

    /// The register that holds the result.
    fn result_in(&self, node: usize) -> Option<usize> {
        self.results
            .holders(node)?
            .iter()
            .find_map(|place| match place {
                Place::Register(number) => Some(*number),
                Place::Slot(_) => None,
            })
    }

    /// The registers that hold the size.
    fn size_in(&self, state: &State) -> Option<SizeAt> {
        let word = |value: Value| state.register_with(value).map(|number| SAVED_WORDS[number]);
        match self.shape {
            Shape::Size => word(Value::Initial(FIRST)).map(SizeAt::Word),
            Shape::Product => word(Value::Product).map(SizeAt::Word).or_else(|| {
                let factors = (word(Value::Initial(FIRST))?, word(Value::Initial(SECOND))?);
                Some(SizeAt::Product(factors.0, factors.1))
            }),
            _ => None,
        }
    }

    /// Adds candidates to the set until it covers every way; whether it does.
    fn search(
        &self,
        candidates: &BTreeSet<usize>,
        left: usize,
        set: &mut Vec<usize>,
        tried: &mut usize,
    ) -> bool {
        *tried += 1;
        if *tried > MAX_TRIED {
            return false;
        }
        let missed = match self.check(set) {
            Ok(()) => return true,
            Err(Flaw::Miscounted) => return false,
            Err(Flaw::Missed(node)) => node,
        };
        if left == 0 {
            return false;
        }
        // One of the instructions on the way that was missed must be in the set; the later ones
        // are on fewer other ways.
        for node in self.way_around(set, missed).into_iter().rev() {
            if candidates.contains(&node) {
                set.push(node);
                if self.search(candidates, left - 1, set, tried) {
                    return true;
                }
                set.pop();
            }
        }
        false
    }

    /// Counts, for every instruction, how often the ways to it pass the set.
    fn check(&self, set: &[usize]) -> Result<(), Flaw> {
        let mut passed = vec![Passed::default(); self.graph.nodes.len()];
        passed[0].never = true;
        let mut waiting = vec![0];
        let mut missed = None;
        while let Some(number) = waiting.pop() {
            let Some(state) = &self.values.states[number] else {
                continue;
            };
            let mut after = passed[number];
            if set.contains(&number) {
                after = after.again();
            }
            let node = &self.graph.nodes[number];
            if let Some(exit) = node.exit {
                let fails = Results::exit_fails(exit, state);
                if after.more || (fails && after.once) {
                    return Err(Flaw::Miscounted);
                }
                if after.never && !fails {
                    missed = Some(number);
                }
            }
            for (edge, way) in node.successors.iter().zip(self.results.ways(number)) {
                match way {
                    Way::Never => {}
                    Way::Fails => {
                        let so_far = if self.sees_null(number, *edge) {
                            passed[number]
                        } else {
                            after
                        };
                        if so_far.once || so_far.more {
                            return Err(Flaw::Miscounted);
                        }
                    }
                    Way::Matters => {
                        let known = passed[edge.to].or(after);
                        if known != passed[edge.to] {
                            passed[edge.to] = known;
                            waiting.push(edge.to);
                        }
                    }
                }
            }
        }
        missed.map_or(Ok(()), |node| Err(Flaw::Missed(node)))
    }

    /// Whether the result is seen to be NULL at this instruction, by the way that is taken from it.
    /// The programs drop such a one.
    fn sees_null(&self, node: usize, edge: Edge) -> bool {
        let result = self.result_in(node).map(Place::Register);
        let along = self.values.along(node, edge);
        matches!((result, along), (Some(result), Some(along)) if along.get(result) == Value::Zero)
    }

    /// The instructions of a way from the start to `goal` that avoids the set; none if there is
    /// none.
    fn way_around(&self, set: &[usize], goal: usize) -> Vec<usize> {
        let mut came_from: Vec<Option<usize>> = vec![None; self.graph.nodes.len()];
        let mut waiting = std::collections::VecDeque::from([0]);
        while let Some(number) = waiting.pop_front() {
            if number == goal {
                let mut way = vec![goal];
                let mut at = goal;
                while let (true, Some(previous)) = (at != 0, came_from[at]) {
                    way.push(previous);
                    at = previous;
                }
                way.reverse();
                return way;
            }
            if set.contains(&number) {
                continue;
            }
            let ways = self.results.ways(number);
            for (edge, way) in self.graph.nodes[number].successors.iter().zip(ways) {
                if *way == Way::Matters && edge.to != 0 && came_from[edge.to].is_none() {
                    came_from[edge.to] = Some(number);
                    waiting.push_back(edge.to);
                }
            }
        }
        Vec::new()
    }

    /// The probes at a set of instructions, with those that note the size where it is lost.
    fn sites(&self, set: &[usize]) -> Result<Vec<InnerSite>, String> {
        let mut sites = Vec::new();
        let mut notes = BTreeSet::new();
        for &node in set {
            let site = self.site(node, Task::Give)?;
            if site.place.size == SizeAt::Noted {
                notes.insert(self.note_before(node)?);
            }
            sites.push(site);
        }
        sites.sort_unstable_by_key(|site| site.place.offset);
        for node in notes {
            sites.push(self.site(node, Task::NoteSize)?);
        }
        Ok(sites)
    }

    /// The last instruction that every way to `node` passes with the size at hand.
    fn note_before(&self, node: usize) -> Result<usize, String> {
        let mut best = None;
        for candidate in 1..self.graph.nodes.len() {
            let fits = candidate != node
                && self.is_probed_cheaply(candidate)
                && self.values.states[candidate]
                    .as_ref()
                    .is_some_and(|state| self.size_in(state).is_some())
                && self.way_around(&[candidate], node).is_empty();
            // Of two that every way passes, the later one is avoided by no way from the other.
            if fits && best.is_none_or(|best| self.way_around(&[best], candidate).is_empty()) {
                best = Some(candidate);
            }
        }
        best.ok_or_else(|| {
            format!(
                "the size is lost before +{:#x}, and no instruction before sees it on every way",
                self.graph.offset(node)
            )
        })
    }

    fn site(&self, number: usize, task: Task) -> Result<InnerSite, String> {
        let at = format!("+{:#x}", self.graph.offset(number));
        let state = self.values.states[number]
            .as_ref()
            .ok_or_else(|| format!("{at} is never reached"))?;
        let stack = state.stack().ok_or("the stack pointer is unknown")?;
        let words = |bytes: i64| {
            let words = u8::try_from(bytes / 8).ok();
            words.ok_or_else(|| format!("the frame is too large at {at}"))
        };
        let result = match task {
            Task::Give => self.result_in(number).ok_or("the result is lost")?,
            Task::NoteSize => 0,
        };
        let mut preserved = [None; PRESERVED_REGISTERS];
        for (saved, register) in preserved.iter_mut().zip(CALL_PRESERVED) {
            let initial = Value::Initial(register);
            if state.get(Place::Register(register)) != initial {
                let slot = state
                    .slot_with(initial)
                    .ok_or_else(|| format!("a register of the caller's is lost at {at}"))?;
                *saved = Some(words(slot - stack)?);
            }
        }
        let place = InnerPlace {
            offset: u16::try_from(self.graph.offset(number))
                .map_err(|_| format!("{at} is too far from the start"))?,
            pushed_words: words(-stack)?,
            result: SAVED_WORDS[result],
            size: self.size_in(state).unwrap_or(SizeAt::Noted),
            preserved,
        };
        if place.pack().is_none() {
            return Err(format!("{at} can't be described to the programs"));
        }
        Ok(InnerSite {
            task,
            place,
            text: text(&self.graph.nodes[number].instruction),
        })
    }
}
