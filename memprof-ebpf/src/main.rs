//! The kernel side of memprof: filter, pair a call's entry with its return, walk the stack, emit.
//!
//! Everything else, from matching frees to growth, is the collector's, in code that tests can run
//! without a kernel.
#![no_std]
#![no_main]
#![allow(internal_features)]
#![feature(asm_experimental_arch, core_intrinsics)]

mod copy;
mod emit;
mod faults;
mod filter;
mod kernel;
mod maps;
mod memo;
mod pending;
mod probes;
mod process;
mod registers;
mod resident;
mod rules;
mod sample;
mod scope;
mod stack;
mod syscalls;
mod threads;
mod trail;
mod unwind;
mod usdt;
mod window;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no program gets here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
