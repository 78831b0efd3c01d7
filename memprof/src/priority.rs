//! Threads that are late lose something: a stack whose tables are not there yet is cut short, a
//! ring that nobody empties overflows. On a busy machine they go before others.

/// The nice value of such threads; -20 is the most pressing.
const NICE: i32 = -10;

/// Has the calling thread go before others, if the system lets it.
pub fn hurry() {
    // SAFETY: no pointers. To Linux a thread is a process here, and 0 the one that calls. Refused
    // without CAP_SYS_NICE: then the thread takes its turn as any other.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}
