//! The memory promise of the live table, held against the allocator's own books: at most 24 bytes
//! a block at every moment, growth, division and shrinking included. Its own binary, since it counts
//! every allocation of its process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use memprof::live::{Block, DividedTable, Division, LiveTable};

/// Bytes allocated now, and the most since the last reset. A `realloc` counts as its new size: a
/// segment grows in place.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn account(more: usize, less: usize) {
    NOW.fetch_add(more, Relaxed);
    let now = NOW.fetch_sub(less, Relaxed) - less;
    MOST.fetch_max(now, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size(), 0);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        account(0, layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        account(new_size, layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BYTES_PER_BLOCK: usize = 24;
/// What a table may take besides: a segment that splits while there are few others.
const BESIDES: usize = 64 << 10;
const BLOCKS: u64 = 300_000;
/// What a part of a divided table takes besides its blocks, also when these are gone.
const EACH_PART: usize = 1 << 10;

/// The most bytes since the last call, checked against the promise.
fn check(blocks: usize, besides: usize, before: usize) -> usize {
    let most = MOST.load(Relaxed) - before;
    MOST.store(NOW.load(Relaxed), Relaxed);
    let bound = BYTES_PER_BLOCK * blocks + besides;
    assert!(most <= bound, "{most} bytes for {blocks} blocks");
    most
}

fn begin() -> usize {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    before
}

fn address(i: u64) -> u64 {
    0x7f00_0000_0000 + 32 * i
}

fn block(i: u64) -> Block {
    Block {
        site: i as u32 % 1000,
        size: i,
        birth: i,
    }
}

fn assert_kept_by_a_table() {
    let before = begin();
    let mut table = LiveTable::new(0, 4711);
    for i in 0..BLOCKS {
        table.insert(address(i), block(i));
        check(table.len(), BESIDES, before);
    }
    let full = check(table.len(), BESIDES, before);
    assert!(full > 16 * BLOCKS as usize, "the books are not kept");
    assert!(full.abs_diff(table.memory_bytes()) < 1024);
    for i in 0..BLOCKS {
        assert!(table.remove(address(i)).is_some());
        check(table.len(), BESIDES, before);
    }
    assert!(table.memory_bytes() < 8 << 10);
}

fn assert_kept_by_a_table_of_parts(part_bits: u32) {
    let before = begin();
    let mut table = DividedTable::new(0, 4711, Division::into_parts(part_bits));
    table.insert(address(0), block(0));
    assert!(table.memory_bytes() < 1024, "one block");
    let parts = 1 << part_bits;
    let besides = BESIDES + EACH_PART * parts;
    for i in 1..BLOCKS {
        table.insert(address(i), block(i));
        check(table.len(), besides, before);
    }
    assert_eq!(table.parts().len(), parts);
    let full = check(table.len(), besides, before);
    assert!(full.abs_diff(table.memory_bytes()) < 1024);
    for i in 0..BLOCKS {
        assert!(table.remove(address(i)).is_some());
        check(table.len(), besides, before);
    }
    let left = table.memory_bytes();
    assert!(left < (8 << 10) + EACH_PART * parts, "{left} bytes");
}

/// One test: the books are those of the whole process.
#[test]
fn a_live_block_costs_at_most_24_bytes_at_every_moment() {
    assert_kept_by_a_table();
    for part_bits in [0, 1, 3] {
        assert_kept_by_a_table_of_parts(part_bits);
    }
}
