//! Frame after frame, from the registers of one to the end of the stack or of the copy.

use super::code::{Code, Files};
use super::frame::{Evaluator, Frame, Step};
use super::memory::CopiedMemory;
use super::registers::Registers;
use crate::target::modules::{FrameAddress, Place};
use memprof_common::event::StackEnd;

/// Bytes of unwind information that one walk may go through. A frame takes some hundred.
pub const MAX_WALK_WORK: usize = 1 << 20;

/// Bytes of a return address.
const WORD: u64 = 8;

/// Where a walk starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) registers: Registers,
    /// Its program counter is an instruction that was interrupted, no return address.
    pub(super) interrupted: bool,
}

/// One walk.
pub(super) struct Walker<'a> {
    files: &'a mut Files,
    code: Code<'a>,
    memory: CopiedMemory<'a>,
    /// What the kernel's walk found, which saw through hijacked return addresses.
    known: &'a [u64],
    evaluator: &'a mut Evaluator,
}

impl<'a> Walker<'a> {
    pub(super) fn new(
        files: &'a mut Files,
        evaluator: &'a mut Evaluator,
        code: Code<'a>,
        memory: CopiedMemory<'a>,
        known: &'a [u64],
    ) -> Self {
        evaluator.begin(MAX_WALK_WORK);
        Self {
            files,
            code,
            memory,
            known,
            evaluator,
        }
    }

    /// Appends callers to `frames`, the last of which is where the walk starts, until there are
    /// `limit`; how it ended.
    pub(super) fn walk(
        mut self,
        start: Start,
        limit: usize,
        frames: &mut Vec<FrameAddress>,
    ) -> StackEnd {
        let mut at = start;
        while frames.len() < limit {
            let caller = match self.find_caller(&at) {
                Step::Caller {
                    registers,
                    interrupted,
                } => Start {
                    registers,
                    interrupted,
                },
                Step::Outermost => return StackEnd::Complete,
                Step::Lost => return StackEnd::Broken,
            };
            at = match self.check(&at, caller, frames.len()) {
                Ok(caller) => caller,
                Err(end) => return end,
            };
            let Some(pc) = at.registers.pc() else {
                return StackEnd::Broken;
            };
            frames.push(self.code.frame(pc, !at.interrupted));
        }
        StackEnd::TooDeep
    }

    fn find_caller(&mut self, at: &Start) -> Step {
        let Some(pc) = at.registers.pc() else {
            return Step::Lost;
        };
        // The call is before the address to which it returns.
        let Some(address) = pc.checked_sub(u64::from(!at.interrupted)) else {
            return Step::Lost;
        };
        if let Some(step) = self.ask(address, at) {
            return step;
        }
        // A coroutine's first frame returns to the first instruction of where coroutines end.
        if self.ask(pc, at) == Some(Step::Outermost) {
            return Step::Outermost;
        }
        self.by_frame_pointer(at)
    }

    fn ask(&mut self, address: u64, at: &Start) -> Option<Step> {
        let frame = Frame {
            address,
            registers: &at.registers,
            memory: self.memory,
        };
        self.files.find_caller(self.code, frame, self.evaluator)
    }

    /// Through code without unwind information, as the kernel side does it.
    fn by_frame_pointer(&self, at: &Start) -> Step {
        let step = || {
            let (stack, frame) = (at.registers.stack()?, at.registers.frame()?);
            if frame < stack || frame % WORD != 0 {
                return None;
            }
            let saved = self.memory.word(frame)?;
            let slot = frame.checked_add(WORD)?;
            let pc = self.memory.word(slot)?;
            let follows_call = self.code.is_return_address(pc);
            follows_call.then(|| Registers::of_frame(&[pc, slot + WORD, saved]))
        };
        step().map_or(Step::Lost, |registers| Step::Caller {
            registers,
            interrupted: false,
        })
    }

    /// The caller as it is to be believed, or how the walk ends there. `index` is its place in the
    /// stack.
    fn check(&self, at: &Start, mut caller: Start, index: usize) -> Result<Start, StackEnd> {
        // The stack grows down, but a signal's handler may have had another one.
        if !caller.interrupted && caller.registers.stack() <= at.registers.stack() {
            return Err(StackEnd::Broken);
        }
        let pc = caller.registers.pc().ok_or(StackEnd::Broken)?;
        if pc == 0 {
            return Err(StackEnd::Complete);
        }
        let frame = self.code.frame(pc, !caller.interrupted);
        if may_be_trampoline(pc) && !matches!(frame.place, Place::File { .. }) {
            let original = self.known.get(index).ok_or(StackEnd::Broken)?;
            caller.registers.set(gimli::X86_64::RA, Some(*original));
        } else if frame.place == Place::NoMapping {
            return Err(StackEnd::Broken);
        }
        Ok(caller)
    }
}

/// Whether a return address may be that of the trampoline which stands in for it while a function
/// with a return probe runs: it starts a page, as code hardly does.
fn may_be_trampoline(pc: u64) -> bool {
    pc.is_multiple_of(4096)
}
