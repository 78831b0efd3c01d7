//! Every map of the kernel side, in one place; all of them bounded by `memprof_common::settings`.

use aya_ebpf::{
    btf_maps::{Array as InnerArray, ArrayOfMaps, RingBuf as InnerRing},
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use memprof_common::{
    counters::Counters,
    sampling::Schedule,
    settings::{
        COPY_RING_BYTES, FollowedProcess, LATELY_SENT_ENTRIES, MAX_BROKEN_WALKS, MAX_OUTSIDERS,
        MAX_PAGES, MAX_PROCESSES, MAX_RINGS, MAX_SENT_STACKS, RARE_RING_BYTES, RULE_CACHE_ENTRIES,
    },
    unwind::{Chunk, MAX_SEGMENTS, Page, ProcessMappings, SEGMENT_CHUNKS},
};

use crate::{copy::Budget, resident::Counted};

/// `BPF_F_NO_PREALLOC`: entries cost memory only while they exist.
const ON_DEMAND: u32 = 1;

/// 1 while events are wanted. Closed until every probe is in, and again before the first goes.
#[map]
pub static GATE: Array<u32> = Array::with_max_entries(1, 0);

/// Which blocks are reported: all, until the collector says otherwise.
#[map]
pub static SAMPLING: Array<Schedule> = Array::with_max_entries(1, 0);

/// Followed processes, by process id.
#[map]
pub static PROCESSES: HashMap<u32, FollowedProcess> =
    HashMap::with_max_entries(MAX_PROCESSES, ON_DEMAND);

/// Processes that were found to be outside of the scope.
#[map]
pub static OUTSIDERS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(MAX_OUTSIDERS, 0);

/// The number that the next address space gets.
#[map]
pub static NEXT_SPACE: Array<u64> = Array::with_max_entries(1, 0);

/// How many threads are remembered (`threads.rs`).
#[map]
pub static THREADS_KEPT: Array<i64> = Array::with_max_entries(1, 0);

/// Stack ids whose program counters the collector has been sent; of a stack whose walk broke down
/// also how often it was met.
#[map]
pub static SENT_STACKS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(MAX_SENT_STACKS, 0);

/// By the hash of a broken walk's program counters, at how many depths it was met.
#[map]
pub static BROKEN_WALKS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(MAX_BROKEN_WALKS, 0);

/// A value of each CPU's, of which only the addresses matter (`resident.rs`).
#[map]
pub static HERE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What each CPU knows of the counters of resident memory of the process that it saw last.
#[map]
pub static COUNTED: PerCpuArray<Counted> = PerCpuArray::with_max_entries(1, 0);

/// Copies made lately.
#[map]
pub static COPY_BUDGET: Array<Budget> = Array::with_max_entries(1, 0);

/// Those of them that a CPU has met lately, by their low bits.
#[map]
pub static LATELY_SENT: PerCpuArray<u64> = PerCpuArray::with_max_entries(LATELY_SENT_ENTRIES, 0);

/// Work and losses, per CPU.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// One ring per CPU for the frequent records; the loader makes them as large as it was told to.
#[btf_map]
pub static RINGS: ArrayOfMaps<InnerRing<u64, 4096>, { MAX_RINGS as usize }> = ArrayOfMaps::new();

/// The ring of the rare records: new stacks and process events.
#[map]
pub static RARE: RingBuf = RingBuf::with_byte_size(RARE_RING_BYTES, 0);

/// The ring of copied stacks, apart from the rare records: large ones must not displace those.
#[map]
pub static COPIES: RingBuf = RingBuf::with_byte_size(COPY_RING_BYTES, 0);

/// What each address space has mapped, by its number.
#[map]
pub static MAPPINGS: HashMap<u32, ProcessMappings> =
    HashMap::with_max_entries(MAX_PROCESSES, ON_DEMAND);

/// Another number whenever the collector has changed `MAPPINGS`.
#[map]
pub static MAPPINGS_VERSION: Array<u64> = Array::with_max_entries(1, 0);

/// Where the unwind rows of 64 KiB of code are, by `memprof_common::unwind::page_key`.
#[map]
pub static PAGES: HashMap<u64, Page> = HashMap::with_max_entries(MAX_PAGES, ON_DEMAND);

/// The unwind rows, in segments that the collector makes as it needs them.
#[btf_map]
pub static SEGMENTS: ArrayOfMaps<
    InnerArray<Chunk, { SEGMENT_CHUNKS as usize }>,
    { MAX_SEGMENTS as usize },
> = ArrayOfMaps::new();

/// Rules found lately, per CPU. Tag and rule share a word: a program that preempts another one
/// can't leave it half of each.
#[map]
pub static RULE_CACHE: PerCpuArray<u64> = PerCpuArray::with_max_entries(RULE_CACHE_ENTRIES, 0);
