//! The walk of a call stack by unwind tables, from a known first caller.
//!
//! The collector compiles `.eh_frame` into tables (`memprof_common::unwind`); code without them
//! is stepped through by its frame pointer. The walk's state lives in the thread's map value and
//! not on the BPF stack: the verifier follows numbers on the stack through every frame, some
//! hundred thousand instructions of them, and not those in a map.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_loop, bpf_probe_read_user};
use memprof_common::{
    event::{MAX_FRAMES, STACK_HEADER_WORDS, StackEnd, mix},
    unwind::{
        NO_RULE, RuleKind, SIGNAL_RBP_OFFSET, SIGNAL_RIP_OFFSET, SIGNAL_RSP_OFFSET, added_offset,
        cfa_offset, plt_cfa_offset, rbp_at_rbp, rbp_offset, rule_kind, slot_offset,
    },
};

use crate::{
    kernel::{hijacked_return_address, may_be_trampoline},
    maps::{MAPPINGS, MAPPINGS_VERSION},
    memo,
    pending::Thread,
    registers::{RETURN_SLOT, Registers},
    rules::{is_code, rule_at},
    window,
};

/// Where a walk is, and at its end what it found beside the program counters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// Registers of the frame that the walk is at.
    pub pc: u64,
    pub stack: u64,
    pub frame: u64,
    /// 1 if `pc` is a return address, so that the call is before it; 0 if it is an instruction
    /// that was interrupted.
    pub returned: u64,
    /// The stack's hash so far.
    pub hash: u64,
    /// Program counters so far.
    pub frames: u64,
    /// A `StackEnd`.
    pub end: u64,
    /// 1 if a step was made by frame pointer.
    pub by_frame_pointer: u64,
}

/// Which code an address space has, as far as a walk has to know.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Code {
    pub space: u32,
    /// That of the space's mappings; 0 if they are not known yet.
    pub generation: u64,
    /// What `MAPPINGS_VERSION` said before they were looked up.
    version: u64,
}

/// The code of `space`, which is the thread's. Looked up again only when some mappings have changed.
#[inline(always)]
fn code_of(thread: *mut Thread, space: u32) -> Code {
    // SAFETY: a live map value, read as one word.
    let version = MAPPINGS_VERSION
        .get_ptr(0)
        .map_or(0, |version| unsafe { version.read_volatile() });
    // SAFETY: `thread` points at this thread's map value.
    let known = unsafe { (*thread).code };
    if known.generation != 0 && known.version == version {
        return known;
    }
    let code = Code {
        space,
        // SAFETY: a map value stays readable for the length of a program.
        generation: MAPPINGS
            .get_ptr(space)
            .map_or(0, |mappings| unsafe { (*mappings).generation }),
        version,
    };
    // SAFETY: as above.
    unsafe { (*thread).code = code };
    code
}

/// Which mappings the code of `space`, which is the thread's, is known by.
#[inline(always)]
pub fn generation_of(thread: *mut Thread, space: u32) -> u64 {
    code_of(thread, space).generation
}

/// What the callback of `bpf_loop` is handed: it may only point into the BPF stack.
struct Context {
    thread: *mut Thread,
    code: Code,
}

/// What a walk has at the innermost end of its stack.
#[derive(Clone, Copy)]
pub enum Innermost {
    /// The function at this address, which has just returned to where the walk starts.
    Function(u64),
    /// The very instruction where the walk starts: of a system call, or a USDT probe's.
    Instruction,
}

/// Walks a stack from `start` outwards, into the thread's record. What the window has of the stack
/// must be of now.
#[inline(always)]
pub fn walk(thread: *mut Thread, space: u32, innermost: Innermost, start: Registers) -> Walk {
    let pc = start.instruction;
    let (hash, frames, returned) = match innermost {
        Innermost::Function(function) => (mix(mix(u64::from(space), function), pc), 2, 1),
        Innermost::Instruction => (mix(u64::from(space), pc), 1, 0),
    };
    // SAFETY: `thread` points at this thread's map value, and the record has room for two.
    unsafe {
        match innermost {
            Innermost::Function(function) => {
                (*thread).record[STACK_HEADER_WORDS] = function;
                (*thread).record[STACK_HEADER_WORDS + 1] = pc;
            }
            Innermost::Instruction => (*thread).record[STACK_HEADER_WORDS] = pc,
        }
        (*thread).walk = Walk {
            pc,
            stack: start.stack,
            frame: start.frame,
            returned,
            hash,
            frames,
            end: StackEnd::TooDeep as u64,
            by_frame_pointer: 0,
        };
    }
    let code = code_of(thread, space);
    let mut context = Context { thread, code };
    // SAFETY: the callback has the signature that the helper calls it with; raw pointers only,
    // for what it changes must not be held across the call.
    unsafe {
        bpf_loop(
            MAX_FRAMES as u32 - 2,
            step as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
        (*thread).walk
    }
}

/// One frame of a walk; 1 to stop.
unsafe extern "C" fn step(_index: u64, context: *mut c_void) -> u64 {
    // SAFETY: `walk` passes its context.
    let context = unsafe { &*context.cast::<Context>() };
    let thread = context.thread;
    match find_caller(thread, context.code) {
        None => 0,
        Some(end) => {
            // SAFETY: a live map value.
            unsafe { (*thread).walk.end = end as u64 };
            1
        }
    }
}

/// Goes from the frame that the walk is at to its caller; how the walk ended if it did.
#[inline(always)]
fn find_caller(thread: *mut Thread, code: Code) -> Option<StackEnd> {
    // SAFETY: `thread` points at this thread's map value.
    let walk = unsafe { &raw mut (*thread).walk };
    // SAFETY: as above.
    let (pc, stack, frame) =
        unsafe { ((*walk).pc - (*walk).returned, (*walk).stack, (*walk).frame) };
    if code.generation == 0 {
        // Nothing is known of this code: what its registers hold may be anything.
        return Some(StackEnd::Broken);
    }
    let rule = rule_at(code, pc);
    let mut caller_frame = frame;
    let mut by_frame_pointer = false;
    let cfa = match rule_kind(rule) {
        RuleKind::Rsp => {
            let cfa = stack.wrapping_add(cfa_offset(rule));
            if let Some(saved) = saved_frame(thread, cfa, rule) {
                caller_frame = saved;
            }
            cfa
        }
        RuleKind::Rbp => {
            let cfa = frame.wrapping_add(cfa_offset(rule));
            if let Some(saved) = saved_frame(thread, cfa, rule) {
                caller_frame = saved;
            }
            cfa
        }
        RuleKind::Plt => stack.wrapping_add(plt_cfa_offset(rule, pc)),
        RuleKind::DerefRsp | RuleKind::DerefRbp => {
            let base = if rule_kind(rule) as u8 == RuleKind::DerefRsp as u8 {
                stack
            } else {
                frame
            };
            let Some(slot) = read(thread, base.wrapping_add(slot_offset(rule) as u64)) else {
                return Some(StackEnd::Broken);
            };
            if rbp_at_rbp(rule) {
                let Some(saved) = read(thread, frame) else {
                    return Some(StackEnd::Broken);
                };
                caller_frame = saved;
            }
            slot.wrapping_add(added_offset(rule))
        }
        RuleKind::Signal => return interrupted(thread, stack),
        RuleKind::End => return Some(StackEnd::Complete),
        RuleKind::Unsupported => return Some(StackEnd::Broken),
        // Nor is there a caller where the frame pointer is 0: so the ABI marks the outermost frame,
        // and the code that starts a process has no unwind information.
        RuleKind::None if frame == 0 || begins_function(code.space, code.generation, pc + 1) => {
            return Some(StackEnd::Complete);
        }
        RuleKind::None | RuleKind::FramePointer => {
            by_frame_pointer = true;
            // SAFETY: as above.
            unsafe { (*walk).by_frame_pointer = 1 };
            if frame < stack || frame & 7 != 0 {
                return Some(StackEnd::Broken);
            }
            let Some(saved) = read(thread, frame) else {
                return Some(StackEnd::Broken);
            };
            caller_frame = saved;
            frame + 2 * RETURN_SLOT
        }
    };
    // The stack grows down: a caller's frame that is not further up is none.
    if cfa <= stack {
        return Some(StackEnd::Broken);
    }
    let slot = cfa - RETURN_SLOT;
    let Some(mut return_address) = read(thread, slot) else {
        return Some(StackEnd::Broken);
    };
    if may_be_trampoline(return_address) {
        memo::forget(thread);
        let original = hijacked_return_address(slot);
        if original != 0 {
            return_address = original;
        }
    }
    if return_address == 0 {
        return Some(StackEnd::Complete);
    }
    // Where the code keeps no frame pointer, the register holds anything, and what it points at
    // is no return address: garbage that would make a new stack of every call.
    if by_frame_pointer && !follows_call(code, return_address) {
        return Some(StackEnd::Broken);
    }
    go_to(thread, return_address, cfa, caller_frame, 1);
    None
}

/// A word of the stack.
#[inline(always)]
fn read(thread: *mut Thread, address: u64) -> Option<u64> {
    let word = window::read(thread, address)?;
    memo::note(thread, address, word);
    Some(word)
}

/// Whether a function begins at `pc`, with nothing before it. No call returns there: it is the
/// outermost frame of a coroutine, which was put on its stack by hand and is not yet entered.
#[inline(never)]
fn begins_function(space: u32, generation: u64, pc: u64) -> bool {
    rule_at(
        Code {
            space,
            generation,
            version: 0,
        },
        pc,
    ) != NO_RULE
}

/// Whether `pc` is in code that is known, behind a call.
#[inline(always)]
fn follows_call(code: Code, pc: u64) -> bool {
    is_code(code, pc) && is_behind_call(pc)
}

/// Whether what is before `pc` is a call: `e8` with its offset, or `ff /2` with what its operand
/// takes (SIB, displacement of one or four bytes).
#[inline(never)]
pub fn is_behind_call(pc: u64) -> bool {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    let Ok(before) = (unsafe { bpf_probe_read_user((pc - 8) as *const u64) }) else {
        return false;
    };
    let indirect = |length: u64| {
        let code = before >> ((8 - length) * 8);
        code & 0x38ff == 0x10ff
    };
    (before >> 24) as u8 == 0xe8
        || indirect(2)
        || indirect(3)
        || indirect(4)
        || indirect(6)
        || indirect(7)
}

/// The caller's frame pointer, where the rule says that it was saved.
#[inline(always)]
fn saved_frame(thread: *mut Thread, cfa: u64, rule: u32) -> Option<u64> {
    let offset = rbp_offset(rule);
    if offset == 0 {
        return None;
    }
    read(thread, cfa.wrapping_add(offset as u64))
}

/// From a signal trampoline to what the signal interrupted.
#[inline(always)]
fn interrupted(thread: *mut Thread, stack: u64) -> Option<StackEnd> {
    memo::forget(thread);
    // SAFETY: the helper checks the addresses and fails on one that cannot be read.
    let registers = unsafe {
        (
            bpf_probe_read_user((stack + SIGNAL_RIP_OFFSET) as *const u64),
            bpf_probe_read_user((stack + SIGNAL_RSP_OFFSET) as *const u64),
            bpf_probe_read_user((stack + SIGNAL_RBP_OFFSET) as *const u64),
        )
    };
    let (Ok(pc), Ok(stack), Ok(frame)) = registers else {
        return Some(StackEnd::Broken);
    };
    go_to(thread, pc, stack, frame, 0);
    None
}

/// Puts the walk at another frame, and that frame on record.
#[inline(always)]
fn go_to(thread: *mut Thread, pc: u64, stack: u64, frame: u64, returned: u64) {
    // SAFETY: `thread` points at this thread's map value; the mask keeps the index below
    // MAX_FRAMES, which the record has room for.
    unsafe {
        let walk = &raw mut (*thread).walk;
        let pcs = (&raw mut (*thread).record)
            .cast::<u64>()
            .add(STACK_HEADER_WORDS);
        *pcs.add((*walk).frames as usize & (MAX_FRAMES - 1)) = pc;
        (*walk).hash = mix((*walk).hash, pc);
        (*walk).frames += 1;
        (*walk).pc = pc;
        (*walk).stack = stack;
        (*walk).frame = frame;
        (*walk).returned = returned;
    }
}
