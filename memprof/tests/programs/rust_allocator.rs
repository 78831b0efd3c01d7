//! A Rust program with a `#[global_allocator]` of another language linked in (`--cfg linked`: mimalloc,
//! under its own names), or one of its own in Rust (bump allocation by `own_alloc`).
//! Each site leaves every third block; the truth is as in `truth.h`.

use std::alloc::{GlobalAlloc, Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;
use std::io::{Read, Write};

#[cfg(linked)]
mod allocator {
    use super::*;

    unsafe extern "C" {
        fn mi_malloc_aligned(size: usize, alignment: usize) -> *mut u8;
        fn mi_zalloc_aligned(size: usize, alignment: usize) -> *mut u8;
        fn mi_realloc_aligned(block: *mut u8, size: usize, alignment: usize) -> *mut u8;
        fn mi_free(block: *mut u8);
    }

    pub struct Allocator;

    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }
        }
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }
        }
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            unsafe { mi_realloc_aligned(block, size, layout.align()) }
        }
        unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
            unsafe { mi_free(block) }
        }
    }
}

#[cfg(not(linked))]
mod allocator {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BYTES: usize = 64 << 20;

    #[repr(align(4096))]
    pub struct Memory(std::cell::UnsafeCell<[u8; BYTES]>);
    unsafe impl Sync for Memory {}

    static MEMORY: Memory = Memory(std::cell::UnsafeCell::new([0; BYTES]));
    static USED: AtomicUsize = AtomicUsize::new(0);

    #[unsafe(no_mangle)]
    #[inline(never)]
    extern "C" fn own_alloc(size: usize, alignment: usize) -> *mut u8 {
        let taken = size + alignment;
        let from = USED.fetch_add(taken, Ordering::Relaxed);
        if from + taken > BYTES {
            return std::ptr::null_mut();
        }
        let start = MEMORY.0.get() as usize + from;
        start.next_multiple_of(alignment) as *mut u8
    }

    #[unsafe(no_mangle)]
    #[inline(never)]
    extern "C" fn own_free(block: *mut u8) {
        black_box(block);
    }

    /// Gives what comes next and takes nothing back.
    pub struct Allocator;

    unsafe impl GlobalAlloc for Allocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            own_alloc(layout.size(), layout.align())
        }
        unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
            own_free(block);
        }
    }
}

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

#[derive(Default)]
struct Site {
    allocated: [usize; 2],
    freed: [usize; 2],
}

impl Site {
    fn born(&mut self, size: usize) {
        self.allocated[0] += size;
        self.allocated[1] += 1;
    }
    fn dies(&mut self, size: usize) {
        self.freed[0] += size;
        self.freed[1] += 1;
    }
}

/// What the standard library has from before the go and may give back after it: its buffers of input
/// and output, at the most.
const BLOCKS_OF_BEFORE: usize = 4;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rust_allocates(size: usize) -> *mut u8 {
    black_box(unsafe { alloc(layout(size)) })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rust_allocates_zeroed(size: usize) -> *mut u8 {
    black_box(unsafe { alloc_zeroed(layout(size)) })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rust_resizes(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    black_box(unsafe { realloc(block, layout(old), size) })
}

fn free(block: *mut u8, size: usize) {
    unsafe { dealloc(black_box(block), layout(size)) };
}

fn main() {
    print!("ready {}\n", std::process::id());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0; 16]);
    let (mut plain, mut zeroed, mut resized) = <(Site, Site, Site)>::default();
    for i in 1..=2_000 {
        let size = i % 300 + 1;
        let block = rust_allocates(size);
        plain.born(size);
        if i % 3 != 0 {
            free(block, size);
            plain.dies(size);
        }
        let block = rust_allocates_zeroed(size * 2);
        zeroed.born(size * 2);
        if i % 5 == 0 {
            let larger = rust_resizes(block, size * 2, size * 7);
            zeroed.dies(size * 2);
            resized.born(size * 7);
            if i % 2 == 0 {
                free(larger, size * 7);
                resized.dies(size * 7);
            }
        }
    }
    let sites = [
        ("rust_allocates", &plain),
        ("rust_allocates_zeroed", &zeroed),
        ("rust_resizes", &resized),
    ];
    let lines: Vec<String> = sites
        .iter()
        .map(|(name, site)| {
            let ([bytes, count], [freed_bytes, freed]) = (site.allocated, site.freed);
            format!(
                "\"{name}\":{{\"allocated_bytes\":{bytes},\"allocated_count\":{count},\
                 \"freed_bytes\":{freed_bytes},\"freed_count\":{freed}}}"
            )
        })
        .collect();
    let truth = format!(
        "{{\"program\":\"rust_allocator\",\"pid\":{},\"sites\":{{{}}},\"unknown_frees\":0,\
         \"other_allocations\":null,\"blocks_of_before\":{BLOCKS_OF_BEFORE}}}\n",
        std::process::id(),
        lines.join(",")
    );
    std::fs::write(std::env::var("TRUTH_FILE").unwrap(), truth).unwrap();
}
