//! The probe programs: which argument is what; the rest is shared.

use aya_ebpf::{
    helpers::bpf_probe_read_user,
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use memprof_common::{
    counters::Counter,
    event::{Kind, SIZE_BITS, pack_alloc, pack_free},
};

use crate::{
    emit::{count, now, send},
    filter::{Caller, caller},
    pending::{
        NotedCall, PendingCall, RESULT_IN_REGISTER, Thread, begin, finish, forget_attempt,
        forget_free, is_inner_free, is_nested, is_told_free, note, note_given, noted,
        return_address, was_given,
    },
    registers::{CallerRegisters, Entry, Inner, RETURN_SLOT, Registers},
    sample::takes,
    stack::stack_id,
    unwind::Innermost,
    usdt::Probe,
    window,
};

/// `f(size)`: malloc, valloc, pvalloc.
#[uprobe]
pub fn enter_size(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| Request::fresh(call.argument(0)))
}

/// `f(count, size)`: calloc.
#[uprobe]
pub fn enter_product(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| {
        Request::fresh(product(call.argument(0), call.argument(1)))
    })
}

/// `f(alignment, size)`: aligned_alloc, memalign.
#[uprobe]
pub fn enter_aligned_size(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| Request::fresh(call.argument(1)))
}

/// `f(&pointer, alignment, size)`: posix_memalign.
#[uprobe]
pub fn enter_posix_memalign(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| Request {
        result_at: call.argument(0),
        ..Request::fresh(call.argument(2))
    })
}

/// `f(pointer, size)`: realloc.
#[uprobe]
pub fn enter_resize(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| Request {
        old: call.argument(0),
        ..Request::fresh(call.argument(1))
    })
}

/// `f(pointer, count, size)`: reallocarray.
#[uprobe]
pub fn enter_resize_product(ctx: ProbeContext) -> u32 {
    enter(&ctx, |call| Request {
        old: call.argument(0),
        ..Request::fresh(product(call.argument(1), call.argument(2)))
    })
}

/// `f(pointer)`: free.
#[uprobe]
pub fn enter_free(ctx: ProbeContext) -> u32 {
    free(&ctx);
    0
}

/// The return of every function that gives a block.
#[uretprobe]
pub fn leave(ctx: RetProbeContext) -> u32 {
    returned(&ctx);
    0
}

/// Inside a function, where the block is at hand that it is going to give.
#[uprobe]
pub fn give(ctx: ProbeContext) -> u32 {
    gives(&ctx);
    0
}

/// The same on a `ret` of a function that must not have a return probe.
#[uprobe]
pub fn give_by_ret(ctx: ProbeContext) -> u32 {
    gives(&ctx);
    0
}

/// On a `ret` of such a function whose call is pending.
#[uprobe]
pub fn leave_by_ret(ctx: ProbeContext) -> u32 {
    leaves(&ctx);
    0
}

/// `alloc(pointer, size)`, which a program tells of by a USDT probe.
#[uprobe]
pub fn usdt_alloc(ctx: ProbeContext) -> u32 {
    told_of_block(&ctx);
    0
}

/// `free(pointer)`, the same.
#[uprobe]
pub fn usdt_free(ctx: ProbeContext) -> u32 {
    told_of_free(&ctx);
    0
}

/// Inside a function, where its size is at hand, for `give` where it no longer is.
#[uprobe]
pub fn note_size(ctx: ProbeContext) -> u32 {
    notes(&ctx);
    0
}

/// What a call asks for.
struct Request {
    size: u64,
    old: u64,
    result_at: u64,
}

impl Request {
    #[inline(always)]
    fn fresh(size: u64) -> Self {
        Self {
            size,
            old: 0,
            result_at: RESULT_IN_REGISTER,
        }
    }
}

/// The product of two sizes; `u64::MAX` if it overflows, which no call survives. By halves, for BPF
/// has no 128-bit product, and the compiler makes one of the usual check by division.
#[inline(always)]
fn product(count: u64, size: u64) -> u64 {
    let (count_high, count_low) = (count >> 32, count & 0xffff_ffff);
    let (size_high, size_low) = (size >> 32, size & 0xffff_ffff);
    if count_high != 0 && size_high != 0 {
        return u64::MAX;
    }
    // One of the two terms is zero.
    let middle = count_high * size_low + count_low * size_high;
    let low = count_low * size_low;
    let product = (middle << 32).wrapping_add(low);
    if middle >> 32 != 0 || product < low {
        return u64::MAX;
    }
    product
}

/// The entry of a function that gives a block. The old block of a resize is reported here, before
/// its address can be used again; a resize that fails takes that back.
#[inline(always)]
fn enter(ctx: &ProbeContext, request: impl FnOnce(&Entry<'_>) -> Request) -> u32 {
    let Some(caller) = caller() else { return 0 };
    let thread = caller.thread;
    if thread.is_null() {
        return 0;
    }
    let call = Entry::of(ctx);
    let mut returns_to = 0;
    if call.by_ret() {
        forget_attempt(thread, call.return_slot, call.function);
        let Some(address) = return_address(call.return_slot) else {
            return 0;
        };
        returns_to = address;
    }
    if is_nested(thread, call.return_slot) {
        return 0;
    }
    let request = request(&call);
    if request.old != 0 {
        send_free(Kind::ResizeFree, caller, request.old);
    }
    begin(
        thread,
        PendingCall {
            return_slot: call.return_slot,
            function: call.function,
            size: request.size,
            old: request.old,
            result_at: request.result_at,
            returns_to,
        },
    );
    0
}

#[inline(always)]
fn free(ctx: &ProbeContext) -> Option<()> {
    let call = Entry::of(ctx);
    let address = call.argument(0);
    if address == 0 {
        return None;
    }
    let caller = caller()?;
    let thread = caller.thread;
    if !thread.is_null()
        && (is_nested(thread, call.return_slot) || is_inner_free(thread, address, &call))
    {
        return None;
    }
    send_free(Kind::Free, caller, address);
    Some(())
}

#[inline(always)]
fn returned(ctx: &RetProbeContext) -> Option<()> {
    let caller = caller()?;
    let thread = caller.thread;
    if thread.is_null() {
        return None;
    }
    let call = finish(thread, Registers::of(ctx.regs).stack)?;
    let block = given(caller, &call, ctx.ret())?;
    window::clear(thread);
    let innermost = Innermost::Function(call.function);
    send_block(caller, block, innermost, &ctx.regs.cast_const());
    Some(())
}

#[inline(always)]
fn leaves(ctx: &ProbeContext) -> Option<()> {
    let caller = caller()?;
    let thread = caller.thread;
    if thread.is_null() {
        return None;
    }
    let mut at_ret = Inner::of(ctx);
    let call = finish(thread, at_ret.return_slot + RETURN_SLOT)?;
    let block = given(caller, &call, at_ret.result())?;
    if !at_ret.find_caller(thread) {
        count(Counter::UnreadableResults);
        return None;
    }
    send_block(caller, block, Innermost::Function(call.function), &at_ret);
    Some(())
}

/// The block that a call gives by returning `value`, if it is to be reported.
#[inline(always)]
fn given(caller: Caller, call: &PendingCall, value: u64) -> Option<Block> {
    let address = result(value, call)?;
    if address == 0 {
        // A resize to nothing that returns nothing has freed the block; any other has failed.
        if call.old != 0 && call.size != 0 {
            send_free(Kind::ResizeFailed, caller, call.old);
        }
        return None;
    }
    Block::given(caller.thread, address, call.size)
}

#[inline(always)]
fn gives(ctx: &ProbeContext) -> Option<()> {
    let caller = caller()?;
    let thread = caller.thread;
    let mut call = Inner::of(ctx);
    let address = call.result();
    if address == 0 {
        return None;
    }
    if thread.is_null() || is_nested(thread, call.return_slot) {
        return None;
    }
    // A call that was under way when the gate opened has noted nothing, and counts nowhere.
    let (size, function) = match call.size() {
        Some(size) => (size, call.function),
        None => {
            let noted = noted(thread, call.return_slot)?;
            (noted.size, noted.function)
        }
    };
    forget_free(thread);
    let block = Block::given(thread, address, size)?;
    if !call.find_caller(thread) {
        count(Counter::UnreadableResults);
        return None;
    }
    send_block(caller, block, Innermost::Function(function), &call);
    Some(())
}

#[inline(always)]
fn notes(ctx: &ProbeContext) -> Option<()> {
    let thread = caller()?.thread;
    if !thread.is_null() {
        let call = Inner::of(ctx);
        let size = call.size()?;
        note(
            thread,
            NotedCall {
                return_slot: call.return_slot,
                function: call.function,
                size,
            },
        );
    }
    Some(())
}

/// A block that no function gives that is probed, or else was told of before: as what the pending call
/// does, or as the block that the thread was given last.
#[inline(always)]
fn told_of_block(ctx: &ProbeContext) -> Option<()> {
    let caller = caller()?;
    let thread = caller.thread;
    if thread.is_null() {
        return None;
    }
    let probe = Probe::of(ctx);
    let (Some(address), Some(size)) = (probe.argument(0), probe.argument(1)) else {
        count(Counter::UnreadableResults);
        return None;
    };
    if address == 0 || is_nested(thread, probe.stack) || was_given(thread, address, size) {
        return None;
    }
    forget_free(thread);
    let block = Block::given(thread, address, size)?;
    window::clear(thread);
    let regs = ctx.regs.cast_const();
    send_block(caller, block, Innermost::Instruction, &regs);
    Some(())
}

#[inline(always)]
fn told_of_free(ctx: &ProbeContext) -> Option<()> {
    let caller = caller()?;
    let thread = caller.thread;
    let probe = Probe::of(ctx);
    let Some(address) = probe.argument(0) else {
        count(Counter::LostFree);
        return None;
    };
    if address == 0 {
        return None;
    }
    if !thread.is_null()
        && (is_nested(thread, probe.stack) || is_told_free(thread, address, probe.instruction))
    {
        return None;
    }
    send_free(Kind::Free, caller, address);
    Some(())
}

/// A block that is to be reported.
struct Block {
    address: u64,
    size: u64,
    time: u64,
}

impl Block {
    /// A block that `thread` was just given, if it is to be reported.
    #[inline(always)]
    fn given(thread: *mut Thread, address: u64, size: u64) -> Option<Self> {
        if size >> SIZE_BITS != 0 {
            count(Counter::Oversized);
            return None;
        }
        note_given(thread, address, size);
        let time = now();
        takes(thread, size, time).then_some(Self {
            address,
            size,
            time,
        })
    }
}

#[inline(always)]
fn send_block(
    caller: Caller,
    block: Block,
    innermost: Innermost,
    returns_to: &impl CallerRegisters,
) {
    let Block {
        address,
        size,
        time,
    } = block;
    let stack = stack_id(caller.thread, caller.space, innermost, returns_to, time);
    send(
        pack_alloc(time, caller.space, address, size, stack),
        Counter::LostAlloc,
    );
}

/// The block that a call gives by returning `value`: 0 for none.
#[inline(always)]
fn result(value: u64, call: &PendingCall) -> Option<u64> {
    if call.result_at == RESULT_IN_REGISTER {
        return Some(value);
    }
    // An int: the upper half of the register may hold anything.
    if value as u32 != 0 {
        return None;
    }
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    match unsafe { bpf_probe_read_user(call.result_at as *const u64) } {
        Ok(address) => Some(address),
        Err(_) => {
            count(Counter::UnreadableResults);
            None
        }
    }
}

#[inline(always)]
fn send_free(kind: Kind, caller: Caller, address: u64) {
    send(
        pack_free(kind, now(), caller.space, address),
        Counter::LostFree,
    );
}
