//! The collector of memprof. The modules stand in the order in which the data flows; a module
//! imports only from those above it.

pub mod failure;
pub mod units;
pub mod identity;
pub mod priority;
pub mod target;
pub mod unwind;
pub mod probes;
pub mod events;
pub mod live;
pub mod stacks;
pub mod growth;
pub mod cycles;
pub mod pipeline;
pub mod symbols;
pub mod report;
pub mod diff;
pub mod check;
pub mod hunt;
pub mod snapshot;
pub(crate) mod reconcile;
pub mod export;
pub mod saved;
pub mod control;
pub mod host;
pub mod doctor;
pub mod cli;
pub mod config;
pub mod session;
pub mod offline;
pub mod look;
pub mod mark;
