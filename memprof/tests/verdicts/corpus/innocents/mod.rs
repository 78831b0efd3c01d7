//! Programs that lose nothing, and what the course of their memory is rightly called.

mod caches;
mod flushes;
mod lives;
mod starts;

use memprof::growth::Verdict::{self, Growing, Sawtooth, Stable};

use super::blocks::{Block, log_uniform};
use super::load::Load;
use super::{Dials, Half, Kind, Recipe, Truth, innocent};

pub const KINDS: &[Kind] = &[
    ("start_up", starts::start_up),
    ("warm_up", starts::warm_up),
    ("fifo_cache", caches::fifo_cache),
    ("lru_cache", caches::lru_cache),
    ("random_cache", caches::random_cache),
    ("cache_with_admission", caches::cache_with_admission),
    ("all_keys_cached", caches::all_keys_cached),
    ("hot_set_cache", caches::hot_set_cache),
    ("sessions_ttl", lives::sessions_ttl),
    ("sessions_sliding_ttl", lives::sessions_sliding_ttl),
    ("sawtooth", flushes::sawtooth),
    ("log_and_compaction", flushes::log_and_compaction),
    ("daily_wave", lives::daily_wave),
    ("arena", starts::arena),
    ("bursts", lives::bursts),
    ("stable_churn", lives::stable_churn),
    ("lognormal_lives", lives::lognormal_lives),
    ("pareto_lives", lives::pareto_lives),
    ("heavy_pareto_lives", lives::heavy_pareto_lives),
    ("config_reload", flushes::config_reload),
    ("vector_doubling", starts::vector_doubling),
    ("traffic_growth", lives::traffic_growth),
    ("queue_backlog", flushes::queue_backlog),
    ("recurring_keys_kept", caches::recurring_keys_kept),
    ("lazy_initialisation", starts::lazy_initialisation),
    ("two_lifetimes", lives::two_lifetimes),
    ("two_level_flushes", flushes::two_level_flushes),
];

pub const FILLING: &[Kind] = &[
    ("filling_cache", caches::filling_cache),
    ("long_warm_up", starts::long_warm_up),
];

/// What grows for this share of the window is named by it, unless that is next to nothing.
fn or_stable(name: Verdict, filled: f64) -> Vec<Verdict> {
    if filled < 0.12 {
        vec![name, Stable]
    } else {
        vec![name]
    }
}

/// What comes and goes under a load so noisy that the total truly rises and falls may be called
/// that as well.
fn or_sawtooth(names: &[Verdict], load: &Load) -> Vec<Verdict> {
    let mut names = names.to_vec();
    if load.noise > 0.3 {
        names.push(Sawtooth);
    }
    names
}

/// When a store is full, as a share of the window.
fn fill_share(dials: &mut Dials) -> f64 {
    match dials.half {
        Half::Tuning => log_uniform(dials.rng, 0.05, 0.75),
        Half::HeldOut => log_uniform(dials.rng, 0.04, 0.8),
    }
}

fn filling(recipe: Vec<Block>) -> Recipe {
    Recipe {
        truth: Truth::Filling,
        names: vec![Growing],
        blocks: recipe,
    }
}
