//! Programs that lose memory, and how fast.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Exp};

use super::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, lost, transient};
use super::load::{Load, poisson};
use super::stores::{Eviction, Keys, cache, flushed};
use super::{Dials, Half, Kind, Recipe, leak};

pub const KINDS: &[Kind] = &[
    ("leak_linear", linear),
    ("leak_step", step),
    ("leak_slow_in_churn", slow_in_churn),
    ("leak_in_cache", in_cache),
    ("leak_per_thread", per_thread),
    ("leak_late", late),
    ("leak_bursty", bursty),
    ("leak_some_calls", some_calls),
    ("leak_in_sawtooth", in_sawtooth),
    ("leak_in_wave", in_wave),
    ("leak_sessions", sessions),
    ("leak_after_warm_up", after_warm_up),
    ("leak_few_large", few_large),
];

/// Blocks, of which each is lost with a probability.
fn lose(
    dials: &mut Dials,
    births: &[f64],
    chance: f64,
    sizes: Sizes,
    lives: Lifetimes,
) -> Vec<Block> {
    let mut blocks = transient(dials.rng, births, sizes, lives);
    for block in &mut blocks {
        if dials.rng.random_bool(chance) {
            block.death = NEVER;
        }
    }
    blocks
}

/// Nothing is ever freed.
fn linear(dials: &mut Dials) -> Recipe {
    let load = Load::steady(dials.rng, 0.5, 40.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, dials.end, dials.end);
    leak(lost(dials.rng, &births, sizes), load.base * sizes.mean())
}

/// A batch is lost now and then: at a timer, or at random.
fn step(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let steps = match dials.half {
        Half::Tuning => dials.rng.random_range(8.0..20.0),
        Half::HeldOut => dials.rng.random_range(7.0..24.0),
    };
    let gap = scale / steps;
    let batch = log_uniform(dials.rng, 1.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let regular = dials.rng.random_bool(0.6);
    let mut blocks = churn_or_nothing(dials, sizes);
    let mut at = dials.rng.random_range(0.0..gap);
    while at < end {
        for _ in 0..poisson(dials.rng, batch).max(1) {
            blocks.push(Block {
                birth: at + dials.rng.random_range(0.0..0.05),
                death: NEVER,
                bytes: sizes.one(dials.rng),
            });
        }
        at += if regular {
            gap * dials.rng.random_range(0.85..1.15)
        } else {
            Exp::new(1.0 / gap).expect("a gap").sample(dials.rng)
        };
    }
    // A Poisson number of at least 1.
    let mean = batch + (-batch).exp();
    leak(blocks, mean * sizes.mean() / gap)
}

/// Every second stack also has blocks that come and go.
fn churn_or_nothing(dials: &mut Dials, sizes: Sizes) -> Vec<Block> {
    if dials.rng.random_bool(0.5) {
        return Vec::new();
    }
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 2.0, 40.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::short(dials.rng, scale / 15.0);
    transient(dials.rng, &births, sizes, lives)
}

/// 1 KB per interval within 50 MB of churn.
fn slow_in_churn(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let per_interval = log_uniform(dials.rng, 30.0, 60.0);
    let sizes = Sizes::exactly(log_uniform(dials.rng, 64.0, 512.0));
    let load = Load {
        base: per_interval,
        ..Load::steady(dials.rng, 1.0, 2.0)
    };
    let births = load.arrivals(dials.rng, 0.0, end, end);
    // The churn is of larger blocks: 50 MB in total over its steady number.
    let lives = Lifetimes::short(dials.rng, scale / 10.0);
    let mut blocks = transient(dials.rng, &births, Sizes::exactly(50e6 / 60.0), lives);
    let drip = 1000.0 / sizes.mean();
    let leak_load = Load {
        base: drip,
        ..Load::steady(dials.rng, 1.0, 2.0)
    };
    let births = leak_load.arrivals(dials.rng, 0.0, end, end);
    blocks.extend(lost(dials.rng, &births, sizes));
    leak(blocks, drip * sizes.mean())
}

/// A cache from the same stack fills and turns over, and some of its entries are never let go.
fn in_cache(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let filled = match dials.half {
        Half::Tuning => log_uniform(dials.rng, 0.05, 0.35),
        Half::HeldOut => log_uniform(dials.rng, 0.04, 0.4),
    };
    let capacity = (load.base * filled * scale) as usize;
    let eviction = if dials.rng.random_bool(0.5) {
        Eviction::Fifo
    } else {
        Eviction::Lru
    };
    let keys = Keys::Unique.draw(dials.rng, requests.len());
    let mut blocks = cache(dials.rng, &requests, &keys, capacity, eviction, sizes);
    let chance = log_uniform(dials.rng, 0.05, 0.4);
    let leaking = Load {
        base: load.base * chance,
        ..load
    };
    let births = leaking.arrivals(dials.rng, 0.0, end, end);
    blocks.extend(lost(dials.rng, &births, sizes));
    leak(blocks, leaking.base * sizes.mean())
}

/// Every thread that ends leaves its block behind; threads come and go.
fn per_thread(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 0.4, 6.0);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::short(dials.rng, scale / 8.0);
    let chance = dials.rng.random_range(0.3..1.0);
    let own = dials.rng.random_range(1..8);
    let mut blocks = Vec::new();
    for birth in load.arrivals(dials.rng, 0.0, end, end) {
        let exit = birth + lives.one(dials.rng);
        for block in 0..own {
            let kept = block == 0 && dials.rng.random_bool(chance);
            blocks.push(Block {
                birth: birth + 0.001 * f64::from(block),
                death: if kept { NEVER } else { exit },
                bytes: sizes.one(dials.rng),
            });
        }
    }
    leak(blocks, load.base * chance * sizes.mean())
}

/// The leak begins when the window is well under way.
fn late(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let begin = match dials.half {
        Half::Tuning => dials.rng.random_range(0.25..0.6),
        Half::HeldOut => dials.rng.random_range(0.2..0.65),
    } * scale;
    let sizes = Sizes::draw(dials.rng);
    let mut blocks = churn_or_nothing(dials, sizes);
    let load = Load::steady(dials.rng, 1.0, 30.0);
    if dials.rng.random_bool(0.4) {
        // What was allocated at the start stays, and was meant to.
        let times = load.base * scale * dials.rng.random_range(0.05..1.0);
        let early: Vec<f64> = (0..times as usize)
            .map(|_| dials.rng.random_range(0.0..0.03) * scale)
            .collect();
        blocks.extend(lost(dials.rng, &early, sizes));
    }
    let births = load.arrivals(dials.rng, begin, end, end);
    blocks.extend(lost(dials.rng, &births, sizes));
    leak(blocks, load.base * sizes.mean())
}

/// Errors come in bursts, and each error loses something.
fn bursty(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 3.0, 30.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::short(dials.rng, scale / 12.0);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    let bursts = dials.rng.random_range(10.0..30.0) / scale;
    let in_burst = log_uniform(dials.rng, 3.0, 60.0);
    for _ in 0..poisson(dials.rng, bursts * end) {
        let at = dials.rng.random_range(0.0..end);
        let length = dials.rng.random_range(0.2..1.5);
        for _ in 0..poisson(dials.rng, in_burst) {
            blocks.push(Block {
                birth: at + dials.rng.random_range(0.0..length),
                death: NEVER,
                bytes: sizes.one(dials.rng),
            });
        }
    }
    leak(blocks, bursts * in_burst * sizes.mean())
}

/// Some calls lose their block, the others don't.
fn some_calls(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::short(dials.rng, scale / 8.0);
    let chance = log_uniform(dials.rng, 0.02, 0.5);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let blocks = lose(dials, &births, chance, sizes, lives);
    leak(blocks, load.base * chance * sizes.mean())
}

/// A buffer is flushed from time to time, and a part of it is forgotten.
fn in_sawtooth(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let period = log_uniform(dials.rng, scale / 30.0, scale / 5.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let first = dials.rng.random_range(0.2..1.0) * period;
    let flushes: Vec<_> = (0..=(end / period) as u32)
        .map(|i| first + period * f64::from(i))
        .collect();
    let keep = log_uniform(dials.rng, 0.03, 0.3);
    leak(
        flushed(dials.rng, &births, &flushes, keep, sizes),
        load.base * keep * sizes.mean(),
    )
}

/// The load waves, and so does the leak.
fn in_wave(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let period = log_uniform(dials.rng, scale / 20.0, scale / 2.0);
    let load = Load::waving(dials.rng, 8.0, 50.0, period);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::short(dials.rng, scale / 12.0);
    let chance = log_uniform(dials.rng, 0.03, 0.5);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let blocks = lose(dials, &births, chance, sizes, lives);
    let rate = load.mean_rate(0.0, end, end);
    leak(blocks, rate * chance * sizes.mean())
}

/// Sessions with a long-tailed length; some are never closed.
fn sessions(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 3.0, 40.0);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::LogNormal {
        median: log_uniform(dials.rng, scale / 100.0, scale / 25.0),
        sigma: dials.rng.random_range(0.4..1.0),
    };
    let chance = log_uniform(dials.rng, 0.1, 0.6);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let blocks = lose(dials, &births, chance, sizes, lives);
    leak(blocks, load.base * chance * sizes.mean())
}

/// A lot at the start that stays by intention, then a leak from the same stack.
fn after_warm_up(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 2.0, 20.0);
    let warm_up = dials.rng.random_range(0.02..0.15) * scale;
    let times = load.base * scale * dials.rng.random_range(0.3..2.0);
    let mut early: Vec<f64> = (0..times as usize)
        .map(|_| dials.rng.random_range(0.0..warm_up))
        .collect();
    early.shuffle(dials.rng);
    let mut blocks = lost(dials.rng, &early, sizes);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    blocks.extend(lost(dials.rng, &births, sizes));
    if dials.rng.random_bool(0.5) {
        blocks.extend(churn_or_nothing(dials, sizes));
    }
    leak(blocks, load.base * sizes.mean())
}

/// One large block at a time, at irregular times.
fn few_large(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load {
        base: dials.rng.random_range(10.0..40.0) / scale,
        noise: 0.0,
        ..Load::steady(dials.rng, 1.0, 2.0)
    };
    let sizes = Sizes::exactly(log_uniform(dials.rng, 1e4, 1e6));
    let births = load.arrivals(dials.rng, 0.0, end, end);
    leak(lost(dials.rng, &births, sizes), load.base * sizes.mean())
}
