//! The registers of a frame, as far as they are known.

use gimli::{Register, X86_64};

/// Registers that unwind information of x86-64 speaks of: the general ones and the return address.
const COUNT: usize = 17;

/// The registers, by their DWARF numbers (System V ABI, x86-64 supplement, figure 3.36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    values: [u64; COUNT],
    /// A bit for each that is known.
    known: u32,
}

/// The registers that a function leaves to its caller as they were, beside rsp.
pub(super) const PRESERVED: [Register; 6] = [
    X86_64::RBX,
    X86_64::RBP,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

impl Registers {
    pub(super) const UNKNOWN: Self = Self {
        values: [0; COUNT],
        known: 0,
    };

    /// Those of `CopiedRegisters::call`.
    pub(super) fn of_call(call: &[u64; 8]) -> Self {
        let [rip, rsp, rbp, rbx, r12, r13, r14, r15] = *call;
        let mut registers = Self::of_frame(&[rip, rsp, rbp]);
        for (register, value) in [
            (X86_64::RBX, rbx),
            (X86_64::R12, r12),
            (X86_64::R13, r13),
            (X86_64::R14, r14),
            (X86_64::R15, r15),
        ] {
            registers.set(register, Some(value));
        }
        registers
    }

    /// Those of a frame of which only program counter, stack and frame pointer are known.
    pub(super) fn of_frame(frame: &[u64; 3]) -> Self {
        let [rip, rsp, rbp] = *frame;
        let mut registers = Self::UNKNOWN;
        registers.set(X86_64::RA, Some(rip));
        registers.set(X86_64::RSP, Some(rsp));
        registers.set(X86_64::RBP, Some(rbp));
        registers
    }

    pub(super) fn get(&self, register: Register) -> Option<u64> {
        let value = self.values.get(usize::from(register.0))?;
        (self.known >> register.0 & 1 != 0).then_some(*value)
    }

    /// A register beyond those that are kept is left unknown.
    pub(super) fn set(&mut self, register: Register, value: Option<u64>) {
        if let Some(slot) = self.values.get_mut(usize::from(register.0)) {
            *slot = value.unwrap_or(0);
            let bit = 1 << register.0;
            self.known = if value.is_some() {
                self.known | bit
            } else {
                self.known & !bit
            };
        }
    }

    pub(super) fn pc(&self) -> Option<u64> {
        self.get(X86_64::RA)
    }

    pub(super) fn stack(&self) -> Option<u64> {
        self.get(X86_64::RSP)
    }

    pub(super) fn frame(&self) -> Option<u64> {
        self.get(X86_64::RBP)
    }
}
