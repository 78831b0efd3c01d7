//! How a function is left, read from its code: whom it hands its calls to, and where it returns.
//! Pure.
//!
//! A return probe replaces the return address on the stack, and an exception that passes by finds
//! a place that no unwind information knows: the process is aborted. So a function that may throw
//! gets its probes on its `ret` instructions. There, by the calling convention, the block is in `rax`
//! and the stack pointer at the return address, whatever the code did before; an exception does not
//! come by. All that has to be found is where those instructions are, and that is a walk along the
//! direct jumps from the function's start, through what it jumps to in place of returning. It needs
//! no understanding of values and no trial: every address it names is one that the processor comes
//! to by jumps that are spelled out in the code. Where a way can't be followed (a jump through a
//! register), the function is refused. The kernel has to step a `ret`; `before_ret` looks for an
//! instruction before it that does as well and is emulated.

mod before_ret;

use std::collections::HashMap;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};
use memprof_common::{allocator::Shape, placement::InnerPlace};

use super::{
    emulation::Emulated,
    placement::{Code, Function, decode, is_emulated},
};

/// Instructions that are followed for one function, with all that it jumps to.
pub const MAX_FOLLOWED: usize = 4_096;
/// `ret` instructions of one function; each costs a tenth of a second at the end of a trace.
pub const MAX_RETURNS: usize = 16;
/// Instructions before the jump or call of a function that does nothing else.
const MAX_STRAIGHT: usize = 24;

/// Functions of other files that never come back.
const NEVER_RETURN: [&str; 8] = [
    "__cxa_throw",
    "__cxa_rethrow",
    "_ZSt17__throw_bad_allocv",
    "_ZSt9terminatev",
    "_Unwind_Resume",
    "__stack_chk_fail",
    "__assert_fail",
    "abort",
];

/// Where a jump or a call goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// To this address of the same file.
    Here(u64),
    /// To the function of this name, in whatever file has it.
    Named(String),
}

/// A file's code by virtual address (before relocation), and where its linked words lead.
pub trait LinkedCode: Code {
    /// Where a jump or call through the word at this address goes; `None` if that is not known.
    fn behind(&self, word: u64) -> Option<Target>;
}

/// What a function does with every call before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handing {
    /// Moves registers at most, and jumps there: it is another name for that function.
    Forwards(Target),
    /// Calls that, on the only way from its start.
    Calls(Target),
}

/// Whom the function at `start` hands every call to.
pub fn hands_to(code: &dyn LinkedCode, start: u64) -> Option<Handing> {
    let mut address = start;
    let mut only_moves = true;
    for _ in 0..MAX_STRAIGHT {
        let (instruction, _) = decode(code, address)?;
        address = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next => only_moves &= only_moves_registers(&instruction),
            FlowControl::Call | FlowControl::IndirectCall => {
                return Some(Handing::Calls(target(code, &instruction)?));
            }
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch if only_moves => {
                return Some(Handing::Forwards(target(code, &instruction)?));
            }
            _ => return None,
        }
    }
    None
}

/// An instruction on a function's way out, at which its result is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its address: a `ret`, or an emulated instruction before it.
    pub at: u64,
    /// Whether the kernel emulates it.
    pub emulated: bool,
    /// Where the values are there; the offset is 0, and the size noted elsewhere.
    pub place: InnerPlace,
}

/// The ways out of a function.
pub struct Exits {
    course: Course,
    /// Whether the block is where a pointer points, which may be written to at the last moment.
    by_reference: bool,
}

impl Exits {
    /// Those of `function`, those of the functions that it jumps to in place of returning among
    /// them.
    ///
    /// # Errors
    /// Why they can't all be known, in words.
    pub fn of(
        code: &dyn LinkedCode,
        function: Function,
        emulated: Emulated,
    ) -> Result<Self, String> {
        Ok(Self {
            course: follow(code, function, emulated)?,
            by_reference: function.shape == Shape::PosixMemalign,
        })
    }

    /// Where to probe them: each `ret`, or what comes before it at less cost. `drops_null`: a register
    /// that holds NULL at such a place is no result there, and the call goes on.
    pub fn places(&self, drops_null: bool) -> Vec<Exit> {
        let mut places = Vec::new();
        for at in &self.course.returns {
            let early = match self.by_reference {
                true => None,
                false => before_ret::find(&self.course, *at, drops_null),
            };
            places.extend(early.unwrap_or_else(|| vec![before_ret::ret(*at)]));
        }
        places.sort_unstable_by_key(|exit| exit.at);
        places.dedup();
        places
    }
}

/// The code that a function's calls may come through, but for what it calls.
struct Course {
    start: u64,
    steps: HashMap<u64, Step>,
    /// Where each instruction is come to from.
    before: HashMap<u64, Vec<u64>>,
    returns: Vec<u64>,
}

/// One instruction of it.
struct Step {
    instruction: Instruction,
    emulated: bool,
}

/// Follows all direct ways from the function's start.
fn follow(code: &dyn LinkedCode, function: Function, emulated: Emulated) -> Result<Course, String> {
    let mut course = Course {
        start: function.start,
        steps: HashMap::new(),
        before: HashMap::new(),
        returns: Vec::new(),
    };
    let mut waiting = vec![function.start];
    while let Some(address) = waiting.pop() {
        if course.steps.contains_key(&address) {
            continue;
        }
        if course.steps.len() >= MAX_FOLLOWED {
            return Err(format!("it has more than {MAX_FOLLOWED} instructions"));
        }
        let far = address.wrapping_sub(function.start);
        let (instruction, bytes) =
            decode(code, address).ok_or_else(|| format!("no instruction at +{far:#x}"))?;
        let step = Step {
            instruction,
            emulated: is_emulated(&instruction, &bytes, emulated),
        };
        course.steps.insert(address, step);
        let next = instruction.next_ip();
        let mut ways = Vec::new();
        match instruction.flow_control() {
            FlowControl::Next => ways.push(next),
            FlowControl::ConditionalBranch if instruction.near_branch_target() != 0 => {
                ways.extend([next, instruction.near_branch_target()]);
            }
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                match target(code, &instruction) {
                    Some(Target::Here(to)) => ways.push(to),
                    Some(Target::Named(name)) if NEVER_RETURN.contains(&&*name) => {}
                    Some(Target::Named(name)) => {
                        return Err(format!("it ends in {name}, which may be of another file"));
                    }
                    None => return Err(format!("it goes somewhere unknown from +{far:#x}")),
                }
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                if comes_back(code, function, &instruction) {
                    ways.push(next);
                }
            }
            FlowControl::Return => {
                course.returns.push(address);
                if course.returns.len() > MAX_RETURNS {
                    return Err(format!("it returns at more than {MAX_RETURNS} places"));
                }
            }
            // `ud2`, `int3`: the end of the process.
            FlowControl::Exception | FlowControl::Interrupt => {}
            _ => return Err(format!("it goes somewhere unknown from +{far:#x}")),
        }
        for way in ways {
            course.before.entry(way).or_default().push(address);
            waiting.push(way);
        }
    }
    course.returns.sort_unstable();
    if course.returns.is_empty() {
        return Err("it does not return".to_owned());
    }
    Ok(course)
}

/// Whether anything follows a call: after one that never returns comes padding, the function's
/// end, or nothing.
fn comes_back(code: &dyn LinkedCode, function: Function, call: &Instruction) -> bool {
    let next = call.next_ip();
    let at_end = function.size != 0 && next == function.start.wrapping_add(function.size);
    let never = match target(code, call) {
        Some(Target::Named(name)) => NEVER_RETURN.contains(&&*name),
        _ => false,
    };
    let padding = decode(code, next).is_none_or(|(instruction, _)| {
        matches!(
            instruction.mnemonic(),
            Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Endbr64
        )
    });
    !(at_end || never || padding)
}

/// Where a jump or call goes, through the procedure linkage table if need be.
fn target(code: &dyn LinkedCode, instruction: &Instruction) -> Option<Target> {
    if instruction.op0_kind() == OpKind::Memory {
        return slot(instruction).and_then(|word| code.behind(word));
    }
    let to = instruction.near_branch_target();
    if to == 0 {
        return None;
    }
    let (mut first, _) = decode(code, to)?;
    if first.mnemonic() == Mnemonic::Endbr64 {
        (first, _) = decode(code, first.next_ip())?;
    }
    let stub = (first.mnemonic() == Mnemonic::Jmp)
        .then(|| slot(&first))
        .flatten();
    Some(match stub {
        None => Target::Here(to),
        Some(word) => code.behind(word)?,
    })
}

/// The word at a fixed place through which an instruction goes.
fn slot(instruction: &Instruction) -> Option<u64> {
    let fixed = instruction.op0_kind() == OpKind::Memory && instruction.is_ip_rel_memory_operand();
    fixed.then(|| instruction.ip_rel_memory_address())
}

/// Whether the instruction does no more than move a function's arguments about.
fn only_moves_registers(instruction: &Instruction) -> bool {
    let registers =
        (0..instruction.op_count()).all(|operand| instruction.op_kind(operand) == OpKind::Register);
    match instruction.mnemonic() {
        Mnemonic::Endbr64 | Mnemonic::Nop => true,
        Mnemonic::Mov | Mnemonic::Xchg => registers,
        // A constant argument.
        Mnemonic::Xor => registers && instruction.op0_register() == instruction.op1_register(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::placement::MAX_INSTRUCTION_BYTES;

    const START: u64 = 0x1000;
    /// A linked word.
    const WORD: u64 = 0x9000;
    const RET: &[u8] = &[0xc3];
    const TEST_RDI: &[u8] = &[0x48, 0x85, 0xff];

    struct Bytes(Vec<u8>, Option<Target>);

    impl Code for Bytes {
        fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
            let start = address.checked_sub(START).map(|start| start as usize);
            let rest = start.and_then(|start| self.0.get(start..));
            let rest = rest.unwrap_or_default();
            let bytes = rest.len().min(into.len());
            into[..bytes].copy_from_slice(&rest[..bytes]);
            bytes
        }
    }

    impl LinkedCode for Bytes {
        fn behind(&self, word: u64) -> Option<Target> {
            assert_eq!(word, WORD);
            self.1.clone()
        }
    }

    impl Bytes {
        fn of(behind: Option<Target>) -> Self {
            Self(Vec::new(), behind)
        }

        fn then(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        /// `jmp` or `call` through [`WORD`].
        fn through(self, second_byte: u8) -> Self {
            let next = START + self.0.len() as u64 + 6;
            let distance = (WORD - next) as u32;
            self.then(&[0xff, second_byte])
                .then(&distance.to_le_bytes())
        }

        fn jump_through(self) -> Self {
            self.through(0x25)
        }

        fn call_through(self) -> Self {
            self.through(0x15)
        }

        fn returns(&self) -> Result<Vec<u64>, String> {
            let function = Function {
                start: START,
                size: 0,
                shape: Shape::Size,
            };
            let found = Exits::of(self, function, Emulated::NONE)?.places(true);
            Ok(found.iter().map(|exit| exit.at - START).collect())
        }
    }

    fn named(name: &str) -> Option<Target> {
        Some(Target::Named(name.to_owned()))
    }

    #[test]
    fn every_way_to_a_return_is_found_behind_jumps_too() {
        let code = Bytes::of(None)
            .then(TEST_RDI)
            // `je` to the jump, which goes to the second return.
            .then(&[0x74, 0x01])
            .then(RET)
            .then(&[0xeb, 0x01])
            .then(&[0x90])
            .then(RET);
        assert_eq!(code.returns(), Ok(vec![5, 9]));
    }

    #[test]
    fn a_jump_through_a_linked_word_is_followed_only_within_the_file() {
        let code = |behind| Bytes::of(behind).jump_through().then(RET);
        assert_eq!(code(Some(Target::Here(START + 6))).returns(), Ok(vec![6]));
        let refusal = |behind| code(behind).returns().unwrap_err();
        assert!(refusal(named("malloc")).contains("malloc"));
        assert!(refusal(None).contains("unknown"));
        assert!(refusal(named("__cxa_throw")).contains("does not return"));
    }

    #[test]
    fn a_jump_through_a_register_is_refused() {
        let code = Bytes::of(None).then(&[0xff, 0xe0]).then(RET);
        assert!(code.returns().unwrap_err().contains("unknown"));
    }

    #[test]
    fn what_follows_a_call_that_throws_is_no_part_of_the_function() {
        let code = Bytes::of(named("_ZSt17__throw_bad_allocv"))
            .then(TEST_RDI)
            .then(&[0x78, 0x01])
            .then(RET)
            .call_through()
            .then(RET);
        assert_eq!(code.returns(), Ok(vec![5]));
    }

    #[test]
    fn too_many_returns_are_refused() {
        let mut code = Bytes::of(None);
        for _ in 0..=MAX_RETURNS {
            code = code.then(TEST_RDI).then(&[0x75, 0x01]).then(RET);
        }
        let code = code.then(RET);
        assert!(code.returns().unwrap_err().contains("more than"));
    }

    #[test]
    fn another_name_is_told_from_a_function_that_does_something() {
        let free = || named("free");
        let forwards = Some(Handing::Forwards(Target::Named("free".to_owned())));
        let calls = Some(Handing::Calls(Target::Named("free".to_owned())));
        let start = |code: Bytes| hands_to(&code, START);
        assert_eq!(start(Bytes::of(free()).jump_through()), forwards);
        let swaps = Bytes::of(free()).then(&[0x48, 0x87, 0xfe]).jump_through();
        assert_eq!(start(swaps), forwards);
        let rounds_up = Bytes::of(free())
            .then(&[0x48, 0x83, 0xc7, 0x7f])
            .jump_through();
        assert_eq!(start(rounds_up), None);
        let wraps = Bytes::of(free()).then(&[0x57]).call_through().then(RET);
        assert_eq!(start(wraps), calls);
        let branches = Bytes::of(free())
            .then(TEST_RDI)
            .then(&[0x74, 0x06])
            .call_through()
            .then(RET);
        assert_eq!(start(branches), None);
    }
}
