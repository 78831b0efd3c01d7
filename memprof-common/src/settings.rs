//! What the loader writes into the BPF object before it is loaded, and the sizes of its tables.

/// Offsets into kernel structures, bytes, read from the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelOffsets {
    /// 1 once the offsets are filled in; the programs use none before.
    pub known: u32,
    /// `task_struct.utask`.
    pub task_utask: u32,
    /// `task_struct.mm`.
    pub task_mm: u32,
    /// `mm_struct.brk`, where the heap ends.
    pub mm_brk: u32,
    /// `mm_struct.rss_stat`, the counters of resident pages: of files, anonymous, swapped, shared.
    pub mm_resident: u32,
    /// Bytes of one of them.
    pub counter_bytes: u32,
    /// `percpu_counter.count`, what the CPUs have added to the common sum.
    pub counter_sum: u32,
    /// `percpu_counter.counters`, what each CPU has not added yet.
    pub counter_parts: u32,
    /// `bpf_array.pptrs`, where the first value of a map is that has one for each CPU.
    pub map_values: u32,
    /// `task_struct.pagefault_disabled`: above 0 the kernel only tries to read.
    pub task_only_tries: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.thread.fsbase`, the thread pointer.
    pub task_thread_pointer: u32,
    /// `task_struct.group_leader`, whose name is the process's.
    pub task_leader: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.live`, the number of living threads.
    pub signal_live: u32,
    /// `uprobe_task.return_instances`.
    pub utask_return_instances: u32,
    /// `return_instance.stack`.
    pub return_instance_stack: u32,
    /// `return_instance.orig_ret_vaddr`.
    pub return_instance_address: u32,
    /// `return_instance.next`.
    pub return_instance_next: u32,
}

/// A process that is followed: the value of the process table, keyed by process id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowedProcess {
    /// Its address space; several processes share one after `vfork` or `CLONE_VM`.
    pub space: u32,
    /// 1 if its children are followed too.
    pub follow_children: u32,
    /// 1 if it is followed through an exec; 0 for a child that was followed only because it
    /// shares its parent's memory.
    pub follow_exec: u32,
}

/// Bytes of a process's name in the kernel, padded with zeros.
pub const NAME_BYTES: usize = 16;
/// Names, and cgroups, that a scope may have.
pub const MAX_SCOPE_ENTRIES: usize = 8;

/// Whom the kernel side follows without having been told of them one by one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideScope {
    /// 1 if processes are found by what they are; 0: those that are named by id alone.
    pub is_wide: u32,
    /// memprof itself, which is never followed.
    pub own_pid: u32,
    /// 1 if the children of those that are found are followed whatever becomes of them.
    pub children: u32,
    /// Names in use; 0: whatever its name.
    pub names: u32,
    /// Cgroups in use; 0: wherever it is.
    pub cgroups: u32,
    /// 0.
    pub reserved: u32,
    /// Names, one of which a process must have: as the kernel keeps them, in two words each.
    pub name: [[u64; NAME_BYTES / 8]; MAX_SCOPE_ENTRIES],
    /// Ids of cgroups, in one of which, or below, a process must be.
    pub cgroup: [u64; MAX_SCOPE_ENTRIES],
}

/// Where the numbers begin that the kernel side gives to address spaces; those below are the
/// collector's to give.
pub const FIRST_KERNEL_SPACE: u32 = 1 << 16;
/// Processes outside of the scope that are remembered as such; the oldest is forgotten, and looked at
/// again.
pub const MAX_OUTSIDERS: u32 = 64 * 1024;
/// Followed processes at one time.
pub const MAX_PROCESSES: u32 = 16 * 1024;
/// Threads of followed processes at one time.
pub const MAX_THREADS: u32 = 64 * 1024;
/// Stacks that the kernel side remembers as sent; the oldest is forgotten, and sent again.
pub const MAX_SENT_STACKS: u32 = 256 * 1024;
/// Stacks that each CPU remembers as sent, in front of that table; a power of two.
pub const LATELY_SENT_ENTRIES: u32 = 4 * 1024;
/// CPUs, and so rings for the frequent records.
pub const MAX_RINGS: u32 = 512;
/// Bytes of the ring for the rare records.
pub const RARE_RING_BYTES: u32 = 4 << 20;
/// Bytes of the ring for copies of stacks; some 250 find room.
pub const COPY_RING_BYTES: u32 = 4 << 20;
/// Stacks that may be copied at once, over all CPUs, when none was for a while: what is loaded at a
/// program's start makes thousands of stacks before its tables are in.
pub const COPY_BURST: u64 = 4096;
/// Nanoseconds in which one more copy is saved up for: in the long run a copy each, which costs the
/// target some 3 µs and the collector some 10 to 20.
pub const COPY_PERIOD_NS: u64 = 1_000_000;
/// How far above the call a walk may break down for the copy to begin at the call.
pub const COPY_REACH: u64 = 8 << 10;
/// Broken walks whose stacks are told apart; the oldest is forgotten, and begins anew.
pub const MAX_BROKEN_WALKS: u32 = 16 * 1024;
/// Stacks of one broken walk that are told apart; what comes by others shares one stack id.
pub const MAX_BROKEN_STACKS: u32 = 1024;
/// Pages of unwind rows: 4 GiB of code.
pub const MAX_PAGES: u32 = 64 * 1024;
/// Unwind rules that each CPU remembers; a power of two.
pub const RULE_CACHE_ENTRIES: u32 = 16 * 1024;
