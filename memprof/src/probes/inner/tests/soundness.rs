//! Whether what is found is true: functions put together at random, compiled and analysed, then
//! executed here step by step, with results of calls and memory drawn at random. Every run that
//! returns a block must have passed one site that gives, with that block and the size that was
//! asked for; every other run none.

use std::collections::HashMap;

use memprof_common::{allocator::Shape, placement::SizeAt};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{ALL, Noise};
use crate::probes::{
    inner::{InnerSite, Jumps, Task, find},
    placement::Function,
};

/// What an instruction of these functions does.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// `call`: a result, or none; the registers that calls don't preserve are anything then.
    Call,
    MovRbpRax,
    MovRaxRbp,
    MovR12Rax,
    MovRaxR12,
    MovRbxRax,
    MovRaxRbx,
    MovRdiRbx,
    Spill,
    Reload,
    ZeroRax,
    ZeroRbp,
    TestRax,
    TestRbp,
    /// Flags that tell nothing.
    TestAl,
    Nop,
}

/// How a block ends; the numbers are blocks, taken round.
#[derive(Clone, Copy, Debug)]
enum End {
    Return,
    Jump(usize),
    IfZero(usize),
    UnlessZero(usize),
    Dies,
    FallsThrough,
}

type Block = (Vec<Op>, End);

const RAX: usize = 10;
const RBX: usize = 5;
const RBP: usize = 4;
const R12: usize = 3;
const RDI: usize = 14;

fn code_of(op: Op) -> &'static [u8] {
    match op {
        Op::Call => &[0xe8, 0, 0, 0, 0],
        Op::MovRbpRax => &[0x48, 0x89, 0xc5],
        Op::MovRaxRbp => &[0x48, 0x89, 0xe8],
        Op::MovR12Rax => &[0x49, 0x89, 0xc4],
        Op::MovRaxR12 => &[0x4c, 0x89, 0xe0],
        Op::MovRbxRax => &[0x48, 0x89, 0xc3],
        Op::MovRaxRbx => &[0x48, 0x89, 0xd8],
        Op::MovRdiRbx => &[0x48, 0x89, 0xdf],
        Op::Spill => &[0x48, 0x89, 0x44, 0x24, 0x08],
        Op::Reload => &[0x48, 0x8b, 0x44, 0x24, 0x08],
        Op::ZeroRax => &[0x31, 0xc0],
        Op::ZeroRbp => &[0x31, 0xed],
        Op::TestRax => &[0x48, 0x85, 0xc0],
        Op::TestRbp => &[0x48, 0x85, 0xed],
        Op::TestAl => &[0xa8, 0x0f],
        Op::Nop => &[0x90],
    }
}

/// push rbx; push rbp; push r12; sub rsp, 16; mov rbx, rdi
const PROLOGUE: &[u8] = &[
    0x53, 0x55, 0x41, 0x54, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xfb,
];
/// add rsp, 16; pop r12; pop rbp; pop rbx; ret
const EPILOGUE: &[u8] = &[0x48, 0x83, 0xc4, 0x10, 0x41, 0x5c, 0x5d, 0x5b, 0xc3];

/// A function, and where each instruction is in it.
struct Compiled {
    code: Vec<u8>,
    /// Of each block: its operations, then its end.
    offsets: Vec<Vec<usize>>,
}

fn compile(blocks: &[Block]) -> Compiled {
    let mut code = PROLOGUE.to_vec();
    let mut offsets = Vec::new();
    let mut jumps = Vec::new();
    let mut calls = Vec::new();
    let last = blocks.len() - 1;
    for (number, (ops, end)) in blocks.iter().enumerate() {
        let mut places = Vec::new();
        for op in ops {
            places.push(code.len());
            code.extend_from_slice(code_of(*op));
            if matches!(op, Op::Call) {
                calls.push(code.len());
            }
        }
        places.push(code.len());
        let mut jump = |opcode: &[u8], to: usize| {
            code.extend_from_slice(opcode);
            code.extend_from_slice(&[0; 4]);
            jumps.push((code.len(), to % blocks.len()));
        };
        match end {
            End::Return => code.extend_from_slice(EPILOGUE),
            End::Jump(to) => jump(&[0xe9], *to),
            End::IfZero(to) => jump(&[0x0f, 0x84], *to),
            End::UnlessZero(to) => jump(&[0x0f, 0x85], *to),
            End::Dies => code.extend_from_slice(&[0x0f, 0x0b]),
            End::FallsThrough => {}
        }
        if number == last && !matches!(end, End::Return | End::Jump(_) | End::Dies) {
            code.extend_from_slice(EPILOGUE);
        }
        offsets.push(places);
    }
    let callee = code.len();
    let mut patch = |after: usize, target: usize| {
        let distance = target as i32 - after as i32;
        code[after - 4..after].copy_from_slice(&distance.to_le_bytes());
    };
    for after in calls {
        patch(after, callee);
    }
    for (after, block) in jumps {
        patch(after, offsets[block][0]);
    }
    Compiled { code, offsets }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Call),
        1 => Just(Op::MovRbpRax),
        1 => Just(Op::MovRaxRbp),
        1 => Just(Op::MovR12Rax),
        1 => Just(Op::MovRaxR12),
        1 => Just(Op::MovRbxRax),
        1 => Just(Op::MovRaxRbx),
        1 => Just(Op::MovRdiRbx),
        1 => Just(Op::Spill),
        1 => Just(Op::Reload),
        1 => Just(Op::ZeroRax),
        1 => Just(Op::ZeroRbp),
        3 => Just(Op::TestRax),
        1 => Just(Op::TestRbp),
        1 => Just(Op::TestAl),
        3 => Just(Op::Nop),
    ]
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let end = prop_oneof![
        3 => Just(End::Return),
        1 => (0..8_usize).prop_map(End::Jump),
        3 => (0..8_usize).prop_map(End::IfZero),
        3 => (0..8_usize).prop_map(End::UnlessZero),
        1 => Just(End::Dies),
        1 => Just(End::FallsThrough),
    ];
    prop::collection::vec((prop::collection::vec(op(), 0..5), end), 1..8)
}

fn analyse(compiled: &Compiled) -> Result<Vec<InnerSite>, String> {
    let size = compiled.code.len() as u64;
    let mut file = compiled.code.clone();
    file.push(0xc3);
    let library = Noise(file);
    let jumps = Jumps::of(&library)?;
    let function = Function {
        start: 0,
        size,
        shape: Shape::Size,
    };
    find(&library, &jumps, &[], function, ALL)
}

/// Numbers that are as often small as large, 0 among them.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if self.0.is_multiple_of(3) {
            0
        } else {
            self.0 >> 8
        }
    }
}

/// One run of a function, with the probes in it.
struct Run<'a> {
    sites: HashMap<usize, &'a InnerSite>,
    /// By the words of the saved registers.
    registers: [u64; 15],
    spilled: u64,
    zero: bool,
    dice: Dice,
    noted: Option<u64>,
    /// Block and size, as the sites say.
    given: Vec<(u64, Option<u64>)>,
}

impl Run<'_> {
    fn come_to(&mut self, offset: usize) {
        let Some(site) = self.sites.get(&offset) else {
            return;
        };
        let size = match site.place.size {
            SizeAt::Word(word) => Some(self.registers[usize::from(word)]),
            SizeAt::Noted => self.noted.take(),
            SizeAt::Product(..) => None,
        };
        match site.task {
            Task::NoteSize => self.noted = size,
            Task::Give => {
                let block = self.registers[usize::from(site.place.result)];
                if block != 0 {
                    self.given.push((block, size));
                }
            }
        }
    }

    fn execute(&mut self, op: Op) {
        let registers = &mut self.registers;
        match op {
            Op::Call => {
                // rax, rcx, rdx, rsi, rdi, r8 to r11.
                for word in [6, 7, 8, 9, 10, 11, 12, 13, 14] {
                    registers[word] = self.dice.roll();
                }
                self.zero = self.dice.roll() == 0;
            }
            Op::MovRbpRax => registers[RBP] = registers[RAX],
            Op::MovRaxRbp => registers[RAX] = registers[RBP],
            Op::MovR12Rax => registers[R12] = registers[RAX],
            Op::MovRaxR12 => registers[RAX] = registers[R12],
            Op::MovRbxRax => registers[RBX] = registers[RAX],
            Op::MovRaxRbx => registers[RAX] = registers[RBX],
            Op::MovRdiRbx => registers[RDI] = registers[RBX],
            Op::Spill => self.spilled = registers[RAX],
            Op::Reload => registers[RAX] = self.spilled,
            Op::ZeroRax => (registers[RAX], self.zero) = (0, true),
            Op::ZeroRbp => (registers[RBP], self.zero) = (0, true),
            Op::TestRax => self.zero = registers[RAX] == 0,
            Op::TestRbp => self.zero = registers[RBP] == 0,
            Op::TestAl => self.zero = registers[RAX] & 0xf == 0,
            Op::Nop => {}
        }
    }

    /// Runs the function; what it returns, if it does within some steps.
    fn run_to_end(&mut self, blocks: &[Block], offsets: &[Vec<usize>]) -> Option<u64> {
        // The pushes of the prologue, then the copy of the size.
        for offset in 0..3 {
            self.come_to(offset);
        }
        self.registers[RBX] = self.registers[RDI];
        let mut number = 0;
        for _ in 0..100 {
            let (ops, end) = &blocks[number];
            for (op, offset) in ops.iter().zip(&offsets[number]) {
                self.come_to(*offset);
                self.execute(*op);
            }
            if !matches!(end, End::FallsThrough) {
                self.come_to(offsets[number][ops.len()]);
            }
            let next = number + 1;
            number = match *end {
                End::Return => return Some(self.registers[RAX]),
                End::Dies => return None,
                End::Jump(to) => to % blocks.len(),
                End::IfZero(to) if self.zero => to % blocks.len(),
                End::UnlessZero(to) if !self.zero => to % blocks.len(),
                _ if next == blocks.len() => return Some(self.registers[RAX]),
                _ => next,
            };
        }
        None
    }
}

fn check(blocks: &[Block], seed: u64) -> Result<(), TestCaseError> {
    let compiled = compile(blocks);
    let Ok(sites) = analyse(&compiled) else {
        return Ok(());
    };
    for run in 0..64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(run) | 1);
        let mut registers = [0; 15];
        registers.fill_with(|| dice.roll());
        let size = dice.roll();
        registers[RDI] = size;
        let mut run = Run {
            sites: sites
                .iter()
                .map(|site| (usize::from(site.place.offset), site))
                .collect(),
            registers,
            spilled: dice.roll(),
            zero: dice.roll() == 0,
            dice,
            noted: None,
            given: Vec::new(),
        };
        let Some(result) = run.run_to_end(blocks, &compiled.offsets) else {
            continue;
        };
        let expected = if result == 0 {
            Vec::new()
        } else {
            vec![(result, Some(size))]
        };
        prop_assert_eq!(&run.given, &expected, "{:?}", sites);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_site_that_is_found_tells_the_truth(blocks in blocks(), seed in 1..u64::MAX) {
        check(&blocks, seed)?;
    }
}

/// Else the test above would hold for an analysis that finds nothing.
#[test]
fn some_functions_have_sites() {
    let mut runner = TestRunner::deterministic();
    // With one site, with several.
    let mut found = [0; 2];
    for _ in 0..2_000 {
        let blocks = blocks().new_tree(&mut runner).unwrap().current();
        if let Ok(sites) = analyse(&compile(&blocks)) {
            found[usize::from(sites.len() > 1)] += 1;
        }
    }
    assert!(found[0] > 100 && found[1] > 5, "{found:?}");
}
