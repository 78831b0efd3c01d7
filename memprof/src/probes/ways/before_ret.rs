//! An emulated instruction in place of a `ret`, which the kernel would have to step.
//!
//! From a `ret` back along the code: as long as there is one way to come from, nothing is called,
//! and it is known which register holds what will be in `rax`, how much is on the stack and
//! which of the caller's registers are still saved there. A jump that leads nowhere but to the `ret` will
//! do; so will a conditional one of which both ways come together again before it, or one that
//! parts NULL from blocks, if NULL is dropped there. Where ways come together, each needs its own.

use iced_x86::{
    Code as Opcode, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpKind, Register,
};
use memprof_common::placement::{InnerPlace, PRESERVED_REGISTERS, SizeAt};

use super::{Course, Exit};
use crate::probes::{inner::is_write, placement::SAVED_WORDS};

/// Instructions that are gone back over.
const MAX_BACK: usize = 64;
/// Places that may stand for one `ret`.
const MAX_PLACES: usize = 4;

/// The registers that a call preserves, as `memprof_common::placement::Preserved` orders them.
const PRESERVED: [Register; PRESERVED_REGISTERS] = [
    Register::RBP,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// What is known before an instruction on the way to a `ret`.
#[derive(Clone, Copy)]
struct State {
    /// The register that holds the result.
    result: Register,
    /// Bytes between the stack pointer and the return address.
    depth: i64,
    /// Where the caller's registers are saved, in bytes below the return address.
    saved: [Option<i64>; PRESERVED_REGISTERS],
}

const AT_RET: State = State {
    result: Register::RAX,
    depth: 0,
    saved: [None; PRESERVED_REGISTERS],
};

/// The `ret` itself.
pub(super) fn ret(at: u64) -> Exit {
    Exit {
        at,
        emulated: false,
        place: InnerPlace {
            offset: 0,
            pushed_words: 0,
            result: SAVED_WORDS[0],
            size: SizeAt::Noted,
            preserved: [None; PRESERVED_REGISTERS],
        },
    }
}

/// Emulated instructions one of which every way to the `ret` passes; `None` if there are none.
pub(super) fn find(course: &Course, ret: u64, drops_null: bool) -> Option<Vec<Exit>> {
    let mut search = Search {
        course,
        drops_null,
        left: MAX_BACK,
        found: Vec::new(),
    };
    search.cover(ret, AT_RET)?;
    Some(search.found)
}

struct Search<'a> {
    course: &'a Course,
    drops_null: bool,
    left: usize,
    found: Vec<Exit>,
}

impl Search<'_> {
    /// Finds a place on every way to the instruction at `at`.
    fn cover(&mut self, at: u64, state: State) -> Option<()> {
        // The function's start is come to from its callers.
        if at == self.course.start {
            return None;
        }
        let before = self.course.before.get(&at)?;
        if let [one, other] = before[..]
            && let Some(branch) = self.parted(one, other, at, state)
        {
            return self.take(branch, state);
        }
        before
            .iter()
            .try_for_each(|from| self.come_from(*from, at, state))
    }

    /// The same on the ways that come from the instruction `from`.
    fn come_from(&mut self, from: u64, at: u64, state: State) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let step = self.course.steps.get(&from)?;
        match step.instruction.flow_control() {
            FlowControl::Next => self.cover(from, state.before(&step.instruction)?),
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                if step.emulated {
                    self.take(from, state)
                } else {
                    self.cover(from, state)
                }
            }
            FlowControl::ConditionalBranch
                if self.drops_null && self.parts_null(from, at, state) =>
            {
                self.take(from, state)
            }
            _ => None,
        }
    }

    /// Whether the conditional jump at `from` goes on to `at` with a block, and elsewhere with NULL.
    fn parts_null(&self, from: u64, at: u64, state: State) -> bool {
        let Some([before]) = self.course.before.get(&from).map(Vec::as_slice) else {
            return false;
        };
        let (Some(jump), Some(test)) =
            (self.course.steps.get(&from), self.course.steps.get(before))
        else {
            return false;
        };
        let tests = matches!(test.instruction.code(), Opcode::Test_rm64_r64)
            && test.instruction.op0_kind() == OpKind::Register
            && test.instruction.op0_register() == state.result
            && test.instruction.op1_register() == state.result;
        let jump = jump.instruction;
        let (taken, not_taken) = (jump.near_branch_target(), jump.next_ip());
        tests
            && taken != not_taken
            && match jump.condition_code() {
                ConditionCode::e => not_taken == at,
                ConditionCode::ne => taken == at,
                _ => false,
            }
    }

    /// The conditional jump whose two ways come together at `at`, with nothing done on the longer
    /// one that matters to the state.
    fn parted(&self, one: u64, other: u64, at: u64, state: State) -> Option<u64> {
        let is_branch = |address: u64| {
            let step = self.course.steps.get(&address)?;
            let flow = step.instruction.flow_control();
            (flow == FlowControl::ConditionalBranch).then_some(step.instruction)
        };
        for (branch, end) in [(one, other), (other, one)] {
            let Some(jump) = is_branch(branch) else {
                continue;
            };
            let (taken, not_taken) = (jump.near_branch_target(), jump.next_ip());
            let longer = if taken == at { not_taken } else { taken };
            if longer != at && self.leads_back(end, longer, branch, state) {
                return Some(branch);
            }
        }
        None
    }

    /// Whether the one way back from `end` begins at `first`, behind `branch`.
    fn leads_back(&self, end: u64, first: u64, branch: u64, state: State) -> bool {
        let mut at = end;
        for _ in 0..MAX_BACK {
            let Some(step) = self.course.steps.get(&at) else {
                return false;
            };
            let harmless = match step.instruction.flow_control() {
                FlowControl::Next => state.before(&step.instruction).is_some_and(|before| {
                    before.depth == state.depth && before.result == state.result
                }),
                FlowControl::UnconditionalBranch => step.instruction.is_jmp_short_or_near(),
                _ => false,
            };
            let Some([before]) = self.course.before.get(&at).map(Vec::as_slice) else {
                return false;
            };
            if !harmless {
                return false;
            }
            if at == first {
                return *before == branch;
            }
            at = *before;
        }
        false
    }

    fn take(&mut self, at: u64, state: State) -> Option<()> {
        let step = self.course.steps.get(&at)?;
        if !step.emulated || self.found.len() >= MAX_PLACES {
            return None;
        }
        let words = |bytes: i64| {
            let words = u8::try_from(bytes / 8).ok()?;
            (bytes % 8 == 0).then_some(words)
        };
        let mut preserved = [None; PRESERVED_REGISTERS];
        for (word, saved) in preserved.iter_mut().zip(state.saved) {
            if let Some(below) = saved {
                *word = Some(words(state.depth.checked_sub(below)?)?);
            }
        }
        let place = InnerPlace {
            pushed_words: words(state.depth)?,
            result: SAVED_WORDS[state.result.number()],
            preserved,
            ..ret(at).place
        };
        place.pack()?;
        self.found.push(Exit {
            at,
            emulated: true,
            place,
        });
        Some(())
    }
}

impl State {
    /// What must be so before `instruction` for this to be so behind it; `None` if that can't be.
    fn before(self, instruction: &Instruction) -> Option<Self> {
        let mut state = self;
        let constant = || {
            let by_constant = instruction.op0_register() == Register::RSP
                && matches!(
                    instruction.op1_kind(),
                    OpKind::Immediate8to64 | OpKind::Immediate32to64
                );
            by_constant.then(|| instruction.immediate(1).cast_signed())
        };
        let mut popped = Register::None;
        match instruction.mnemonic() {
            Mnemonic::Pop if instruction.stack_pointer_increment() == 8 => {
                state.depth = state.depth.checked_add(8)?;
                popped = instruction.op0_register();
                let number = PRESERVED.iter().position(|one| *one == popped)?;
                state.saved[number] = Some(state.depth);
            }
            Mnemonic::Push if instruction.stack_pointer_increment() == -8 => {
                state.depth = state.depth.checked_sub(8)?;
            }
            Mnemonic::Add if let Some(bytes) = constant() => {
                state.depth = state.depth.checked_add(bytes)?;
            }
            Mnemonic::Sub if let Some(bytes) = constant() => {
                state.depth = state.depth.checked_sub(bytes)?;
            }
            Mnemonic::Mov if is_copy(instruction) && instruction.op0_register() == state.result => {
                state.result = instruction.op1_register();
                return (state.result != Register::RSP).then_some(state);
            }
            _ => {
                if writes(instruction, Register::RSP) {
                    return None;
                }
            }
        }
        let spoils = |register: Register| register != popped && writes(instruction, register);
        let spoilt = writes(instruction, state.result) || PRESERVED.into_iter().any(spoils);
        // What the caller's frame begins with is above the return address.
        (!spoilt && state.depth >= 0).then_some(state)
    }
}

/// Whether the instruction copies one whole register to another.
fn is_copy(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64
    ) && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
}

fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let mut used = factory.info(instruction).used_registers().iter();
    used.any(|used| used.register().full_register() == register && is_write(used.access()))
}

#[cfg(test)]
mod tests;
