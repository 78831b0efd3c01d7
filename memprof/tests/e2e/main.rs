//! End to end: the real `memprof` with real eBPF against real processes.
//!
//! The truth comes from elsewhere: programs of one behaviour each that keep their own books
//! (`tests/programs/`), and a counting shim preloaded into programs that nobody wrote for this.
//! Tests that need BPF say SKIPPED where they can't run, or fail there if `MEMPROF_REQUIRE_BPF=1`.
//! They run one at a time, because a probe without a process filter is everyone's.

mod harness;

mod allocators;
mod bad_input;
mod check;
mod copied;
mod diff;
mod everything;
mod exact;
mod faults;
mod formats;
mod hunt;
mod inner_probes;
mod joined;
mod mappings;
mod marks;
mod mmaps;
mod names;
mod other_files;
mod overhead;
mod processes;
mod real_programs;
mod reconciliation;
mod restraint;
mod scale;
mod scopes;
mod shim_agrees;
mod snapshot;
mod stacks;
mod tables;
mod usdt;
mod verdicts;
mod verifier;
mod ways_out;
