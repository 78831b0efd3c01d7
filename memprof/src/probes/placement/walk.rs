//! Along the one way from a function's start: which instructions a probe could sit on, where the
//! arguments are by then, and how much has been pushed.

use iced_x86::{
    Code as Opcode, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register, UsedMemory,
};
use memprof_common::{
    allocator::{Arguments, Shape},
    placement::EntryPlace,
};

use super::{Code, Function, decode, is_emulated, name};

/// Instructions that are looked at before giving up: compilers put the first jump or push within
/// a dozen.
const MAX_STEPS: usize = 64;

/// The registers of the System V calling convention that hold the arguments.
pub(super) const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// Where the kernel saves each register, in words from the start of `struct pt_regs`
/// (`arch/x86/include/uapi/asm/ptrace.h`), by the register's number in instructions.
pub const SAVED_WORDS: [u8; 16] = [10, 11, 12, 5, 19, 4, 13, 14, 9, 8, 7, 6, 3, 2, 1, 0];

/// An instruction that a probe could sit on.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its number on the way.
    pub(super) step: usize,
    pub(super) place: EntryPlace,
    pub(super) text: String,
    /// Whether calls with a NULL pointer have left before it.
    pub(super) behind_null_test: bool,
    /// Arguments in other registers than the convention's.
    pub(super) moved: Vec<(usize, Register)>,
}

/// What was found.
pub(super) struct Walk {
    /// The addresses of the instructions, in order.
    pub(super) steps: Vec<u64>,
    /// The possible places, in order.
    pub(super) candidates: Vec<Candidate>,
    /// Why it ended where it did.
    pub(super) stopped: String,
}

impl Walk {
    pub(super) fn along(
        code: &dyn Code,
        function: Function,
        arguments: Arguments,
        emulated: super::Emulated,
    ) -> Self {
        let mut walk = Self {
            steps: Vec::new(),
            candidates: Vec::new(),
            stopped: format!("no emulated one among the first {MAX_STEPS}"),
        };
        let mut state = State::at_entry(function.shape, arguments);
        let mut address = function.start;
        while walk.steps.len() < MAX_STEPS {
            let far = address.wrapping_sub(function.start);
            let Some((instruction, bytes)) = decode(code, address) else {
                walk.stopped = format!("no code at +{far:#x}");
                break;
            };
            let step = walk.steps.len();
            walk.steps.push(address);
            if is_emulated(&instruction, &bytes, emulated) {
                match state.candidate(step, far, &instruction) {
                    Ok(candidate) => walk.candidates.push(candidate),
                    Err(why) => {
                        walk.stopped = format!("{why} at `{}`, +{far:#x}", text(&instruction));
                        break;
                    }
                }
                // Only a free's test for NULL is worth passing.
                if !state.branches_on_null(&instruction) {
                    break;
                }
            }
            match state.pass(&instruction) {
                Ok(next) => address = next,
                Err(why) => {
                    walk.stopped = format!("{why} at +{far:#x}");
                    break;
                }
            }
        }
        walk
    }
}

/// What is known before an instruction.
struct State {
    shape: Shape,
    /// The function's arguments that the shape speaks of.
    arguments: Arguments,
    /// Bytes between the stack pointer and the slot of the return address.
    pushed: i64,
    /// Which argument each register holds, by the register's number.
    holds: [Option<usize>; 16],
    /// Whether the flags tell if the first argument is 0.
    null_tested: bool,
    behind_null_test: bool,
    info: InstructionInfoFactory,
}

impl State {
    fn at_entry(shape: Shape, arguments: Arguments) -> Self {
        let mut holds = [None; 16];
        for (number, register) in ARGUMENTS.into_iter().enumerate() {
            holds[register.number()] = Some(number);
        }
        Self {
            shape,
            arguments,
            pushed: 0,
            holds,
            null_tested: false,
            behind_null_test: false,
            info: InstructionInfoFactory::new(),
        }
    }

    /// A probe on this instruction; why not, if it can't be.
    fn candidate(
        &self,
        step: usize,
        far: u64,
        instruction: &Instruction,
    ) -> Result<Candidate, String> {
        let mut place = EntryPlace {
            offset: u16::try_from(far).map_err(|_| "too far from the start")?,
            ..EntryPlace::default()
        };
        place.pushed_words = u8::try_from(self.pushed / 8)
            .ok()
            .filter(|_| self.pushed % 8 == 0)
            .ok_or_else(|| format!("the stack pointer is {} bytes away", self.pushed))?;
        if self.shape.returns_block() && self.pushed != 0 {
            return Err(format!(
                "{} bytes lie over the return address, which the return probe needs,",
                self.pushed
            ));
        }
        let mut moved = Vec::new();
        for &number in wanted_arguments(self.shape) {
            let argument = usize::from(self.arguments[number]);
            let register = self.register_of(argument).ok_or("an argument is lost")?;
            if register != ARGUMENTS[number] {
                place.arguments[number] = Some(SAVED_WORDS[register.number()]);
                moved.push((number, register));
            }
        }
        Ok(Candidate {
            step,
            place,
            text: text(instruction),
            behind_null_test: self.behind_null_test,
            moved,
        })
    }

    /// A register that holds the argument, its own if that still does.
    fn register_of(&self, number: usize) -> Option<Register> {
        let own = *ARGUMENTS.get(number)?;
        if self.holds[own.number()] == Some(number) {
            return Some(own);
        }
        let place = self.holds.iter().position(|held| *held == Some(number))?;
        Some(Register::RAX + place as u32)
    }

    /// Whether the instruction parts a free of NULL from other frees.
    fn branches_on_null(&self, instruction: &Instruction) -> bool {
        self.shape == Shape::Free
            && self.null_tested
            && instruction.is_jcc_short_or_near()
            && matches!(
                instruction.condition_code(),
                ConditionCode::e | ConditionCode::ne
            )
    }

    /// Goes past the instruction: the address of the next one on the way.
    fn pass(&mut self, instruction: &Instruction) -> Result<u64, String> {
        if self.branches_on_null(instruction) {
            self.behind_null_test = true;
            self.null_tested = false;
            return Ok(match instruction.condition_code() {
                ConditionCode::ne => instruction.near_branch_target(),
                _ => instruction.next_ip(),
            });
        }
        if instruction.flow_control() != FlowControl::Next {
            return Err(format!("`{}` comes first,", text(instruction)));
        }
        self.note_test(instruction);
        let moves_stack = self.move_stack(instruction);
        let copied = self.copied(instruction);
        let info = self.info.info(instruction);
        let writes = |access: OpAccess| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        for memory in info.used_memory() {
            if writes(memory.access()) && !(moves_stack || is_below(memory, self.pushed)) {
                return Err(format!("`{}` writes to memory", text(instruction)));
            }
        }
        for used in info.used_registers() {
            let register = used.register().full_register();
            if !writes(used.access()) || !register.is_gpr64() {
                continue;
            }
            if register == Register::RSP && !moves_stack {
                return Err(format!("`{}` sets the stack pointer", text(instruction)));
            }
            self.holds[register.number()] = None;
        }
        if let Some((register, argument)) = copied {
            self.holds[register.number()] = argument;
        }
        Ok(instruction.next_ip())
    }

    /// Whether the instruction tests the first argument for 0.
    fn note_test(&mut self, instruction: &Instruction) {
        let first = |number: u32| {
            instruction.op_kind(number) == OpKind::Register
                && instruction.op_register(number).is_gpr64()
                && self.holds[instruction.op_register(number).number()]
                    == Some(usize::from(self.arguments[0]))
        };
        if instruction.mnemonic() == Mnemonic::Test && first(0) && first(1) {
            self.null_tested = true;
        } else if instruction.code() == Opcode::Cmp_rm64_imm8 && first(0) {
            self.null_tested = instruction.immediate8() == 0;
        } else if instruction.rflags_modified() != 0 {
            self.null_tested = false;
        }
    }

    /// Follows the stack pointer through an instruction that moves it by a known distance.
    fn move_stack(&mut self, instruction: &Instruction) -> bool {
        let by_constant = instruction.op_count() == 2
            && instruction.op0_register() == Register::RSP
            && matches!(
                instruction.op1_kind(),
                OpKind::Immediate8to64 | OpKind::Immediate32to64
            );
        match instruction.mnemonic() {
            Mnemonic::Push if instruction.stack_pointer_increment() == -8 => self.pushed += 8,
            // Wrapping: constants of the file may be any.
            Mnemonic::Sub if by_constant => {
                let bytes = instruction.immediate(1).cast_signed();
                self.pushed = self.pushed.wrapping_add(bytes);
            }
            Mnemonic::Add if by_constant => {
                let bytes = instruction.immediate(1).cast_signed();
                self.pushed = self.pushed.wrapping_sub(bytes);
            }
            Mnemonic::Lea
                if instruction.op0_register() == Register::RSP
                    && instruction.memory_base() == Register::RSP
                    && instruction.memory_index() == Register::None =>
            {
                let bytes = instruction.memory_displacement64().cast_signed();
                self.pushed = self.pushed.wrapping_sub(bytes);
            }
            _ => return false,
        }
        true
    }

    /// The register that gets a whole copy of another one, and the argument in it.
    fn copied(&self, instruction: &Instruction) -> Option<(Register, Option<usize>)> {
        let between_registers = matches!(
            instruction.code(),
            Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64
        ) && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register;
        between_registers.then(|| {
            let (to, from) = (instruction.op0_register(), instruction.op1_register());
            (to, self.holds[from.number()])
        })
    }
}

/// The arguments that the entry program of a shape reads.
fn wanted_arguments(shape: Shape) -> &'static [usize] {
    match shape {
        Shape::Size | Shape::Free => &[0],
        Shape::Product | Shape::Resize => &[0, 1],
        Shape::AlignedSize => &[1],
        Shape::PosixMemalign => &[0, 2],
        Shape::ResizeProduct => &[0, 1, 2],
    }
}

/// Whether a write stays in the function's own frame, below the return address.
fn is_below(memory: &UsedMemory, pushed: i64) -> bool {
    let start = memory.displacement().cast_signed();
    let end = start.checked_add(memory.memory_size().size() as i64);
    memory.base() == Register::RSP
        && memory.index() == Register::None
        && matches!(memory.segment(), Register::SS | Register::None)
        && end.is_some_and(|end| end <= pushed)
}

/// The instruction in a word or two.
pub(in crate::probes) fn text(instruction: &Instruction) -> String {
    let mnemonic = format!("{:?}", instruction.mnemonic()).to_lowercase();
    if instruction.mnemonic() == Mnemonic::Push && instruction.op0_kind() == OpKind::Register {
        return format!("{mnemonic} {}", name(instruction.op0_register()));
    }
    mnemonic
}
