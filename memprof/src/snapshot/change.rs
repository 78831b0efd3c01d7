//! What changed from one look to another, as plain data. Its JSON is `memprof/snapshot-diff/v1`: field
//! names, order and nesting are that contract, and fields are only ever added. Sizes are bytes; what is
//! not known is `None`.

use serde::Serialize;

use super::model::{Amounts, MappingKind, SnapshotProcess};
use crate::report::Memprof;

/// What changed from one look to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotDiff<'a> {
    /// What this is.
    pub schema: SnapshotDiffSchema,
    /// Who wrote it.
    pub memprof: Memprof,
    /// The first look.
    pub before: SnapshotSide<'a>,
    /// The second.
    pub after: SnapshotSide<'a>,
    /// Whether both are of the same process, not only of the same id.
    pub same_process: bool,
    /// The figures of the whole process, sizes first, each by the largest change; those that did not
    /// change too.
    pub figures: Vec<FigureChange>,
    /// The kinds of mappings that changed, the largest change first; `None` if a look has no mappings.
    pub by_kind: Option<Vec<GroupChange<MappingKind>>>,
    /// The files that changed.
    pub by_file: Option<Vec<GroupChange<&'a str>>>,
    /// The permissions that changed.
    pub by_permissions: Option<Vec<GroupChange<&'a str>>>,
    /// What limits the comparison, in plain sentences.
    pub notes: Vec<String>,
}

/// The versions of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SnapshotDiffSchema {
    /// The first.
    #[serde(rename = "memprof/snapshot-diff/v1")]
    V1,
}

/// One of the two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotSide<'a> {
    /// Where it was read.
    pub path: String,
    /// When it was taken.
    pub taken_at: &'a str,
    /// What the user called it.
    pub label: Option<&'a str>,
    /// Whom it is of.
    pub process: &'a SnapshotProcess,
}

/// What is compared of the whole process. The names are those of the look's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Resident.
    RssBytes,
    /// Its part of that.
    PssBytes,
    /// What nobody else maps.
    UssBytes,
    /// Swapped out.
    SwapBytes,
    /// The most that was ever resident.
    PeakRssBytes,
    /// All that is mapped.
    VirtualBytes,
    /// The kernel's tables of it.
    PageTablesBytes,
    /// Mappings.
    Mappings,
    /// Threads.
    Threads,
    /// File descriptors.
    OpenFiles,
    /// What all of its cgroup use.
    CgroupUsageBytes,
    /// What programs could still get on the machine.
    AvailableBytes,
}

impl Figure {
    /// Whether it is a size; else a number of things.
    pub fn is_size(self) -> bool {
        !matches!(self, Self::Mappings | Self::Threads | Self::OpenFiles)
    }
}

/// A figure of the whole process, in both looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FigureChange {
    /// Which.
    pub name: Figure,
    /// By how much it differs; `None` if one side is not known.
    pub change: Option<i64>,
    /// What the first look says.
    pub before: Option<u64>,
    /// What the second says.
    pub after: Option<u64>,
}

/// In which way a group of mappings changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is there now and was not before.
    New,
    /// It was there before and is not now.
    Gone,
    /// More of it is in memory or swapped out, or else it has more addresses.
    Grown,
    /// Less of it is.
    Shrunk,
    /// It holds as much, in other places or shared by others.
    Changed,
    /// The first look does not list all, so what it held before is not known.
    NotListedBefore,
    /// The second look does not list all, so what it holds is not known.
    NotListedAfter,
}

/// A group of mappings in both looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupChange<K> {
    /// What its mappings have in common.
    pub name: K,
    /// In which way it changed.
    pub change: Change,
    /// By how much what is resident differs; `None` if one side is not known.
    pub rss_bytes_change: Option<i64>,
    /// The same of the process's part of that.
    pub pss_bytes_change: Option<i64>,
    /// The same of what nobody else maps.
    pub uss_bytes_change: Option<i64>,
    /// The same of what is swapped out.
    pub swap_bytes_change: Option<i64>,
    /// The same of the addresses.
    pub size_bytes_change: Option<i64>,
    /// The same of the number of mappings.
    pub mappings_change: Option<i64>,
    /// What the first look says; `None` if it does not list it.
    pub before: Option<Amounts>,
    /// What the second says; `None` if it does not list it.
    pub after: Option<Amounts>,
}
