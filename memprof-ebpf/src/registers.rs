//! The few registers of the traced thread that matter, by the names of their roles. This file is
//! all that knows x86-64's calling convention, but for the order of arguments, which aya has.

use core::arch::asm;

use aya_ebpf::{
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_probe_read_kernel, bpf_probe_read_user},
    programs::ProbeContext,
};
use memprof_common::placement::{self, Preserved};

use crate::{
    kernel::{hijacked_return_address, may_be_trampoline},
    pending::Thread,
    window,
};

/// Size of a return address on the stack, bytes.
pub const RETURN_SLOT: u64 = 8;

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

/// The registers of a function's caller as they are at its return: where a walk begins.
pub trait CallerRegisters {
    /// Those that a walk by tables takes.
    fn registers(&self) -> Registers;

    /// Instruction, stack and frame pointer, then what else a call leaves as it was.
    fn preserved(&self) -> [u64; 8];
}

/// At a return they are what the thread's are.
impl CallerRegisters for *const pt_regs {
    #[inline(always)]
    fn registers(&self) -> Registers {
        Registers::of(*self)
    }

    #[inline(always)]
    fn preserved(&self) -> [u64; 8] {
        // SAFETY: the kernel hands every probe program its thread's registers.
        let regs = unsafe { &**self };
        [
            regs.rip, regs.rsp, regs.rbp, regs.rbx, regs.r12, regs.r13, regs.r14, regs.r15,
        ]
    }
}

/// A thread in a system call: its registers as the kernel saved them, at an address of the kernel's.
#[derive(Clone, Copy)]
pub struct InSystemCall {
    /// Where they are.
    pub regs: u64,
}

/// Code segment of 64-bit programs. What comes from another has other numbers of system calls.
pub const USER_CODE_64: u64 = 0x33;

/// Reads one of the saved registers by its name.
macro_rules! saved_register {
    ($self:expr, $name:ident) => {
        kernel_word($self.regs + core::mem::offset_of!(pt_regs, $name) as u64)
    };
}

impl InSystemCall {
    /// Of the registers that a tracepoint of system calls names.
    #[inline(always)]
    pub fn of(regs: u64) -> Self {
        Self { regs }
    }

    /// The number of the system call; none of ours for a program that is not of 64 bits.
    #[inline(always)]
    pub fn number(&self) -> u64 {
        saved_register!(self, orig_rax)
    }

    /// Whether it was made by 64-bit code.
    #[inline(always)]
    pub fn is_64_bit(&self) -> bool {
        saved_register!(self, cs) & 0xffff == USER_CODE_64
    }

    /// The first five arguments.
    #[inline(always)]
    pub fn arguments(&self) -> [u64; 5] {
        [
            saved_register!(self, rdi),
            saved_register!(self, rsi),
            saved_register!(self, rdx),
            saved_register!(self, r10),
            saved_register!(self, r8),
        ]
    }
}

/// A walk begins behind the instruction that made the system call.
impl CallerRegisters for InSystemCall {
    #[inline(always)]
    fn registers(&self) -> Registers {
        Registers {
            instruction: saved_register!(self, rip),
            stack: saved_register!(self, rsp),
            frame: saved_register!(self, rbp),
        }
    }

    #[inline(always)]
    fn preserved(&self) -> [u64; 8] {
        [
            saved_register!(self, rip),
            saved_register!(self, rsp),
            saved_register!(self, rbp),
            saved_register!(self, rbx),
            saved_register!(self, r12),
            saved_register!(self, r13),
            saved_register!(self, r14),
            saved_register!(self, r15),
        ]
    }
}

#[inline(always)]
fn kernel_word(address: u64) -> u64 {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.unwrap_or(0)
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

    /// Whether the call's return is seen by probes on `ret` instructions.
    #[inline(always)]
    pub fn by_ret(&self) -> bool {
        placement::by_ret(self.cookie)
    }

    /// Whether the function may jump back to its own start.
    #[inline(always)]
    pub fn restarts(&self) -> bool {
        placement::restarts(self.cookie)
    }
}

/// A saved register by its place.
///
/// The verifier wants to know which one, so each has a load of its own, in assembly: the compiler
/// would make one of them all, from an address that the verifier refuses.
#[inline(always)]
pub fn saved(regs: *const pt_regs, offset: u64) -> u64 {
    macro_rules! load {
        ($($at:literal)*) => {
            match offset {
                $($at => {
                    let value: u64;
                    // SAFETY: a word of the registers that the kernel hands every probe program.
                    unsafe {
                        asm!(
                            concat!("{value} = *(u64 *)({regs} + ", $at, ")"),
                            regs = in(reg) regs,
                            value = out(reg) value,
                            options(pure, readonly, nostack, preserves_flags),
                        )
                    };
                    value
                })*
                _ => 0,
            }
        };
    }
    load!(0 8 16 24 32 40 48 56 64 72 80 88 96 104 112 152)
}

/// A call at a moment between its entry and its return (`memprof_common::placement::InnerPlace`).
pub struct Inner<'a> {
    ctx: &'a ProbeContext,
    cookie: u64,
    stack: u64,
    /// The function: its first instruction's address.
    pub function: u64,
    /// Where on the stack the call's return address is.
    pub return_slot: u64,
    return_address: u64,
    frame: u64,
}

impl<'a> Inner<'a> {
    #[inline(always)]
    pub fn of(ctx: &'a ProbeContext) -> Self {
        // SAFETY: the helper takes the context that the kernel handed the program.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.regs.cast()) };
        let registers = Registers::of(ctx.regs);
        Self {
            ctx,
            cookie,
            stack: registers.stack,
            function: registers.instruction - placement::inner_offset(cookie),
            return_slot: registers.stack + placement::inner_pushed_bytes(cookie),
            return_address: 0,
            frame: 0,
        }
    }

    /// The block that the function is going to give; 0 for none.
    #[inline(always)]
    pub fn result(&self) -> u64 {
        saved(self.ctx.regs, placement::inner_result(self.cookie))
    }

    /// Its size; `None` where that was noted before.
    #[inline(always)]
    pub fn size(&self) -> Option<u64> {
        let size = saved(self.ctx.regs, placement::inner_size(self.cookie)?);
        Some(match placement::inner_factor(self.cookie) {
            None => size,
            Some(factor) => size.wrapping_mul(saved(self.ctx.regs, factor)),
        })
    }

    /// Reads where the call returns to, and with which frame pointer; whether that could be read.
    /// By the window, from the stack pointer on: the walk goes on in it.
    #[inline(always)]
    pub fn find_caller(&mut self, thread: *mut Thread) -> bool {
        window::clear(thread);
        let _ = window::read(thread, self.stack);
        let Some(mut address) = window::read(thread, self.return_slot) else {
            return false;
        };
        self.frame = match placement::inner_preserved(self.cookie, Preserved::Rbp) {
            None => Registers::of(self.ctx.regs).frame,
            Some(offset) => window::read(thread, self.stack + offset).unwrap_or(0),
        };
        if may_be_trampoline(address) {
            let original = hijacked_return_address(self.return_slot);
            if original != 0 {
                address = original;
            }
        }
        self.return_address = address;
        true
    }

    /// The caller's value of a register.
    #[inline(always)]
    fn callers(&self, register: Preserved, now: u64) -> u64 {
        match placement::inner_preserved(self.cookie, register) {
            None => now,
            Some(offset) => user_word(self.stack + offset).unwrap_or(0),
        }
    }
}

impl CallerRegisters for Inner<'_> {
    #[inline(always)]
    fn registers(&self) -> Registers {
        Registers {
            instruction: self.return_address,
            stack: self.return_slot + RETURN_SLOT,
            frame: self.frame,
        }
    }

    #[inline(always)]
    fn preserved(&self) -> [u64; 8] {
        // SAFETY: the kernel hands every probe program its thread's registers.
        let regs = unsafe { &*self.ctx.regs };
        [
            self.return_address,
            self.return_slot + RETURN_SLOT,
            self.frame,
            self.callers(Preserved::Rbx, regs.rbx),
            self.callers(Preserved::R12, regs.r12),
            self.callers(Preserved::R13, regs.r13),
            self.callers(Preserved::R14, regs.r14),
            self.callers(Preserved::R15, regs.r15),
        ]
    }
}

#[inline(always)]
fn user_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}
