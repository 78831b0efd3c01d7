//! The target's stack, read a KiB at a time: a read costs about the same whatever its size.

use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::pending::Thread;

/// Words of the window.
pub const WINDOW_WORDS: usize = 128;
const WINDOW_BYTES: u64 = (WINDOW_WORDS * 8) as u64;
const PAGE: u64 = 4096;

/// The part of a stack that was read last.
#[repr(C)]
pub struct Window {
    /// Address of the first word.
    base: u64,
    /// Bytes read.
    bytes: u64,
    /// Where reading failed last: the end of the stack. A window that runs off it would fault,
    /// which costs more than the rest of the walk.
    limit: u64,
    words: [u64; WINDOW_WORDS],
}

/// Forgets what was read: the target has run since.
#[inline(always)]
pub fn clear(thread: *mut Thread) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe { (*thread).window.bytes = 0 };
}

/// Reads `bytes`, at most a window full, from `address` on into the scratch; whether that could be done.
#[inline(always)]
pub fn read_at_once(thread: *mut Thread, address: u64, bytes: u64) -> bool {
    clear(thread);
    bytes != 0 && copy(thread, address, bytes)
}

/// Room for other things than the stack; the window must be cleared.
#[inline(always)]
pub fn scratch(thread: *mut Thread) -> *mut u64 {
    // SAFETY: as above.
    unsafe { (&raw mut (*thread).window.words).cast() }
}

/// Forgets where the stack ends: it is another one.
#[inline(always)]
pub fn forget_limit(thread: *mut Thread) {
    // SAFETY: as above.
    unsafe { (*thread).window.limit = 0 };
}

/// The word at `address`.
#[inline(always)]
pub fn read(thread: *mut Thread, address: u64) -> Option<u64> {
    // SAFETY: `thread` points at this thread's map value.
    let (base, bytes) = unsafe { ((*thread).window.base, (*thread).window.bytes) };
    let mut offset = address.wrapping_sub(base);
    if offset >= bytes || offset & 7 != 0 {
        fill(thread, address)?;
        offset = 0;
    }
    // SAFETY: as above; the mask keeps the index in bounds.
    Some(unsafe { (*thread).window.words[(offset >> 3) as usize & (WINDOW_WORDS - 1)] })
}

/// Reads the words from `address` on: a window full, or up to the end of the stack.
#[inline(always)]
fn fill(thread: *mut Thread, address: u64) -> Option<()> {
    // SAFETY: `thread` points at this thread's map value.
    let limit = unsafe { (*thread).window.limit };
    let left = limit.wrapping_sub(address);
    let wanted = if left.wrapping_sub(1) < WINDOW_BYTES {
        left
    } else {
        WINDOW_BYTES
    };
    let to_page_end = PAGE - (address & (PAGE - 1));
    let mut bytes = wanted;
    if !copy(thread, address, bytes) {
        if to_page_end >= wanted || !copy(thread, address, to_page_end) {
            // SAFETY: as above.
            unsafe { (*thread).window.bytes = 0 };
            return None;
        }
        bytes = to_page_end;
        // SAFETY: as above.
        unsafe { (*thread).window.limit = address + to_page_end };
    }
    // SAFETY: as above.
    unsafe {
        (*thread).window.base = address;
        // Whole words only.
        (*thread).window.bytes = bytes & !7;
    }
    Some(())
}

#[inline(always)]
fn copy(thread: *mut Thread, address: u64, bytes: u64) -> bool {
    let bytes = bytes.min(WINDOW_BYTES);
    // SAFETY: at most the window's size; the helper checks the address.
    unsafe {
        bpf_probe_read_user(
            (&raw mut (*thread).window.words).cast(),
            bytes as u32,
            address as *const core::ffi::c_void,
        ) == 0
    }
}
