//! A call between its entry and its return.
//!
//! Only the outermost allocator call counts, and a return is matched to its entry by the stack
//! pointer, so one pending call per thread is enough: entries and returns below it are its own
//! doing. A call whose return never comes (longjmp, a coroutine left for good, a missed return
//! probe) must not silence its thread: it is alive only while the kernel's trampoline is still in
//! its return slot, or it is given up and counted.

use aya_ebpf::helpers::bpf_probe_read_user;
use memprof_common::{
    counters::Counter,
    event::{MAX_FRAMES, STACK_HEADER_WORDS},
    sampling::Sampler,
};

use crate::{
    emit::count,
    faults::{self, Fault},
    kernel::{hijacked_return_address, may_be_trampoline},
    memo::{self, Memo},
    registers::{Entry, RETURN_SLOT},
    resident::Counted,
    syscalls::SystemCall,
    trail::Trail,
    unwind::{Code, Walk},
    window::{self, Window},
};

/// Calls inside one pending call, after which it is no longer believed to be alive.
const MAX_NESTED_CALLS: u64 = 256;

/// How the result of a call is read at its return.
pub const RESULT_IN_REGISTER: u64 = 0;

/// What an entry leaves for its return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PendingCall {
    /// Stack pointer at entry: the address of the return slot. 0 for no call.
    pub return_slot: u64,
    /// The function: its first instruction's address.
    pub function: u64,
    /// Bytes asked for; `u64::MAX` for a product that overflowed.
    pub size: u64,
    /// The block that a resize was given; 0 if none.
    pub old: u64,
    /// `RESULT_IN_REGISTER`, or where `posix_memalign` puts its result.
    pub result_at: u64,
    /// What the return slot holds, of a call whose function has no return probe; else 0.
    pub returns_to: u64,
}

/// A free and the frees of the same block that it makes: a preloaded `free` that calls the C
/// library's. There is no return to pair it with, for a return probe on every free would cost a
/// trap more; so its own calls are told by their block, from other functions, no higher up.
#[repr(C)]
#[derive(Clone, Copy)]
struct FreeChain {
    address: u64,
    /// Stack pointer at the outermost entry.
    stack: u64,
    /// Entered so far; 0 for none.
    functions: [u64; MAX_FREE_CHAIN],
}

/// The stack pointer of a free that a USDT probe told of: any free of the block may be what it told.
const ANYWHERE: u64 = u64::MAX;

/// Allocators stacked on one another.
const MAX_FREE_CHAIN: usize = 4;

/// What is known of the call whose return address is in `return_slot`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NotedCall {
    pub return_slot: u64,
    /// The function: its first instruction's address.
    pub function: u64,
    /// Bytes asked for.
    pub size: u64,
}

/// A block, as the function said that gave it.
#[repr(C)]
#[derive(Clone, Copy)]
struct GivenBlock {
    address: u64,
    size: u64,
}

/// What is remembered of a thread.
#[repr(C)]
pub struct Thread {
    /// The address space that it lives in; 0 if that is to be looked up.
    pub space: u32,
    pub pending: PendingCall,
    freed: FreeChain,
    /// Whether a free has jumped back to its own start.
    restarted: bool,
    /// Entries seen inside the pending call.
    nested: u64,
    noted: NotedCall,
    /// The block that the thread was given last.
    given: GivenBlock,
    pub sampler: Sampler,
    pub code: Code,
    pub walk: Walk,
    pub trail: Trail,
    pub window: Window,
    pub system_call: SystemCall,
    pub fault: Fault,
    pub counted: Counted,
    pub memo: Memo,
    /// The stack record that the walk of a stack fills: its head, then program counters.
    pub record: [u64; STACK_HEADER_WORDS + MAX_FRAMES],
}

/// Takes note that the thread goes on with another program.
#[inline(always)]
pub fn begin_anew(thread: *mut Thread) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        (*thread).space = 0;
        (*thread).code.generation = 0;
        (*thread).pending.return_slot = 0;
        (*thread).freed.address = 0;
        (*thread).restarted = false;
        (*thread).noted.return_slot = 0;
        (*thread).given.address = 0;
    }
    faults::forget(thread);
    memo::forget(thread);
    window::forget_limit(thread);
}

/// Whether a call at `stack` is made by the thread's pending call, which goes on then. A pending
/// call that can no longer return is given up.
#[inline(always)]
pub fn is_nested(thread: *mut Thread, stack: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value.
    let pending = unsafe { &raw mut (*thread).pending };
    // SAFETY: as above.
    let slot = unsafe { (*pending).return_slot };
    if slot == 0 {
        return false;
    }
    // SAFETY: as above.
    let nested = unsafe { (*thread).nested };
    // SAFETY: as above.
    let returns_to = unsafe { (*pending).returns_to };
    if stack <= slot && nested < MAX_NESTED_CALLS && is_alive(slot, returns_to) {
        // SAFETY: as above.
        unsafe { (*thread).nested = nested + 1 };
        return true;
    }
    // SAFETY: as above.
    unsafe { (*pending).return_slot = 0 };
    count(Counter::ExpiredCalls);
    false
}

/// Whether what runs at `stack` is the doing of the thread's pending call. Changes nothing.
#[inline(always)]
pub fn is_inside_call(thread: *mut Thread, stack: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value.
    let (slot, returns_to) =
        unsafe { ((*thread).pending.return_slot, (*thread).pending.returns_to) };
    slot != 0 && stack <= slot && is_alive(slot, returns_to)
}

/// Whether a pending call can still return. A call at the same stack pointer is a tail call if the
/// slot is still hijacked, and a fresh call after a longjmp if it is not: the same question for
/// both. A slot that is not hijacked holds what it held at the entry, unless others have used it.
#[inline(always)]
fn is_alive(slot: u64, returns_to: u64) -> bool {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    match unsafe { bpf_probe_read_user(slot as *const u64) } {
        Ok(value) if returns_to != 0 => value == returns_to,
        Ok(value) => may_be_trampoline(value) && hijacked_return_address(slot) != 0,
        Err(_) => false,
    }
}

/// Gives up the pending call if this is the same call again: an exception has left it, and its
/// caller tries anew.
#[inline(always)]
pub fn forget_attempt(thread: *mut Thread, return_slot: u64, function: u64) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        let pending = &raw mut (*thread).pending;
        if (*pending).return_slot == return_slot
            && (*pending).function == function
            && (*pending).returns_to != 0
        {
            (*pending).return_slot = 0;
        }
    }
}

/// What is in the return slot.
#[inline(always)]
pub fn return_address(slot: u64) -> Option<u64> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_user(slot as *const u64) }.ok()
}

/// Notes a call that is seen again where its block is at hand.
#[inline(always)]
pub fn note(thread: *mut Thread, call: NotedCall) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe { (*thread).noted = call };
}

/// What was noted of the call, which is over then.
#[inline(always)]
pub fn noted(thread: *mut Thread, return_slot: u64) -> Option<NotedCall> {
    // SAFETY: `thread` points at this thread's map value.
    let noted = unsafe { (*thread).noted };
    if noted.return_slot != return_slot {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*thread).noted.return_slot = 0 };
    Some(noted)
}

/// Takes note that the thread was given a block: the next free is a new one, whatever it frees, and
/// a call that was noted and has made this one has been given it.
#[inline(always)]
pub fn forget_free(thread: *mut Thread) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        (*thread).freed.address = 0;
        (*thread).noted.return_slot = 0;
    }
}

/// Notes a call that no other one made.
#[inline(always)]
pub fn begin(thread: *mut Thread, call: PendingCall) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        (*thread).pending = call;
        (*thread).nested = 0;
    }
    forget_free(thread);
}

/// Whether the free of `address` by `call` is made by the thread's last free. The same function
/// again is a new free, of a block that another thread was given meanwhile; but for one that jumps
/// back to its own start, as glibc 2.43's does once in a thread, to make the thread's cache.
#[inline(always)]
pub fn is_inner_free(thread: *mut Thread, address: u64, call: &Entry<'_>) -> bool {
    // SAFETY: `thread` points at this thread's map value; the index is below the array's length.
    unsafe {
        let chain = &raw mut (*thread).freed;
        if (*chain).address == address && call.return_slot <= (*chain).stack {
            let mut level = 0;
            while level < MAX_FREE_CHAIN {
                let entered = (*chain).functions[level];
                if entered == call.function {
                    let same_call = call.return_slot == (*chain).stack;
                    if call.restarts() && same_call && !(*thread).restarted {
                        (*thread).restarted = true;
                        return true;
                    }
                    break;
                }
                if entered == 0 {
                    (*chain).functions[level] = call.function;
                    if (*chain).stack == ANYWHERE {
                        (*chain).stack = call.return_slot;
                    }
                    return true;
                }
                level += 1;
            }
        }
        *chain = FreeChain {
            address,
            stack: call.return_slot,
            functions: [call.function, 0, 0, 0],
        };
    }
    false
}

/// Whether the thread has told of this free already: by the call of a function that frees, or by
/// another USDT probe. The same probe again is a new free. From whatever depth of the stack: what
/// probes tell need not be told in the function that frees.
#[inline(always)]
pub fn is_told_free(thread: *mut Thread, address: u64, probe: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value; the index is below the array's length.
    unsafe {
        let chain = &raw mut (*thread).freed;
        if (*chain).address == address {
            let mut level = 0;
            while level < MAX_FREE_CHAIN {
                let entered = (*chain).functions[level];
                if entered == probe {
                    break;
                }
                if entered == 0 {
                    (*chain).functions[level] = probe;
                    return true;
                }
                level += 1;
            }
        }
        *chain = FreeChain {
            address,
            stack: ANYWHERE,
            functions: [probe, 0, 0, 0],
        };
    }
    false
}

/// Notes the block that the thread was given, for a USDT probe that says so again.
#[inline(always)]
pub fn note_given(thread: *mut Thread, address: u64, size: u64) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe { (*thread).given = GivenBlock { address, size } };
}

/// Whether this is the block that the thread was given last, which is told once.
#[inline(always)]
pub fn was_given(thread: *mut Thread, address: u64, size: u64) -> bool {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        let given = &raw mut (*thread).given;
        let same = (*given).address == address && (*given).size == size;
        (*given).address = 0;
        same
    }
}

/// The pending call that has returned with this stack pointer, which is over then.
#[inline(always)]
pub fn finish(thread: *mut Thread, stack: u64) -> Option<PendingCall> {
    // SAFETY: `thread` points at this thread's map value.
    let call = unsafe { (*thread).pending };
    if call.return_slot == 0 || stack != call.return_slot + RETURN_SLOT {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*thread).pending.return_slot = 0 };
    Some(call)
}
