//! What the end-to-end tests stand on: a stage per test, guarded processes, compiled programs,
//! the truth that programs and the shim tell, and memprof's report beside it.

mod compile;
mod probes;
mod process;
mod report;
mod shim;
mod stage;
mod trace;
mod truth;

pub(crate) use compile::{
    build_with, furnish, plugin_library, prefixed_jemalloc, program, rust_allocator, shim_library,
};
pub(crate) use probes::{assert_no_probe_left, patched_bytes, wait_probed};
pub(crate) use process::{PATIENCE, Process, wait_until};
pub(crate) use report::Report;
pub(crate) use shim::ShimTotals;
pub(crate) use stage::{Stage, is_root, missing};
pub(crate) use trace::{MEMPROF, Trace, start_waiting, wait_attached};
pub(crate) use truth::{Counts, Sites, Truth};
