//! How the kernel side finds the caller of a frame: one rule per run of instructions, in tables
//! that the collector compiles from `.eh_frame` and that are searched without a branch.
//!
//! | map      | key                       | value               |
//! |----------|---------------------------|---------------------|
//! | mappings | process id                | [`ProcessMappings`] |
//! | pages    | [`page_key`]`(exe, pc)`   | [`Page`]            |
//! | chunks   | a chunk's number          | [`Chunk`]           |
//!
//! An `exe` is an executable's number, from 1 up, given by the collector and shared by all the
//! processes that run it; 0 stands for code without tables, [`PENDING_EXE`] for code whose tables
//! are not there yet. A `pc` in the tables is relative to
//! the lowest address of the executable's image and has 32 bits. A lookup goes down the table:
//! the mapping of the address gives the executable and the bias, the page of 64 KiB gives at most
//! [`PAGE_CHUNKS`] chunks, the chunk gives the last row at or below the pc. Pages without rules
//! are not in the map.
//!
//! # A rule
//!
//! One `u32`. The canonical frame address (CFA) is the value of rsp in the caller, after the
//! return; the return address is always at CFA - 8.
//!
//! | kind          | bits 4–13         | bits 14–31                       | the caller               |
//! |---------------|-------------------|----------------------------------|--------------------------|
//! | `NONE`        | 0                 | 0                                | no rule for this address |
//! | `RSP`         | rbp offset / 8    | CFA offset / 8                   | CFA = rsp + offset       |
//! | `RBP`         | rbp offset / 8    | CFA offset / 8                   | CFA = rbp + offset       |
//! | `PLT`         | 0                 | threshold                        | CFA = rsp + 8, 16 if pc & 15 ≥ threshold |
//! | `SIGNAL`      | 0                 | 0                                | registers in the kernel's signal frame at rsp |
//! | `END`         | 0                 | 0                                | none: the outermost frame |
//! | `UNSUPPORTED` | [`Unsupported`]   | 0                                | not expressible          |
//! | `DEREF_RSP`   | bit 4: rbp at rbp | added / 8:9, slot offset / 8:9   | CFA = *(rsp + slot) + added |
//! | `DEREF_RBP`   | bit 4: rbp at rbp | added / 8:9, slot offset / 8:9   | CFA = *(rbp + slot) + added |
//! | `FP`          | 0                 | 0                                | a frame-pointer step     |
//!
//! Offsets are in units of 8 bytes. The rbp offset is signed, from the CFA; 0: rbp is unchanged.
//! The slot offset of the `DEREF` kinds is signed. Their flag says that the caller's rbp is at
//! `*(rbp)`, as GCC lays out the frames whose stack it aligns; without it rbp is unchanged. `FP`
//! is never in a table: it is what a kernel side takes for executable 0.

/// How the caller of a frame is found; the low four bits of a rule.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// No rule here: not a function that the unwind information knows.
    None = 0,
    /// The CFA is at an offset from rsp.
    Rsp = 1,
    /// The CFA is at an offset from rbp.
    Rbp = 2,
    /// An entry of the procedure linkage table, which pushes one word on its way.
    Plt = 3,
    /// The trampoline that a signal handler returns to.
    Signal = 4,
    /// The outermost frame: its return address is marked undefined.
    End = 5,
    /// Unwind information is there but no rule can express it, or it is broken.
    Unsupported = 6,
    /// The CFA is read from a slot at an offset from rsp.
    DerefRsp = 7,
    /// The CFA is read from a slot at an offset from rbp.
    DerefRbp = 8,
    /// Code without tables: the frame-pointer convention is tried.
    FramePointer = 9,
}

/// Why an instruction has a rule of kind [`RuleKind::Unsupported`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The CFA is based on a register other than rsp and rbp.
    CfaRegister = 1,
    /// The CFA is an expression other than those of PLT entries and aligned frames.
    CfaExpression = 2,
    /// The return address is not at CFA - 8.
    ReturnAddress = 3,
    /// The caller's rbp is neither unchanged nor at an offset from the CFA.
    FramePointer = 4,
    /// An offset that has no room in a rule or is no multiple of 8.
    Offset = 5,
    /// Marked as a signal frame but not laid out as the kernel's.
    SignalFrame = 6,
    /// The unwind information of the function is broken or over a limit.
    Broken = 7,
    /// The page has more rows than its chunks hold.
    Dense = 8,
}

/// How many reasons [`Unsupported`] has, counted from 1.
pub const UNSUPPORTED_REASONS: usize = 8;

const KIND_BITS: u32 = 4;
const KIND_MASK: u32 = (1 << KIND_BITS) - 1;
const RBP_BITS: u32 = 10;
const RBP_MASK: u32 = (1 << RBP_BITS) - 1;
const CFA_SHIFT: u32 = KIND_BITS + RBP_BITS;
const CFA_BITS: u32 = 32 - CFA_SHIFT;
const ADDED_BITS: u32 = 9;
const ADDED_MASK: u32 = (1 << ADDED_BITS) - 1;
const SLOT_SHIFT: u32 = CFA_SHIFT + ADDED_BITS;
const SLOT_BITS: u32 = 32 - SLOT_SHIFT;
const RBP_AT_RBP: u32 = 1 << KIND_BITS;
/// Offsets in a rule count words of this many bytes.
const WORD: i64 = 8;

/// The rule of an address that the unwind information does not know.
pub const NO_RULE: u32 = RuleKind::None as u32;
/// The rule of the outermost frame.
pub const END_RULE: u32 = RuleKind::End as u32;
/// The rule of a signal trampoline.
pub const SIGNAL_RULE: u32 = RuleKind::Signal as u32;
/// A rule that leads nowhere, since no frame is empty: the walk ends, and its stack is cut short.
pub const NOWHERE_RULE: u32 = RuleKind::Rsp as u32;
/// The rule of code without tables.
pub const FRAME_POINTER_RULE: u32 = RuleKind::FramePointer as u32;

/// Bytes from rsp to the interrupted rbp at a signal trampoline: `ucontext.uc_mcontext` of the
/// kernel's `rt_sigframe`, whose return address the handler has popped.
pub const SIGNAL_RBP_OFFSET: u64 = 120;
/// Bytes from rsp to the interrupted rsp at a signal trampoline.
pub const SIGNAL_RSP_OFFSET: u64 = 160;
/// Bytes from rsp to the interrupted instruction's address at a signal trampoline.
pub const SIGNAL_RIP_OFFSET: u64 = 168;

/// The kind of a rule; a number that is none of them is `Unsupported`.
#[inline(always)]
pub const fn rule_kind(rule: u32) -> RuleKind {
    match rule & KIND_MASK {
        0 => RuleKind::None,
        1 => RuleKind::Rsp,
        2 => RuleKind::Rbp,
        3 => RuleKind::Plt,
        4 => RuleKind::Signal,
        5 => RuleKind::End,
        7 => RuleKind::DerefRsp,
        8 => RuleKind::DerefRbp,
        9 => RuleKind::FramePointer,
        _ => RuleKind::Unsupported,
    }
}

/// `bytes` in words, if it is a whole number of them from `least` up to but not including `limit`.
const fn words(bytes: i64, least: i64, limit: i64) -> Option<u32> {
    let count = bytes / WORD;
    if bytes % WORD != 0 || count < least || count >= limit {
        return None;
    }
    Some(count as u32)
}

/// A rule of kind `Rsp` or `Rbp`. `cfa_offset` is bytes from the register, `rbp_offset` bytes from
/// the CFA to the caller's rbp, 0 if it is unchanged. `None` if an offset has no room.
#[inline(always)]
pub const fn pack_frame(kind: RuleKind, cfa_offset: i64, rbp_offset: i64) -> Option<u32> {
    let half = 1 << (RBP_BITS - 1);
    match (
        words(cfa_offset, 0, 1 << CFA_BITS),
        words(rbp_offset, -half, half),
    ) {
        (Some(cfa), Some(rbp)) => {
            Some(kind as u32 | ((rbp & RBP_MASK) << KIND_BITS) | (cfa << CFA_SHIFT))
        }
        _ => None,
    }
}

/// Bytes from the register to the CFA, in a rule of kind `Rsp` or `Rbp`.
#[inline(always)]
pub const fn cfa_offset(rule: u32) -> u64 {
    ((rule >> CFA_SHIFT) as u64) << 3
}

/// Bytes from the CFA to the caller's rbp, in a rule of kind `Rsp` or `Rbp`; 0: unchanged.
#[inline(always)]
pub const fn rbp_offset(rule: u32) -> i64 {
    (((rule << CFA_BITS) as i32) >> (CFA_BITS + KIND_BITS)) as i64 * WORD
}

/// A rule of kind `Plt`: from `threshold` bytes into an entry of 16 on, one more word is pushed.
/// `None` if the threshold is above 16.
#[inline(always)]
pub const fn pack_plt(threshold: u32) -> Option<u32> {
    if threshold > 16 {
        return None;
    }
    Some(RuleKind::Plt as u32 | (threshold << CFA_SHIFT))
}

/// Bytes from rsp to the CFA, for a rule of kind `Plt` at `pc`.
#[inline(always)]
pub const fn plt_cfa_offset(rule: u32, pc: u64) -> u64 {
    8 + ((((pc & 15) as u32 >= rule >> CFA_SHIFT) as u64) << 3)
}

/// A rule of kind `DerefRsp` or `DerefRbp`. `slot_offset` is bytes from the register to the slot,
/// `added` bytes from the slot's content to the CFA. `None` if an offset has no room.
#[inline(always)]
pub const fn pack_deref(
    kind: RuleKind,
    slot_offset: i64,
    added: i64,
    rbp_at_rbp: bool,
) -> Option<u32> {
    let half = 1 << (SLOT_BITS - 1);
    match (
        words(slot_offset, -half, half),
        words(added, 0, 1 << ADDED_BITS),
    ) {
        (Some(slot), Some(added)) => {
            let flag = if rbp_at_rbp { RBP_AT_RBP } else { 0 };
            Some(kind as u32 | flag | (added << CFA_SHIFT) | (slot << SLOT_SHIFT))
        }
        _ => None,
    }
}

/// Bytes from the register to the slot, in a rule of kind `DerefRsp` or `DerefRbp`.
#[inline(always)]
pub const fn slot_offset(rule: u32) -> i64 {
    ((rule as i32) >> SLOT_SHIFT) as i64 * WORD
}

/// Bytes from the slot's content to the CFA, in a rule of kind `DerefRsp` or `DerefRbp`.
#[inline(always)]
pub const fn added_offset(rule: u32) -> u64 {
    (((rule >> CFA_SHIFT) & ADDED_MASK) as u64) << 3
}

/// Whether the caller's rbp is at `*(rbp)`, in a rule of kind `DerefRsp` or `DerefRbp`; else it is
/// unchanged.
#[inline(always)]
pub const fn rbp_at_rbp(rule: u32) -> bool {
    rule & RBP_AT_RBP != 0
}

/// A rule of kind `Unsupported`.
#[inline(always)]
pub const fn pack_unsupported(reason: Unsupported) -> u32 {
    RuleKind::Unsupported as u32 | ((reason as u32) << KIND_BITS)
}

/// The number of the reason in a rule of kind `Unsupported`.
#[inline(always)]
pub const fn unsupported_reason(rule: u32) -> u32 {
    rule >> KIND_BITS
}

/// Rows of a chunk.
pub const CHUNK_ROWS: usize = 512;
/// Chunks of one segment, the array that is made at a time when more are needed.
pub const SEGMENT_CHUNKS: u32 = 512;
/// Segments at the most: 256 MiB of tables.
pub const MAX_SEGMENTS: u32 = 128;
/// The most chunks that hold the rows of one page.
pub const PAGE_CHUNKS: usize = 16;
/// Bits of a pc below its page's number: a page is 64 KiB of code.
pub const PAGE_SHIFT: u32 = 16;
/// Executable mappings of a process that the kernel side knows.
pub const MAX_MAPPINGS: usize = 256;
/// Pads the pcs of chunks and pages: above every pc in a table.
pub const PC_PADDING: u32 = u32::MAX;
/// Pads the starts of mappings: above every user address, and small enough that the difference to
/// one keeps its sign in 64 bits.
pub const START_PADDING: u64 = 1 << 62;
/// The executable number of code without tables.
pub const NO_EXE: u32 = 0;
/// The executable number of code whose tables are on their way: nothing is to be guessed.
pub const PENDING_EXE: u32 = u32::MAX;

/// Rows of unwind information, sorted by pc. `rule[i]` holds from `pc[i]` to the next row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the rows start, padded with [`PC_PADDING`].
    pub pc: [u32; CHUNK_ROWS],
    /// The rules, padded with [`NO_RULE`].
    pub rule: [u32; CHUNK_ROWS],
}

/// Where the rows of 64 KiB of code are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The number of the chunk with the row in force at the page's first byte.
    pub first_chunk: u32,
    /// Chunks from there on that have rows of the page, 1 to [`PAGE_CHUNKS`].
    pub chunks: u32,
    /// The first pc of each of them, padded with [`PC_PADDING`].
    pub split: [u32; PAGE_CHUNKS],
}

/// The executable mappings of a process, sorted by start. Replaced as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMappings {
    /// Different for each version of the mappings of any process: tags what is remembered of them.
    pub generation: u64,
    /// The mappings in use.
    pub count: u64,
    /// First addresses, padded with [`START_PADDING`].
    pub start: [u64; MAX_MAPPINGS],
    /// First addresses behind them, padded with 0.
    pub end: [u64; MAX_MAPPINGS],
    /// What to subtract from an address to get the pc in the executable's tables (wrapping).
    pub bias: [u64; MAX_MAPPINGS],
    /// The executables' numbers, [`NO_EXE`] and [`PENDING_EXE`] for code without tables.
    pub exe: [u32; MAX_MAPPINGS],
}

const _: () = assert!(size_of::<Chunk>() == 4096);
const _: () = assert!(size_of::<Page>() == 72 && align_of::<Page>() == 4);
const _: () = assert!(size_of::<ProcessMappings>() == 16 + MAX_MAPPINGS * 28);
const _: () = assert!(CHUNK_ROWS.is_power_of_two() && PAGE_CHUNKS.is_power_of_two());
const _: () = assert!(MAX_MAPPINGS.is_power_of_two());

/// The key of a pc's page.
#[inline(always)]
pub const fn page_key(exe: u32, pc: u64) -> u64 {
    ((exe as u64) << 32) | (pc >> PAGE_SHIFT)
}

/// The index of the last of `sorted` that is not above `key`; 0 if all are. `N` must be a power of
/// two, `key` below 2^32.
///
/// Branchless, so that the verifier sees one path and one bound: by shifts, for of a mask of all
/// bits or none the compiler makes branches again (116,000 verified instructions in place of 7,000).
#[inline(always)]
pub const fn last_at_or_below<const N: usize>(sorted: &[u32; N], key: u64) -> usize {
    const { assert!(N.is_power_of_two()) };
    let mut low = 0;
    let mut step = N as u64 / 2;
    while step > 0 {
        // SAFETY: low is a sum of different powers of two above step, all below N: low + step < N.
        let value = unsafe { *sorted.as_ptr().add((low + step) as usize) } as u64;
        let not_above = !key.wrapping_sub(value) >> 63;
        low += not_above << step.trailing_zeros();
        step /= 2;
    }
    low as usize
}

/// [`last_at_or_below`] for addresses; `key` and the values must be below 2^63.
#[inline(always)]
pub const fn last_address_at_or_below<const N: usize>(sorted: &[u64; N], key: u64) -> usize {
    const { assert!(N.is_power_of_two()) };
    let mut low = 0;
    let mut step = N as u64 / 2;
    while step > 0 {
        // SAFETY: low is a sum of different powers of two above step, all below N: low + step < N.
        let value = unsafe { *sorted.as_ptr().add((low + step) as usize) };
        let not_above = !key.wrapping_sub(value) >> 63;
        low += not_above << step.trailing_zeros();
        step /= 2;
    }
    low as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_rule_keeps_the_extremes_of_its_offsets_and_refuses_what_is_beyond() {
        let widest_cfa = ((1 << 18) - 1) * 8;
        for kind in [RuleKind::Rsp, RuleKind::Rbp] {
            for (cfa, rbp) in [(0, 0), (8, -16), (widest_cfa, -4096), (16, 4088)] {
                let rule = pack_frame(kind, cfa, rbp).unwrap();
                assert_eq!(rule_kind(rule), kind);
                assert_eq!(cfa_offset(rule), cfa as u64);
                assert_eq!(rbp_offset(rule), rbp);
            }
            for (cfa, rbp) in [
                (-8, 0),
                (12, 0),
                (widest_cfa + 8, 0),
                (i64::MIN, 0),
                (8, -4104),
                (8, 4096),
                (8, -12),
                (8, i64::MAX),
            ] {
                assert_eq!(pack_frame(kind, cfa, rbp), None, "{cfa} {rbp}");
            }
        }
    }

    #[test]
    fn a_deref_rule_keeps_its_signed_slot_its_addend_and_its_flag() {
        for kind in [RuleKind::DerefRsp, RuleKind::DerefRbp] {
            for (slot, added, flag) in [(-8, 0, true), (-2048, 4088, false), (2040, 8, true)] {
                let rule = pack_deref(kind, slot, added, flag).unwrap();
                assert_eq!(rule_kind(rule), kind);
                assert_eq!(slot_offset(rule), slot);
                assert_eq!(added_offset(rule), added as u64);
                assert_eq!(rbp_at_rbp(rule), flag);
            }
            for (slot, added) in [(-2056, 0), (2048, 0), (0, 4096), (0, -8), (4, 0), (0, 4)] {
                assert_eq!(pack_deref(kind, slot, added, true), None, "{slot} {added}");
            }
        }
    }

    #[test]
    fn a_plt_entry_has_pushed_one_more_word_from_its_threshold_on() {
        let rule = pack_plt(11).unwrap();
        assert_eq!(rule_kind(rule), RuleKind::Plt);
        assert_eq!(plt_cfa_offset(rule, 0x101a), 8);
        assert_eq!(plt_cfa_offset(rule, 0x101b), 16);
        assert_eq!(pack_plt(17), None);
    }

    #[test]
    fn the_end_of_a_stack_no_rule_and_an_unsupported_frame_are_three_things() {
        assert_eq!(rule_kind(NO_RULE), RuleKind::None);
        assert_eq!(rule_kind(END_RULE), RuleKind::End);
        let rule = pack_unsupported(Unsupported::Dense);
        assert_eq!(rule_kind(rule), RuleKind::Unsupported);
        assert_eq!(unsupported_reason(rule), Unsupported::Dense as u32);
        assert_eq!(rule_kind(15), RuleKind::Unsupported);
    }

    #[test]
    fn the_branchless_search_finds_what_a_plain_one_finds() {
        let mut pcs = [PC_PADDING; CHUNK_ROWS];
        let mut starts = [START_PADDING; MAX_MAPPINGS];
        for used in [1, 2, 3, 255, 256] {
            for i in 0..used {
                pcs[i] = 7 + 10 * i as u32;
                starts[i] = 7 + 10 * i as u64;
            }
            for key in 0..2600 {
                let plain = (0..used).rev().find(|&i| starts[i] <= key).unwrap_or(0);
                assert_eq!(last_at_or_below(&pcs, key), plain);
                assert_eq!(last_address_at_or_below(&starts, key), plain);
            }
        }
        assert_eq!(last_address_at_or_below(&starts, 0x7fff_ffff_ffff), 255);
    }

    #[test]
    fn page_keys_of_different_executables_and_pages_differ() {
        assert_eq!(page_key(3, 0x1_ffff), page_key(3, 0x1_0000));
        assert_ne!(page_key(3, 0x1_ffff), page_key(3, 0x2_0000));
        assert_ne!(page_key(3, 0), page_key(4, 0));
    }
}
