//! Names for processes, address spaces, stacks and moments, so that no two are mixed up.

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanoseconds = u64;

/// Seconds from one moment to a later one.
pub fn seconds_since(start: Nanoseconds, then: Nanoseconds) -> f64 {
    then.saturating_sub(start) as f64 / 1e9
}

/// An address space: blocks belong to one, processes share or own one. Never reused in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub u32);

/// The kernel side's name for one call stack: a hash over its program counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackId(pub u64);

/// A process id as the kernel's root namespace knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);
