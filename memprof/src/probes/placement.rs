//! Where in a function its entry probe goes: on the first instruction that the kernel emulates and
//! that every call which matters passes exactly once, with its arguments at hand. Pure.
//!
//! A probe on an emulated instruction costs the target a tenth of one on any other (`emulation`),
//! and few functions begin with one: `endbr64`, a test, a load come first. From the function's
//! start to its first jump there is one way only, so every call passes every instruction there;
//! `walk` goes along it and keeps account of where the arguments are and how much is on the stack.
//! `jumps` then makes sure that nothing leads back into that stretch. A function that gives a block
//! is probed at its return as well, and a return probe needs the return address on top of the
//! stack; a free is best probed behind its test for NULL, where only real frees come by.
//!
//! Where there is no such instruction the probe goes to the function's start, which always works.

mod jumps;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt::Write as _;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use memprof_common::{
    allocator::{Arguments, IN_ORDER, Shape},
    placement::{EntryPlace, PLACED_ARGUMENTS},
};

pub use self::walk::SAVED_WORDS;
pub(super) use self::walk::text;
use self::walk::{Candidate, Walk};
use super::emulation::Emulated;

/// The longest instruction of x86-64, bytes.
pub const MAX_INSTRUCTION_BYTES: usize = 15;

/// Machine code by its addresses: any numbering will do in which jumps keep their distances.
pub trait Code {
    /// Copies what is at `address`, up to what fits, and says how many bytes that is: 0 where
    /// there is no code.
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize;
}

/// Where the kernel saves the first arguments, in words from the start of `struct pt_regs`.
pub const CONVENTION_WORDS: [u8; PLACED_ARGUMENTS] = [14, 13, 12];

/// A function to place a probe in.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its first instruction.
    pub start: u64,
    /// Its size in bytes; 0 is unknown.
    pub size: u64,
    /// What its arguments are.
    pub shape: Shape,
}

/// Where a function's entry probe goes, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The place.
    pub place: EntryPlace,
    /// Whether the kernel emulates the instruction there; it steps others.
    pub emulated: bool,
    /// The reason in words.
    pub reason: String,
}

impl Placement {
    /// The function's first instruction.
    pub fn plain(reason: impl Into<String>) -> Self {
        Self::plain_with(IN_ORDER, reason)
    }

    /// The same of a function whose arguments stand in another order than their shape's.
    pub fn plain_with(arguments: Arguments, reason: impl Into<String>) -> Self {
        Self {
            place: first_instruction(arguments),
            emulated: false,
            reason: reason.into(),
        }
    }
}

/// Chooses where to probe the entry of `function`.
pub fn place_entry(code: &dyn Code, function: Function, emulated: Emulated) -> Placement {
    place_entry_with(code, function, IN_ORDER, emulated)
}

/// The same of a function of which `arguments` are those that its shape speaks of.
pub fn place_entry_with(
    code: &dyn Code,
    function: Function,
    arguments: Arguments,
    emulated: Emulated,
) -> Placement {
    let plain = |reason: String| Placement::plain_with(arguments, reason);
    if emulated == Emulated::NONE {
        return plain("first instruction: none is known to be emulated".to_owned());
    }
    let walk = Walk::along(code, function, arguments, emulated);
    let Some(last) = walk.candidates.last() else {
        return plain(format!("first instruction, stepped: {}", walk.stopped));
    };
    let is_free = function.shape == Shape::Free;
    if last.step == 0 && !is_free {
        return place(last, false);
    }
    let Some(jumps) = jumps::survey(code, function, &walk.steps) else {
        return match walk.candidates.first().filter(|first| first.step == 0) {
            Some(first) => place(first, false),
            None => plain("first instruction, stepped: too much code to follow".to_owned()),
        };
    };
    let passed_once = |candidate: &&Candidate| {
        jumps
            .into_step
            .is_none_or(|into_step| candidate.step < into_step)
    };
    match walk.candidates.iter().rev().find(passed_once) {
        Some(chosen) => place(chosen, is_free && jumps.to_start),
        None => plain("first instruction, stepped: a jump leads back behind it".to_owned()),
    }
}

/// The first instruction of a function, with its arguments where the convention has them.
pub fn first_instruction(arguments: Arguments) -> EntryPlace {
    let mut place = EntryPlace::default();
    for (number, (placed, argument)) in place.arguments.iter_mut().zip(arguments).enumerate() {
        let argument = usize::from(argument);
        if argument != number {
            let register = walk::ARGUMENTS.get(argument);
            *placed = register.map(|register| SAVED_WORDS[register.number()]);
        }
    }
    place
}

fn place(candidate: &Candidate, restarts: bool) -> Placement {
    let place = EntryPlace {
        restarts,
        ..candidate.place
    };
    let mut reason = if place.offset == 0 {
        format!("`{}`, its first instruction", candidate.text)
    } else {
        format!("`{}` at +{:#x}", candidate.text, place.offset)
    };
    // Writing to a string cannot fail.
    if candidate.behind_null_test {
        reason.push_str(", which free(NULL) does not reach");
    }
    if place.pushed_words > 0 {
        let _ = write!(
            reason,
            ", {} bytes pushed",
            u32::from(place.pushed_words) * 8
        );
    }
    for (number, register) in &candidate.moved {
        let _ = write!(reason, ", argument {number} in {}", name(*register));
    }
    if restarts {
        reason.push_str(", jumps back to its start");
    }
    Placement {
        place,
        emulated: true,
        reason,
    }
}

/// A register's name as assemblers write it.
fn name(register: iced_x86::Register) -> String {
    format!("{register:?}").to_lowercase()
}

/// The instruction at `address`, with its bytes; `None` where there is none.
pub(super) fn decode(
    code: &dyn Code,
    address: u64,
) -> Option<(Instruction, [u8; MAX_INSTRUCTION_BYTES])> {
    let mut bytes = [0; MAX_INSTRUCTION_BYTES];
    let length = code.fetch(address, &mut bytes).min(MAX_INSTRUCTION_BYTES);
    let mut decoder = Decoder::with_ip(64, &bytes[..length], address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some((instruction, bytes))
}

/// Whether the kernel emulates the instruction. By its bytes: the kernel takes none with a prefix
/// that it does not know (`branch_setup_xol_ops`, `push_setup_xol_ops` in the kernel's
/// `arch/x86/kernel/uprobes.c`).
pub(super) fn is_emulated(instruction: &Instruction, bytes: &[u8], emulated: Emulated) -> bool {
    match bytes {
        [0x50..=0x57, ..] | [0x41, 0x50..=0x57, ..] => emulated.push,
        [0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..] => emulated.branch,
        [0xeb | 0xe9, ..] => emulated.jump,
        [0xe8, ..] => emulated.call,
        [0x90, ..] => emulated.nop,
        _ => {
            let long_nops: [&[u8]; 6] = [
                &[0x0f, 0x1f, 0x00],
                &[0x0f, 0x1f, 0x40, 0x00],
                &[0x0f, 0x1f, 0x44, 0x00, 0x00],
                &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
                &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
                &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            ];
            emulated.long_nop
                && instruction.mnemonic() == Mnemonic::Nop
                && long_nops.contains(&&bytes[..instruction.len()])
        }
    }
}
