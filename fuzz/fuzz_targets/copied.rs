//! Any bytes as `.eh_frame` or `.debug_frame`, and any as a stack: the walk ends, soon, and without
//! a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memprof::unwind::copied::{CopiedMemory, walk_section};
use memprof_common::event::MAX_FRAMES;

/// Where the code of the section is, and the stack.
const CODE: u64 = 0x40_0000;
const STACK: u64 = 0x7000_0000;

fuzz_target!(|data: &[u8]| {
    // Options, where the stack begins in the rest, registers, then section and stack.
    let Some((&[options, split, ref registers @ ..], rest)) = data.split_first_chunk::<10>() else {
        return;
    };
    let (section, stack) = rest.split_at(rest.len() * usize::from(split) / 256);
    let mut call = [CODE + 8, STACK, STACK + 64, CODE, STACK, 0, 8, u64::MAX];
    for (register, &byte) in call.iter_mut().zip(registers) {
        *register = register.wrapping_add(u64::from(byte));
    }
    let memory = CopiedMemory {
        start: STACK,
        bytes: stack,
    };
    let pcs = walk_section(section, options & 1 != 0, &call, memory);
    assert!(pcs.len() <= MAX_FRAMES);
});
