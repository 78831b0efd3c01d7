//! One look at a process: what it weighs, what it has mapped and of what kind that is, its threads and
//! open files, and how the machine and its cgroup stand. Without BPF.
//!
//! - `model.rs`: the look as plain data, `memprof/snapshot/v1`
//! - `smaps.rs`: the text of `/proc/PID/smaps`, within bounds (pure)
//! - `classify.rs`: what a mapping is, and how that is known (pure)
//! - `groups.rs`: mappings added up by kind, file and permissions (pure)
//! - `change.rs`, `compare.rs`: what changed from one look to another, `memprof/snapshot-diff/v1` (pure)
//! - `read.rs`, `read/`: the looking itself

mod change;
mod classify;
mod compare;
mod groups;
mod model;
mod read;
mod smaps;

pub use change::{
    Change, Figure, FigureChange, GroupChange, SnapshotDiff, SnapshotDiffSchema, SnapshotSide,
};
pub(crate) use classify::{Class, classify};
pub use compare::compare;
pub use model::{
    Amounts, CgroupMemory, Group, KnownBy, Mapping, MappingKind, Mappings, Memory, MemorySource,
    OpenFiles, Pressure, PressureShares, Snapshot, SnapshotProcess, SnapshotSchema, System,
    Threads,
};
pub use read::{Look, read};
pub(crate) use read::{read_smaps, threads::stack_pointers};
pub(crate) use smaps::{Region, Regions, parse as parse_smaps};
