//! What happened when: the course of the totals, named points, and what was left between them.

use serde::{Deserialize, Serialize};

use super::TopAllocator;

/// A named point in the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When, from the start.
    pub at_seconds: f64,
    /// Its name.
    pub label: String,
}

/// What was allocated between two points and is still held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The mark where it begins, or `start`.
    pub from: String,
    /// The mark where it ends, or `end`.
    pub to: String,
    /// Bytes allocated in between that were never freed.
    pub left_bytes: u64,
    /// Blocks allocated in between that were never freed.
    pub left_count: u64,
    /// Who allocated them.
    pub top_allocators: Vec<TopAllocator>,
}

/// The totals at one interval's end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// When, from the start.
    pub at_seconds: f64,
    /// Bytes held.
    pub outstanding_bytes: u64,
    /// Blocks held.
    pub outstanding_count: u64,
    /// Bytes resident of what was touched first (`--events faults`).
    #[serde(default)]
    pub touched_resident_bytes: Option<u64>,
    /// The targets' resident memory.
    pub rss_bytes: Option<u64>,
}
