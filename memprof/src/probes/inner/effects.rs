//! What one instruction does to registers and stack slots.

use iced_x86::{
    Code as Opcode, FlowControl, Instruction, InstructionInfo, Mnemonic, OpKind, Register,
    RflagsBits,
};

use super::{
    returns::is_write,
    values::{CALL_CLOBBERED, FIRST, Place, RSP, SECOND, State, Value},
};

/// The register that a product's lower half goes to.
const RAX: usize = 0;
/// Bytes of stack frame that are followed.
const MAX_FRAME_BYTES: i64 = 64 << 10;

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
    pub(super) gets: Option<(usize, Value)>,
    /// Where the stack pointer is afterwards.
    pub(super) stack: Option<i64>,
    /// Slots below are no longer the function's.
    pub(super) drops_below: i64,
    /// The place that the zero flag is about afterwards, if it changes.
    pub(super) tests: Option<Option<Place>>,
}

/// What the instruction does in this state.
pub(super) fn effects(
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
    let held = |register: Register| state.get(Place::Register(register.number()));
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
            are_arguments(state.get(Place::Register(RAX)), by).then_some((RAX, Value::Product))
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
