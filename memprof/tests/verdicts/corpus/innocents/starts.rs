//! Programs that grow at their start, by set-up and warm-up, and pools that never shrink.

use memprof::growth::Verdict::{Bounded, Growing, Stable, WarmUp};
use rand::RngExt;
use rand_distr::{Distribution, Exp};

use super::{fill_share, filling, innocent, or_stable};
use crate::corpus::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, transient};
use crate::corpus::load::Load;
use crate::corpus::{Dials, Recipe};

/// Everything is allocated at once, and a few more later.
pub fn start_up(dials: &mut Dials) -> Recipe {
    let sizes = Sizes::draw(dials.rng);
    let blocks = log_uniform(dials.rng, 1.0, 500.0) as usize;
    let length = dials.rng.random_range(0.001..0.04) * dials.scale;
    let mut births: Vec<f64> = (0..blocks)
        .map(|_| dials.rng.random_range(0.0..length))
        .collect();
    if dials.rng.random_bool(0.5) {
        for _ in 0..blocks / 30 {
            births.push(dials.rng.random_range(0.0..dials.scale * 0.5));
        }
    }
    let lives = Lifetimes::Fixed { length: NEVER };
    innocent(
        &[Stable, WarmUp],
        transient(dials.rng, &births, sizes, lives),
    )
}

/// Growth at the start that slows or stops: tables, pools, compiled code.
pub fn warm_up(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let length = fill_share(dials).min(0.6) * scale;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 5.0, 50.0);
    let births = load.arrivals(dials.rng, 0.0, length, end);
    let mut blocks = Vec::new();
    let slowing = dials.rng.random_bool(0.6);
    for birth in births {
        // The rate falls exponentially, or stays until the end.
        let passed = birth / length;
        if !slowing || dials.rng.random_bool((-4.0 * passed).exp()) {
            blocks.push(Block {
                birth,
                death: NEVER,
                bytes: sizes.one(dials.rng),
            });
        }
    }
    if dials.rng.random_bool(0.4) {
        let load = Load::steady(dials.rng, 1.0, 5.0);
        let births = load.arrivals(dials.rng, 0.0, end, end);
        let lives = Lifetimes::short(dials.rng, scale / 40.0);
        blocks.extend(transient(dials.rng, &births, sizes, lives));
    }
    let grown = if slowing {
        length / scale * 0.5
    } else {
        length / scale
    };
    innocent(&or_stable(WarmUp, grown), blocks)
}

/// Parts that are set up when they are first used, some of them rarely: ever fewer are new.
pub fn lazy_initialisation(dials: &mut Dials) -> Recipe {
    let scale = dials.scale;
    let sizes = Sizes::draw(dials.rng);
    let parts = log_uniform(dials.rng, 20.0, 500.0) as usize;
    let mut births = Vec::new();
    for _ in 0..parts {
        let mean = log_uniform(dials.rng, scale / 1000.0, scale * 10.0);
        let first = Exp::new(1.0 / mean).expect("a mean").sample(dials.rng);
        for _ in 0..dials.rng.random_range(1..5) {
            births.push(first);
        }
    }
    let lives = Lifetimes::Fixed { length: NEVER };
    innocent(
        &[WarmUp, Stable, Growing],
        transient(dials.rng, &births, sizes, lives),
    )
}

/// An allocator's chunks: taken at every new peak of the demand, kept for good.
pub fn arena(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let chunk = log_uniform(dials.rng, 65536.0, 1e6) as u64;
    let typical = dials.rng.random_range(10.0..80.0);
    let noise = dials.rng.random_range(0.1..0.4);
    let steps = 20;
    let mut level: f64 = 0.0;
    let mut most: f64 = 0.0;
    let ramp = dials.rng.random_range(0.01..0.2) * scale;
    let mut blocks = Vec::new();
    for i in 0..(end as usize * steps) {
        let at = i as f64 / steps as f64;
        let kick: f64 = rand_distr::StandardNormal.sample(dials.rng);
        level = 0.98 * level + 0.2 * kick;
        let demand = typical * (at / ramp).min(1.0) * (1.0 + noise * level);
        while most < demand.floor() {
            most += 1.0;
            blocks.push(Block {
                birth: at,
                death: NEVER,
                bytes: chunk,
            });
        }
    }
    innocent(&[WarmUp, Stable, Bounded], blocks)
}

/// One container's storage, replaced by one of twice the size when it is full.
pub fn vector_doubling(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let others = dials.rng.random_range(0..20);
    let rate = log_uniform(dials.rng, 10.0, 1000.0);
    let mut blocks: Vec<Block> = (0..others)
        .map(|_| Block {
            birth: 0.0,
            death: NEVER,
            bytes: 64,
        })
        .collect();
    let mut capacity: f64 = 64.0;
    let mut at = 0.0;
    while at < end {
        let full = capacity / rate;
        blocks.push(Block {
            birth: at,
            death: full,
            bytes: capacity as u64,
        });
        at = full;
        capacity *= 2.0;
    }
    innocent(&[Growing, WarmUp, Bounded], blocks)
}

pub fn long_warm_up(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load::steady(dials.rng, 3.0, 30.0);
    let sizes = Sizes::draw(dials.rng);
    let length = end * dials.rng.random_range(0.7..2.0);
    let births: Vec<f64> = load
        .arrivals(dials.rng, 0.0, end, end)
        .into_iter()
        .filter(|birth| dials.rng.random_bool((-birth / length).exp()))
        .collect();
    let lives = Lifetimes::Fixed { length: NEVER };
    filling(transient(dials.rng, &births, sizes, lives))
}
