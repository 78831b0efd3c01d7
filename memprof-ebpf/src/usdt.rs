//! A USDT probe that a thread has come to, and its arguments (`memprof_common::usdt`).

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_probe_read_user},
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
        let half = usdt::half(self.cookie, number);
        let word = if usdt::is_in_register(half) {
            saved(self.regs, usdt::register(half))
        } else if usdt::is_in_memory(half) {
            let base = saved(self.regs, usdt::register(half));
            user_value(base.wrapping_add(usdt::number(half)), usdt::width(half))?
        } else {
            usdt::number(half)
        };
        Some(usdt::cut(half, word))
    }
}

/// As many bytes as the value has: those behind it may not be there.
#[inline(always)]
fn user_value(address: u64, width: u32) -> Option<u64> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe {
        match width {
            0 => bpf_probe_read_user(address as *const u8).map(u64::from),
            1 => bpf_probe_read_user(address as *const u16).map(u64::from),
            2 => bpf_probe_read_user(address as *const u32).map(u64::from),
            _ => bpf_probe_read_user(address as *const u64),
        }
    }
    .ok()
}
