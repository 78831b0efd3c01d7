//! Functions with one thing about them each (`tests/functions.s`), and the C library that runs
//! these tests.

mod soundness;

use std::{fs::File, path::Path, process::Command, sync::OnceLock};

use memprof_common::{
    allocator::Shape,
    placement::{PRESERVED_REGISTERS, SizeAt},
};

use proptest::prelude::*;

use super::*;
use crate::{
    identity::Pid,
    probes::library::ElfLibrary,
    target::{
        elf::ElfReader,
        mappings::{Mappings, open_mapped_file},
    },
};

/// Linux 6.18 emulates all kinds.
pub(in crate::probes) const ALL: Emulated = Emulated {
    push: true,
    nop: true,
    long_nop: true,
    jump: true,
    branch: true,
    call: true,
};

/// Words of the saved registers.
const R12: u8 = 3;
const RBX: u8 = 5;
const RAX: u8 = 10;
const RDX: u8 = 12;
const RSI: u8 = 13;

/// The library of the functions, compiled once.
fn functions() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("functions.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let status = Command::new("gcc")
            .args(["-shared", "-nostdlib", "-Wl,-Bsymbolic", "-o"])
            .arg(&library)
            .arg(source.join("src/probes/inner/tests/functions.s"))
            .status()
            .unwrap();
        assert!(status.success());
        File::open(library).unwrap()
    })
}

fn find_in(file: &File, name: &str, shape: Shape) -> Result<Vec<InnerSite>, String> {
    let reader = ElfReader::new(file);
    let library = ElfLibrary::new(file, &reader).unwrap();
    let address = |name: &str| {
        let symbols = reader.symbols(&[name]).unwrap();
        let symbol = symbols.into_iter().find(|symbol| symbol.global);
        symbol.map(|symbol| (symbol.address, symbol.size))
    };
    let (start, size) = address(name).unwrap_or_else(|| panic!("no function {name}"));
    let siblings = if name == "calls_sibling" {
        vec![address("simple").unwrap().0]
    } else {
        Vec::new()
    };
    let function = Function { start, size, shape };
    let jumps = Jumps::of(&library).unwrap();
    find(&library, &jumps, &siblings, function, ALL)
}

fn sites_of(name: &str) -> Vec<InnerSite> {
    find_in(functions(), name, Shape::Size).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Offset, result and size of the sites that give.
fn gives(sites: &[InnerSite]) -> Vec<(u16, u8, SizeAt)> {
    let give = sites.iter().filter(|site| site.task == Task::Give);
    give.map(|site| (site.place.offset, site.place.result, site.place.size))
        .collect()
}

#[track_caller]
fn refused(name: &str, why: &str) {
    let reason = find_in(functions(), name, Shape::Size).unwrap_err();
    assert!(reason.contains(why), "{name}: {reason}");
}

#[test]
fn a_block_is_seen_where_it_is_known_with_its_size() {
    let sites = sites_of("simple");
    assert_eq!(gives(&sites), [(0xc, RAX, SizeAt::Word(RBX))]);
    let [site] = &sites[..] else {
        panic!("{sites:?}")
    };
    // rbx of the caller's is the last that was pushed; the others are as they were.
    let mut preserved = [None; PRESERVED_REGISTERS];
    preserved[1] = Some(0);
    assert_eq!(site.place.preserved, preserved);
    assert_eq!(site.place.pushed_words, 1);
    assert_eq!(describe(&sites), "`je` at +0xc");
}

#[test]
fn every_way_to_a_block_has_a_site_of_its_own() {
    let sites = sites_of("two");
    assert_eq!(
        gives(&sites),
        [
            (0x16, RAX, SizeAt::Word(RBX)),
            (0x1c, RAX, SizeAt::Word(RBX)),
        ]
    );
}

#[test]
fn a_size_that_is_lost_is_noted_before() {
    let sites = sites_of("lost");
    assert_eq!(gives(&sites), [(0x16, RAX, SizeAt::Noted)]);
    let note = sites.iter().find(|site| site.task == Task::NoteSize);
    let note = note.unwrap();
    assert_eq!(
        (note.place.offset, note.place.size),
        (0xe, SizeAt::Word(RSI))
    );
    assert!(describe(&sites).ends_with("`call` at +0xe, for the size"));
}

#[test]
fn a_call_that_is_tried_again_is_seen_once() {
    let sites = sites_of("loop");
    assert_eq!(gives(&sites), [(0x17, RAX, SizeAt::Word(RBX))]);
}

#[test]
fn an_instruction_that_is_passed_again_and_again_is_no_site() {
    refused("inloop", "passed once by every way");
}

#[test]
fn a_value_of_an_earlier_round_is_not_taken_for_the_latest() {
    let sites = sites_of("previous");
    assert_eq!(gives(&sites), [(0x19, R12, SizeAt::Word(RBX))]);
}

#[test]
fn a_block_is_followed_through_the_frame() {
    let sites = sites_of("spilled");
    assert_eq!(gives(&sites), [(0x1f, RAX, SizeAt::Word(RBX))]);
    let [site] = &sites[..] else {
        panic!("{sites:?}")
    };
    assert_eq!(site.place.pushed_words, 3);
    assert_eq!(site.place.preserved[1], Some(2));
}

#[test]
fn a_product_is_known_where_it_was_computed() {
    let sites = find_in(functions(), "product", Shape::Product).unwrap();
    assert_eq!(gives(&sites), [(0x22, RAX, SizeAt::Word(RDX))]);
}

#[test]
fn a_message_that_aborts_is_no_way_to_a_block() {
    let sites = sites_of("aborts");
    let [(offset, RAX, SizeAt::Word(RBX))] = gives(&sites)[..] else {
        panic!("{sites:?}")
    };
    assert!([0xc, 0x10].contains(&offset), "{offset:#x}");
}

#[test]
fn what_can_not_be_proved_is_refused() {
    refused("address", "takes an address in its frame");
    refused("failslater", "passed once by every way");
    refused("unbalanced", "something on the stack");
    refused("lostcaller", "a register of the caller's is lost");
    refused("recursion", "calls itself");
    refused("elsewhere", "ends in another function");
    // It may be a hook that allocates.
    refused("pointer", "somewhere unknown from +0x4");
    refused("elsewhere_known", "calls a function of another file");
    refused("entered", "jumps to its +0x4");
    refused("calls_sibling", "calls another allocation function");
}

#[test]
fn without_a_size_or_emulated_instructions_nothing_is_found() {
    let file = functions();
    let reader = ElfReader::new(file);
    let library = ElfLibrary::new(file, &reader).unwrap();
    let symbols = reader.symbols(&["simple"]).unwrap();
    let jumps = Jumps::of(&library).unwrap();
    let function = Function {
        start: symbols[0].address,
        size: symbols[0].size,
        shape: Shape::Size,
    };
    let only_pushes = Emulated {
        push: true,
        ..Emulated::NONE
    };
    let reason = find(&library, &jumps, &[], function, only_pushes).unwrap_err();
    assert!(reason.contains("no emulated instruction"), "{reason}");
    let reason = find(&library, &jumps, &[], function, Emulated::NONE).unwrap_err();
    assert!(reason.contains("known to be emulated"), "{reason}");
    let unknown = Function {
        size: 0,
        ..function
    };
    let reason = find(&library, &jumps, &[], unknown, ALL).unwrap_err();
    assert!(reason.contains("size"), "{reason}");
    // Cut off in its middle.
    let half = Function {
        size: 9,
        ..function
    };
    let reason = find(&library, &jumps, &[], half, ALL).unwrap_err();
    assert!(reason.contains("outside of itself"), "{reason}");
}

/// Debian 12's `libc6` 2.36-9+deb12u14.
const DEBIAN_12_LIBC: &str = "93ac61ec5a8eb1396f9fbd350e3169a558528a40";

/// Sites of `malloc` and `calloc` in the C library of this process; `None` if it is not Debian 12's.
pub(in crate::probes) fn debian_12_sites() -> Option<(Vec<InnerSite>, Vec<InnerSite>)> {
    let mappings = Mappings::read(Pid(std::process::id())).unwrap();
    let malloc = libc::malloc as *const () as usize as u64;
    let file = open_mapped_file(Pid(std::process::id()), mappings.find(malloc).unwrap()).unwrap();
    let reader = ElfReader::new(&file);
    let build_id = reader.facts().unwrap().build_id.unwrap_or_default();
    let build_id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let malloc = find_in(&file, "malloc", Shape::Size);
    let calloc = find_in(&file, "calloc", Shape::Product);
    if build_id != DEBIAN_12_LIBC {
        eprintln!("SKIPPED: another C library ({build_id}): {malloc:?} {calloc:?}");
        return None;
    }
    Some((malloc.unwrap(), calloc.unwrap()))
}

#[test]
fn the_running_c_library_is_analysed() {
    let Some((malloc, calloc)) = debian_12_sites() else {
        return;
    };
    assert_eq!(
        describe(&malloc),
        "`jne` at +0xb7, `jne` at +0x157, `jne` at +0x1aa, size noted before, `call` at +0x195, \
         for the size"
    );
    assert_eq!(describe(&calloc), "`ja` at +0x223, `jne` at +0x26b");
    assert_eq!(gives(&calloc)[0], (0x223, RAX, SizeAt::Word(RBX)));
}

/// Code of any bytes, all of them a function.
struct Noise(Vec<u8>);

impl Code for Noise {
    fn fetch(&self, address: u64, into: &mut [u8; 15]) -> usize {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }
}

impl Library for Noise {
    fn known(&self, _: u64) -> Option<Known> {
        None
    }

    fn known_by_slot(&self, _: u64) -> Option<Known> {
        None
    }

    fn code_ranges(&self) -> Vec<(u64, u64)> {
        vec![(0, self.0.len() as u64)]
    }
}

/// Pieces of code that make functions with many ways through them.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(vec![0x53]),                         // push rbx
        Just(vec![0x5b]),                         // pop rbx
        Just(vec![0x48, 0x89, 0xfb]),             // mov rbx, rdi
        Just(vec![0x48, 0x89, 0xd8]),             // mov rax, rbx
        Just(vec![0x48, 0x85, 0xc0]),             // test rax, rax
        Just(vec![0x31, 0xc0]),                   // xor eax, eax
        Just(vec![0xc3]),                         // ret
        Just(vec![0x90]),                         // nop
        Just(vec![0x48, 0x89, 0x44, 0x24, 0xf0]), // mov [rsp-16], rax
        Just(vec![0x48, 0x8b, 0x44, 0x24, 0xf0]), // mov rax, [rsp-16]
        (any::<bool>(), -40..40_i8).prop_map(|(equal, to)| {
            vec![if equal { 0x74 } else { 0x75 }, to.cast_unsigned()] // je, jne
        }),
        (-40..40_i8).prop_map(|to| vec![0xeb, to.cast_unsigned()]), // jmp
        (0..60_u8).prop_map(|to| vec![0xe8, to, 0, 0, 0]),          // call
        prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn code_that_nobody_wrote_is_no_trouble(code in pieces(), product in any::<bool>()) {
        let size = code.len() as u64;
        let library = Noise(code);
        let jumps = Jumps::of(&library).unwrap();
        let shape = if product { Shape::Product } else { Shape::Size };
        let function = Function { start: 0, size, shape };
        if let Ok(sites) = find(&library, &jumps, &[], function, ALL) {
            prop_assert!(sites.iter().any(|site| site.task == Task::Give));
            prop_assert!(sites.iter().all(|site| u64::from(site.place.offset) < size));
        }
    }
}
