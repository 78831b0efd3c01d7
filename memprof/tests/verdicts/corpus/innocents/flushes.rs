//! Memory that is given back all at once.

use memprof::growth::Verdict::{Bounded, Sawtooth, Stable};
use rand::RngExt;

use super::innocent;
use crate::corpus::blocks::{Block, NEVER, Sizes, log_uniform};
use crate::corpus::load::Load;
use crate::corpus::stores::flushed;
use crate::corpus::{Dials, Half, Recipe};

/// A buffer that is emptied at regular times, or when it is full.
pub fn sawtooth(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 5.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let period = match dials.half {
        Half::Tuning => log_uniform(dials.rng, 0.07, 0.4),
        Half::HeldOut => log_uniform(dials.rng, 0.06, 0.45),
    } * scale;
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let first = dials.rng.random_range(0.1..1.0) * period;
    let jitter = dials.rng.random_range(0.0..0.2);
    let flushes: Vec<_> = (0..=(1.2 * end / period) as u32)
        .map(|i| first + period * (f64::from(i) + jitter * dials.rng.random_range(-1.0..1.0)))
        .collect();
    let blocks = flushed(dials.rng, &births, &flushes, 0.0, sizes);
    innocent(&[Sawtooth], blocks)
}

/// Segments pile up, then several are merged into a smaller one.
pub fn log_and_compaction(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 4.0, 30.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let period = log_uniform(dials.rng, 0.08, 0.35) * scale;
    let remains = dials.rng.random_range(0.02..0.25);
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut next = period * dials.rng.random_range(0.3..1.0);
    for birth in births {
        if birth >= next {
            // What remains is written anew, and is compacted with the rest next time.
            let left = (open.len() as f64 * remains) as usize;
            for index in open.drain(..) {
                blocks[index].death = next;
            }
            for _ in 0..left {
                open.push(blocks.len());
                blocks.push(Block {
                    birth: next,
                    death: NEVER,
                    bytes: sizes.one(dials.rng),
                });
            }
            next += period * dials.rng.random_range(0.8..1.2);
        }
        open.push(blocks.len());
        blocks.push(Block {
            birth,
            death: NEVER,
            bytes: sizes.one(dials.rng),
        });
    }
    innocent(&[Sawtooth], blocks)
}

/// A new configuration is built, then the old one is freed.
pub fn config_reload(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let entries = log_uniform(dials.rng, 5.0, 200.0) as usize;
    let period = log_uniform(dials.rng, scale / 40.0, scale / 4.0);
    let mut blocks = Vec::new();
    let mut at = 0.0;
    while at < end {
        let next = at + period * dials.rng.random_range(0.7..1.3);
        for _ in 0..entries {
            blocks.push(Block {
                birth: at + dials.rng.random_range(0.0..0.05),
                death: next + 0.06,
                bytes: sizes.one(dials.rng),
            });
        }
        at = next;
    }
    innocent(&[Stable], blocks)
}

/// Work piles up while the consumer is slower, and is worked off later.
pub fn queue_backlog(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 5.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let period = log_uniform(dials.rng, 0.1, 0.4) * scale;
    let slow = dials.rng.random_range(0.4..0.7);
    let phase = dials.rng.random_range(0.0..1.0);
    let mut free_at: f64 = 0.0;
    let blocks = births
        .iter()
        .map(|&birth| {
            let start = free_at.max(birth);
            let in_period = (start / period + phase).fract();
            let speed = if in_period < slow { 0.4 } else { 3.0 };
            free_at = start + 1.0 / (load.base * speed);
            Block {
                birth,
                death: free_at,
                bytes: sizes.one(dials.rng),
            }
        })
        .collect();
    innocent(&[Sawtooth, Stable], blocks)
}

/// Frequent flushes leave some behind, rare ones take everything: a heap with generations.
pub fn two_level_flushes(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let major = match dials.half {
        Half::Tuning => log_uniform(dials.rng, 0.15, 0.4),
        Half::HeldOut => log_uniform(dials.rng, 0.12, 0.45),
    } * scale;
    let minor = major / dials.rng.random_range(3.0..12.0);
    let promoted = log_uniform(dials.rng, 0.05, 0.4);
    let first = dials.rng.random_range(0.2..1.0) * major;
    let next =
        |at: f64, period: f64, first: f64| first + ((at - first) / period).ceil().max(0.0) * period;
    let mut blocks = Vec::new();
    for birth in births {
        let at = if dials.rng.random_bool(promoted) {
            next(birth, major, first)
        } else {
            next(birth, minor, 0.0).min(next(birth, major, first))
        };
        blocks.push(Block {
            birth,
            death: at,
            bytes: sizes.one(dials.rng),
        });
    }
    innocent(&[Sawtooth, Stable, Bounded], blocks)
}
