//! The few registers of the traced thread that matter, by the names of their roles. This file is
//! all that knows x86-64's calling convention, but for the order of arguments, which aya has.

use aya_ebpf::bindings::pt_regs;

/// Size of a return address on the stack, bytes.
pub const RETURN_SLOT: u64 = 8;

/// Instruction, stack and frame pointer, then what else a call leaves as it was.
#[inline(always)]
pub fn preserved(regs: *const pt_regs) -> [u64; 8] {
    // SAFETY: the kernel hands every probe program its thread's registers.
    let regs = unsafe { &*regs };
    [
        regs.rip, regs.rsp, regs.rbp, regs.rbx, regs.r12, regs.r13, regs.r14, regs.r15,
    ]
}

#[derive(Clone, Copy)]
pub struct Registers {
    pub instruction: u64,
    pub stack: u64,
    pub frame: u64,
}

impl Registers {
    #[inline(always)]
    pub fn of(regs: *const pt_regs) -> Self {
        // SAFETY: the kernel hands every probe program its thread's registers.
        let regs = unsafe { &*regs };
        Self {
            instruction: regs.rip,
            stack: regs.rsp,
            frame: regs.rbp,
        }
    }
}
