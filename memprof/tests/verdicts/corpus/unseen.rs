//! Kinds that belong to the held-out half alone: nothing was tuned on anything like them.

use memprof::growth::Verdict::{Bounded, Growing, Sawtooth, Stable, WarmUp};
use rand::RngExt;

use super::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, transient};
use super::load::{Load, poisson};
use super::{Dials, Kind, Recipe, innocent, leak};

pub const LEAKS: &[Kind] = &[
    ("leak_every_cycle", every_cycle),
    ("leak_gets_worse", gets_worse),
];

pub const INNOCENTS: &[Kind] = &[
    ("retried_writes", retried_writes),
    ("renewed_entries", renewed_entries),
    ("nested_scopes", nested_scopes),
];

/// A job that runs again and again gives back all but a few of its blocks when it ends.
fn every_cycle(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let period = log_uniform(dials.rng, scale / 40.0, scale / 10.0);
    let length = dials.rng.random_range(0.3..0.9) * period;
    let own = log_uniform(dials.rng, 5.0, 200.0) as usize;
    let left = dials.rng.random_range(1..=3);
    let sizes = Sizes::draw(dials.rng);
    let mut blocks = Vec::new();
    let mut at = dials.rng.random_range(0.0..period);
    while at < end {
        for index in 0..own + left {
            blocks.push(Block {
                birth: at + dials.rng.random_range(0.0..length),
                death: if index < own { at + length } else { NEVER },
                bytes: sizes.one(dials.rng),
            });
        }
        at += period * dials.rng.random_range(0.9..1.1);
    }
    leak(blocks, left as f64 * sizes.mean() / period)
}

/// Under way, a second caller begins to leak too.
fn gets_worse(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 5.0, 40.0);
    let chance = log_uniform(dials.rng, 0.05, 0.4);
    let since = dials.rng.random_range(0.2..0.6) * end;
    let more = dials.rng.random_range(1.3..2.0);
    let lives = Lifetimes::short(dials.rng, scale / 15.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    for block in &mut blocks {
        let factor = if block.birth < since { 1.0 } else { more };
        if dials.rng.random_bool(chance * factor) {
            block.death = NEVER;
        }
    }
    let mean = (since + more * (end - since)) / end;
    leak(blocks, load.base * chance * mean * sizes.mean())
}

/// Written out from time to time; what fails to be written waits for the next time.
fn retried_writes(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 5.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let period = log_uniform(dials.rng, scale / 40.0, scale / 5.0);
    let fails = dials.rng.random_range(0.02..0.4);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let blocks = births
        .iter()
        .map(|&birth| {
            let mut death = ((birth / period).floor() + 1.0) * period;
            while dials.rng.random_bool(fails) {
                death += period;
            }
            Block {
                birth,
                death,
                bytes: sizes.one(dials.rng),
            }
        })
        .collect();
    innocent(&[Sawtooth, Stable, Bounded], blocks)
}

/// A table with an entry for everyone, each replaced by a newer one at a time of its own.
fn renewed_entries(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let entries = log_uniform(dials.rng, 20.0, 500.0) as usize;
    let built = log_uniform(dials.rng, 0.01, 0.3) * scale;
    let lives = Lifetimes::LogNormal {
        median: log_uniform(dials.rng, scale / 60.0, scale / 4.0),
        sigma: dials.rng.random_range(0.1..0.8),
    };
    let mut blocks = Vec::new();
    for _ in 0..entries {
        let mut at = dials.rng.random_range(0.0..built);
        while at < end {
            let death = at + lives.one(dials.rng);
            blocks.push(Block {
                birth: at,
                death,
                bytes: sizes.one(dials.rng),
            });
            at = death;
        }
    }
    innocent(&[Bounded, Stable, WarmUp], blocks)
}

/// Scopes within scopes: the innermost ends first, the outermost may stay for good, and the depth
/// keeps about its mean.
fn nested_scopes(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let sizes = Sizes::draw(dials.rng);
    let mean = log_uniform(dials.rng, 5.0, 60.0);
    let steps = log_uniform(dials.rng, 5.0, 40.0);
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for interval in 0..end as usize {
        let number = poisson(dials.rng, steps);
        for step in 0..number {
            let at = interval as f64 + step as f64 / number as f64;
            let deeper = (0.5 + 0.5 * (1.0 - open.len() as f64 / mean)).clamp(0.02, 0.98);
            if dials.rng.random_bool(deeper) {
                open.push(blocks.len());
                blocks.push(Block {
                    birth: at,
                    death: NEVER,
                    bytes: sizes.one(dials.rng),
                });
            } else if let Some(index) = open.pop() {
                blocks[index].death = at;
            }
        }
    }
    innocent(&[Stable, Bounded, WarmUp, Sawtooth, Growing], blocks)
}
