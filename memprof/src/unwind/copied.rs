//! The stack of a walk that broke down in the kernel, walked again by all that its unwind
//! information says.
//!
//! The kernel side's rules have 32 bits: they know rsp and rbp and the common ways to save them.
//! Here is room for the rest: every register that calls preserve, every expression, `.debug_frame`,
//! and code that the collector came to know of after the stack was met. What is read of the
//! target is the copy alone.
//!
//! gimli evaluates a function's unwind information; framehop, which would do the whole walk,
//! follows rsp and rbp only, takes no expression that reads memory, and steps by frame pointer
//! where it fails, without saying so.
//!
//! Files and stacks are the target's: every frame, entry and expression has its limit.
//!
//! - `copied/registers.rs`, `copied/memory.rs`: what the copy holds
//! - `copied/section.rs`: the functions of `.eh_frame` or `.debug_frame`, found by address
//! - `copied/frame.rs`: from a frame to its caller by one function's unwind information
//! - `copied/code.rs`: which file and which function is at an address of the target
//! - `copied/walk.rs`: frame after frame

mod code;
mod frame;
mod memory;
mod registers;
mod section;
#[cfg(test)]
mod tests;
mod walk;

use gimli::BaseAddresses;
use memprof_common::event::{CopiedRegisters, MAX_FRAMES, StackEnd};

use self::code::Files;
pub use self::code::{Code, MAX_HELD_BYTES};
use self::frame::{Evaluator, Frame, Step};
pub use self::frame::{MAX_ENTRY_BYTES, MAX_OPERATIONS};
pub use self::memory::CopiedMemory;
use self::registers::Registers;
pub use self::section::MAX_SECTION_BYTES;
use self::section::{Kind, Section};
pub use self::walk::MAX_WALK_WORK;
use self::walk::{Start, Walker};
use crate::target::modules::FrameAddress;

/// A copied stack.
#[derive(Clone, Copy, Debug)]
pub struct CopiedStack<'a> {
    /// The program counters that are known already, innermost first.
    pub known: &'a [u64],
    /// How many of them were known to the walk that broke down; of the last of those the caller
    /// is missing.
    pub frames: usize,
    /// That last frame was interrupted by a signal.
    pub interrupted: bool,
    /// Where walks can start.
    pub registers: &'a CopiedRegisters,
    /// The stack's memory.
    pub memory: CopiedMemory<'a>,
}

/// A stack of which more is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// All its frames, innermost first, and where they are.
    pub frames: Vec<FrameAddress>,
    /// How the walk ended.
    pub end: StackEnd,
}

/// The program counters that a bare section gives for a stack, outwards from its caller's: a walk
/// without files, for fuzzing. `debug` says which of the two kinds of section it is.
#[doc(hidden)]
pub fn walk_section(
    bytes: &[u8],
    debug: bool,
    call: &[u64; 8],
    memory: CopiedMemory<'_>,
) -> Vec<u64> {
    let (kind, bases) = match debug {
        false => (
            Kind::EhFrame,
            BaseAddresses::default().set_eh_frame(0x1000_0000),
        ),
        true => (Kind::DebugFrame, BaseAddresses::default()),
    };
    let mut pcs = Vec::new();
    let Some(section) = Section::new(kind, bytes, bases, true) else {
        return pcs;
    };
    let mut evaluator = Evaluator::default();
    evaluator.begin(MAX_WALK_WORK);
    let mut registers = Registers::of_call(call);
    while let Some(pc) = registers.pc().filter(|_| pcs.len() < MAX_FRAMES) {
        let frame = Frame {
            address: pc.wrapping_sub(1),
            registers: &registers,
            memory,
        };
        match section.find_caller(frame, &mut evaluator) {
            Some(Step::Caller {
                registers: caller, ..
            }) => registers = caller,
            _ => break,
        }
        pcs.extend(registers.pc());
    }
    pcs
}

/// Walks copied stacks. Keeps the unwind information of the files that it met, up to a limit.
#[derive(Default)]
pub struct CopyUnwinder {
    files: Files,
    evaluator: Evaluator,
}

impl CopyUnwinder {
    /// The whole of a stack, or more of it than was known to the walk that broke down; `None` if
    /// the copy has no more to give.
    pub fn unwind(&mut self, stack: &CopiedStack<'_>, code: Code<'_>) -> Option<Continued> {
        let from_call = self.start_at_call(stack, code);
        if let Some(whole) = &from_call
            && whole.end != StackEnd::Broken
        {
            return from_call;
        }
        let from_break = self.start_at_break(stack, code);
        [from_call, from_break]
            .into_iter()
            .flatten()
            .filter(|found| found.frames.len() > stack.frames)
            .max_by_key(|found| (found.end != StackEnd::Broken, found.frames.len()))
    }

    /// From the function that called the allocator, of which every register is known that its
    /// callers may have saved.
    fn start_at_call(&mut self, stack: &CopiedStack<'_>, code: Code<'_>) -> Option<Continued> {
        let known = stack.known.get(..stack.frames)?;
        let registers = Registers::of_call(&stack.registers.call);
        // In a system call the innermost frame is where it was made.
        if known.first() == registers.pc().as_ref() {
            return self.walk(known, 1, stack, registers, true, code);
        }
        if known.get(1) != registers.pc().as_ref() {
            return None;
        }
        self.walk(known, 2, stack, registers, false, code)
    }

    /// From the frame where the walk broke down, of which few registers are known.
    fn start_at_break(&mut self, stack: &CopiedStack<'_>, code: Code<'_>) -> Option<Continued> {
        let known = stack.known.get(..stack.frames)?;
        let registers = Registers::of_frame(&stack.registers.broken);
        if known.last() != registers.pc().as_ref() {
            return None;
        }
        let interrupted = stack.interrupted;
        self.walk(known, known.len(), stack, registers, interrupted, code)
    }

    /// Takes over the first `keep` of the known frames, the last of which has these registers.
    fn walk(
        &mut self,
        known: &[u64],
        keep: usize,
        stack: &CopiedStack<'_>,
        registers: Registers,
        interrupted: bool,
        code: Code<'_>,
    ) -> Option<Continued> {
        let mut frames: Vec<FrameAddress> = known
            .get(..keep)?
            .iter()
            .enumerate()
            .map(|(index, &pc)| code.frame(pc, index > 0 && !(interrupted && index + 1 == keep)))
            .collect();
        let walker = Walker::new(
            &mut self.files,
            &mut self.evaluator,
            code,
            stack.memory,
            known,
        );
        let start = Start {
            registers,
            interrupted,
        };
        let end = walker.walk(start, MAX_FRAMES, &mut frames);
        Some(Continued { frames, end })
    }
}
