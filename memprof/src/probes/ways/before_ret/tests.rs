use std::collections::HashMap;

use super::*;
use crate::probes::{
    emulation::Emulated,
    placement::{Code, Function, MAX_INSTRUCTION_BYTES},
    ways::{Exits, LinkedCode, Target},
};
use memprof_common::allocator::Shape;

const START: u64 = 0x4000;
const ALL: Emulated = Emulated {
    push: true,
    nop: true,
    long_nop: true,
    jump: true,
    branch: true,
    call: true,
};

struct Bytes(Vec<u8>);

impl Code for Bytes {
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
        let start = address.checked_sub(START).map(|start| start as usize);
        let rest = start.and_then(|start| self.0.get(start..));
        let rest = rest.unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }
}

impl LinkedCode for Bytes {
    fn behind(&self, _: u64) -> Option<Target> {
        None
    }
}

/// The places of some code, by their offsets: register word, words pushed, saved registers.
fn places(code: &[&[u8]], drops_null: bool) -> HashMap<u64, (bool, InnerPlace)> {
    places_of(code, drops_null, Shape::Size)
}

fn places_of(code: &[&[u8]], drops_null: bool, shape: Shape) -> HashMap<u64, (bool, InnerPlace)> {
    let code = Bytes(code.concat());
    let function = Function {
        start: START,
        size: code.0.len() as u64,
        shape,
    };
    let exits = Exits::of(&code, function, ALL).unwrap();
    let places = exits.places(drops_null).into_iter();
    places
        .map(|exit| (exit.at - START, (exit.emulated, exit.place)))
        .collect()
}

const RET: &[u8] = &[0xc3];
const MOV_RAX_R9: &[u8] = &[0x4c, 0x89, 0xc8];
const TEST_RAX: &[u8] = &[0x48, 0x85, 0xc0];
const CMP_RDI_64: &[u8] = &[0x48, 0x83, 0xff, 0x40];
const PUSH_RBX: &[u8] = &[0x53];
const POP_RBX: &[u8] = &[0x5b];
const SUB_RSP_8: &[u8] = &[0x48, 0x83, 0xec, 0x08];
const ADD_RSP_8: &[u8] = &[0x48, 0x83, 0xc4, 0x08];
const NOP: &[u8] = &[0x90];
const MOV_ECX_1: &[u8] = &[0xb9, 1, 0, 0, 0];
const MOV_R9_RAX: &[u8] = &[0x49, 0x89, 0xc1];

/// A jump of two bytes.
fn short(opcode: u8, distance: u8) -> [u8; 2] {
    [opcode, distance]
}

#[test]
fn a_way_round_that_comes_back_is_seen_where_it_parts() {
    // As tcmalloc's: `jb` over a store, and back, with the block in another register.
    let code: [&[u8]; 8] = [
        CMP_RDI_64,
        &short(0x72, 6),    // 4: to 12
        MOV_RAX_R9,         // 6
        RET,                // 9
        NOP,                // 10
        NOP,                // 11
        MOV_ECX_1,          // 12
        &short(0xeb, 0xf3), // 17: to 6
    ];
    let found = places(&code, true);
    assert_eq!(found.len(), 1, "{found:?}");
    let (emulated, place) = found[&4];
    assert!(emulated);
    assert_eq!(place.result, SAVED_WORDS[Register::R9.number()]);
    assert_eq!(place.pushed_words, 0);
}

#[test]
fn a_way_round_that_changes_the_result_is_not_taken_for_one_that_does_not() {
    let code: [&[u8]; 8] = [
        CMP_RDI_64,
        &short(0x72, 6),
        MOV_RAX_R9,
        RET,
        NOP,
        NOP,
        MOV_R9_RAX,
        &short(0xeb, 0xf5),
    ];
    let found = places(&code, true);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [9]);
    assert!(!found[&9].0, "the `ret` itself");
}

#[test]
fn a_test_for_null_will_do_where_null_is_dropped() {
    // As mimalloc's: pushes, `je` to what comes next, a block in `rax`.
    let code: [&[u8]; 10] = [
        PUSH_RBX,        // 0
        SUB_RSP_8,       // 1
        TEST_RAX,        // 5
        &short(0x74, 6), // 8: to 16
        ADD_RSP_8,       // 10
        POP_RBX,         // 14
        RET,             // 15
        ADD_RSP_8,       // 16
        POP_RBX,         // 20
        RET,             // 21
    ];
    let found = places(&code, true);
    let (emulated, place) = found[&8];
    assert!(emulated);
    assert_eq!(place.result, SAVED_WORDS[0]);
    assert_eq!(place.pushed_words, 2);
    // Of the registers that a call preserves the second one is saved, a word below the return address.
    assert_eq!(place.preserved[1], Some(1));
    assert_eq!(place.preserved[0], None);
    // The way on which it is NULL has its `ret`.
    assert!(!found[&21].0);
    assert_eq!(found.len(), 2);
    // Where NULL is not dropped, a call would be taken for over.
    let found = places(&code, false);
    assert!(found.values().all(|(emulated, _)| !emulated));
}

#[test]
fn a_jump_that_leads_only_to_the_return_will_do() {
    let code: [&[u8]; 6] = [
        PUSH_RBX,
        &short(0xeb, 1), // 1: to 4
        NOP,
        POP_RBX, // 4
        MOV_RAX_R9,
        RET,
    ];
    let found = places(&code, false);
    let (emulated, place) = found[&1];
    assert!(emulated);
    assert_eq!((place.pushed_words, place.preserved[1]), (1, Some(0)));
    assert_eq!(place.result, SAVED_WORDS[Register::R9.number()]);
    // What `posix_memalign` gives may be written behind it.
    let found = places_of(&code, false, Shape::PosixMemalign);
    assert!(found.values().all(|(emulated, _)| !emulated));
}

#[test]
fn what_is_called_or_jumped_back_to_the_start_keeps_the_return() {
    let call: &[u8] = &[0xe8, 0, 0, 0, 0];
    let called: [&[u8]; 3] = [&short(0xeb, 0), call, RET];
    assert!(!places(&called, true)[&7].0);
    let from_start: [&[u8]; 2] = [MOV_RAX_R9, RET];
    assert!(!places(&from_start, true)[&3].0);
}

mod real {
    //! The libraries that are installed.

    use std::fs::File;

    use crate::{
        probes::{
            families::Families,
            file_plan::plan_file,
            plan::{End, Plan},
        },
        target::elf::ElfReader,
    };

    fn plan_of(path: &str) -> Option<Plan> {
        let file = File::open(path).ok()?;
        plan_file(
            &Families::default(),
            &file,
            &ElfReader::new(&file),
            super::ALL,
        )
    }

    /// Emulated places and `ret`s of a function.
    fn exits(plan: &Plan, symbol: &str) -> (usize, usize) {
        let mut sites = plan.sites.iter();
        let site = sites.find(|site| site.symbols.iter().any(|one| one == symbol));
        match &site.expect("it is there").end {
            End::Noted(exits) => {
                let emulated = exits.iter().filter(|exit| exit.emulated).count();
                (emulated, exits.len() - emulated)
            }
            other => panic!("{symbol} ends in {other:?}"),
        }
    }

    #[test]
    fn operators_of_installed_allocators_have_no_return_probe() {
        for library in [
            "libjemalloc.so.2",
            "libtcmalloc_minimal.so.4",
            "libmimalloc.so.2",
        ] {
            let Some(plan) = plan_of(&format!("/usr/lib/x86_64-linux-gnu/{library}")) else {
                continue;
            };
            for symbol in ["_Znwm", "_ZnwmRKSt9nothrow_t"] {
                let (emulated, stepped) = exits(&plan, symbol);
                assert!(emulated + stepped > 0, "{library} {symbol}");
            }
            // As Debian 12 compiles them.
            match library {
                "libtcmalloc_minimal.so.4" | "libmimalloc.so.2" => {
                    assert!(exits(&plan, "_Znwm").0 > 0, "{library}");
                }
                _ => {}
            }
        }
    }
}
