//! The few registers of the traced thread that matter, by the names of their roles. This file is
//! all that knows x86-64's calling convention, but for the order of arguments, which aya has.

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_probe_read_kernel},
    programs::ProbeContext,
};
use memprof_common::placement;

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

/// A call at its entry, wherever in the function its probe sits (`memprof_common::placement`).
pub struct Entry<'a> {
    ctx: &'a ProbeContext,
    cookie: u64,
    /// The function: its first instruction's address.
    pub function: u64,
    /// Where on the stack the call's return address is.
    pub return_slot: u64,
}

impl<'a> Entry<'a> {
    #[inline(always)]
    pub fn of(ctx: &'a ProbeContext) -> Self {
        // SAFETY: the helper takes the context that the kernel handed the program.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.regs.cast()) };
        let registers = Registers::of(ctx.regs);
        Self {
            ctx,
            cookie,
            function: registers.instruction - placement::offset(cookie),
            return_slot: registers.stack + placement::pushed_bytes(cookie),
        }
    }

    /// The argument with this number, below `placement::PLACED_ARGUMENTS`.
    #[inline(always)]
    pub fn argument(&self, number: usize) -> u64 {
        match placement::argument(self.cookie, number) {
            None => self.ctx.arg(number).unwrap_or(0),
            Some(offset) => saved(self.ctx.regs, offset),
        }
    }

    /// Whether the function may jump back to its own start.
    #[inline(always)]
    pub fn restarts(&self) -> bool {
        placement::restarts(self.cookie)
    }
}

/// A saved register by its place. By a helper, for the verifier wants to know which one.
#[inline(always)]
fn saved(regs: *const pt_regs, offset: u64) -> u64 {
    let register = regs.cast::<u8>().wrapping_add(offset as usize);
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel(register.cast::<u64>()) }.unwrap_or(0)
}
