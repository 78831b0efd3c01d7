//! What it takes to unwind a copied stack: our own at several depths, with the unwind information
//! of its files read already and not yet, and a hostile one at the limits.

use std::arch::asm;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;

use divan::Bencher;
use memprof::events::event::{CopiedRegisters, StackEnd};
use memprof::identity::{Pid, SpaceId};
use memprof::target::modules::{AddressSpaces, Modules, Region};
use memprof::unwind::copied::{
    Code, CopiedMemory, CopiedStack, CopyUnwinder, MAX_ENTRY_BYTES, MAX_SECTION_BYTES, walk_section,
};

const DEPTHS: &[u32] = &[1, 10, 20, 40];
/// Where the hostile function is, and its stack.
const FUNCTION: u64 = 0x40_0000;
const STACK: u64 = 0x7000_0000;

fn main() {
    divan::main();
}

/// A copy as the kernel side makes it.
struct Copy {
    registers: CopiedRegisters,
    start: u64,
    bytes: Vec<u8>,
    known: [u64; 2],
}

#[inline(never)]
fn copy_here() -> Copy {
    let mut call = [0u64; 8];
    // SAFETY: writes the eight words of `call` and one scratch register.
    unsafe {
        asm!(
            "lea {scratch}, [rip]",
            "mov [{call}], {scratch}",
            "mov [{call} + 8], rsp",
            "mov [{call} + 16], rbp",
            "mov [{call} + 24], rbx",
            "mov [{call} + 32], r12",
            "mov [{call} + 40], r13",
            "mov [{call} + 48], r14",
            "mov [{call} + 56], r15",
            call = in(reg) call.as_mut_ptr(),
            scratch = out(reg) _,
        );
    }
    let start = call[1] / 4096 * 4096;
    let mut bytes = vec![0; 4 * 4096];
    let memory = File::open("/proc/self/mem").expect("it is there");
    let read = memory.read_at(&mut bytes, start).expect("it is readable");
    bytes.truncate(read);
    Copy {
        registers: CopiedRegisters {
            call,
            broken: [call[0], call[1], call[2]],
            reserved: 0,
        },
        start,
        bytes,
        known: [0x1000, call[0]],
    }
}

#[inline(never)]
fn copy_at(depth: u32) -> Copy {
    let copy = match depth {
        0 => copy_here(),
        _ => copy_at(depth - 1),
    };
    black_box(copy)
}

/// The depth that was found, frames of the test's own included.
fn unwind(unwinder: &mut CopyUnwinder, copy: &Copy, mapped: &(Vec<Region>, Modules)) -> usize {
    let stack = CopiedStack {
        known: &copy.known,
        frames: copy.known.len(),
        interrupted: false,
        registers: &copy.registers,
        memory: CopiedMemory {
            start: copy.start,
            bytes: &copy.bytes,
        },
    };
    let code = Code {
        regions: &mapped.0,
        modules: &mapped.1,
    };
    let found = unwinder.unwind(&stack, code).expect("it goes on");
    assert_ne!(found.end, StackEnd::Broken);
    found.frames.len()
}

fn own_code() -> (Vec<Region>, Modules) {
    let mut spaces = AddressSpaces::default();
    spaces
        .observe(SpaceId(1), Pid(std::process::id()))
        .expect("our own mappings");
    let regions = spaces.regions(SpaceId(1)).cloned().collect();
    (regions, spaces.modules().clone())
}

#[divan::bench(args = DEPTHS)]
fn known_files(bencher: Bencher, depth: u32) {
    let (copy, mapped) = (copy_at(depth), own_code());
    let mut unwinder = CopyUnwinder::default();
    bencher.bench_local(|| unwind(&mut unwinder, black_box(&copy), &mapped));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn new_files(bencher: Bencher) {
    let (copy, mapped) = (copy_at(20), own_code());
    bencher.bench_local(|| unwind(&mut CopyUnwinder::default(), black_box(&copy), &mapped));
}

/// The largest section that is read, of nothing but functions.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn hostile_index(bencher: Bencher) {
    let mut section = Vec::with_capacity(MAX_SECTION_BYTES);
    let mut entry = |id: u32, body: &[u8]| {
        section.extend((4 + body.len() as u32).to_le_bytes());
        section.extend(id.to_le_bytes());
        section.extend_from_slice(body);
        section.len()
    };
    let mut end = entry(0, &[1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]);
    let mut address = 0x7000_0000_0000u64;
    while end + 24 <= MAX_SECTION_BYTES {
        // Descending, so that they have to be sorted.
        address -= 16;
        let function = [address.to_le_bytes(), 16u64.to_le_bytes()].concat();
        end = entry(end as u32 + 4, &function);
    }
    bencher.bench_local(|| {
        let memory = CopiedMemory {
            start: STACK,
            bytes: &[],
        };
        walk_section(black_box(&section), false, &[FUNCTION; 8], memory)
    });
}

/// Frames of a function whose unwind information is as long as it may be, as many as a walk may go
/// through.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn hostile_walk(bencher: Bencher) {
    let mut section = Vec::new();
    let mut entry = |id: u32, body: &[u8]| {
        section.extend((4 + body.len() as u32).to_le_bytes());
        section.extend(id.to_le_bytes());
        section.extend_from_slice(body);
    };
    // CFA = rsp + 8, return address at CFA - 8.
    let cie = [1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
    entry(0, &cie);
    let mut function = FUNCTION.to_le_bytes().to_vec();
    function.extend(0x10_0000u64.to_le_bytes());
    // A row for each byte of code.
    function.extend(std::iter::repeat_n(0x41, MAX_ENTRY_BYTES - 1024));
    entry(4 + 4 + cie.len() as u32 + 4, &function);
    let return_address = FUNCTION + MAX_ENTRY_BYTES as u64 - 2048;
    let bytes: Vec<u8> = std::iter::repeat_n(return_address.to_le_bytes(), 512)
        .flatten()
        .collect();
    let call = [return_address, STACK, 0, 0, 0, 0, 0, 0];
    bencher.bench_local(|| {
        let memory = CopiedMemory {
            start: STACK,
            bytes: &bytes,
        };
        let pcs = walk_section(black_box(&section), false, &call, memory);
        assert!(pcs.len() > 10);
        pcs.len()
    });
}
