//! Every rule by a section that is written for it, our own stack against the C runtime's walk of
//! it, and hostile sections.

use std::arch::asm;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use gimli::X86_64;
use proptest::prelude::*;

use super::*;
use crate::identity::{Pid, SpaceId};
use crate::target::modules::{AddressSpaces, Region};

/// Where the function of the tests is, and a caller of it.
const FUNCTION: u64 = 0x40_0000;
const CALLER: u64 = 0x41_0000;
/// Where the stack of the tests starts.
const STACK: u64 = 0x7000_0000;

const DEF_CFA: u8 = 0x0c;
const DEF_CFA_EXPRESSION: u8 = 0x0f;
const EXPRESSION: u8 = 0x10;
const VAL_EXPRESSION: u8 = 0x16;
const REGISTER: u8 = 0x09;
const UNDEFINED: u8 = 0x07;
const NONSENSE: u8 = 0x3c;
const RBX: u8 = 3;
const RBP: u8 = 6;
const RSP: u8 = 7;
const R13: u8 = 13;
const RA: u8 = 16;
/// CFA = rsp + 8, return address at CFA - 8.
const START: [u8; 5] = [DEF_CFA, RSP, 8, 0x90, 1];

/// Writes a section: absolute addresses of 8 bytes, code alignment 1, data alignment -8.
struct Writer {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            bytes: Vec::new(),
        }
    }

    fn entry(&mut self, id: u32, body: &[&[u8]]) {
        let length = 4 + body.iter().map(|part| part.len()).sum::<usize>();
        self.bytes.extend((length as u32).to_le_bytes());
        self.bytes.extend(id.to_le_bytes());
        for part in body {
            self.bytes.extend_from_slice(part);
        }
    }

    fn cie(&mut self, augmentation: &[u8], instructions: &[u8]) -> usize {
        let offset = self.bytes.len();
        let (id, version) = match self.kind {
            Kind::EhFrame => (0, 1),
            Kind::DebugFrame => (u32::MAX, 3),
        };
        let head: &[u8] = &[0, 1, 0x78, 16];
        let data: &[u8] = match augmentation {
            b"zS" => &[0],
            _ => &[],
        };
        self.entry(id, &[&[version], augmentation, head, data, instructions]);
        offset
    }

    fn function(&mut self, cie: usize, address: u64, instructions: &[u8]) {
        let id = match self.kind {
            Kind::EhFrame => self.bytes.len() + 4 - cie,
            Kind::DebugFrame => cie,
        };
        let length = 0x100u64.to_le_bytes();
        let data: &[u8] = match self.bytes.get(cie + 9) {
            Some(b'z') => &[0],
            _ => &[],
        };
        self.entry(
            id as u32,
            &[&address.to_le_bytes(), &length, data, instructions],
        );
    }

    fn section(&self) -> Section {
        let bases = BaseAddresses::default().set_eh_frame(0x1000_0000);
        Section::new(self.kind, &self.bytes, bases, true).expect("the section has functions")
    }
}

/// A section whose one function has these instructions.
fn one_function(instructions: &[u8]) -> Section {
    let mut writer = Writer::new(Kind::EhFrame);
    let cie = writer.cie(b"", &START);
    writer.function(cie, FUNCTION, instructions);
    writer.section()
}

/// The stack's words from [`STACK`] up.
fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Registers of a frame in the function: each preserved one has a value of its own.
fn registers() -> Registers {
    Registers::of_call(&[FUNCTION + 8, STACK, 0xbb, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0])
}

fn step(section: &Section, registers: &Registers, words: &[u64]) -> Option<Step> {
    let bytes = bytes(words);
    let frame = Frame {
        address: registers.pc().unwrap() - 1,
        registers,
        memory: CopiedMemory {
            start: STACK,
            bytes: &bytes,
        },
    };
    let mut evaluator = Evaluator::default();
    evaluator.begin(MAX_WALK_WORK);
    section.find_caller(frame, &mut evaluator)
}

/// The registers of the caller of the one function's frame.
fn caller(instructions: &[u8], words: &[u64]) -> Registers {
    match step(&one_function(instructions), &registers(), words) {
        Some(Step::Caller { registers, .. }) => registers,
        other => panic!("{other:?}"),
    }
}

fn is_lost(instructions: &[u8], words: &[u64]) -> bool {
    step(&one_function(instructions), &registers(), words) == Some(Step::Lost)
}

#[test]
fn what_a_call_preserves_is_the_callers_unless_it_was_saved() {
    // rbx at CFA - 16, the CFA 24 above rsp.
    let found = caller(&[DEF_CFA, RSP, 24, 0x80 | RBX, 2], &[1, 0x77, CALLER]);
    assert_eq!(found.pc(), Some(CALLER));
    assert_eq!(found.stack(), Some(STACK + 24));
    assert_eq!(found.get(X86_64::RBX), Some(0x77));
    assert_eq!(found.frame(), Some(0xbb));
    assert_eq!(found.get(X86_64::R15), Some(0xf0));
    assert_eq!(found.get(X86_64::RAX), None, "a call does not preserve it");
}

#[test]
fn the_cfa_may_be_in_any_register_that_is_known() {
    let mut registers = registers();
    registers.set(X86_64::RBX, Some(STACK + 16));
    let section = one_function(&[DEF_CFA, RBX, 16]);
    let Some(Step::Caller { registers, .. }) = step(&section, &registers, &[0, 0, 0, CALLER])
    else {
        panic!("a caller");
    };
    assert_eq!(
        (registers.pc(), registers.stack()),
        (Some(CALLER), Some(STACK + 32))
    );
    // rax is not.
    assert!(is_lost(&[DEF_CFA, 0, 16], &[0, 0, 0, CALLER]));
}

#[test]
fn expressions_read_the_copy_and_calculate() {
    // *(rsp + 8) + (8 + 8)
    let cfa = [DEF_CFA_EXPRESSION, 7, 0x77, 8, 0x06, 0x38, 0x38, 0x22, 0x22];
    let words = [0, STACK + 8, CALLER, 0];
    assert_eq!(caller(&cfa, &words).stack(), Some(STACK + 24));
    // What is not in the copy is not read.
    assert!(is_lost(&cfa, &[0]));
    assert!(is_lost(&cfa, &[0, STACK - 100, CALLER, 0]));
}

#[test]
fn expressions_of_registers_begin_with_the_cfa() {
    // rbx is at *(CFA - 16): lit16; minus.
    let at = [EXPRESSION, RBX, 2, 0x40, 0x1c];
    let found = caller(
        &[&[DEF_CFA, RSP, 24], &at[..]].concat(),
        &[1, 0x77, CALLER, 3],
    );
    assert_eq!(found.get(X86_64::RBX), Some(0x77));
    // rbp is CFA + 1: lit1; plus.
    let value = [VAL_EXPRESSION, RBP, 2, 0x31, 0x22];
    let found = caller(
        &[&[DEF_CFA, RSP, 24], &value[..]].concat(),
        &[1, 2, CALLER, 3],
    );
    assert_eq!(found.frame(), Some(STACK + 25));
}

#[test]
fn registers_may_be_in_other_registers() {
    let found = caller(&[REGISTER, RA, R13], &[CALLER]);
    assert_eq!(found.pc(), Some(0xd0));
    let found = caller(&[REGISTER, RBP, R13], &[CALLER]);
    assert_eq!((found.pc(), found.frame()), (Some(CALLER), Some(0xd0)));
    assert!(is_lost(&[REGISTER, RA, 0], &[CALLER]));
}

#[test]
fn a_return_address_that_is_undefined_is_the_end_and_one_without_a_rule_is_none() {
    let section = one_function(&[UNDEFINED, RA]);
    assert_eq!(
        step(&section, &registers(), &[CALLER]),
        Some(Step::Outermost)
    );
    let mut writer = Writer::new(Kind::EhFrame);
    let cie = writer.cie(b"", &[DEF_CFA, RSP, 8]);
    writer.function(cie, FUNCTION, &[]);
    let found = step(&writer.section(), &registers(), &[CALLER]);
    assert_eq!(found, Some(Step::Lost));
}

#[test]
fn a_signal_trampoline_tells_that_its_caller_was_interrupted() {
    let mut writer = Writer::new(Kind::EhFrame);
    let cie = writer.cie(b"zS", &START);
    writer.function(cie, FUNCTION, &[]);
    let found = step(&writer.section(), &registers(), &[CALLER]);
    assert!(matches!(
        found,
        Some(Step::Caller {
            interrupted: true,
            ..
        })
    ));
}

#[test]
fn both_kinds_of_section_find_the_function_of_an_address_and_no_other() {
    for kind in [Kind::EhFrame, Kind::DebugFrame] {
        let mut writer = Writer::new(kind);
        let cie = writer.cie(b"", &START);
        writer.function(cie, FUNCTION + 0x1000, &[]);
        writer.function(cie, FUNCTION, &[DEF_CFA, RSP, 16]);
        writer.function(cie, FUNCTION, &[NONSENSE]);
        // Left over by the linker.
        writer.function(cie, 0, &[]);
        let section = writer.section();
        let at = |address: u64| {
            let mut registers = registers();
            registers.set(X86_64::RA, Some(address + 1));
            match step(&section, &registers, &[1, CALLER]) {
                Some(Step::Caller { registers, .. }) => registers.stack(),
                Some(other) => panic!("{kind:?} {other:?}"),
                None => None,
            }
        };
        assert_eq!(at(FUNCTION), Some(STACK + 16));
        assert_eq!(at(FUNCTION + 0xff), Some(STACK + 16));
        assert_eq!(at(FUNCTION + 0x1000), Some(STACK + 8));
        for outside in [FUNCTION - 1, FUNCTION + 0x100, FUNCTION + 0x1100, 0x10] {
            assert_eq!(at(outside), None, "{outside:#x}");
        }
    }
}

#[test]
fn a_broken_function_is_lost_and_the_next_one_is_not() {
    let mut writer = Writer::new(Kind::EhFrame);
    let cie = writer.cie(b"", &START);
    let nonsense = writer.cie(b"", &[NONSENSE]);
    writer.function(nonsense, FUNCTION, &[]);
    writer.function(writer.bytes.len() + 4, FUNCTION + 0x500, &[]);
    writer.function(cie, FUNCTION + 0x1000, &[]);
    let section = writer.section();
    assert_eq!(step(&section, &registers(), &[CALLER]), Some(Step::Lost));
    let mut registers = registers();
    registers.set(X86_64::RA, Some(FUNCTION + 0x1008));
    let next = step(&section, &registers, &[CALLER]);
    assert!(matches!(next, Some(Step::Caller { .. })));
}

#[test]
fn what_would_take_long_is_lost_at_once() {
    let begin = Instant::now();
    // An expression that jumps to itself.
    let endless = [DEF_CFA_EXPRESSION, 3, 0x2f, 0xfd, 0xff];
    assert!(is_lost(&endless, &[CALLER]));
    // A function of nothing but advances.
    assert!(is_lost(&vec![0x40; MAX_ENTRY_BYTES], &[CALLER]));
    // A walk that never gets anywhere, but through a kilobyte each time.
    let mut writer = Writer::new(Kind::EhFrame);
    let cie = writer.cie(b"", &START);
    writer.function(cie, FUNCTION, &vec![0; 60_000]);
    let stack: Vec<u64> = vec![FUNCTION + 8; 512];
    let bytes = bytes(&stack);
    let memory = CopiedMemory {
        start: STACK,
        bytes: &bytes,
    };
    let call = [FUNCTION + 8, STACK, 0, 0, 0, 0, 0, 0];
    let pcs = walk_section(&writer.bytes, false, &call, memory);
    assert_eq!(pcs.len(), MAX_WALK_WORK / 60_000);
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn the_copy_holds_what_is_in_it_and_nothing_else() {
    let memory = CopiedMemory {
        start: u64::MAX - 15,
        bytes: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    };
    assert_eq!(memory.word(u64::MAX - 15), Some(0x0807_0605_0403_0201));
    assert_eq!(memory.number(u64::MAX - 7, 2), Some(0x0a09));
    assert_eq!(memory.number(u64::MAX - 7, 3), None);
    assert_eq!(memory.number(0, 1), None);
    assert_eq!(memory.number(u64::MAX - 15, 9), None);
}

/// What the kernel side would send of the calling function, and the C runtime's walk from there.
struct OwnStack {
    registers: CopiedRegisters,
    start: u64,
    bytes: Vec<u8>,
    backtrace: Vec<u64>,
}

#[inline(never)]
fn own_stack() -> OwnStack {
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
    let memory = File::open("/proc/self/mem").unwrap();
    let read = memory.read_at(&mut bytes, start).unwrap();
    bytes.truncate(read);
    let mut frames = [std::ptr::null_mut(); 128];
    // SAFETY: the array has room for as many.
    let count = unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as i32) };
    let backtrace = frames[..count as usize].iter().map(|pc| *pc as u64);
    OwnStack {
        registers: CopiedRegisters {
            call,
            broken: [call[0], call[1], call[2]],
            reserved: 0,
        },
        start,
        bytes,
        backtrace: backtrace.collect(),
    }
}

#[inline(never)]
fn at_depth(depth: u32) -> OwnStack {
    let own = match depth {
        0 => own_stack(),
        _ => at_depth(depth - 1),
    };
    std::hint::black_box(own)
}

fn unwind_own(own: &OwnStack, known: &[u64]) -> Option<Continued> {
    let mut spaces = AddressSpaces::default();
    spaces.observe(SpaceId(1), Pid(std::process::id())).unwrap();
    let stack = CopiedStack {
        known,
        frames: known.len(),
        interrupted: false,
        registers: &own.registers,
        memory: CopiedMemory {
            start: own.start,
            bytes: &own.bytes,
        },
    };
    let regions: Vec<Region> = spaces.regions(SpaceId(1)).copied().collect();
    let code = Code {
        regions: &regions,
        modules: spaces.modules(),
    };
    CopyUnwinder::default().unwind(&stack, code)
}

#[test]
fn our_own_stack_is_walked_as_the_c_runtime_walks_it() {
    for depth in [0, 1, 20] {
        let own = at_depth(depth);
        let here = own.registers.call[0];
        // From the call, with all registers; and from a frame further in, with three.
        for known in [vec![0x1000, here], vec![0x1000, 0x2000, here]] {
            let continued = unwind_own(&own, &known).unwrap();
            let pcs: Vec<u64> = continued.frames.iter().map(|frame| frame.pc).collect();
            // The frame itself: there after the call of `backtrace`, here before it.
            assert_eq!(pcs[known.len()..], own.backtrace[1..]);
            assert_eq!(pcs[..known.len()], known);
            assert_eq!(continued.end, StackEnd::Complete);
            let last = &continued.frames[known.len()..];
            assert!(last.iter().all(|frame| frame.in_file().is_some()));
        }
    }
}

#[test]
fn a_copy_that_ends_early_gives_the_frames_that_it_holds() {
    let mut own = at_depth(20);
    let within = (own.registers.call[1] - own.start) as usize;
    own.bytes.truncate(within + 4096);
    let known = [0x1000, own.registers.call[0]];
    let continued = unwind_own(&own, &known).unwrap();
    assert_eq!(continued.end, StackEnd::Broken);
    let pcs: Vec<u64> = continued.frames.iter().map(|frame| frame.pc).collect();
    assert!(own.backtrace[1..].starts_with(&pcs[2..]) && pcs.len() > 2);
    own.bytes.clear();
    assert_eq!(unwind_own(&own, &known), None);
}

#[test]
fn a_copy_of_another_stack_than_the_known_one_is_not_used() {
    let own = at_depth(1);
    let here = own.registers.call[0];
    for known in [vec![], vec![0x1000], vec![0x1000, here + 1]] {
        assert_eq!(unwind_own(&own, &known), None, "{known:?}");
    }
}

#[test]
fn a_hijacked_return_address_is_taken_from_the_known_stack() {
    let mut own = at_depth(3);
    let known: Vec<u64> = [&[0x1000, own.registers.call[0]], &own.backtrace[1..3]].concat();
    // The kernel's trampoline in the slot that the walk found the first of them in.
    let original = own.backtrace[1];
    let words = own.bytes.as_chunks_mut::<8>().0.iter_mut();
    for word in words.filter(|word| u64::from_le_bytes(**word) == original) {
        *word = 0x7fff_ffff_e000u64.to_le_bytes();
    }
    let continued = unwind_own(&own, &known).unwrap();
    let pcs: Vec<u64> = continued.frames.iter().map(|frame| frame.pc).collect();
    assert_eq!(pcs[2..], own.backtrace[1..]);
    // Where it is not known, the walk ends.
    assert_eq!(unwind_own(&own, &known[..2]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Nothing that a section or a stack says makes a walk panic or take long.
    #[test]
    fn hostile_sections_and_stacks_are_survived(
        start in proptest::collection::vec(any::<u8>(), 0..40),
        instructions in proptest::collection::vec(any::<u8>(), 0..80),
        call in any::<[u64; 8]>(),
        words in proptest::collection::vec(prop_oneof![
            any::<u64>(),
            (0u64..0x100).prop_map(|at| FUNCTION + at),
            (0u64..0x200).prop_map(|at| STACK + at),
        ], 0..64),
        debug in any::<bool>(),
        cut in 0usize..400,
        flip in (0usize..200, any::<u8>()),
    ) {
        let kind = if debug { Kind::DebugFrame } else { Kind::EhFrame };
        let mut writer = Writer::new(kind);
        let cie = writer.cie(b"", &[&START[..], &start].concat());
        writer.function(cie, FUNCTION, &instructions);
        writer.function(cie, FUNCTION + 0x80, &[]);
        let mut section = writer.bytes;
        if let Some(byte) = section.get_mut(flip.0) {
            *byte ^= flip.1;
        }
        section.truncate(cut.max(30));
        let bytes = bytes(&words);
        let memory = CopiedMemory { start: STACK, bytes: &bytes };
        for call in [call, [FUNCTION + 8, STACK, STACK + 64, call[3], STACK, 0, 0, 0]] {
            let begin = Instant::now();
            let pcs = walk_section(&section, debug, &call, memory);
            prop_assert!(pcs.len() <= MAX_FRAMES);
            prop_assert!(begin.elapsed() < Duration::from_secs(1));
        }
    }
}
