//! The allocator functions that memprof probes: symbol, argument shape, what a call does.

/// Which arguments carry what, and so which program probes the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `f(size)`.
    Size,
    /// `f(count, size)`: the product; one that overflows fails and so counts nowhere.
    Product,
    /// `f(alignment, size)`.
    AlignedSize,
    /// `f(&pointer, alignment, size)`, result by reference, 0 for success.
    PosixMemalign,
    /// `f(pointer, size)`.
    Resize,
    /// `f(pointer, count, size)`.
    ResizeProduct,
    /// `f(pointer)`, nothing returned.
    Free,
}

impl Shape {
    /// Every shape, each the name of one entry program.
    pub const ALL: [Self; 7] = [
        Self::Size,
        Self::Product,
        Self::AlignedSize,
        Self::PosixMemalign,
        Self::Resize,
        Self::ResizeProduct,
        Self::Free,
    ];

    /// The entry program in the BPF object.
    pub const fn entry_program(self) -> &'static str {
        match self {
            Self::Size => "enter_size",
            Self::Product => "enter_product",
            Self::AlignedSize => "enter_aligned_size",
            Self::PosixMemalign => "enter_posix_memalign",
            Self::Resize => "enter_resize",
            Self::ResizeProduct => "enter_resize_product",
            Self::Free => "enter_free",
        }
    }

    /// Whether the call's return has to be seen too.
    pub const fn returns_block(self) -> bool {
        !matches!(self, Self::Free)
    }
}

/// The program in the BPF object that sees the return of every allocating function.
pub const RETURN_PROGRAM: &str = "leave";

/// The program that sees a block before the return of the function that gives it.
pub const GIVE_PROGRAM: &str = "give";
/// The program that notes a size for [`GIVE_PROGRAM`].
pub const NOTE_SIZE_PROGRAM: &str = "note_size";
/// The same as [`GIVE_PROGRAM`], on the `ret` instructions of functions that must not have a return
/// probe.
pub const GIVE_BY_RET_PROGRAM: &str = "give_by_ret";
/// The program on such `ret` instructions that sees the end of a call.
pub const LEAVE_BY_RET_PROGRAM: &str = "leave_by_ret";

/// The program on a USDT probe that tells of a block: its address and size.
pub const USDT_ALLOC_PROGRAM: &str = "usdt_alloc";
/// The program on a USDT probe that tells that a block is gone.
pub const USDT_FREE_PROGRAM: &str = "usdt_free";

/// Which of a function's arguments (0 to 5) are those that its shape speaks of, in the shape's
/// order.
pub type Arguments = [u8; 3];

/// The shape's arguments are the function's first ones.
pub const IN_ORDER: Arguments = [0, 1, 2];

/// How a function that gives a block may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By its return alone: it may have a return probe.
    Returns,
    /// By an exception too, which a return probe would turn into the end of the process.
    Throws,
    /// Nobody has said: what its file is decides.
    Unknown,
}

/// One function of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorFunction {
    /// The symbol, without the prefix of its family.
    pub symbol: &'static str,
    /// What its arguments are.
    pub shape: Shape,
    /// Which they are.
    pub arguments: Arguments,
    /// How it may be left.
    pub leaving: Leaving,
}

const fn function(symbol: &'static str, shape: Shape) -> AllocatorFunction {
    AllocatorFunction {
        symbol,
        shape,
        arguments: IN_ORDER,
        leaving: Leaving::Returns,
    }
}

/// A function whose first argument is no concern of ours: a heap, say.
const fn behind_another(symbol: &'static str, shape: Shape) -> AllocatorFunction {
    AllocatorFunction {
        arguments: [1, 2, 3],
        ..function(symbol, shape)
    }
}

const fn throwing(symbol: &'static str, shape: Shape) -> AllocatorFunction {
    AllocatorFunction {
        leaving: Leaving::Throws,
        ..function(symbol, shape)
    }
}

/// The allocation functions of C libraries, and of what replaces them under the same names.
pub const LIBC: [AllocatorFunction; 10] = [
    function("malloc", Shape::Size),
    function("calloc", Shape::Product),
    function("realloc", Shape::Resize),
    function("reallocarray", Shape::ResizeProduct),
    function("free", Shape::Free),
    function("posix_memalign", Shape::PosixMemalign),
    function("aligned_alloc", Shape::AlignedSize),
    function("memalign", Shape::AlignedSize),
    function("valloc", Shape::Size),
    function("pvalloc", Shape::Size),
];

/// What some allocators have beside them: of C23, of old BSD, of jemalloc.
pub const LIBC_EXTRAS: [AllocatorFunction; 7] = [
    function("free_sized", Shape::Free),
    function("free_aligned_sized", Shape::Free),
    function("cfree", Shape::Free),
    function("mallocx", Shape::Size),
    function("rallocx", Shape::Resize),
    function("dallocx", Shape::Free),
    function("sdallocx", Shape::Free),
];

/// The prefixes under which allocators are known to have the same names: jemalloc's usual one,
/// those of Rust's jemalloc, tcmalloc's and mimalloc's.
pub const PREFIXES: [&str; 5] = ["je_", "_rjem_", "rjem_", "tc_", MIMALLOC_PREFIX];

/// Mimalloc's prefix.
pub const MIMALLOC_PREFIX: &str = "mi_";

/// What mimalloc has beside the C names, without its prefix: what Rust and C++ call of it, and of
/// the rest what is called at all. `mi_new` throws where mimalloc is compiled as C++.
pub const MIMALLOC: [AllocatorFunction; 19] = [
    function("zalloc", Shape::Size),
    function("malloc_small", Shape::Size),
    function("zalloc_small", Shape::Size),
    function("malloc_aligned", Shape::Size),
    function("zalloc_aligned", Shape::Size),
    function("calloc_aligned", Shape::Product),
    function("realloc_aligned", Shape::Resize),
    function("free_size", Shape::Free),
    function("free_aligned", Shape::Free),
    function("free_size_aligned", Shape::Free),
    throwing("new", Shape::Size),
    throwing("new_n", Shape::Product),
    throwing("new_aligned", Shape::Size),
    throwing("new_nothrow", Shape::Size),
    throwing("new_aligned_nothrow", Shape::Size),
    behind_another("heap_malloc", Shape::Size),
    behind_another("heap_zalloc", Shape::Size),
    behind_another("heap_calloc", Shape::Product),
    behind_another("heap_realloc", Shape::Resize),
];

/// C++: `operator new`, `new[]`, `delete` and `delete[]`, plain, sized, aligned, `nothrow`. Those
/// that don't throw by themselves call a handler that may.
pub const CPP: [AllocatorFunction; 20] = [
    throwing("_Znwm", Shape::Size),
    throwing("_Znam", Shape::Size),
    throwing("_ZnwmRKSt9nothrow_t", Shape::Size),
    throwing("_ZnamRKSt9nothrow_t", Shape::Size),
    throwing("_ZnwmSt11align_val_t", Shape::Size),
    throwing("_ZnamSt11align_val_t", Shape::Size),
    throwing("_ZnwmSt11align_val_tRKSt9nothrow_t", Shape::Size),
    throwing("_ZnamSt11align_val_tRKSt9nothrow_t", Shape::Size),
    function("_ZdlPv", Shape::Free),
    function("_ZdaPv", Shape::Free),
    function("_ZdlPvm", Shape::Free),
    function("_ZdaPvm", Shape::Free),
    function("_ZdlPvRKSt9nothrow_t", Shape::Free),
    function("_ZdaPvRKSt9nothrow_t", Shape::Free),
    function("_ZdlPvSt11align_val_t", Shape::Free),
    function("_ZdaPvSt11align_val_t", Shape::Free),
    function("_ZdlPvmSt11align_val_t", Shape::Free),
    function("_ZdaPvmSt11align_val_t", Shape::Free),
    function("_ZdlPvSt11align_val_tRKSt9nothrow_t", Shape::Free),
    function("_ZdaPvSt11align_val_tRKSt9nothrow_t", Shape::Free),
];

/// What every Rust program calls, whatever its `#[global_allocator]` is.
pub const RUST: [AllocatorFunction; 4] = [
    function("__rust_alloc", Shape::Size),
    function("__rust_alloc_zeroed", Shape::Size),
    AllocatorFunction {
        // The block, its old size, its alignment, its new size.
        arguments: [0, 3, 2],
        ..function("__rust_realloc", Shape::Resize)
    },
    function("__rust_dealloc", Shape::Free),
];

/// What a Rust program without a `#[global_allocator]` has: it calls the C library's functions.
pub const RUST_DEFAULT: &str = "__rdl_alloc";
