//! Events as the collector thinks of them: the one vocabulary of everything after `decode`.
//!
//! The live kernel is one source of events, a recording another, a scripted list in a test a
//! third; what comes after cannot tell them apart.

pub use memprof_common::event::{CopiedRegisters, PageMemory, PageToucher, StackEnd};
use serde::{Deserialize, Serialize};

pub use crate::identity::{Nanoseconds, Pid, SpaceId, StackId};

/// Something that happened in a followed process, with the time when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in the target's kernel.
    pub time: Nanoseconds,
    /// Where: the address space that it happened in. For a fork the parent's, for an exec the old.
    pub space: SpaceId,
    /// What.
    pub what: What,
}

/// What an [`Event`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A block of `size` bytes (as asked for) lives at `address` since `time`.
    Alloc {
        /// Where the block starts.
        address: u64,
        /// The bytes that the program asked for.
        size: u64,
        /// Who allocated it.
        stack: StackId,
    },
    /// The block at `address` is about to be given back.
    Free {
        /// Where the block starts.
        address: u64,
    },
    /// A `realloc` began on the block at `address`: it is gone, unless `ResizeFailed` follows;
    /// what takes its place comes as an `Alloc`.
    ResizeFree {
        /// Where the old block starts.
        address: u64,
    },
    /// That `realloc` failed: the block at `address` is as it was before its `ResizeFree`.
    ResizeFailed {
        /// Where the old block starts.
        address: u64,
    },
    /// Memory was mapped, in place of what was mapped there.
    Map {
        /// Where it starts.
        address: u64,
        /// Bytes.
        length: u64,
        /// Who mapped it.
        stack: StackId,
        /// What it is.
        kind: MappingKind,
        /// Whether an allocator function is known to have been under way.
        inner: bool,
    },
    /// What is mapped in a range is unmapped or moved, as of when that began.
    Unmap {
        /// Where the range starts.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// The latest `Unmap` of this range failed: all is as it was before.
    UnmapFailed {
        /// Where the range starts.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Memory became resident that was not. Who did it first is not who holds it.
    Touch {
        /// The first byte of the page that was touched; 0 if that is not known.
        address: u64,
        /// How many pages became resident by it, around that one. Of [`TouchHow::Populated`]: at most,
        /// from that one on.
        pages: u32,
        /// Who touched it.
        stack: StackId,
        /// What the pages hold.
        memory: PageMemory,
        /// Whether the program did it, or the kernel for it.
        by: PageToucher,
        /// How that is known.
        how: TouchHow,
    },
    /// A page that could not be written to was written to: after a fork, that makes a copy of it, and no
    /// more memory resident in this process.
    CopyPage {
        /// The first byte of the page.
        address: u64,
        /// Who wrote to it.
        stack: StackId,
        /// Whether the program did it, or the kernel for it.
        by: PageToucher,
    },
    /// What was resident in a range was given back.
    GiveBack {
        /// Where the range starts.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// The heap was shrunk: what was resident in it from an address on was given back.
    GiveBackHeap {
        /// Where the heap ends now.
        address: u64,
    },
    /// A mapping was moved, resized or copied. Boxed as below.
    Remap(Box<Remap>),
    /// The program counters behind a stack id. Boxed: rare, and it keeps the frequent events small.
    Stack(Box<RawStack>),
    /// Registers and memory of a stack whose walk broke down. Boxed as above.
    StackCopy(Box<StackCopy>),
    /// `pid` got the child `child`, which lives in `child_space`; the same space as the parent's
    /// after `vfork` or `CLONE_VM`, else a copy of it.
    Fork {
        /// The parent.
        pid: Pid,
        /// The child.
        child: Pid,
        /// Where the child's blocks live.
        child_space: SpaceId,
    },
    /// `pid` replaced its program and left `space` for the empty `new_space`.
    Exec {
        /// The process.
        pid: Pid,
        /// Where its blocks live from now on.
        new_space: SpaceId,
    },
    /// `pid` is in the scope and is followed from now on, in a space that is new.
    Appear {
        /// The process.
        pid: Pid,
    },
    /// The last thread of `pid` ended.
    Exit {
        /// The process.
        pid: Pid,
    },
}

/// What a mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingKind {
    /// Private memory without a file.
    Anonymous,
    /// Memory without a file that children share.
    Shared,
    /// Addresses without a file that nothing could be read from or written to when they were
    /// mapped.
    Reserved,
    /// What `brk` added to the heap.
    Heap,
    /// A thread's stack, as whoever mapped it said (`MAP_STACK`).
    ThreadStack,
    /// A file's contents, of whatever kind of file.
    File,
}

impl MappingKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Anonymous,
        Self::Shared,
        Self::Reserved,
        Self::Heap,
        Self::ThreadStack,
        Self::File,
    ];

    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous memory",
            Self::Shared => "shared memory",
            Self::Reserved => "reserved addresses",
            Self::Heap => "heap (brk)",
            Self::ThreadStack => "thread stack",
            Self::File => "file",
        }
    }
}

/// How it is known what became resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchHow {
    /// By the kernel's counter of the process's resident memory, before and after.
    Counted,
    /// That counter rose, it can't be told by how much: the pages are a guess.
    Guessed,
    /// A system call was to make a range resident: the pages are at most those.
    Populated,
}

/// A range that takes the place of another one, or is a copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// Where the old range starts. Unless this is a copy, an `Unmap` of it came before.
    pub old_address: u64,
    /// Its bytes.
    pub old_length: u64,
    /// Where the new range starts.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
    /// The old range stays mapped.
    pub copies: bool,
    /// Who asked for it.
    pub stack: StackId,
    /// Whether an allocator function is known to have been under way.
    pub inner: bool,
}

impl What {
    /// Whether it is one of those that make up nearly all of a stream, and whose effect depends on
    /// blocks alone.
    #[inline]
    pub fn is_frequent(&self) -> bool {
        matches!(
            self,
            Self::Alloc { .. } | Self::Free { .. } | Self::ResizeFree { .. }
        )
    }
}

/// The stack of a walk that broke down, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCopy {
    /// The stack.
    pub id: StackId,
    /// How many of its frames the walk had found; of the last of them the caller is missing.
    pub frames: usize,
    /// That last frame was interrupted by a signal: its program counter is no return address.
    pub interrupted: bool,
    /// Registers of that frame, and of the function that had called the allocator.
    pub registers: CopiedRegisters,
    /// Address of the first of the copied bytes.
    pub start: u64,
    /// The bytes from there up, as many as could be read.
    pub bytes: Vec<u8>,
}

/// A call stack as the kernel side walked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its name in `Alloc` events.
    pub id: StackId,
    /// How the walk ended.
    pub end: StackEnd,
    /// Whether a step was made by frame pointer, for want of unwind information.
    pub by_frame_pointer: bool,
    /// Program counters, innermost first: the allocator function's own address, then return
    /// addresses.
    pub pcs: Vec<u64>,
}
