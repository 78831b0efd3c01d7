//! The child that makes the calls.

use std::{ffi::c_void, mem, process, ptr};

use anyhow::{Context as _, Result};
use memprof_common::allocator::Shape;
use nix::{
    sys::{
        ptrace,
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise},
    },
    unistd::{ForkResult, Pid, alarm, fork},
};

use super::Subject;

/// Sizes that allocators treat differently: none, tiny, of the caches, of the heap, and one that is
/// mapped even where many large blocks have been freed before (glibc raises its threshold up to
/// 32 MiB). It is not touched.
const SIZES: [usize; 16] = [
    0,
    1,
    24,
    25,
    40,
    100,
    500,
    1_000,
    1_032,
    1_033,
    2_000,
    5_000,
    20_000,
    70_000,
    400_000,
    40 << 20,
];
/// How often each size is asked for before anything is freed, and again afterwards.
const REPEATS: usize = 2;
/// Seconds after which a child that is stuck is killed; it takes a few hundredths of one.
const PATIENCE: u32 = 10;

type AllocateSize = extern "C" fn(usize) -> *mut c_void;
type AllocateProduct = extern "C" fn(usize, usize) -> *mut c_void;
type Free = extern "C" fn(*mut c_void);

/// The functions that the child calls.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    size: Option<AllocateSize>,
    product: Option<AllocateProduct>,
    free: Free,
}

impl Calls {
    pub(super) fn of(subjects: &[Subject], free: u64) -> Self {
        let find = |shape: Shape| {
            let subject = subjects.iter().find(|subject| subject.shape == shape);
            subject.map(|subject| subject.start as *const c_void)
        };
        // SAFETY: the caller says that these are functions of these shapes in this process.
        unsafe {
            Self {
                size: find(Shape::Size).map(|start| mem::transmute(start)),
                product: find(Shape::Product).map(|start| mem::transmute(start)),
                free: mem::transmute::<*const c_void, Free>(free as *const c_void),
            }
        }
    }
}

/// Forks the child; it stops itself before its first call.
pub(super) fn start(calls: Calls) -> Result<Pid> {
    // A signal that came to the child would run handlers that are the parent's.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    // SAFETY: the child makes calls of the C library's that are sound after a fork (its allocator
    // is, in glibc), and exits.
    let forked = unsafe { fork() };
    if let Ok(ForkResult::Child) = forked {
        make_calls(calls);
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match forked.context("cannot fork")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => process::abort(),
    }
}

fn make_calls(calls: Calls) -> ! {
    let mut deadline = SigSet::empty();
    deadline.add(Signal::SIGALRM);
    alarm::set(PATIENCE);
    if deadline.thread_unblock().is_err()
        || ptrace::traceme().is_err()
        || raise(Signal::SIGSTOP).is_err()
    {
        exit();
    }
    say_single_threaded();
    allocate(calls);
    start_thread();
    allocate(calls);
    exit()
}

/// Ends the child at once: what the parent would do at its exit is not the child's to do.
fn exit() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Every size, fresh, then from what was freed; and what must fail.
fn allocate(calls: Calls) {
    for _ in 0..2 {
        let mut blocks = [ptr::null_mut(); 2 * REPEATS * SIZES.len()];
        let mut free_place = blocks.iter_mut();
        for size in SIZES {
            for _ in 0..REPEATS {
                let given = [
                    calls.size.map(|allocate| allocate(size)),
                    calls.product.map(|allocate| allocate(size.div_ceil(3), 3)),
                ];
                for (block, place) in given.into_iter().flatten().zip(&mut free_place) {
                    *place = block;
                }
            }
        }
        for block in blocks {
            (calls.free)(block);
        }
    }
    // Their results are NULL; if they aren't, the parent sees it.
    if let Some(allocate) = calls.size {
        allocate(usize::MAX);
        allocate(usize::MAX / 2 + 1);
    }
    if let Some(allocate) = calls.product {
        allocate(usize::MAX / 4, 8);
        allocate(usize::MAX / 2 + 1, 1);
    }
}

/// Tells glibc what is true of a forked child, and what it believes no longer after a fork from a
/// process of several threads.
fn say_single_threaded() {
    // SAFETY: looks a symbol up; glibc documents it as a `char` that the program may read, and
    // nobody else is there to read it while it is written.
    unsafe {
        let flag = libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr());
        if !flag.is_null() {
            flag.cast::<u8>().write(1);
        }
    }
}

/// From here on the C library locks. The thread does nothing: it would not survive a breakpoint.
fn start_thread() {
    extern "C" fn nothing(argument: *mut c_void) -> *mut c_void {
        argument
    }
    let mut thread = 0;
    // SAFETY: a thread without arguments and results, that is waited for.
    unsafe {
        if libc::pthread_create(&raw mut thread, ptr::null(), nothing, ptr::null_mut()) == 0 {
            libc::pthread_join(thread, ptr::null_mut());
        }
    }
}
