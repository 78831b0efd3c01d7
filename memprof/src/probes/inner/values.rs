//! What every register and stack slot holds before each instruction, on whatever way it was
//! reached: value numbering, to a fixed point.
//!
//! Values have names, and equal names mean equal values. What an instruction makes is named after
//! the instruction, what differs between the ways that meet at one is named after that meeting.
//! Within a loop a name stands for the latest value only: making it anew takes the name away
//! from what still holds the old one.

use std::collections::{BTreeMap, VecDeque};

use iced_x86::{
    Code as Opcode, FlowControl, Instruction, InstructionInfo, InstructionInfoFactory, Mnemonic,
    OpKind, Register, RflagsBits,
};

use memprof_common::placement::PRESERVED_REGISTERS;

use super::{
    graph::{Edge, Graph},
    returns::is_write,
};

/// The stack pointer's number among the registers.
pub(super) const RSP: usize = 4;
const RAX: usize = 0;
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
/// Bytes of stack frame that are followed.
const MAX_FRAME_BYTES: i64 = 64 << 10;

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
    fn rename(&mut self, rename: impl Fn(Place, Value) -> Value) {
        for (number, value) in self.registers.iter_mut().enumerate() {
            *value = rename(Place::Register(number), *value);
        }
        for (offset, value) in &mut self.slots {
            *value = rename(Place::Slot(*offset), *value);
        }
    }

    /// What is known on a way out of an instruction; `None` if it is never taken.
    fn along(&self, edge: Edge) -> Option<Self> {
        let mut state = self.clone();
        match (edge.zero, self.tested) {
            (Some(false), Value::Zero) => return None,
            (Some(true), tested) if !matches!(tested, Value::Unknown | Value::Stack(_)) => {
                state.rename(|_, value| if value == tested { Value::Zero } else { value });
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

    /// Forgets what met at `node` before, for it is met anew; but for what stayed in its place.
    fn come_to(&mut self, node: usize) {
        let stale = |value: Value, stays: Option<Place>| matches!(value, Value::Met { node: met, place } if met == node && Some(place) != stays);
        self.rename(|place, value| {
            if stale(value, Some(place)) {
                Value::Unknown
            } else {
                value
            }
        });
        if stale(self.tested, None) {
            self.tested = Value::Unknown;
        }
    }
}

/// What an instruction does to registers and slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// Registers that get a new value, by number.
    pub(super) registers: Vec<usize>,
    /// Slots that are written to.
    pub(super) slots: Vec<i64>,
    /// A place that gets a whole copy of another one: to, from.
    pub(super) copy: Option<(Place, Place)>,
    /// A register that gets a known value.
    gets: Option<(usize, Value)>,
    /// Where the stack pointer is afterwards.
    stack: Option<i64>,
    /// Slots below are no longer the function's.
    pub(super) drops_below: i64,
    /// The place that the zero flag is about afterwards, if it changes.
    tests: Option<Option<Place>>,
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
                let Some(mut along) = after.along(*edge) else {
                    continue;
                };
                if graph.predecessors[edge.to].len() > 1 {
                    along.come_to(edge.to);
                }
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
    after.rename(|_, value| match value {
        Value::Made { node: made, .. } if made == node => Value::Unknown,
        other => other,
    });
    if matches!(after.tested, Value::Made { node: made, .. } if made == node) {
        after.tested = Value::Unknown;
    }
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

/// What the instruction does in this state.
fn effects(
    instruction: &Instruction,
    info: &InstructionInfo,
    state: &State,
) -> Result<Effects, String> {
    let stack = state.stack().ok_or("the stack pointer is unknown")?;
    let mut effects = Effects {
        drops_below: i64::MIN,
        ..Effects::default()
    };
    if matches!(
        instruction.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    ) {
        effects.registers = CALL_CLOBBERED.to_vec();
        effects.drops_below = stack;
        effects.tests = Some(None);
        return Ok(effects);
    }
    for used in info.used_registers() {
        let register = used.register().full_register();
        if register.is_gpr64() && is_write(used.access()) && register != Register::RSP {
            effects.registers.push(register.number());
        }
    }
    for memory in info.used_memory() {
        if memory.base() == Register::RSP && is_write(memory.access()) {
            if memory.index() != Register::None {
                return Err("it writes somewhere into its frame".to_owned());
            }
            let start = stack.wrapping_add(memory.displacement().cast_signed());
            let size = memory.memory_size().size() as i64;
            if !(-MAX_FRAME_BYTES..0).contains(&start) || size > MAX_FRAME_BYTES {
                return Err("it writes outside of its frame".to_owned());
            }
            let first = start.div_euclid(8) * 8;
            effects.slots = (first..start + size).step_by(8).collect();
        }
    }
    effects.stack = stack_after(instruction, info, stack)?;
    if let Some(after) = effects.stack {
        // The eight bytes below the stack pointer and beyond are anybody's, signal handlers' too;
        // 128 of them are the function's own, but nothing of interest is kept there.
        effects.drops_below = after;
    }
    effects.copy = copy(instruction, stack);
    if effects
        .copy
        .is_some_and(|(_, from)| from == Place::Register(RSP))
        || (instruction.mnemonic() == Mnemonic::Lea
            && instruction.op0_register() != Register::RSP
            && instruction.memory_base() == Register::RSP)
    {
        return Err("it takes an address in its frame".to_owned());
    }
    effects.gets = gets(instruction, state);
    if instruction.rflags_modified() & RflagsBits::ZF != 0 {
        effects.tests = Some(tests(instruction));
    }
    Ok(effects)
}

/// Where the stack pointer is after the instruction, if it moves.
fn stack_after(
    instruction: &Instruction,
    info: &InstructionInfo,
    stack: i64,
) -> Result<Option<i64>, String> {
    let moves = info
        .used_registers()
        .iter()
        .any(|used| used.register().full_register() == Register::RSP && is_write(used.access()));
    if !moves {
        return Ok(None);
    }
    let by_constant = instruction.op_count() == 2
        && instruction.op0_register() == Register::RSP
        && matches!(
            instruction.op1_kind(),
            OpKind::Immediate8to64 | OpKind::Immediate32to64
        );
    let distance = match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Pop if instruction.op0_register() != Register::RSP => {
            i64::from(instruction.stack_pointer_increment())
        }
        // Its frame is gone; nothing comes after it.
        Mnemonic::Ret => 0,
        Mnemonic::Add if by_constant => instruction.immediate(1).cast_signed(),
        Mnemonic::Sub if by_constant => instruction.immediate(1).cast_signed().wrapping_neg(),
        Mnemonic::Lea
            if instruction.memory_base() == Register::RSP
                && instruction.memory_index() == Register::None =>
        {
            instruction.memory_displacement64().cast_signed()
        }
        _ => return Err("it sets the stack pointer".to_owned()),
    };
    let after = stack.wrapping_add(distance);
    if !(-MAX_FRAME_BYTES..=0).contains(&after) || after % 8 != 0 {
        return Err("the stack pointer leaves the frame".to_owned());
    }
    Ok(Some(after))
}

/// A plain copy of eight bytes between registers and slots.
fn copy(instruction: &Instruction, stack: i64) -> Option<(Place, Place)> {
    let register = |operand: u32| {
        let register = instruction.op_register(operand);
        (instruction.op_kind(operand) == OpKind::Register && register.is_gpr64())
            .then(|| Place::Register(register.number()))
    };
    match instruction.mnemonic() {
        Mnemonic::Push if instruction.stack_pointer_increment() == -8 => {
            Some((Place::Slot(stack - 8), register(0)?))
        }
        Mnemonic::Pop if instruction.stack_pointer_increment() == 8 => {
            Some((register(0)?, Place::Slot(stack)))
        }
        Mnemonic::Mov
            if matches!(
                instruction.code(),
                Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64
            ) =>
        {
            let operand = |operand: u32| {
                if instruction.op_kind(operand) != OpKind::Memory {
                    return register(operand);
                }
                let offset = stack.wrapping_add(instruction.memory_displacement64().cast_signed());
                let in_frame = instruction.memory_base() == Register::RSP
                    && instruction.memory_index() == Register::None
                    && instruction.segment_prefix() == Register::None
                    && offset % 8 == 0
                    && offset < 0;
                in_frame.then_some(Place::Slot(offset))
            };
            Some((operand(0)?, operand(1)?))
        }
        _ => None,
    }
}

/// A register that the instruction gives a value that has a name of its own.
fn gets(instruction: &Instruction, state: &State) -> Option<(usize, Value)> {
    let register = |operand: u32| {
        let register = instruction.op_register(operand);
        (instruction.op_count() > operand && instruction.op_kind(operand) == OpKind::Register)
            .then_some(register)
    };
    let held = |register: Register| state.registers[register.number()];
    let are_arguments = |one: Value, other: Value| {
        let arguments = (Value::Initial(FIRST), Value::Initial(SECOND));
        (one, other) == arguments || (other, one) == arguments
    };
    match instruction.mnemonic() {
        Mnemonic::Xor | Mnemonic::Sub => {
            let (to, from) = (register(0)?, register(1)?);
            let whole = to.is_gpr64() || to.is_gpr32();
            (whole && to == from).then(|| (to.full_register().number(), Value::Zero))
        }
        Mnemonic::Mov => {
            let to = register(0)?;
            let zero = instruction.op1_kind() != OpKind::Register
                && instruction.op1_kind() != OpKind::Memory
                && instruction.immediate(1) == 0;
            ((to.is_gpr64() || to.is_gpr32()) && zero)
                .then(|| (to.full_register().number(), Value::Zero))
        }
        // rdx:rax = rax * operand
        Mnemonic::Mul if instruction.code() == Opcode::Mul_rm64 => {
            let by = held(register(0)?);
            are_arguments(state.registers[RAX], by).then_some((RAX, Value::Product))
        }
        Mnemonic::Imul if instruction.code() == Opcode::Imul_r64_rm64 => {
            let (to, by) = (register(0)?, register(1)?);
            are_arguments(held(to), held(by)).then(|| (to.number(), Value::Product))
        }
        _ => None,
    }
}

/// The register of which the zero flag tells whether it is 0.
fn tests(instruction: &Instruction) -> Option<Place> {
    let register = instruction.op0_register();
    let whole = instruction.op0_kind() == OpKind::Register && register.is_gpr64();
    let with_zero = match instruction.code() {
        Opcode::Test_rm64_r64 => register == instruction.op1_register(),
        Opcode::Cmp_rm64_imm8 => instruction.immediate8() == 0,
        _ => false,
    };
    (whole && with_zero).then(|| Place::Register(register.number()))
}
