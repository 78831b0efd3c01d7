//! The look as plain data. Its JSON is `memprof/snapshot/v1`: field names, order and nesting are that
//! contract, and fields are only ever added. Sizes are bytes; what is not known is `None`, never zero.

use serde::{Deserialize, Serialize};

use crate::report::{Host, Memprof};

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What this is.
    pub schema: SnapshotSchema,
    /// Who wrote it.
    pub memprof: Memprof,
    /// The machine.
    pub host: Host,
    /// When the look began, RFC 3339 in UTC, to the millisecond.
    pub taken_at: String,
    /// What the user called it.
    pub label: Option<String>,
    /// The process.
    pub process: SnapshotProcess,
    /// What it weighs.
    pub memory: Memory,
    /// What it has mapped; `None` if that was not asked for or can't be read.
    pub mappings: Option<Mappings>,
    /// Its threads.
    pub threads: Threads,
    /// What it has open; `None` if that can't be read.
    pub open_files: Option<OpenFiles>,
    /// The machine's memory; `None` if that can't be read.
    pub system: Option<System>,
    /// The cgroup that accounts for its memory; `None` if there is none.
    pub cgroup: Option<CgroupMemory>,
    /// What limits the look, in plain sentences.
    pub notes: Vec<String>,
}

/// The versions of the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotSchema {
    /// The first.
    #[serde(rename = "memprof/snapshot/v1")]
    V1,
}

/// Who was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotProcess {
    /// Its id.
    pub pid: u32,
    /// The kernel's name for its main thread.
    pub comm: Option<String>,
    /// What it executes.
    pub exe: Option<String>,
    /// Its arguments.
    pub cmdline: Option<Vec<String>>,
    /// The user whose rights it has.
    pub uid: Option<u32>,
    /// The kernel's letter for its state: `R` running, `S` asleep, `T` stopped, …
    pub state: Option<String>,
    /// When it started, seconds after the machine did: with the id, its identity.
    pub started_seconds_after_boot: Option<f64>,
    /// How long it had run, seconds.
    pub age_seconds: Option<f64>,
}

/// Where the sizes of [`Memory`] come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemorySource {
    /// The pages of every mapping, counted (`/proc/PID/smaps`).
    Smaps,
    /// The kernel's running counters (`/proc/PID/status` and `statm`), which may lag by some pages.
    #[default]
    Status,
}

/// What a process weighs, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Where `rss_bytes` and `swap_bytes` come from.
    pub source: MemorySource,
    /// Resident: its pages that are in memory, those too that it shares. Without hugetlb pages.
    pub rss_bytes: Option<u64>,
    /// Its part of that: each page divided by the number of those that map it.
    pub pss_bytes: Option<u64>,
    /// The pages that nobody else maps: what its end would free.
    pub uss_bytes: Option<u64>,
    /// Resident pages that others map too.
    pub shared_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Its part of that.
    pub swap_pss_bytes: Option<u64>,
    /// The most that was ever resident.
    pub peak_rss_bytes: Option<u64>,
    /// All that is mapped, touched or not.
    pub virtual_bytes: Option<u64>,
    /// The most that was ever mapped.
    pub peak_virtual_bytes: Option<u64>,
    /// Of the resident pages those without a file, by the kernel's counters.
    pub rss_anonymous_bytes: Option<u64>,
    /// Of the resident pages those of files, by the kernel's counters.
    pub rss_file_bytes: Option<u64>,
    /// Of the resident pages those of shared memory, by the kernel's counters.
    pub rss_shared_memory_bytes: Option<u64>,
    /// What the kernel's tables of its pages take.
    pub page_tables_bytes: Option<u64>,
    /// Locked into memory (`mlock`).
    pub locked_bytes: Option<u64>,
    /// In hugetlb pages, which are in no other figure.
    pub hugetlb_bytes: Option<u64>,
    /// Of the resident pages those in transparent huge pages.
    pub transparent_huge_bytes: Option<u64>,
    /// Of the resident pages those that were given back (`MADV_FREE`) and are taken when memory is short.
    pub lazily_freed_bytes: Option<u64>,
}

/// How much, of some mappings together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Bytes of addresses.
    pub size_bytes: u64,
    /// Bytes resident.
    pub rss_bytes: u64,
    /// The process's part of these.
    pub pss_bytes: u64,
    /// Bytes resident that nobody else maps.
    pub uss_bytes: u64,
    /// Bytes swapped out.
    pub swap_bytes: u64,
}

impl Amounts {
    /// Adds what others hold.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.size_bytes, other.size_bytes),
            (&mut self.rss_bytes, other.rss_bytes),
            (&mut self.pss_bytes, other.pss_bytes),
            (&mut self.uss_bytes, other.uss_bytes),
            (&mut self.swap_bytes, other.swap_bytes),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingKind {
    /// What `brk` moves: the C library's main heap.
    Heap,
    /// A heap that glibc maps for further threads, with what it has reserved behind it.
    Arena,
    /// The main thread's stack.
    Stack,
    /// Another thread's stack, with its guard page.
    ThreadStack,
    /// Executable and of a file.
    Code,
    /// Executable and of no file: code made at run time.
    Jit,
    /// Of a file otherwise: constants, variables, what is read by mapping.
    File,
    /// Memory that processes can share: of no file, System V's, `memfd`, `/dev/shm`.
    Shared,
    /// Private memory of no file: pools, large blocks, what languages manage themselves.
    Anonymous,
    /// Addresses without access and of no file: kept free, no memory.
    Reserved,
    /// The kernel's own pages, such as the vdso.
    Kernel,
    /// What came after the mappings that are looked at one by one.
    Others,
}

impl MappingKind {
    /// Its name, as in JSON, with spaces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Arena => "arena",
            Self::Stack => "stack",
            Self::ThreadStack => "thread stack",
            Self::Code => "code",
            Self::Jit => "jit",
            Self::File => "file",
            Self::Shared => "shared",
            Self::Anonymous => "anonymous",
            Self::Reserved => "reserved",
            Self::Kernel => "kernel",
            Self::Others => "others",
        }
    }
}

/// How it is known what a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// By the name that the kernel shows, or its absence.
    Name,
    /// By its permissions.
    Permissions,
    /// A thread's stack pointer points into it.
    StackPointer,
    /// It has a guard page as threads' stacks do: a guess.
    Guard,
    /// It lies and is reserved as glibc's arenas do: a guess.
    Shape,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Its first address, hexadecimal.
    pub address: String,
    /// What it is for.
    pub kind: MappingKind,
    /// How that is known.
    pub known_by: KnownBy,
    /// As `maps` writes them: `rw-p`.
    pub permissions: String,
    /// Its file, or what the kernel shows instead; `None` for memory without a name.
    pub file: Option<String>,
    /// How much it holds.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// Some mappings together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group<K> {
    /// What they have in common.
    pub name: K,
    /// How many there are.
    pub mappings: u64,
    /// How much they hold.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// What a process has mapped, the largest first: by what is in memory or swapped out, then by size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    /// How many there are.
    pub count: u64,
    /// Of these, how many are only counted, in the groups called `others` or `[others]`.
    pub beyond_count: u64,
    /// Heaps that look like those of glibc's arenas.
    pub arena_count: u64,
    /// By what they are for.
    pub by_kind: Vec<Group<MappingKind>>,
    /// By file; those of no file under the name that the kernel shows, or their kind's in brackets.
    pub by_file: Vec<Group<String>>,
    /// By permissions.
    pub by_permissions: Vec<Group<String>>,
    /// The largest, as many as asked for.
    pub largest: Vec<Mapping>,
}

/// The threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// How many there are.
    pub count: Option<u64>,
    /// Stack pointers that could be read: of a thread that sleeps, in a process that memprof may trace.
    pub stack_pointers_read: Option<u64>,
    /// Stacks beside the main one that a stack pointer or the kernel's name tells.
    pub stacks_known: Option<u64>,
    /// Stacks that a guard page suggests; the C library keeps those of ended threads for the next.
    pub stacks_guessed: Option<u64>,
}

/// What a process has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFiles {
    /// How many file descriptors.
    pub count: u64,
    /// The most that it may have.
    pub limit: Option<u64>,
    /// Files, directories and devices.
    pub files: u64,
    /// Of these, those whose last name is gone.
    pub deleted: u64,
    /// Sockets.
    pub sockets: u64,
    /// Pipes.
    pub pipes: u64,
    /// Memory (`memfd`).
    pub memory: u64,
    /// All else: epoll, eventfd, timers, …
    pub other: u64,
}

/// The machine's memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// All of it.
    pub total_bytes: u64,
    /// Unused.
    pub free_bytes: u64,
    /// What programs could get without swapping.
    pub available_bytes: Option<u64>,
    /// What holds file contents.
    pub cached_bytes: u64,
    /// Room for swapped pages.
    pub swap_total_bytes: u64,
    /// What of it is unused.
    pub swap_free_bytes: u64,
    /// How much of the time tasks wait for memory; `None` if the kernel does not tell (PSI).
    pub pressure: Option<Pressure>,
}

/// How much of the time tasks wait for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one does.
    pub some: PressureShares,
    /// All that could run do.
    pub full: PressureShares,
}

/// Shares of time, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureShares {
    /// Of the last 10 seconds.
    pub percent_10s: f64,
    /// Of the last minute.
    pub percent_60s: f64,
    /// Of the last five minutes.
    pub percent_300s: f64,
    /// Since the machine started, seconds.
    pub total_seconds: f64,
}

/// The cgroup that accounts for a process's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupMemory {
    /// Its path below the root of the hierarchy.
    pub path: String,
    /// The version of the hierarchy, 1 or 2.
    pub version: u8,
    /// The container that it belongs to, where the path tells.
    pub container: Option<String>,
    /// What all its processes use, with their files' contents; `None` if that can't be read, as of the
    /// root of version 2.
    pub usage_bytes: Option<u64>,
    /// The tightest limit, its own or an ancestor's: that of which the least is left; `None` if none is set.
    pub limit_bytes: Option<u64>,
    /// What is in use of that limit.
    pub limit_usage_bytes: Option<u64>,
    /// The cgroup that has it.
    pub limit_path: Option<String>,
}
