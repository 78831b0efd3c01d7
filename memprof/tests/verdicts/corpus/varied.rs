//! More kinds, of leaks and of innocents, that mix what the others have apart.

use memprof::growth::Verdict::{Bounded, Growing, Sawtooth, Stable};
use rand::RngExt;
use rand_distr::{Distribution, Gamma};

use super::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, transient};
use super::load::{Load, poisson};
use super::stores::{Eviction, Keys, cache};
use super::{Dials, Kind, Recipe, innocent, leak};

pub const LEAKS: &[Kind] = &[
    ("leak_accelerating", accelerating),
    ("leak_from_pool", from_pool),
    ("leak_beside_static_data", beside_static_data),
];

pub const INNOCENTS: &[Kind] = &[
    ("cron_batches", cron_batches),
    ("cache_under_rising_load", cache_under_rising_load),
    ("gamma_lives", gamma_lives),
    ("pages_of_undo", pages_of_undo),
];

/// The more requests, the more is lost.
fn accelerating(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load {
        growth: dials.rng.random_range(2.0..6.0),
        ..Load::steady(dials.rng, 4.0, 30.0)
    };
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::short(dials.rng, dials.scale / 15.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    let chance = log_uniform(dials.rng, 0.05, 0.6);
    for block in &mut blocks {
        if dials.rng.random_bool(chance) {
            block.death = NEVER;
        }
    }
    let rate = load.mean_rate(0.0, end, end);
    leak(blocks, rate * chance * sizes.mean())
}

/// Objects are kept for reuse; now and then one is not returned, and a new one is made.
fn from_pool(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let sizes = Sizes::exactly(log_uniform(dials.rng, 100.0, 100_000.0));
    let pool = log_uniform(dials.rng, 5.0, 100.0) as usize;
    let load = Load::steady(dials.rng, 0.5, 8.0);
    let ready = dials.rng.random_range(0.01..0.1) * dials.scale;
    let mut blocks: Vec<Block> = (0..pool)
        .map(|_| Block {
            birth: dials.rng.random_range(0.0..ready),
            death: NEVER,
            bytes: sizes.one(dials.rng),
        })
        .collect();
    for birth in load.arrivals(dials.rng, ready, end, end) {
        blocks.push(Block {
            birth,
            death: NEVER,
            bytes: sizes.one(dials.rng),
        });
    }
    leak(blocks, load.base * sizes.mean())
}

/// A table that was built at the start stays, and what passes by leaks a little.
fn beside_static_data(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let lives = Lifetimes::short(dials.rng, dials.scale / 12.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    let chance = log_uniform(dials.rng, 0.05, 0.5);
    for block in &mut blocks {
        if dials.rng.random_bool(chance) {
            block.death = NEVER;
        }
    }
    let table = blocks.len() as f64 * dials.rng.random_range(0.02..0.2);
    for _ in 0..table as usize {
        blocks.push(Block {
            birth: dials.rng.random_range(0.0..0.5),
            death: NEVER,
            bytes: sizes.one(dials.rng),
        });
    }
    leak(blocks, load.base * chance * sizes.mean())
}

/// Each run's results are kept until the run after the next.
fn cron_batches(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let sizes = Sizes::draw(dials.rng);
    let period = log_uniform(dials.rng, dials.scale / 25.0, dials.scale / 6.0);
    let kept = dials.rng.random_range(1..4);
    let batch = log_uniform(dials.rng, 5.0, 200.0);
    let mut blocks = Vec::new();
    let mut at = dials.rng.random_range(0.0..period);
    while at < end {
        for _ in 0..poisson(dials.rng, batch) {
            blocks.push(Block {
                birth: at + dials.rng.random_range(0.0..0.3),
                death: at + period * f64::from(kept) + 0.4,
                bytes: sizes.one(dials.rng),
            });
        }
        at += period;
    }
    innocent(&[Bounded, Stable, Sawtooth], blocks)
}

/// A cache that fills while the load rises.
fn cache_under_rising_load(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load {
        growth: dials.rng.random_range(1.5..4.0),
        noise: 0.1,
        ..Load::steady(dials.rng, 6.0, 30.0)
    };
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let keys = Keys::Unique.draw(dials.rng, requests.len());
    let full = dials.rng.random_range(0.1..0.7) * dials.scale;
    let capacity = requests.iter().filter(|at| **at < full).count();
    let eviction = if dials.rng.random_bool(0.5) {
        Eviction::Lru
    } else {
        Eviction::Random
    };
    let blocks = cache(dials.rng, &requests, &keys, capacity, eviction, sizes);
    innocent(&[Bounded], blocks)
}

/// Lives of several stages.
fn gamma_lives(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load {
        noise: 0.2,
        ..Load::steady(dials.rng, 5.0, 50.0)
    };
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let mean = log_uniform(dials.rng, dials.scale / 50.0, dials.scale / 6.0);
    let stages = dials.rng.random_range(0.4..4.0);
    let lives = Gamma::new(stages, mean / stages).expect("positive stages");
    let blocks = births
        .iter()
        .map(|&birth| Block {
            birth,
            death: birth + lives.sample(dials.rng),
            bytes: sizes.one(dials.rng),
        })
        .collect();
    innocent(&[Stable, Bounded], blocks)
}

/// The last so many steps are kept, and all of them are dropped when the document is saved.
fn pages_of_undo(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load::steady(dials.rng, 4.0, 30.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let steps = (load.base * dials.scale * dials.rng.random_range(0.1..0.5)).max(5.0) as usize;
    let saves = log_uniform(dials.rng, dials.scale / 8.0, dials.scale / 2.5);
    let phase = dials.rng.random_range(0.0..1.0);
    let mut blocks = Vec::with_capacity(births.len());
    for (index, &birth) in births.iter().enumerate() {
        let saved = ((birth / saves - phase).floor() + 1.0 + phase) * saves;
        let pushed_out = births.get(index + steps).copied().unwrap_or(NEVER);
        blocks.push(Block {
            birth,
            death: saved.min(pushed_out),
            bytes: sizes.one(dials.rng),
        });
    }
    innocent(&[Sawtooth, Bounded, Stable, Growing], blocks)
}
