//! What the kernel side counts, per CPU: work done, and every kind of loss.

/// One counter; its number is its index in [`Counters`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Program runs for a followed process while the gate was open.
    ProbeHits = 0,
    /// Allocations whose record found the ring full.
    LostAlloc = 1,
    /// Frees whose record found the ring full.
    LostFree = 2,
    /// New stacks whose record found the ring full (they are sent again at the next use).
    LostStack = 3,
    /// Process events whose record found the ring full, or processes past the table's limit.
    LostProcess = 4,
    /// Calls whose return never came: left by longjmp, or for good by a coroutine. They gave the
    /// program nothing.
    ExpiredCalls = 5,
    /// Calls of threads past the thread table's limit.
    UntrackedThreads = 6,
    /// Blocks too large for a record.
    Oversized = 7,
    /// Return values that could not be read from the target (`posix_memalign`).
    UnreadableResults = 8,
    /// Copies of stacks that were due and not made: over their rate, or no room in their ring.
    RefusedStackCopies = 9,
    /// Mappings whose record found the ring full, or of threads past the table's limit.
    LostMap = 10,
    /// Ends of mappings whose record found the ring full, or of such threads.
    LostUnmap = 11,
    /// Pages that became resident or were given back, whose record found the ring full, or of threads
    /// past the table's limit.
    LostPages = 12,
    /// Changes of resident memory by system calls that don't say where.
    PlacelessChanges = 13,
}

/// How many counters there are.
pub const COUNTERS: usize = 14;

/// The counters of one CPU, or their sum.
pub type Counters = [u64; COUNTERS];
