//! Real prologues, the refusals one by one, and code that nobody wrote.

mod prologues;

use proptest::prelude::*;

use self::prologues::{PROLOGUES, Prologue};
use super::*;

/// Linux 6.18 emulates all kinds.
const ALL: Emulated = Emulated {
    push: true,
    nop: true,
    long_nop: true,
    jump: true,
    branch: true,
    call: true,
};

/// Where the functions of these tests begin.
const START: u64 = 0x1000;

/// Code that begins at `START`; there is none around it.
struct Bytes(Vec<u8>);

impl Bytes {
    fn hex(text: &str) -> Self {
        let digits: String = text.split_ascii_whitespace().collect();
        let bytes = digits.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        });
        Self(bytes.collect())
    }
}

impl Code for Bytes {
    fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
        let rest = address
            .checked_sub(START)
            .and_then(|start| self.0.get(usize::try_from(start).ok()?..))
            .unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }
}

fn place_hex(code: &str, shape: Shape) -> Placement {
    place_with(code, shape, ALL)
}

fn place_with(code: &str, shape: Shape, emulated: Emulated) -> Placement {
    let code = Bytes::hex(code);
    let function = Function {
        start: START,
        size: code.0.len() as u64,
        shape,
    };
    place_entry(&code, function, emulated)
}

fn prologue(origin: &str, function: &str) -> &'static Prologue {
    PROLOGUES
        .iter()
        .find(|one| one.origin.starts_with(origin) && one.function == function)
        .unwrap()
}

#[test]
fn the_functions_of_real_libraries_are_probed_where_it_is_cheap() {
    for one in PROLOGUES {
        let Placement { place, reason, .. } = place_hex(one.code, one.shape);
        assert_eq!(reason, one.expected, "{} {}", one.origin, one.function);
        assert!(place.pack().is_some());
        assert!(place.pushed_words == 0 || one.shape == Shape::Free);
    }
}

#[test]
fn the_programs_are_told_how_far_in_they_are_and_what_was_pushed() {
    let free = prologue("glibc 2.31", "free");
    let expected = EntryPlace {
        offset: 0x11,
        pushed_words: 3,
        ..EntryPlace::default()
    };
    assert_eq!(place_hex(free.code, free.shape).place, expected);
}

#[test]
fn the_programs_are_told_where_the_arguments_have_gone() {
    let realloc = prologue("mimalloc 2.0.9", "realloc");
    let expected = EntryPlace {
        offset: 0x14,
        // rsi and rdx, as `struct pt_regs` has them.
        arguments: [Some(13), Some(12), None],
        ..EntryPlace::default()
    };
    assert_eq!(place_hex(realloc.code, realloc.shape).place, expected);
}

#[test]
fn a_kernel_that_emulates_less_is_given_what_it_emulates() {
    let free = prologue("glibc 2.36", "free");
    let no_push = Emulated { push: false, ..ALL };
    let placed = place_with(free.code, free.shape, no_push);
    assert_eq!(placed.reason, "`je` at +0x3");
    let only_push = Emulated {
        push: true,
        ..Emulated::NONE
    };
    let placed = place_with(free.code, free.shape, only_push);
    assert_eq!(placed.place.offset, 9);
    let only_calls = Emulated {
        call: true,
        ..Emulated::NONE
    };
    let placed = place_with(free.code, free.shape, only_calls);
    assert_eq!(placed.place, EntryPlace::default());
}

#[test]
fn where_nothing_is_known_to_be_emulated_every_function_is_probed_at_its_start() {
    for one in PROLOGUES {
        let placed = place_with(one.code, one.shape, Emulated::NONE);
        assert_eq!(placed.place, EntryPlace::default());
    }
}

#[test]
fn long_nops_are_taken_in_the_forms_that_the_kernel_knows() {
    // endbr64; nop of 5 bytes; ret
    let code = "f30f1efa 0f1f440000 c3";
    assert_eq!(place_hex(code, Shape::Size).reason, "`nop` at +0x4");
    // The same of 9 bytes, which the kernel doesn't.
    let code = "f30f1efa 660f1f840000000000 c3";
    assert!(place_hex(code, Shape::Size).reason.contains("`ret` comes"));
}

/// What may stand before the first emulated instruction, here `push rbx` at the end.
fn refused(before: &str, shape: Shape, why: &str) {
    let placed = place_hex(&format!("{before} 53 c3"), shape);
    assert_eq!(placed.place, EntryPlace::default(), "{before}");
    assert!(placed.reason.contains(why), "{before}: {}", placed.reason);
}

#[test]
fn a_place_where_an_argument_is_lost_is_refused() {
    // xor edi, edi
    refused("31ff", Shape::Size, "an argument is lost");
    // mov edi, edi: the upper half is gone.
    refused("89ff", Shape::Size, "an argument is lost");
    // mov dil, 1
    refused("40b701", Shape::Free, "an argument is lost");
    // mul rsi: rdx is gone.
    refused("48f7e6", Shape::ResizeProduct, "an argument is lost");
    // xchg rdi, rsi: no plain copy.
    refused("4887f7", Shape::Resize, "an argument is lost");
}

#[test]
fn an_argument_that_nobody_reads_may_be_lost() {
    // xor edi, edi; push rbx: of aligned_alloc(alignment, size) only the size counts.
    let placed = place_hex("31ff 53 c3", Shape::AlignedSize);
    assert_eq!(placed.reason, "`push rbx` at +0x2");
}

#[test]
fn an_argument_is_followed_through_copies() {
    // mov rax, rdi; xor edi, edi; mov r9, rax; xor eax, eax; push rbx
    let placed = place_hex("4889f8 31ff 4989c1 31c0 53 c3", Shape::Size);
    assert_eq!(placed.reason, "`push rbx` at +0xa, argument 0 in r9");
    assert_eq!(placed.place.arguments, [Some(8), None, None]);
}

#[test]
fn a_function_that_gives_a_block_is_not_probed_below_its_return_address() {
    // sub rsp, 24
    refused(
        "4883ec18",
        Shape::Size,
        "24 bytes lie over the return address",
    );
    // lea rsp, [rsp-8]
    refused("488d6424f8", Shape::Size, "8 bytes lie over");
    // sub rsp, 24; add rsp, 24: it is on top again.
    let placed = place_hex("4883ec18 4883c418 53 c3", Shape::Size);
    assert_eq!(placed.place.offset, 8);
}

#[test]
fn a_free_is_probed_wherever_the_stack_pointer_is_known() {
    let placed = place_hex("4883ec18 53 c3", Shape::Free);
    assert_eq!(placed.reason, "`push rbx` at +0x4, 24 bytes pushed");
    // and rsp, -16
    refused("4883e4f0", Shape::Free, "sets the stack pointer");
    // sub rsp, 4
    refused("4883ec04", Shape::Free, "the stack pointer is 4 bytes away");
    // add rsp, 8: into the caller's frame.
    refused(
        "4883c408",
        Shape::Free,
        "the stack pointer is -8 bytes away",
    );
    // sub rsp, 0x7fffffff, twice
    refused(
        "4881ecffffff7f 4881ecffffff7f",
        Shape::Free,
        "the stack pointer is",
    );
}

#[test]
fn a_place_behind_an_effect_is_refused() {
    // mov [rdi], rax: the block might be another thread's already.
    refused("488907", Shape::Free, "writes to memory");
    // lock inc qword [rip+0]
    refused("f048ff0500000000", Shape::Size, "writes to memory");
    // mov [rsp], rax: over the return address.
    refused("48890424", Shape::Size, "writes to memory");
    // rep stosq
    refused("f348ab", Shape::Size, "writes to memory");
    // syscall
    refused("0f05", Shape::Size, "`syscall` comes first");
    // call rax
    refused("ffd0", Shape::Size, "`call` comes first");
}

#[test]
fn a_function_may_write_below_its_return_address() {
    // mov [rsp-8], rdi: the red zone.
    let placed = place_hex("48897c24f8 53 c3", Shape::Size);
    assert_eq!(placed.place.offset, 5);
}

#[test]
fn a_way_that_ends_before_an_emulated_instruction_is_refused() {
    refused("c3", Shape::Size, "`ret` comes first");
    // jmp rax
    refused("ffe0", Shape::Size, "`jmp` comes first");
    // An opcode that 64-bit code has not.
    refused("06", Shape::Size, "no code at +0x0");
    // 64 times xor eax, eax
    refused(&"31c0".repeat(64), Shape::Size, "among the first 64");
    assert!(place_hex("", Shape::Size).reason.contains("no code"));
    assert!(place_hex("48", Shape::Size).reason.contains("no code"));
}

#[test]
fn a_jump_back_behind_the_start_keeps_the_probe_before_its_target() {
    // 0: xor eax, eax; 2: push rbx; 3: pop rbx; 4: jmp 2
    let placed = place_hex("31c0 53 5b ebfc", Shape::Size);
    assert_eq!(placed.place, EntryPlace::default());
    assert!(placed.reason.contains("leads back"), "{}", placed.reason);
    // The same by a part that is called away and jumps back: 4: jmp 7; 6: ret; 7: jmp 2.
    let placed = place_hex("31c0 53 5b eb01 c3 ebf9", Shape::Size);
    assert!(placed.reason.contains("leads back"), "{}", placed.reason);
    // A free falls back on the test that the jump does not pass:
    // 0: test rdi, rdi; 3: je 8; 5: push rbx; 6: jmp 5; 8: ret
    let placed = place_hex("4885ff 7403 53 ebfd c3", Shape::Free);
    assert_eq!(placed.reason, "`je` at +0x3");
    // One that jumps back before the test: 0: xor eax, eax; 2: test rdi, rdi; 5: je 10;
    // 7: push rbx; 8: jmp 2; 10: ret
    let placed = place_hex("31c0 4885ff 7403 53 ebf8 c3", Shape::Free);
    assert!(placed.reason.contains("leads back"), "{}", placed.reason);
}

#[test]
fn a_free_that_starts_over_says_so() {
    // As glibc 2.43 has it: 0: test rdi, rdi; 3: je 10; 5: cmp [rsi], rax; 8: je 11; 10: ret;
    // 11: push rbx; 12: mov rbx, rdi; 15: call 27; 20: mov rdi, rbx; 23: pop rbx; 24: jmp 0;
    // 26: nop; 27: ret
    let code = "4885ff 7405 483906 7401 c3 53 4889fb e807000000 4889df 5b ebe6 90 c3";
    let placed = place_hex(code, Shape::Free);
    assert_eq!(
        placed.reason,
        "`je` at +0x8, which free(NULL) does not reach, jumps back to its start"
    );
    assert!(placed.place.restarts);
    // An allocation that does is told from a new one by its pending call.
    assert!(!place_hex(code, Shape::Size).place.restarts);
}

#[test]
fn what_follows_a_call_that_never_returns_is_not_the_functions() {
    // 0: xor eax, eax; 2: je 5; 4: ret; 5: call abort; 10: nop; 11: jmp 2 of another function
    let placed = place_hex("31c0 7401 c3 e8 00100000 90 ebf5", Shape::Size);
    assert_eq!(placed.reason, "`je` at +0x2");
}

#[test]
fn the_test_for_null_is_passed_either_way() {
    // 0: test rdi, rdi; 3: jne 6; 5: ret; 6: push rbx; 7: ret
    let placed = place_hex("4885ff 7501 c3 53 c3", Shape::Free);
    assert_eq!(placed.place.offset, 6);
    // cmp rdi, 0
    let placed = place_hex("4883ff00 7501 c3 53 c3", Shape::Free);
    assert_eq!(placed.place.offset, 7);
    // test rdi, rdi; xor eax, eax: the flags are another's by the jump.
    let placed = place_hex("4885ff 31c0 7501 c3 53 c3", Shape::Free);
    assert_eq!(placed.reason, "`jne` at +0x5");
    // Any other function is probed at the test: malloc(0) gives a block.
    let placed = place_hex("4885ff 7501 c3 53 c3", Shape::Size);
    assert_eq!(placed.reason, "`jne` at +0x3");
}

#[test]
fn too_much_code_to_follow_leaves_the_probe_at_the_start() {
    // xor eax, eax; push rbx, then nops without end
    let endless = format!("31c0 53 {}", "90".repeat(jumps::MAX_FOLLOWED));
    let placed = place_hex(&endless, Shape::Size);
    assert_eq!(placed.place, EntryPlace::default());
    assert!(placed.reason.contains("too much code"));
    let placed = place_hex(&endless[5..], Shape::Free);
    assert_eq!(placed.reason, "`push rbx`, its first instruction");
}

proptest! {
    #[test]
    fn code_that_nobody_wrote_is_placed_within_itself(
        code in prop::collection::vec(any::<u8>(), 0..200),
        free in any::<bool>(),
        size in prop_oneof![Just(0_u64), Just(u64::MAX), 0..300_u64],
    ) {
        let length = code.len();
        let shape = if free { Shape::Free } else { Shape::PosixMemalign };
        let function = Function { start: START, size, shape };
        let placed = place_entry(&Bytes(code), function, ALL);
        prop_assert!(usize::from(placed.place.offset) <= length);
        prop_assert!(free || placed.place.pushed_words == 0);
        prop_assert!(placed.place.pack().is_some());
    }

    #[test]
    fn code_at_the_end_of_all_addresses_is_no_trouble(
        code in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        struct Anywhere(Vec<u8>);
        impl Code for Anywhere {
            fn fetch(&self, address: u64, into: &mut [u8; MAX_INSTRUCTION_BYTES]) -> usize {
                for (place, byte) in into.iter_mut().enumerate() {
                    let number = address.wrapping_add(place as u64) as usize;
                    *byte = self.0.get(number % 32).copied().unwrap_or(0x90);
                }
                into.len()
            }
        }
        let function = Function { start: u64::MAX - 7, size: 9, shape: Shape::Free };
        let placed = place_entry(&Anywhere(code), function, ALL);
        prop_assert!(placed.place.pack().is_some());
    }
}
