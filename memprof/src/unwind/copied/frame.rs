//! From a frame to its caller, by the unwind information of its function (DWARF 5, 6.4).

use gimli::{
    BaseAddresses, CfaRule, Encoding, Evaluation, EvaluationResult, Location, Piece, Register,
    RegisterRule, UnitOffset, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
    Value, X86_64,
};

use super::memory::CopiedMemory;
use super::registers::{PRESERVED, Registers};
use crate::unwind::rule::Reader;

/// A function's entry, or the entry that it shares with others, that is larger has no rules. The
/// largest in use (interpreters, parsers) have some kilobytes.
pub const MAX_ENTRY_BYTES: usize = 1 << 16;
/// Operations of one expression; those of compilers and C libraries have ten.
pub const MAX_OPERATIONS: u32 = 1000;

/// What unwind information says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its caller's registers; `interrupted` if it is a signal trampoline, so that the caller is at
    /// the very instruction.
    Caller {
        registers: Registers,
        interrupted: bool,
    },
    /// It has no caller: it is the outermost frame.
    Outermost,
    /// It can't be followed: the information is broken, or asks for what the copy does not hold.
    Lost,
}

/// A frame whose caller is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// An address in the instruction that it is at, as the file has it.
    pub(super) address: u64,
    pub(super) registers: &'a Registers,
    pub(super) memory: CopiedMemory<'a>,
}

/// Evaluates unwind information within a budget. Kept from walk to walk: it is some 30 KiB.
#[derive(Default)]
pub(super) struct Evaluator {
    context: UnwindContext<usize>,
    /// Bytes of entries that it may still go through.
    work_left: usize,
}

impl Evaluator {
    /// Begins a walk that may go through as many bytes of unwind information.
    pub(super) fn begin(&mut self, work: usize) {
        self.work_left = work;
    }

    /// What the entry at `offset` says of `frame`; `None` if the frame is not in its function.
    pub(super) fn find_caller<'data, S: UnwindSection<Reader<'data>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        offset: usize,
        frame: Frame<'_>,
    ) -> Option<Step> {
        let fde = section
            .fde_from_offset(bases, offset.into(), S::cie_from_offset)
            .ok()?;
        if !fde.contains(frame.address) {
            return None;
        }
        let (own, shared) = (fde.entry_len(), fde.cie().entry_len());
        let Some(left) = self.work_left.checked_sub(own.saturating_add(shared)) else {
            return Some(Step::Lost);
        };
        self.work_left = left;
        if own > MAX_ENTRY_BYTES || shared > MAX_ENTRY_BYTES {
            return Some(Step::Lost);
        }
        let row = fde.unwind_info_for_address(section, bases, &mut self.context, frame.address);
        let Ok(row) = row else {
            return Some(Step::Lost);
        };
        let rules = Rules {
            section,
            encoding: fde.cie().encoding(),
            frame,
        };
        let interrupted = fde.is_signal_trampoline();
        Some(rules.caller(row, fde.cie().return_address_register(), interrupted))
    }
}

/// The rules of one row, applied to one frame.
struct Rules<'a, S> {
    section: &'a S,
    encoding: Encoding,
    frame: Frame<'a>,
}

impl<'data, S: UnwindSection<Reader<'data>>> Rules<'_, S> {
    fn caller(
        &self,
        row: &UnwindTableRow<usize>,
        return_address: Register,
        interrupted: bool,
    ) -> Step {
        // Another register than usual may stand for the return address.
        let pc = match row.register(return_address) {
            Some(RegisterRule::Undefined) => return Step::Outermost,
            rule => rule,
        };
        let Some(cfa) = self.cfa(row.cfa()) else {
            return Step::Lost;
        };
        let Some(pc) = pc.and_then(|rule| self.saved(return_address, &rule, cfa)) else {
            return Step::Lost;
        };
        let mut registers = Registers::UNKNOWN;
        for register in PRESERVED {
            registers.set(register, self.frame.registers.get(register));
        }
        registers.set(X86_64::RSP, Some(cfa));
        for (register, rule) in row.registers() {
            registers.set(*register, self.saved(*register, rule, cfa));
        }
        registers.set(X86_64::RA, Some(pc));
        Step::Caller {
            registers,
            interrupted,
        }
    }

    fn cfa(&self, rule: &CfaRule<usize>) -> Option<u64> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                let value = self.frame.registers.get(*register)?;
                Some(value.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => self.evaluate(expression, None),
        }
    }

    /// The caller's value of a register; `None` if it is not to be had.
    fn saved(&self, register: Register, rule: &RegisterRule<usize>, cfa: u64) -> Option<u64> {
        let Frame {
            registers, memory, ..
        } = self.frame;
        match rule {
            RegisterRule::SameValue => registers.get(register),
            RegisterRule::Offset(offset) => memory.word(cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => registers.get(*other),
            RegisterRule::Expression(at) => memory.word(self.evaluate(at, Some(cfa))?),
            RegisterRule::ValExpression(value) => self.evaluate(value, Some(cfa)),
            RegisterRule::Constant(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of an expression that begins with `first` on its stack.
    fn evaluate(&self, expression: &UnwindExpression<usize>, first: Option<u64>) -> Option<u64> {
        let expression = expression.get(self.section).ok()?;
        let mut evaluation = Evaluation::new(expression.0, self.encoding);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(first) = first {
            evaluation.set_initial_value(first);
        }
        let mut state = evaluation.evaluate().ok()?;
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister {
                    register,
                    base_type: UnitOffset(0),
                } => {
                    let value = Value::Generic(self.frame.registers.get(register)?);
                    evaluation.resume_with_register(value).ok()?
                }
                EvaluationResult::RequiresMemory {
                    address,
                    size,
                    space: None,
                    base_type: UnitOffset(0),
                } => {
                    let value = Value::Generic(self.frame.memory.number(address, size)?);
                    evaluation.resume_with_memory(value).ok()?
                }
                // What is in no unwind information: types, thread-local storage, other entries.
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [
                Piece {
                    location: Location::Address { address },
                    ..
                },
            ] => Some(*address),
            _ => None,
        }
    }
}
