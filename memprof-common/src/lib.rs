//! What the kernel side (`memprof-ebpf`) and the collector (`memprof`) agree on: the layout of
//! events, the allocator functions, the settings that the loader hands over and the kinds of loss.
//!
//! `no_std`, no dependencies; imports neither side.
#![no_std]

pub mod allocator;
pub mod counters;
pub mod event;
pub mod placement;
pub mod sampling;
pub mod settings;
pub mod unwind;
pub mod usdt;
