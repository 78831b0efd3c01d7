//! The kernel side, as the collector drives it: what to probe, loading, attaching, detaching.

pub mod offsets;
pub mod page_sizes;
pub mod emulation;
pub mod cost;
pub mod governor;
pub mod placement;
pub mod inner;
pub mod library;
pub mod proof;
pub mod ways;
pub mod families;
pub mod plan;
pub mod usdt;
pub mod inner_plans;
pub mod rings;
pub mod kernel_side;
pub mod usdt_link;
pub mod file_plan;
pub mod attach;
pub mod territory;
