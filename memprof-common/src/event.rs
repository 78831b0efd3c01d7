//! Events on their way from the kernel side to the collector: one place tables every layout.
//!
//! Records are arrays of little-endian `u64` words in a BPF ring buffer. The frequent ones (an
//! allocation, a free) are bit-packed; the rare ones (a new stack, a process event) take a word
//! per field. The low four bits of word 0 are the kind, the upper 60 the time in nanoseconds of
//! `CLOCK_MONOTONIC`, in every record.
//!
//! | record          | bytes | word 0        | word 1                    | word 2      | word 3                |
//! |-----------------|------:|---------------|---------------------------|-------------|-----------------------|
//! | `ALLOC`         |    32 | kind, time    | address:57, size high:7   | stack id    | space:24, size low:40 |
//! | `FREE`          |    24 | kind, time    | address:57                | space:24    |                       |
//! | `RESIZE_FREE`   |    24 | kind, time    | address:57                | space:24    |                       |
//! | `RESIZE_FAILED` |    24 | kind, time    | address:57                | space:24    |                       |
//! | `MAP`           |    40 | kind, time    | address:57, length high:7 | stack id    | space:24, length low:40, then flags:32, protection:8, inner:1, heap:1 |
//! | `UNMAP`         |    32 | kind, time    | address:57, length high:7 | 0           | space:24, length low:40 |
//! | `UNMAP_FAILED`  |    32 | kind, time    | address:57, length high:7 | 0           | space:24, length low:40 |
//! | `REMAP`         |    48 | kind, time    | new address:57, length high:7 | stack id | space:24, new length low:40, then old address:57, length high:7, then copies:1, inner:1, 22 bits of 0, old length low:40 |
//! | `PAGES`         |    40 | kind, time    | address:57, length high:7 | stack id    | space:24, length low:40, then change:4, memory:2, toucher:2 |
//! | `STACK`         | 32+8n | kind, time    | space:24, end:8, frames:8, by frame pointer:1 | stack id | 0, then n pcs         |
//! | `FORK`          |    32 | kind, time    | parent pid:32, child:32   | parent space| child space           |
//! | `EXEC`          |    32 | kind, time    | pid:32                    | old space   | new space             |
//! | `EXIT`          |    32 | kind, time    | pid:32                    | space       | 0                     |
//! | `APPEAR`        |    32 | kind, time    | pid:32                    | space       | 0                     |
//! | `STACK_COPY`    | 16512 | kind, time    | space:24, pages:8, frames:8, interrupted:1 | stack id | first page's address, then 12 registers, then 4 pages |
//!
//! A mapping is told as of the exit of its system call, the end of one as of its entry: see
//! [`Kind::Unmap`]. Lengths are whole pages, but for those of the heap that `brk` moves.
//!
//! The registers of a `STACK_COPY` are [`CopiedRegisters`]; of its 4 pages of stack, `pages` could
//! be read and hold something.
//!
//! Numbers that share a word are listed from the least significant bit up. An address of 57 bits
//! holds any user address of x86-64 (five-level paging included) and arm64; a size of 47 bits is
//! the whole of a four-level user address space.

/// What a record says; the low four bits of its first word.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A successful allocation, sent at the function's return.
    Alloc = 1,
    /// A free, sent at the function's entry: on record before the address can be used again.
    Free = 2,
    /// The old block of a `realloc`, sent at its entry: gone, unless `ResizeFailed` follows.
    ResizeFree = 3,
    /// That `realloc` failed: its old block is as it was.
    ResizeFailed = 4,
    /// A range of memory was mapped, in place of what was there; sent at the system call's exit.
    Map = 5,
    /// A range is unmapped (or moved: `Remap` follows), sent at the system call's entry: on record
    /// before its addresses can be used again.
    Unmap = 6,
    /// That system call failed: what was mapped there is as it was.
    UnmapFailed = 7,
    /// The program counters of a stack id, sent once when the id is new.
    Stack = 8,
    /// A followed process has a new child; equal spaces: the child shares its parent's memory.
    Fork = 9,
    /// A process replaced its program: the old space is left, the new one starts empty.
    Exec = 10,
    /// The last thread of a process ended.
    Exit = 11,
    /// Registers and stack of a walk that broke down, for the collector to go on from.
    StackCopy = 12,
    /// A process that is in the scope and was not followed yet is from now on.
    Appear = 13,
    /// What the latest `Unmap` took away is mapped again, elsewhere or in another length; or it was
    /// copied, and no `Unmap` came before.
    Remap = 14,
    /// Pages became resident, or were given back: see [`PageChange`].
    Pages = 15,
}

impl Kind {
    /// The kind in a record's first word; `None` for a number that is no kind.
    #[inline(always)]
    pub const fn of(word0: u64) -> Option<Self> {
        Some(match word0 & KIND_MASK {
            1 => Self::Alloc,
            2 => Self::Free,
            3 => Self::ResizeFree,
            4 => Self::ResizeFailed,
            5 => Self::Map,
            6 => Self::Unmap,
            7 => Self::UnmapFailed,
            8 => Self::Stack,
            9 => Self::Fork,
            10 => Self::Exec,
            11 => Self::Exit,
            12 => Self::StackCopy,
            13 => Self::Appear,
            14 => Self::Remap,
            15 => Self::Pages,
            _ => return None,
        })
    }
}

const KIND_BITS: u32 = 4;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
/// Bits of an address in a record.
pub const ADDRESS_BITS: u32 = 57;
const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;
/// Bits of an address-space number; number 0 is no space.
pub const SPACE_BITS: u32 = 24;
const SPACE_MASK: u64 = (1 << SPACE_BITS) - 1;
const SIZE_LOW_BITS: u32 = 64 - SPACE_BITS;
/// Bits of an allocation's size; the kernel side counts what is larger as lost.
pub const SIZE_BITS: u32 = SIZE_LOW_BITS + (64 - ADDRESS_BITS);
/// The most frames that one stack record carries.
pub const MAX_FRAMES: usize = 128;
/// Words before the first program counter of a stack record.
pub const STACK_HEADER_WORDS: usize = 4;

/// An allocation record.
pub type AllocWords = [u64; 4];
/// The record of a free, of a resize's old block, or of a failed resize.
pub type FreeWords = [u64; 3];
/// A mapping's record.
pub type MapWords = [u64; 5];
/// The record of a mapping's end, or that it did not end.
pub type UnmapWords = [u64; 4];
/// The record of a mapping that was moved, resized or copied.
pub type RemapWords = [u64; 6];
/// The record of pages that came or went.
pub type PagesWords = [u64; 5];
/// The record of a fork, exec, exit or appearance, and the head of a stack record.
pub type RareWords = [u64; 4];

/// Bytes of a page of memory.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes of a page of stack.
pub const STACK_PAGE_BYTES: usize = PAGE_BYTES as usize;
/// Pages of stack in a copy.
pub const STACK_COPY_PAGES: usize = 4;
/// Words before the first page of a copy.
pub const STACK_COPY_HEADER_WORDS: usize = 16;
/// Words of a copy's record, whether its pages could be read or not.
pub const STACK_COPY_WORDS: usize =
    STACK_COPY_HEADER_WORDS + STACK_COPY_PAGES * STACK_PAGE_BYTES / 8;

const _: () = assert!(size_of::<AllocWords>() <= 32 && size_of::<FreeWords>() <= 32);
const _: () = assert!(SIZE_BITS == 47);

/// The first word of every record.
#[inline(always)]
pub const fn head(kind: Kind, time_ns: u64) -> u64 {
    (time_ns << KIND_BITS) | kind as u64
}

/// Nanoseconds of `CLOCK_MONOTONIC` in a record's first word.
#[inline(always)]
pub const fn time_ns(word0: u64) -> u64 {
    word0 >> KIND_BITS
}

/// Packs an allocation. `size` must be below 2^47, `space` below 2^24.
#[inline(always)]
pub const fn pack_alloc(
    time_ns: u64,
    space: u32,
    address: u64,
    size: u64,
    stack_id: u64,
) -> AllocWords {
    [
        head(Kind::Alloc, time_ns),
        (address & ADDRESS_MASK) | ((size >> SIZE_LOW_BITS) << ADDRESS_BITS),
        stack_id,
        (space as u64 & SPACE_MASK) | (size << SPACE_BITS),
    ]
}

/// The address in word 1 of an `ALLOC`, `FREE`, `RESIZE_FREE` or `RESIZE_FAILED` record.
#[inline(always)]
pub const fn address(word1: u64) -> u64 {
    word1 & ADDRESS_MASK
}

/// The size in an `ALLOC` record, bytes.
#[inline(always)]
pub const fn alloc_size(words: &AllocWords) -> u64 {
    (words[3] >> SPACE_BITS) | ((words[1] >> ADDRESS_BITS) << SIZE_LOW_BITS)
}

/// The address space in the low bits of a word.
#[inline(always)]
pub const fn space(word: u64) -> u32 {
    (word & SPACE_MASK) as u32
}

/// Packs a free of one of the three kinds.
#[inline(always)]
pub const fn pack_free(kind: Kind, time_ns: u64, space: u32, address: u64) -> FreeWords {
    [
        head(kind, time_ns),
        address & ADDRESS_MASK,
        space as u64 & SPACE_MASK,
    ]
}

/// A word of an address and the high bits of a length below 2^47.
#[inline(always)]
const fn place(address: u64, length: u64) -> u64 {
    (address & ADDRESS_MASK) | ((length >> SIZE_LOW_BITS) << ADDRESS_BITS)
}

/// A length, of its high bits in one word and its low bits in another.
#[inline(always)]
const fn length(high: u64, low: u64) -> u64 {
    (low >> SPACE_BITS) | ((high >> ADDRESS_BITS) << SIZE_LOW_BITS)
}

/// How a range was mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapRequest {
    /// `MAP_*`, as the program gave them; 0 for the heap.
    pub flags: u32,
    /// `PROT_*`.
    pub protection: u8,
    /// Whether an allocator function is known to be under way.
    pub inner: bool,
    /// Whether `brk` moved the heap's end up.
    pub heap: bool,
}

/// Packs a mapping. `length` must be below 2^47, `space` below 2^24.
#[inline(always)]
pub const fn pack_map(
    time_ns: u64,
    space: u32,
    address: u64,
    length: u64,
    stack_id: u64,
    request: MapRequest,
) -> MapWords {
    [
        head(Kind::Map, time_ns),
        place(address, length),
        stack_id,
        (space as u64 & SPACE_MASK) | (length << SPACE_BITS),
        request.flags as u64
            | ((request.protection as u64) << 32)
            | ((request.inner as u64) << 40)
            | ((request.heap as u64) << 41),
    ]
}

/// The length in words 1 and 3 of a `MAP`, `UNMAP`, `UNMAP_FAILED` or `REMAP` record, bytes.
#[inline(always)]
pub const fn map_length(word1: u64, word3: u64) -> u64 {
    length(word1, word3)
}

/// How a range was mapped, from word 4 of a `MAP` record.
#[inline(always)]
pub const fn map_request(word4: u64) -> MapRequest {
    MapRequest {
        flags: word4 as u32,
        protection: (word4 >> 32) as u8,
        inner: (word4 >> 40) & 1 != 0,
        heap: (word4 >> 41) & 1 != 0,
    }
}

/// Packs the end of a mapping, or that it did not end.
#[inline(always)]
pub const fn pack_unmap(
    kind: Kind,
    time_ns: u64,
    space: u32,
    address: u64,
    length: u64,
) -> UnmapWords {
    [
        head(kind, time_ns),
        place(address, length),
        0,
        (space as u64 & SPACE_MASK) | (length << SPACE_BITS),
    ]
}

/// A range that takes the place of another, or is a copy of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remapping {
    /// Where the old range starts.
    pub old_address: u64,
    /// Its bytes; 0 if the old range stays as it is and its length does not matter.
    pub old_length: u64,
    /// Where the new range starts.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
    /// The old range stays mapped.
    pub copies: bool,
    /// Whether an allocator function is known to be under way.
    pub inner: bool,
}

/// Packs a remapping, with the bounds of [`pack_map`].
#[inline(always)]
pub const fn pack_remap(
    time_ns: u64,
    space: u32,
    stack_id: u64,
    remapping: &Remapping,
) -> RemapWords {
    [
        head(Kind::Remap, time_ns),
        place(remapping.address, remapping.length),
        stack_id,
        (space as u64 & SPACE_MASK) | (remapping.length << SPACE_BITS),
        place(remapping.old_address, remapping.old_length),
        (remapping.copies as u64)
            | ((remapping.inner as u64) << 1)
            | (remapping.old_length << SPACE_BITS),
    ]
}

/// What a `REMAP` record says.
#[inline(always)]
pub const fn remapping(words: &RemapWords) -> Remapping {
    Remapping {
        old_address: address(words[4]),
        old_length: length(words[4], words[5]),
        address: address(words[1]),
        length: length(words[1], words[3]),
        copies: words[5] & 1 != 0,
        inner: words[5] & 2 != 0,
    }
}

/// What happened to pages.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageChange {
    /// As many became resident as the length has; the address is the page that was touched, the others
    /// lie around it. The kernel's own counter says how many.
    Touched = 0,
    /// The same, but how many could not be told: they are a guess.
    TouchedSome = 1,
    /// A page that could not be written to was written to: after a fork, that makes a copy of it.
    Copied = 2,
    /// A system call made a range resident, as far as it was not; at address 0 if that is not known.
    Populated = 3,
    /// A system call gave back what was resident in the range.
    GivenBack = 4,
    /// The same of the heap from the address on.
    HeapGivenBack = 5,
}

/// What a page holds, as the kernel counts resident memory.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageMemory {
    /// A file's contents.
    File = 0,
    /// Memory of the process's own.
    Anonymous = 1,
    /// Memory shared without a file, or by one in memory.
    Shared = 3,
}

/// Who touched a page first.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageToucher {
    /// The program.
    Program = 0,
    /// The kernel, in a system call of the program's.
    Kernel = 1,
}

/// The last word of a `PAGES` record; `toucher` is a [`PageToucher`].
#[inline(always)]
pub const fn pages_word(change: PageChange, memory: PageMemory, toucher: u64) -> u64 {
    change as u64 | ((memory as u64) << 4) | (toucher << 6)
}

/// Packs a change of pages; `what` is a [`pages_word`]. `length` must be below 2^47.
#[inline(always)]
pub const fn pack_pages(
    time_ns: u64,
    space: u32,
    address: u64,
    length: u64,
    stack_id: u64,
    what: u64,
) -> PagesWords {
    [
        head(Kind::Pages, time_ns),
        place(address, length),
        stack_id,
        (space as u64 & SPACE_MASK) | (length << SPACE_BITS),
        what,
    ]
}

/// What happened, from word 4 of a `PAGES` record; `None` for a number that is no change.
#[inline(always)]
pub const fn page_change(word4: u64) -> Option<PageChange> {
    Some(match word4 & 0xf {
        0 => PageChange::Touched,
        1 => PageChange::TouchedSome,
        2 => PageChange::Copied,
        3 => PageChange::Populated,
        4 => PageChange::GivenBack,
        5 => PageChange::HeapGivenBack,
        _ => return None,
    })
}

/// What the pages hold, from word 4 of a `PAGES` record; a number that is none of them is `Anonymous`.
#[inline(always)]
pub const fn page_memory(word4: u64) -> PageMemory {
    match (word4 >> 4) & 3 {
        0 => PageMemory::File,
        3 => PageMemory::Shared,
        _ => PageMemory::Anonymous,
    }
}

/// Who touched them, from word 4 of a `PAGES` record.
#[inline(always)]
pub const fn page_toucher(word4: u64) -> PageToucher {
    match (word4 >> 6) & 3 {
        0 => PageToucher::Program,
        _ => PageToucher::Kernel,
    }
}

/// How the walk of a stack ended.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// At the outermost frame.
    Complete = 0,
    /// More frames than a record holds.
    TooDeep = 1,
    /// At an address that could not be read or that is no frame.
    Broken = 2,
}

/// Packs the head of a stack record, `end` being a [`StackEnd`] and `by_frame_pointer` 1 if a step
/// was made without unwind tables; the program counters follow, innermost first.
#[inline(always)]
pub const fn pack_stack_head(
    time_ns: u64,
    space: u32,
    end: u64,
    frames: u64,
    by_frame_pointer: u64,
    stack_id: u64,
) -> RareWords {
    [
        head(Kind::Stack, time_ns),
        (space as u64 & SPACE_MASK)
            | (end << SPACE_BITS)
            | (frames << (SPACE_BITS + 8))
            | (by_frame_pointer << (SPACE_BITS + 16)),
        stack_id,
        0,
    ]
}

/// How a stack record's walk ended; a number that is none of them is `Broken`.
#[inline(always)]
pub const fn stack_end(word1: u64) -> StackEnd {
    match (word1 >> SPACE_BITS) & 0xff {
        0 => StackEnd::Complete,
        1 => StackEnd::TooDeep,
        _ => StackEnd::Broken,
    }
}

/// The number of program counters that a stack record says it has.
#[inline(always)]
pub const fn stack_frames(word1: u64) -> usize {
    ((word1 >> (SPACE_BITS + 8)) & 0xff) as usize
}

/// Whether a stack record's walk made a step by frame pointer.
#[inline(always)]
pub const fn stack_by_frame_pointer(word1: u64) -> bool {
    (word1 >> (SPACE_BITS + 16)) & 1 != 0
}

/// Mixes one number into the hash that is a stack's id (Fibonacci hashing, folded).
#[inline(always)]
pub const fn mix(hash: u64, number: u64) -> u64 {
    let mixed = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// The id that the kernel side gives a stack of these program counters if its walk does not break
/// down. The space is part of it: equal program counters mean other code in another address space.
pub fn whole_stack_id(space: u32, pcs: &[u64]) -> u64 {
    pcs.iter().fold(u64::from(space), |hash, &pc| mix(hash, pc))
}

/// Registers that a walk can start from, as a copy's record has them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedRegisters {
    /// Of the function that called the allocator, to which it has just returned: rip, rsp, rbp,
    /// rbx, r12, r13, r14, r15. All that a call leaves as it was.
    pub call: [u64; 8],
    /// Of the frame whose caller was not found: rip, rsp, rbp.
    pub broken: [u64; 3],
    /// 0.
    pub reserved: u64,
}

const _: () = assert!(size_of::<CopiedRegisters>() == (STACK_COPY_HEADER_WORDS - 4) * 8);

/// Packs the head of a stack's copy, before its registers: `frames` is how many frames of the
/// stack are known, the last of them the one whose caller was not found; `interrupted` is 1 if a
/// signal interrupted that one, so that its program counter is no return address.
#[inline(always)]
pub const fn pack_stack_copy_head(
    time_ns: u64,
    space: u32,
    pages: u64,
    frames: u64,
    interrupted: u64,
    stack_id: u64,
    first_page: u64,
) -> RareWords {
    [
        head(Kind::StackCopy, time_ns),
        (space as u64 & SPACE_MASK)
            | (pages << SPACE_BITS)
            | (frames << (SPACE_BITS + 8))
            | (interrupted << (SPACE_BITS + 16)),
        stack_id,
        first_page,
    ]
}

/// The number of pages that a stack's copy says it has.
#[inline(always)]
pub const fn stack_copy_pages(word1: u64) -> usize {
    ((word1 >> SPACE_BITS) & 0xff) as usize
}

/// The number of frames that were known when a stack was copied.
#[inline(always)]
pub const fn stack_copy_frames(word1: u64) -> usize {
    ((word1 >> (SPACE_BITS + 8)) & 0xff) as usize
}

/// Whether the last of the known frames was interrupted by a signal.
#[inline(always)]
pub const fn stack_copy_interrupted(word1: u64) -> bool {
    (word1 >> (SPACE_BITS + 16)) & 1 != 0
}

/// Packs a process event; `child` is 0 but for a fork.
#[inline(always)]
pub const fn pack_process(
    kind: Kind,
    time_ns: u64,
    pid: u32,
    child: u32,
    space: u32,
    new_space: u32,
) -> RareWords {
    [
        head(kind, time_ns),
        pid as u64 | ((child as u64) << 32),
        space as u64,
        new_space as u64,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_comes_back_as_it_was_packed() {
        let largest = (1 << SIZE_BITS) - 1;
        for (address_in, size) in [
            (0x7fff_ffff_fff0, 0),
            (ADDRESS_MASK, largest),
            (16, 1 << 40),
        ] {
            let words = pack_alloc(77, 0xff_ffff, address_in, size, u64::MAX);
            assert_eq!(Kind::of(words[0]), Some(Kind::Alloc));
            assert_eq!(time_ns(words[0]), 77);
            assert_eq!(address(words[1]), address_in);
            assert_eq!(alloc_size(&words), size);
            assert_eq!(words[2], u64::MAX);
            assert_eq!(space(words[3]), 0xff_ffff);
        }
    }

    #[test]
    fn mappings_come_back_as_they_were_packed() {
        let largest = (1 << SIZE_BITS) - 1;
        let request = MapRequest {
            flags: 0x2_0022,
            protection: 7,
            inner: true,
            heap: false,
        };
        for size in [0, 4096, 1 << 40, largest] {
            let words = pack_map(5, 0xff_ffff, ADDRESS_MASK, size, u64::MAX, request);
            assert_eq!(Kind::of(words[0]), Some(Kind::Map));
            assert_eq!(address(words[1]), ADDRESS_MASK);
            assert_eq!(map_length(words[1], words[3]), size);
            assert_eq!((words[2], space(words[3])), (u64::MAX, 0xff_ffff));
            assert_eq!(map_request(words[4]), request);
            for kind in [Kind::Unmap, Kind::UnmapFailed] {
                let words = pack_unmap(kind, 5, 3, 0x7fff_ffff_f000, size);
                assert_eq!(Kind::of(words[0]), Some(kind));
                assert_eq!(address(words[1]), 0x7fff_ffff_f000);
                assert_eq!(map_length(words[1], words[3]), size);
            }
            let moved = Remapping {
                old_address: 0x1000,
                old_length: size,
                address: 0x7fff_ffff_f000,
                length: largest - size,
                copies: size == 0,
                inner: size > 0,
            };
            let words = pack_remap(9, 3, 77, &moved);
            assert_eq!(Kind::of(words[0]), Some(Kind::Remap));
            assert_eq!((time_ns(words[0]), words[2], space(words[3])), (9, 77, 3));
            assert_eq!(remapping(&words), moved);
        }
    }

    #[test]
    fn a_stack_head_keeps_its_end_and_its_depth() {
        let words = pack_stack_head(5, 9, StackEnd::TooDeep as u64, MAX_FRAMES as u64, 1, 42);
        assert_eq!(stack_end(words[1]), StackEnd::TooDeep);
        assert_eq!(stack_frames(words[1]), MAX_FRAMES);
        assert!(stack_by_frame_pointer(words[1]));
        assert_eq!(space(words[1]), 9);
    }

    #[test]
    fn the_head_of_a_copy_keeps_its_pages_and_its_frames() {
        let words = pack_stack_copy_head(5, 9, 4, MAX_FRAMES as u64, 1, 42, 0x7ffc_0000_1000);
        assert_eq!(Kind::of(words[0]), Some(Kind::StackCopy));
        assert_eq!(stack_copy_pages(words[1]), STACK_COPY_PAGES);
        assert_eq!(stack_copy_frames(words[1]), MAX_FRAMES);
        assert!(stack_copy_interrupted(words[1]));
        assert_eq!(space(words[1]), 9);
        assert_eq!((words[2], words[3]), (42, 0x7ffc_0000_1000));
    }

    #[test]
    fn the_same_program_counters_are_another_stack_elsewhere_or_in_another_order() {
        let id = whole_stack_id(1, &[10, 20, 30]);
        assert_eq!(id, mix(mix(mix(1, 10), 20), 30));
        assert_ne!(id, whole_stack_id(2, &[10, 20, 30]));
        assert_ne!(id, whole_stack_id(1, &[10, 30, 20]));
    }
}
