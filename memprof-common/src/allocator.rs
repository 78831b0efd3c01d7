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

/// One function of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorFunction {
    /// The symbol that the library exports.
    pub symbol: &'static str,
    /// What its arguments are.
    pub shape: Shape,
}

const fn function(symbol: &'static str, shape: Shape) -> AllocatorFunction {
    AllocatorFunction { symbol, shape }
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
