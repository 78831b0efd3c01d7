//! Where the threads of a process have their stack pointers, by which their stacks are known.

use procfs::process::{Process, Syscall};

/// Threads of which the stack pointer is read; the stacks of further ones can only be guessed.
const MAX_THREADS: usize = 16_384;

/// Those of the threads that sleep in the kernel; of the others it does not tell. `None` if memprof may
/// not know: it takes the right to trace the process.
pub(crate) fn stack_pointers(process: &Process, notes: &mut Vec<String>) -> Option<Vec<u64>> {
    let mut tasks = process.tasks().ok()?;
    let mut may_know = false;
    let mut pointers = Vec::new();
    for task in tasks.by_ref().take(MAX_THREADS).flatten() {
        match task.syscall() {
            Ok(Syscall::Blocked { stack_pointer, .. }) => pointers.push(stack_pointer),
            Ok(_) => {}
            // Not allowed, or it has ended.
            Err(_) => continue,
        }
        may_know = true;
    }
    if tasks.next().is_some() {
        notes.push(format!(
            "of the stack pointers only {MAX_THREADS} were read: further stacks are guessed"
        ));
    }
    may_know.then_some(pointers)
}
