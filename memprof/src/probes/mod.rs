//! The kernel side, as the collector drives it: what to probe, loading, attaching, detaching.

pub mod kernel_side;
pub mod offsets;
pub mod plan;
