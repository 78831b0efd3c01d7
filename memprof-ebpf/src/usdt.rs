//! A USDT probe that a thread has come to, and its arguments (`memprof_common::usdt`).

use core::ffi::c_void;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, generated::bpf_probe_read_user},
    programs::ProbeContext,
};
use memprof_common::usdt;

use crate::registers::{Registers, saved};

/// A probe that was hit.
pub struct Probe {
    regs: *const pt_regs,
    cookie: u64,
    /// Where the probe is.
    pub instruction: u64,
    /// The stack pointer there.
    pub stack: u64,
}

impl Probe {
    #[inline(always)]
    pub fn of(ctx: &ProbeContext) -> Self {
        // SAFETY: the helper takes the context that the kernel handed the program.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.regs.cast()) };
        let registers = Registers::of(ctx.regs);
        Self {
            regs: ctx.regs,
            cookie,
            instruction: registers.instruction,
            stack: registers.stack,
        }
    }

    /// The argument with this number, below `usdt::ARGUMENTS`; `None` if it can't be read.
    #[inline(always)]
    pub fn argument(&self, number: usize) -> Option<u64> {
        let value = value(self.regs, u64::from(usdt::half(self.cookie, number)));
        (value != UNREADABLE).then_some(value)
    }
}

/// No address of a block, nor a size.
const UNREADABLE: u64 = u64::MAX;

/// An argument by its half of the cookie. A function of its own, or the compiler makes ways through the
/// program that the verifier refuses.
#[inline(never)]
fn value(regs: *const pt_regs, half: u64) -> u64 {
    let half = half as u32;
    let mut word = usdt::number(half);
    if usdt::is_in_register(half) || usdt::is_in_memory(half) {
        word = word.wrapping_add(saved(regs, usdt::register(half)));
    }
    if usdt::is_in_memory(half) {
        // No more bytes than the value has: those behind it may not be there. Volatile, for the verifier
        // wants to see the mask that the compiler knows to be useless.
        let last = (1_u32 << usdt::width(half)) - 1;
        // SAFETY: a plain read of a local.
        let bytes = (unsafe { (&raw const last).read_volatile() } & 7) + 1;
        let mut read = 0_u64;
        // SAFETY: at most the 8 bytes that there are; the helper checks the address.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut read).cast(), bytes, word as *const c_void) };
        if failed != 0 {
            return UNREADABLE;
        }
        word = read;
    }
    usdt::cut(half, word)
}
