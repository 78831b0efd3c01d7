//! Where, before each instruction, the value already is that the function is going to return; and
//! on which ways it is going to return NULL.
//!
//! Data flow against the direction of execution: at a return the result is in its register, and a
//! place holds the result if that is so on every way from there. Ways that end in NULL have no say
//! in it: a call that fails is no matter of ours, as long as it is not taken for another one.

use std::collections::{BTreeSet, VecDeque};

use super::{
    graph::{Edge, Exit, Graph},
    values::{FIRST, Place, State, Value, Values},
};

/// The register of the result.
const RESULT: usize = 0;
/// Rounds of finding ways that end in NULL; each finds those that depend on the last one's.
const MAX_ROUNDS: usize = 16;
/// Visits of each instruction in a round: a place can only go.
const MAX_VISITS: usize = 256;

/// What a way from one instruction to the next comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is never taken.
    Never,
    /// All that follows returns NULL.
    Fails,
    /// A block may be returned.
    Matters,
}

/// Places that hold the result; `None` where no way leads to a return that matters.
type Holders = Option<BTreeSet<Place>>;

/// What is known of the result.
pub(super) struct Results {
    /// Before each instruction.
    holders: Vec<Holders>,
    /// For each instruction, each of its ways.
    ways: Vec<Vec<Way>>,
}

impl Results {
    /// Follows the results back from the returns.
    ///
    /// Errors: a return whose stack pointer is not where it was.
    pub(super) fn of(graph: &Graph, values: &Values) -> Result<Self, String> {
        for (number, node) in graph.nodes.iter().enumerate() {
            let Some(state) = &values.states[number] else {
                continue;
            };
            if node.exit.is_some() && state.stack() != Some(0) {
                return Err(format!(
                    "it returns with something on the stack at +{:#x}",
                    graph.offset(number)
                ));
            }
        }
        let ways = graph.nodes.iter().enumerate().map(|(number, node)| {
            let way = |edge: &Edge| match values.along(number, *edge) {
                Some(_) => Way::Matters,
                None => Way::Never,
            };
            node.successors.iter().map(way).collect()
        });
        let mut results = Self {
            holders: Vec::new(),
            ways: ways.collect(),
        };
        for _ in 0..MAX_ROUNDS {
            results.holders = holders(graph, values, &results.ways)?;
            if !results.find_failures(graph, values) {
                return Ok(results);
            }
        }
        Err("its ways to NULL do not settle".to_owned())
    }

    /// Places that hold the result before an instruction.
    pub(super) fn holders(&self, node: usize) -> Option<&BTreeSet<Place>> {
        self.holders[node].as_ref()
    }

    /// The ways out of an instruction, in the order of its successors.
    pub(super) fn ways(&self, node: usize) -> &[Way] {
        &self.ways[node]
    }

    /// Whether an instruction returns NULL.
    pub(super) fn exit_fails(exit: Exit, state: &State) -> bool {
        state.get(place_of(exit)) == Value::Zero
    }

    /// Marks the ways on which a place that holds the result holds 0, and those to returns that
    /// all give 0; whether there are new ones.
    fn find_failures(&mut self, graph: &Graph, values: &Values) -> bool {
        let returns = returning(graph, values);
        let mut found = false;
        for (number, node) in graph.nodes.iter().enumerate() {
            for (way, edge) in node.successors.iter().enumerate() {
                if self.ways[number][way] != Way::Matters {
                    continue;
                }
                let fails = match (values.along(number, *edge), &self.holders[edge.to]) {
                    (Some(state), Some(holders)) => {
                        holders.iter().any(|place| state.get(*place) == Value::Zero)
                    }
                    (_, None) => returns[edge.to],
                    (None, _) => false,
                };
                if fails {
                    self.ways[number][way] = Way::Fails;
                    found = true;
                }
            }
        }
        found
    }
}

/// From which instructions a return can be reached; from others the process ends.
fn returning(graph: &Graph, values: &Values) -> Vec<bool> {
    let mut returns = vec![false; graph.nodes.len()];
    let exits = graph.nodes.iter().enumerate();
    let mut waiting: Vec<usize> = exits
        .filter(|(number, node)| node.exit.is_some() && values.states[*number].is_some())
        .map(|(number, _)| number)
        .collect();
    while let Some(number) = waiting.pop() {
        if !returns[number] {
            returns[number] = true;
            waiting.extend(&graph.predecessors[number]);
        }
    }
    returns
}

fn place_of(exit: Exit) -> Place {
    Place::Register(match exit {
        Exit::Return => RESULT,
        Exit::ReturnFirstArgument => FIRST,
    })
}

/// The places that hold the result, before each instruction.
fn holders(graph: &Graph, values: &Values, ways: &[Vec<Way>]) -> Result<Vec<Holders>, String> {
    let mut all: Vec<Holders> = vec![None; graph.nodes.len()];
    let mut waiting: VecDeque<usize> = (0..graph.nodes.len()).rev().collect();
    let mut visits = graph.nodes.len() * MAX_VISITS;
    while let Some(number) = waiting.pop_front() {
        visits = visits
            .checked_sub(1)
            .ok_or("the way of its result does not settle")?;
        let Some(state) = &values.states[number] else {
            continue;
        };
        let node = &graph.nodes[number];
        let mut after: Holders = None;
        for (way, edge) in node.successors.iter().enumerate() {
            if ways[number][way] == Way::Matters {
                after = meet(after, all[edge.to].clone());
            }
        }
        let mut before = after.map(|after| before(&after, number, values));
        if let Some(exit) = node.exit
            && !Results::exit_fails(exit, state)
        {
            before = meet(before, Some(BTreeSet::from([place_of(exit)])));
        }
        // Whatever holds the same value holds the result too.
        let before = before.map(|before| with_equals(before, state));
        if before != all[number] {
            all[number] = before;
            waiting.extend(&graph.predecessors[number]);
        }
    }
    Ok(all)
}

/// What holds the result on both ways.
fn meet(one: Holders, other: Holders) -> Holders {
    match (one, other) {
        (None, known) | (known, None) => known,
        (Some(one), Some(other)) => Some(one.intersection(&other).copied().collect()),
    }
}

/// From the places that hold the result after an instruction to those before.
fn before(after: &BTreeSet<Place>, node: usize, values: &Values) -> BTreeSet<Place> {
    let effects = &values.effects[node];
    let is_kept = |place: &Place| match *place {
        Place::Register(number) => !effects.registers.contains(&number),
        Place::Slot(offset) => offset >= effects.drops_below && !effects.slots.contains(&offset),
    };
    let mut before: BTreeSet<Place> = after.iter().copied().filter(is_kept).collect();
    if let Some((to, from)) = effects.copy
        && after.contains(&to)
    {
        before.insert(from);
    }
    before
}

fn with_equals(mut holders: BTreeSet<Place>, state: &State) -> BTreeSet<Place> {
    let named = |value: Value| !matches!(value, Value::Unknown | Value::Zero);
    let held: Vec<Value> = holders
        .iter()
        .map(|place| state.get(*place))
        .filter(|value| named(*value))
        .collect();
    let equal = state.places().filter(|(_, value)| held.contains(value));
    holders.extend(equal.map(|(place, _)| place));
    holders
}
