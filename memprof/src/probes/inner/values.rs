//! What every register and stack slot holds before each instruction, on whatever way it was
//! reached: value numbering, to a fixed point.
//!
//! Values have names, and equal names mean equal values. What an instruction makes is named after
//! the instruction, what differs between the ways that meet at one is named after that meeting. A
//! name stands for the latest value of its kind, and no place keeps it for an older one: whatever
//! comes round in a loop meets, in that place, with what was there before the first round, and has
//! another name from there on.

use std::collections::{BTreeMap, VecDeque};

use iced_x86::InstructionInfoFactory;

use memprof_common::placement::PRESERVED_REGISTERS;

use super::{
    effects::{Effects, effects},
    graph::{Edge, Graph},
};

/// The stack pointer's number among the registers.
pub(super) const RSP: usize = 4;
/// The registers of the first two arguments.
pub(super) const FIRST: usize = 7;
pub(super) const SECOND: usize = 6;

/// Registers that a call may change: rax, rcx, rdx, rsi, rdi, r8 to r11.
pub(super) const CALL_CLOBBERED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// Registers that a call preserves, in the order of `memprof_common::placement::Preserved`.
pub(super) const CALL_PRESERVED: [usize; PRESERVED_REGISTERS] = [5, 3, 12, 13, 14, 15];

/// Visits of each instruction before the analysis is given up; values change three times at most
/// in each place.
const MAX_VISITS: usize = 256;

/// Where a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// A register, by its number.
    Register(usize),
    /// Eight bytes of the stack, by their distance from the slot of the return address.
    Slot(i64),
}

/// A value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unknown,
    Zero,
    /// What a register held when the function was called.
    Initial(usize),
    /// The product of the first two arguments.
    Product,
    /// An address in the frame, by its distance from the slot of the return address.
    Stack(i64),
    /// What an instruction put into a register, when it was last executed.
    Made {
        node: usize,
        register: usize,
    },
    /// What was in a place when the ways that meet before an instruction last came to it.
    Met {
        node: usize,
        place: Place,
    },
}

/// What is known at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    registers: [Value; 16],
    slots: BTreeMap<i64, Value>,
    /// The value of which the zero flag tells whether it is 0.
    tested: Value,
}

impl State {
    fn at_entry() -> Self {
        let mut registers: [Value; 16] = std::array::from_fn(Value::Initial);
        registers[RSP] = Value::Stack(0);
        Self {
            registers,
            slots: BTreeMap::new(),
            tested: Value::Unknown,
        }
    }

    pub(super) fn get(&self, place: Place) -> Value {
        match place {
            Place::Register(number) => self.registers[number],
            Place::Slot(offset) => *self.slots.get(&offset).unwrap_or(&Value::Unknown),
        }
    }

    fn set(&mut self, place: Place, value: Value) {
        match place {
            Place::Register(number) => self.registers[number] = value,
            Place::Slot(offset) => {
                self.slots.insert(offset, value);
            }
        }
    }

    /// The stack pointer's distance from the slot of the return address, 0 or below.
    pub(super) fn stack(&self) -> Option<i64> {
        match self.registers[RSP] {
            Value::Stack(offset) => Some(offset),
            _ => None,
        }
    }

    /// Every place with its value.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, Value)> {
        let registers = self.registers.iter().enumerate();
        let registers = registers.map(|(number, value)| (Place::Register(number), *value));
        let slots = self.slots.iter();
        registers.chain(slots.map(|(offset, value)| (Place::Slot(*offset), *value)))
    }

    /// A register that holds the value.
    pub(super) fn register_with(&self, value: Value) -> Option<usize> {
        self.registers.iter().position(|held| *held == value)
    }

    /// A slot that holds the value.
    pub(super) fn slot_with(&self, value: Value) -> Option<i64> {
        let mut slots = self.slots.iter();
        slots.find(|(_, held)| **held == value).map(|slot| *slot.0)
    }

    /// Renames every value by `rename`.
    fn rename(&mut self, rename: impl Fn(Value) -> Value) {
        for value in self.registers.iter_mut().chain(self.slots.values_mut()) {
            *value = rename(*value);
        }
    }

    /// What is known on a way out of an instruction; `None` if it is never taken.
    fn along(&self, edge: Edge) -> Option<Self> {
        let mut state = self.clone();
        match (edge.zero, self.tested) {
            (Some(false), Value::Zero) => return None,
            (Some(true), tested) if !matches!(tested, Value::Unknown | Value::Stack(_)) => {
                state.rename(|value| if value == tested { Value::Zero } else { value });
            }
            _ => {}
        }
        Some(state)
    }

    /// Takes in another way to `node`; whether anything changed.
    fn meet(&mut self, node: usize, other: &Self) -> bool {
        let before = self.clone();
        let join = |place: Place, ours: Value, theirs: Value| match (ours, theirs) {
            _ if ours == theirs => ours,
            (Value::Unknown, _) | (_, Value::Unknown) => Value::Unknown,
            // A stack pointer that depends on the way is of no use.
            _ if place == Place::Register(RSP) => Value::Unknown,
            _ => Value::Met { node, place },
        };
        for number in 0..16 {
            let place = Place::Register(number);
            self.registers[number] = join(place, self.registers[number], other.registers[number]);
        }
        self.slots.retain(|offset, value| {
            let theirs = other.slots.get(offset).copied();
            *value = join(
                Place::Slot(*offset),
                *value,
                theirs.unwrap_or(Value::Unknown),
            );
            theirs.is_some()
        });
        if self.tested != other.tested {
            self.tested = Value::Unknown;
        }
        *self != before
    }
}

/// What is known before each instruction that can be reached, and what each does.
pub(super) struct Values {
    pub(super) states: Vec<Option<State>>,
    pub(super) effects: Vec<Effects>,
}

impl Values {
    /// Follows the values from the function's start.
    ///
    /// Errors: an instruction whose effect on the frame is not understood.
    pub(super) fn of(graph: &Graph) -> Result<Self, String> {
        let mut values = Self {
            states: vec![None; graph.nodes.len()],
            effects: vec![Effects::default(); graph.nodes.len()],
        };
        let mut info = InstructionInfoFactory::new();
        values.states[0] = Some(State::at_entry());
        let mut waiting = VecDeque::from([0]);
        let mut visits = graph.nodes.len() * MAX_VISITS;
        while let Some(node) = waiting.pop_front() {
            visits = visits.checked_sub(1).ok_or("its values do not settle")?;
            let Some(state) = &values.states[node] else {
                continue;
            };
            let instruction = &graph.nodes[node].instruction;
            let effects = effects(instruction, info.info(instruction), state)
                .map_err(|why| format!("{why} at +{:#x}", graph.offset(node)))?;
            let after = apply(state, node, &effects);
            values.effects[node] = effects;
            for edge in &graph.nodes[node].successors {
                let Some(along) = after.along(*edge) else {
                    continue;
                };
                let changed = match &mut values.states[edge.to] {
                    Some(known) => known.meet(edge.to, &along),
                    unknown => {
                        *unknown = Some(along);
                        true
                    }
                };
                if changed {
                    waiting.push_back(edge.to);
                }
            }
        }
        Ok(values)
    }

    /// What is known after `node` on one of its ways; `None` if it is never taken.
    pub(super) fn along(&self, node: usize, edge: Edge) -> Option<State> {
        let state = self.states[node].as_ref()?;
        apply(state, node, &self.effects[node]).along(edge)
    }
}

fn apply(state: &State, node: usize, effects: &Effects) -> State {
    let mut after = state.clone();
    let copied = effects.copy.map(|(to, from)| (to, state.get(from)));
    for &register in &effects.registers {
        after.registers[register] = Value::Made { node, register };
    }
    for &slot in &effects.slots {
        after.slots.remove(&slot);
    }
    if let Some((register, value)) = effects.gets {
        after.registers[register] = value;
    }
    match copied {
        // Not what it was, but it has a name from here on.
        Some((Place::Register(_), Value::Unknown)) | None => {}
        Some((to, value)) => after.set(to, value),
    }
    if let Some(stack) = effects.stack {
        after.registers[RSP] = Value::Stack(stack);
    }
    after
        .slots
        .retain(|offset, _| *offset >= effects.drops_below);
    if let Some(tests) = effects.tests {
        after.tested = tests.map_or(Value::Unknown, |place| after.get(place));
    }
    after
}
