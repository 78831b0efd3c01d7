//! Whether a function can return: those that print an error and abort bear no name in a library
//! without symbols, and some of them abort only if their first argument says so.

use std::collections::HashSet;

use iced_x86::{
    Code as Opcode, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register, RflagsBits,
};

use super::{Known, Library};
use crate::probes::placement::decode;

/// Calls within calls that are followed.
const MAX_CALL_DEPTH: u32 = 6;
/// Instructions, with what is known at each, that are looked at for one call; a function that takes
/// more is taken to return.
const MAX_STEPS: usize = 4_096;

/// What an instruction does to the register of the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstArgument {
    Constant(u64),
    Unknown,
    Kept,
}

/// What `instruction` does to `rdi`.
pub(super) fn first_argument_after(instruction: &Instruction) -> FirstArgument {
    let mut constants = Constants::default();
    let before = constants.registers[Register::RDI.number()];
    let mut writes = false;
    for used in InstructionInfoFactory::new()
        .info(instruction)
        .used_registers()
    {
        writes |= used.register().full_register() == Register::RDI && is_write(used.access());
    }
    if !writes {
        return FirstArgument::Kept;
    }
    constants.pass(instruction);
    match constants.registers[Register::RDI.number()] {
        Some(value) if before.is_none() => FirstArgument::Constant(value),
        _ => FirstArgument::Unknown,
    }
}

/// What is known of the function that a stub of the procedure linkage table jumps to.
pub(super) fn known_behind_plt(library: &dyn Library, stub: u64) -> Option<Known> {
    library.known_by_slot(slot_behind_plt(library, stub)?)
}

/// The word through which the code at `stub` jumps, if that is all it does.
pub(super) fn slot_behind_plt(library: &dyn Library, stub: u64) -> Option<u64> {
    let (mut instruction, _) = decode(library, stub)?;
    if instruction.mnemonic() == Mnemonic::Endbr64 {
        (instruction, _) = decode(library, instruction.next_ip())?;
    }
    let through_slot = instruction.mnemonic() == Mnemonic::Jmp
        && instruction.op0_kind() == OpKind::Memory
        && instruction.is_ip_rel_memory_operand();
    through_slot.then(|| instruction.ip_rel_memory_address())
}

/// Whether a call of `target` can return; `argument` is its first one, if that is a known constant.
pub(super) fn may_return(library: &dyn Library, target: u64, argument: Option<u64>) -> bool {
    let mut steps = MAX_STEPS;
    returns(library, target, argument, MAX_CALL_DEPTH, &mut steps)
}

fn returns(
    library: &dyn Library,
    target: u64,
    argument: Option<u64>,
    depth: u32,
    steps: &mut usize,
) -> bool {
    let known = library
        .known(target)
        .or_else(|| known_behind_plt(library, target));
    if known.is_some() || depth == 0 {
        return known != Some(Known::NeverReturns);
    }
    let mut start = Constants::default();
    start.registers[Register::RDI.number()] = argument;
    let mut seen = HashSet::new();
    let mut waiting = vec![(target, start)];
    while let Some((address, mut constants)) = waiting.pop() {
        if !seen.insert((address, constants.clone())) {
            continue;
        }
        let Some(left) = steps.checked_sub(1) else {
            return true;
        };
        *steps = left;
        let Some((instruction, _)) = decode(library, address) else {
            return true;
        };
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next => {
                constants.pass(&instruction);
                waiting.push((next, constants));
            }
            FlowControl::ConditionalBranch => {
                let taken = constants.is_taken(&instruction);
                if taken != Some(false) {
                    let target = instruction.near_branch_target();
                    waiting.push((target, constants.clone()));
                }
                if taken != Some(true) {
                    waiting.push((next, constants));
                }
            }
            FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
                waiting.push((instruction.near_branch_target(), constants));
            }
            // A system call: `rax`, `rcx` and `r11` are its own.
            FlowControl::Call if instruction.mnemonic() == Mnemonic::Syscall => {
                constants.call();
                waiting.push((next, constants));
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                let argument = constants.registers[Register::RDI.number()];
                let never = instruction.is_call_near() && {
                    let target = instruction.near_branch_target();
                    !returns(library, target, argument, depth - 1, steps)
                };
                if !never {
                    constants.call();
                    waiting.push((next, constants));
                }
            }
            // `hlt` is privileged, `ud2` and `int3` are the end.
            FlowControl::Exception | FlowControl::Interrupt => {}
            _ => return true,
        }
    }
    false
}

/// Registers whose value is a known constant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Constants {
    registers: [Option<u64>; 16],
    /// What the flags compare with 0.
    compared: Option<u64>,
}

impl Constants {
    /// What a call leaves: the registers that belong to the caller.
    fn call(&mut self) {
        for register in super::values::CALL_CLOBBERED {
            self.registers[register] = None;
        }
        self.compared = None;
    }

    fn pass(&mut self, instruction: &Instruction) {
        let value = self.value(instruction);
        let compared = self.comparison(instruction);
        for used in InstructionInfoFactory::new()
            .info(instruction)
            .used_registers()
        {
            let register = used.register().full_register();
            if register.is_gpr64() && is_write(used.access()) {
                self.registers[register.number()] = None;
            }
        }
        if let Some(value) = value {
            let register = instruction.op0_register().full_register();
            self.registers[register.number()] = Some(value);
        }
        if compared.is_some() || instruction.rflags_modified() & RflagsBits::ZF != 0 {
            self.compared = compared;
        }
    }

    /// The constant that the instruction puts into its first operand.
    fn value(&self, instruction: &Instruction) -> Option<u64> {
        let is_register = |operand: u32| {
            let kind = instruction.op_count() > operand
                && instruction.op_kind(operand) == OpKind::Register;
            let register = instruction.op_register(operand);
            (kind && (register.is_gpr32() || register.is_gpr64())).then_some(register)
        };
        let to = is_register(0)?;
        let held = |register: Register| self.registers[register.full_register().number()];
        let narrow = |value: u64| {
            if to.is_gpr32() {
                u64::from(value as u32)
            } else {
                value
            }
        };
        match (instruction.mnemonic(), is_register(1)) {
            (Mnemonic::Mov, Some(from)) => held(from).map(narrow),
            (Mnemonic::Mov, None) => immediate(instruction).map(narrow),
            (Mnemonic::Xor, Some(from)) if from == to => Some(0),
            (Mnemonic::And, None) => Some(narrow(held(to)? & immediate(instruction)?)),
            _ => None,
        }
    }

    /// The value of which the flags then tell if it is 0.
    fn comparison(&self, instruction: &Instruction) -> Option<u64> {
        let held = |register: Register| self.registers[register.full_register().number()];
        match instruction.mnemonic() {
            Mnemonic::And => self.value(instruction),
            Mnemonic::Test
                if matches!(
                    instruction.code(),
                    Opcode::Test_rm32_r32 | Opcode::Test_rm64_r64
                ) && instruction.op0_kind() == OpKind::Register
                    && instruction.op0_register() == instruction.op1_register() =>
            {
                let value = held(instruction.op0_register())?;
                Some(if instruction.op0_register().is_gpr32() {
                    u64::from(value as u32)
                } else {
                    value
                })
            }
            _ => None,
        }
    }

    /// Whether a conditional jump is taken; `None` if that is not known.
    fn is_taken(&self, jump: &Instruction) -> Option<bool> {
        let is_zero = self.compared? == 0;
        match jump.condition_code() {
            ConditionCode::e => Some(is_zero),
            ConditionCode::ne => Some(!is_zero),
            _ => None,
        }
    }
}

fn immediate(instruction: &Instruction) -> Option<u64> {
    matches!(
        instruction.op1_kind(),
        OpKind::Immediate8
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
    .then(|| instruction.immediate(1))
}

/// Whether an access may change what it goes to.
pub(in crate::probes) fn is_write(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}
