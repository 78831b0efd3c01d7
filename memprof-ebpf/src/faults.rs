//! Pages that become resident, and that are given back, by the tracepoints of page faults and of the
//! kernel's counters of resident memory. They are attached only if faults are followed.
//!
//! A fault's tracepoint has the address and comes before anybody knows what the fault will do; that of
//! the counters comes once a page is there, and has no address. So the one leaves a note for the other,
//! in the same thread. Where there is no note, a system call is under way, and the thread's registers
//! say which: what `munmap` or `madvise` give back is told without a probe on any system call.

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use memprof_common::{
    counters::Counter,
    event::{PAGE_BYTES, PageChange, PageMemory, PageToucher, SIZE_BITS, pack_pages, pages_word},
};

use crate::{
    emit::{count, now, send},
    filter::{Caller, caller},
    pending::Thread,
    registers::USER_CODE_64,
    resident::{self, Guess},
    stack::repeated_stack_id,
    threads, window,
};

/// Of a fault: the page was there, and could not be written to.
const NOT_WRITABLE: u64 = 0b11;
/// Addresses that programs can have.
const USER_ADDRESSES: u64 = 1 << 56;
/// Pages that one fault makes resident at most: a huge one.
const MOST_PAGES: i64 = 512;
/// The number of the system call of a thread that is in none.
const NO_SYSTEM_CALL: i64 = -1;

const MMAP: i64 = 9;
const MUNMAP: i64 = 11;
const BRK: i64 = 12;
const MREMAP: i64 = 25;
const MADVISE: i64 = 28;
const MLOCK: i64 = 149;
const MLOCK2: i64 = 325;

const MAP_FIXED: u64 = 0x10;
const MAP_LOCKED: u64 = 0x2000;
const MAP_POPULATE: u64 = 0x8000;

/// What a fault leaves for the tracepoint of the counters.
#[repr(C)]
pub struct Fault {
    /// The page; 0 if there is no fault under way that could have made one resident.
    address: u64,
    /// A `PageToucher`.
    toucher: u64,
    /// The number of the system call that the thread was in.
    system_call: i64,
    /// The range that a system call was last seen to make resident.
    populated: [u64; 2],
    /// What is being told: the address, the length, and the record's last word.
    told: [u64; 3],
}

#[raw_tracepoint(tracepoint = "page_fault_user")]
pub fn program_faulted(ctx: RawTracePointContext) -> i32 {
    faulted(ctx.arg(0), ctx.arg(2), PageToucher::Program, NO_SYSTEM_CALL);
    0
}

#[raw_tracepoint(tracepoint = "page_fault_kernel")]
pub fn kernel_faulted(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    if address < USER_ADDRESSES && !resident::only_tries() {
        faulted(address, ctx.arg(2), PageToucher::Kernel, system_call());
    }
    0
}

#[raw_tracepoint(tracepoint = "rss_stat")]
pub fn resident_changed(ctx: RawTracePointContext) -> i32 {
    let memory = match ctx.arg::<u64>(1) as u32 {
        0 => PageMemory::File,
        1 => PageMemory::Anonymous,
        3 => PageMemory::Shared,
        _ => return 0,
    };
    changed(ctx.arg(0), memory);
    0
}

/// Forgets what was noted: the thread has other memory now.
#[inline(always)]
pub fn forget(thread: *mut Thread) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        (*thread).fault.address = 0;
    }
}

/// The registers of the current thread's program.
#[inline(always)]
fn registers() -> *const pt_regs {
    // SAFETY: the helper gives the registers of any task; the verifier lets programs read them.
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as *const pt_regs }
}

/// The number of the system call that the current thread is in.
#[inline(always)]
fn system_call() -> i64 {
    // SAFETY: as in `registers`.
    unsafe { (*registers()).orig_rax as i64 }
}

#[inline(always)]
fn faulted(address: u64, error: u64, toucher: PageToucher, system_call: i64) -> Option<()> {
    let mut thread = threads::current();
    if thread.is_null() {
        thread = caller()?.thread;
        if thread.is_null() {
            return None;
        }
    }
    resident::watch(thread);
    // SAFETY: `thread` points at this thread's map value.
    unsafe {
        let fault = &raw mut (*thread).fault;
        (*fault).address = address & !(PAGE_BYTES - 1);
        (*fault).toucher = toucher as u64;
        (*fault).system_call = system_call;
    }
    if error & NOT_WRITABLE == NOT_WRITABLE {
        let page = (address & !(PAGE_BYTES - 1), PAGE_BYTES);
        let what = (PageChange::Copied, PageMemory::Anonymous, toucher as u64);
        tell_touch(
            Caller {
                thread,
                ..caller()?
            },
            page,
            what,
        );
    }
    Some(())
}

#[inline(always)]
fn changed(of: u64, memory: PageMemory) -> Option<()> {
    let is_simple = matches!(memory, PageMemory::Anonymous) && resident::has_two_sizes();
    let kept_up = match is_simple {
        true => None,
        false => resident::keep_up(of, memory),
    };
    // Others take memory from a process too, and a parent copies its own into a child.
    if !resident::is_current(of) {
        return None;
    }
    let caller = caller()?;
    let thread = caller.thread;
    if thread.is_null() {
        count(Counter::LostPages);
        return None;
    }
    let rise = match kept_up {
        Some(pages) => Ok(pages),
        None if is_simple => resident::rise_of_anonymous(of, thread),
        None => resident::rise_in_fault(of, thread, memory),
    };
    let system_call = system_call();
    // SAFETY: `thread` points at this thread's map value.
    let fault = unsafe { &raw mut (*thread).fault };
    // SAFETY: as above.
    let (address, toucher) = unsafe { ((*fault).address, (*fault).toucher) };
    // SAFETY: as above. A note of another system call is of a fault that made nothing resident.
    if address == 0 || unsafe { (*fault).system_call } != system_call {
        return changed_by_system_call(caller, system_call, memory, rise);
    }
    if rise.is_ok_and(|pages| pages <= 0) {
        // A private copy takes the place of a file's page; or the thread has gone on from the fault.
        if system_call != NO_SYSTEM_CALL {
            return changed_by_system_call(caller, system_call, memory, rise);
        }
        return None;
    }
    // SAFETY: as above.
    unsafe {
        (*fault).address = 0;
        (*fault).populated = [0; 2];
    }
    let (length, change) = told(rise);
    tell_touch(caller, (address, length), (change, memory, toucher));
    Some(())
}

/// Bytes that became resident, and how sure that is.
#[inline(always)]
fn told(rise: Result<i64, Guess>) -> (u64, PageChange) {
    match rise {
        Ok(pages) if pages > 0 && pages <= MOST_PAGES => {
            (pages as u64 * PAGE_BYTES, PageChange::Touched)
        }
        Ok(_) => (PAGE_BYTES, PageChange::TouchedSome),
        Err(Guess(pages)) => (pages as u64 * PAGE_BYTES, PageChange::TouchedSome),
    }
}

/// What a system call did to pages that the thread did not touch.
#[inline(always)]
fn changed_by_system_call(
    caller: Caller,
    number: i64,
    memory: PageMemory,
    rise: Result<i64, Guess>,
) -> Option<()> {
    let regs = registers();
    // SAFETY: as in `registers`.
    if unsafe { (*regs).cs } & 0xffff != USER_CODE_64 {
        // It has other numbers.
        count(Counter::PlacelessChanges);
        return None;
    }
    // SAFETY: as in `registers`.
    let (first, second, third, fourth) =
        unsafe { ((*regs).rdi, (*regs).rsi, (*regs).rdx, (*regs).r10) };
    match number {
        MUNMAP => give_back(caller, PageChange::GivenBack, first, second),
        MADVISE => match third {
            // DONTNEED, REMOVE, DONTNEED_LOCKED
            4 | 9 | 24 => give_back(caller, PageChange::GivenBack, first, second),
            // POPULATE_READ, POPULATE_WRITE
            22 | 23 => populate(caller, first, second, memory),
            _ => count(Counter::PlacelessChanges),
        },
        BRK => give_back(caller, PageChange::HeapGivenBack, first, 0),
        MREMAP if third < second => {
            give_back(caller, PageChange::GivenBack, first + third, second - third);
        }
        MMAP if fourth & (MAP_POPULATE | MAP_LOCKED) != 0 => {
            // One page after the other, each told of: where, is not known before the call returns.
            if rise.is_err() || rise.is_ok_and(|pages| pages > 0) {
                let (length, change) = told(rise);
                let what = (change, memory, PageToucher::Kernel as u64);
                tell_touch(caller, (0, length), what);
            }
        }
        MMAP if fourth & MAP_FIXED != 0 => {
            give_back(caller, PageChange::GivenBack, first, second);
        }
        MLOCK | MLOCK2 => populate(caller, first, second, memory),
        _ => count(Counter::PlacelessChanges),
    }
    Some(())
}

/// Tells once of a range that a system call makes resident: the counters change with each page.
#[inline(always)]
fn populate(caller: Caller, address: u64, length: u64, memory: PageMemory) {
    // SAFETY: `thread` points at this thread's map value.
    let populated = unsafe { &raw mut (*caller.thread).fault.populated };
    // SAFETY: as above.
    if unsafe { *populated } == [address, length] {
        return;
    }
    // SAFETY: as above.
    unsafe { *populated = [address, length] };
    let what = (PageChange::Populated, memory, PageToucher::Kernel as u64);
    tell_touch(caller, (address, length), what);
}

#[inline(always)]
fn give_back(caller: Caller, change: PageChange, address: u64, length: u64) {
    // SAFETY: `thread` points at this thread's map value.
    unsafe { (*caller.thread).fault.populated = [0; 2] };
    let what = pages_word(change, PageMemory::Anonymous, 0);
    // The kernel takes whole pages.
    let length = length.wrapping_add(PAGE_BYTES - 1) & !(PAGE_BYTES - 1);
    let length = length & ((1 << SIZE_BITS) - 1);
    let record = pack_pages(now(), caller.space, address, length, 0, what);
    send(record, Counter::LostPages);
}

/// Tells of pages that were touched, and by which way.
#[inline(always)]
fn tell_touch(
    caller: Caller,
    (address, length): (u64, u64),
    (change, memory, toucher): (PageChange, PageMemory, u64),
) {
    // SAFETY: `thread` points at this thread's map value. Volatile, or it would come by registers.
    unsafe {
        let told = &raw mut (*caller.thread).fault.told;
        let what = pages_word(change, memory, toucher);
        told.write_volatile([address, length, what]);
    }
    send_told(caller.thread, caller.space);
}

/// Sends what is being told. All that is known of it lies in the thread's map value: the verifier follows
/// numbers that it knows through the walk, each way here by itself.
#[inline(never)]
fn send_told(thread: *mut Thread, space: u32) -> u32 {
    let time = now();
    window::clear(thread);
    let stack = repeated_stack_id(thread, space, &registers(), time);
    // SAFETY: `thread` points at this thread's map value.
    let [address, length, what] = unsafe { (&raw const (*thread).fault.told).read_volatile() };
    let length = length & ((1 << SIZE_BITS) - 1);
    send(
        pack_pages(time, space, address, length, stack, what),
        Counter::LostPages,
    );
    0
}
