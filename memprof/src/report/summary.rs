//! The totals of a run.

use serde::{Deserialize, Serialize};

/// The totals over all processes, from attaching to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Bytes that the program asked for and got.
    pub allocated_bytes: u64,
    /// Successful allocations.
    pub allocated_count: u64,
    /// Bytes of followed blocks that were freed.
    pub freed_bytes: u64,
    /// Followed blocks that were freed.
    pub freed_count: u64,
    /// Bytes copied to forked children, which hold them beside their parents.
    pub inherited_bytes: u64,
    /// Blocks copied to forked children.
    pub inherited_count: u64,
    /// Bytes gone because their process replaced its program.
    pub discarded_bytes: u64,
    /// Blocks gone because their process replaced its program.
    pub discarded_count: u64,
    /// Bytes held at the end; of a process that exited, what it held at that moment.
    pub outstanding_bytes: u64,
    /// Blocks held at the end.
    pub outstanding_count: u64,
    /// Where the bytes held are in 95 of 100 cases, if blocks were sampled.
    #[serde(default)]
    pub outstanding_bytes_ci95: Option<[u64; 2]>,
    /// The most bytes that were held at once.
    pub peak_outstanding_bytes: u64,
    /// When that was, from the start; `None` if nothing was ever held.
    pub peak_at_seconds: Option<f64>,
    /// The targets' resident memory at the start.
    pub rss_start_bytes: Option<u64>,
    /// The targets' resident memory at the end, or when last seen.
    pub rss_end_bytes: Option<u64>,
    /// The most resident memory that was seen.
    pub rss_peak_bytes: Option<u64>,
    /// Of the bytes held, those in mappings (`--events mmap`; `None` without, here and below).
    #[serde(default)]
    pub mapped_bytes: Option<u64>,
    /// Mappings held.
    #[serde(default)]
    pub mapped_count: Option<u64>,
    /// Of `mapped_bytes`, what `brk` added to the heap.
    #[serde(default)]
    pub heap_bytes: Option<u64>,
    /// Of `mapped_bytes`, threads' stacks.
    #[serde(default)]
    pub thread_stack_bytes: Option<u64>,
    /// What allocators have mapped for themselves and still have. Not in the bytes held: the blocks
    /// in it are.
    #[serde(default)]
    pub allocator_mapped_bytes: Option<u64>,
    /// What was mapped of files and still is. Not in the bytes held.
    #[serde(default)]
    pub file_mapped_bytes: Option<u64>,
    /// Bytes that became resident by being touched, once for each time (`--events faults`; `None` without,
    /// here and below).
    #[serde(default)]
    pub touched_bytes: Option<u64>,
    /// Bytes of those, and of inherited and copied ones, that are gone, as far as is known.
    #[serde(default)]
    pub given_back_bytes: Option<u64>,
    /// Bytes that are resident of what was touched, inherited or copied; of a process that exited, that were
    /// at that moment.
    #[serde(default)]
    pub touched_resident_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, those of processes that exited.
    #[serde(default)]
    pub touched_ended_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, the processes' own memory.
    #[serde(default)]
    pub touched_anonymous_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, files' contents.
    #[serde(default)]
    pub touched_file_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, shared memory.
    #[serde(default)]
    pub touched_shared_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, those in huge pages.
    #[serde(default)]
    pub touched_huge_bytes: Option<u64>,
    /// Of `touched_resident_bytes`, those that the kernel touched in system calls.
    #[serde(default)]
    pub touched_by_kernel_bytes: Option<u64>,
    /// Bytes that forks left to children beside their parents.
    #[serde(default)]
    pub touched_inherited_bytes: Option<u64>,
    /// Bytes of those that were copied as they were written to.
    #[serde(default)]
    pub touched_copied_bytes: Option<u64>,
    /// Of the bytes held, those on pages that are resident as far as page faults told (`--events
    /// malloc,faults`, in a report of the whole; `None` else, here and below).
    #[serde(default)]
    pub held_touched_bytes: Option<u64>,
    /// Of the bytes held, the others: reserved and never touched, or given back since. `None` too if some
    /// process had run before.
    #[serde(default)]
    pub held_untouched_bytes: Option<u64>,
    /// Free bytes on resident pages with less than half in blocks: kept by few survivors. `None` as above.
    #[serde(default)]
    pub kept_free_bytes: Option<u64>,
    /// Growth of the resident memory that the outstanding bytes do not explain; negative if more
    /// is outstanding than became resident (blocks not touched yet, pages used again). `None` if page
    /// faults alone were followed.
    pub unattributed_bytes: Option<i64>,
}
