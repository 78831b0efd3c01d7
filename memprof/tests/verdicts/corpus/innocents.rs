//! Programs that lose nothing, and what the course of their memory is rightly called.

use memprof::growth::Verdict::{self, Bounded, Growing, Sawtooth, Stable, WarmUp};
use rand::RngExt;
use rand_distr::{Distribution, Exp};

use super::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, transient};
use super::load::{Load, poisson};
use super::stores::{Eviction, Keys, cache, distinct_by, flushed};
use super::{Cook, Dials, Half, Recipe, Truth};

pub const KINDS: &[(&str, Cook)] = &[
    ("start_up", start_up),
    ("warm_up", warm_up),
    ("fifo_cache", fifo_cache),
    ("lru_cache", lru_cache),
    ("random_cache", random_cache),
    ("cache_with_admission", cache_with_admission),
    ("all_keys_cached", all_keys_cached),
    ("hot_set_cache", hot_set_cache),
    ("sessions_ttl", sessions_ttl),
    ("sessions_sliding_ttl", sessions_sliding_ttl),
    ("sawtooth", sawtooth),
    ("log_and_compaction", log_and_compaction),
    ("daily_wave", daily_wave),
    ("arena", arena),
    ("bursts", bursts),
    ("stable_churn", stable_churn),
    ("lognormal_lives", lognormal_lives),
    ("pareto_lives", pareto_lives),
    ("heavy_pareto_lives", heavy_pareto_lives),
    ("config_reload", config_reload),
    ("vector_doubling", vector_doubling),
    ("traffic_growth", traffic_growth),
    ("queue_backlog", queue_backlog),
    ("recurring_keys_kept", recurring_keys_kept),
    ("lazy_initialisation", lazy_initialisation),
    ("two_lifetimes", two_lifetimes),
    ("two_level_flushes", two_level_flushes),
];

pub const FILLING: &[(&str, Cook)] = &[
    ("filling_cache", filling_cache),
    ("long_warm_up", long_warm_up),
];

fn innocent(names: &[Verdict], blocks: Vec<Block>) -> Recipe {
    Recipe {
        truth: Truth::Innocent,
        names: names.to_vec(),
        blocks,
    }
}

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

/// Everything is allocated at once, and a few more later.
fn start_up(dials: &mut Dials) -> Recipe {
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
fn warm_up(dials: &mut Dials) -> Recipe {
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

fn cache_of(dials: &mut Dials, keys: Keys, eviction: Eviction) -> (f64, Vec<Block>) {
    let Dials { end, scale, .. } = *dials;
    let filled = fill_share(dials);
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let keys = keys.draw(dials.rng, requests.len());
    let capacity = distinct_by(&requests, &keys, filled * scale);
    let blocks = cache(dials.rng, &requests, &keys, capacity, eviction, sizes);
    (filled, blocks)
}

/// Some distribution of keys that come again.
fn zipf(dials: &mut Dials) -> Keys {
    Keys::Zipf {
        universe: log_uniform(dials.rng, 2000.0, 100_000.0),
        exponent: dials.rng.random_range(0.6..1.1),
    }
}

fn fifo_cache(dials: &mut Dials) -> Recipe {
    let (filled, blocks) = cache_of(dials, Keys::Unique, Eviction::Fifo);
    innocent(&or_stable(Bounded, filled), blocks)
}

fn lru_cache(dials: &mut Dials) -> Recipe {
    let keys = zipf(dials);
    let eviction = match dials.half {
        Half::HeldOut if dials.rng.random_bool(0.3) => Eviction::Lfu,
        _ => Eviction::Lru,
    };
    let (filled, blocks) = cache_of(dials, keys, eviction);
    innocent(&or_stable(Bounded, filled), blocks)
}

fn random_cache(dials: &mut Dials) -> Recipe {
    let keys = if dials.rng.random_bool(0.5) {
        Keys::Unique
    } else {
        zipf(dials)
    };
    let (filled, blocks) = cache_of(dials, keys, Eviction::Random);
    innocent(&or_stable(Bounded, filled), blocks)
}

/// Most entries are dropped at once, some are admitted to a cache from the same stack.
fn cache_with_admission(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let (filled, mut blocks) = cache_of(dials, Keys::Unique, Eviction::Fifo);
    let load = Load::steady(dials.rng, 10.0, 80.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let bytes = blocks.first().map_or(100, |block| block.bytes);
    let sizes = Sizes::exactly(bytes as f64);
    let lives = Lifetimes::short(dials.rng, scale / 30.0);
    blocks.extend(transient(dials.rng, &births, sizes, lives));
    innocent(&or_stable(Bounded, filled), blocks)
}

/// Every key is kept, but there are only so many.
fn all_keys_cached(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 10.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let universe = requests.len() as f64 * scale / end * dials.rng.random_range(0.03..0.25);
    let exponent = dials.rng.random_range(0.3..1.0);
    let keys = Keys::Zipf { universe, exponent }.draw(dials.rng, requests.len());
    let blocks = cache(
        dials.rng,
        &requests,
        &keys,
        usize::MAX,
        Eviction::Fifo,
        sizes,
    );
    innocent(&[WarmUp, Bounded, Growing], blocks)
}

/// A few keys are asked for all the time and never leave; the rest comes and goes.
fn hot_set_cache(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let filled = fill_share(dials).min(0.4);
    let load = Load::steady(dials.rng, 15.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let hot = dials.rng.random_range(0.3..0.8);
    let hot_keys = (load.base * dials.rng.random_range(0.5..4.0)).max(2.0) as u64;
    let keys: Vec<u64> = (0..requests.len() as u64)
        .map(|i| {
            if dials.rng.random_bool(hot) {
                dials.rng.random_range(0..hot_keys)
            } else {
                hot_keys + i
            }
        })
        .collect();
    let capacity = distinct_by(&requests, &keys, filled * scale).max(2 * hot_keys as usize);
    let blocks = cache(dials.rng, &requests, &keys, capacity, Eviction::Lru, sizes);
    innocent(&[Bounded, Stable], blocks)
}

/// Everything lives for a fixed time.
fn sessions_ttl(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let filled = fill_share(dials);
    let load = Load::steady(dials.rng, 3.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::Fixed {
        length: filled * scale,
    };
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    if dials.rng.random_bool(0.5) {
        // Expired entries are swept from time to time.
        let sweep = filled * scale / dials.rng.random_range(4.0..10.0);
        for block in &mut blocks {
            block.death = (block.death / sweep).ceil() * sweep;
        }
    }
    innocent(&or_stable(Bounded, filled), blocks)
}

/// Sessions that end when nothing was heard of them for a time.
fn sessions_sliding_ttl(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 3.0, 40.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let ttl = log_uniform(dials.rng, scale / 40.0, scale / 5.0);
    let mean = log_uniform(dials.rng, scale / 50.0, scale / 12.0);
    let active = Exp::new(1.0 / mean).expect("a mean");
    let blocks = births
        .iter()
        .map(|&birth| Block {
            birth,
            death: birth + active.sample(dials.rng) + ttl,
            bytes: sizes.one(dials.rng),
        })
        .collect();
    innocent(&or_stable(Bounded, (ttl + mean) / scale), blocks)
}

/// A buffer that is emptied at regular times, or when it is full.
fn sawtooth(dials: &mut Dials) -> Recipe {
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
fn log_and_compaction(dials: &mut Dials) -> Recipe {
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

/// Load, and with it what is held, rises and falls.
fn daily_wave(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let period = log_uniform(dials.rng, 0.1, 0.7) * scale;
    let load = Load::waving(dials.rng, 8.0, 60.0, period);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::short(dials.rng, period / 6.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let deep = load.wave > 0.5;
    let names: &[Verdict] = if period > 0.45 * scale {
        // The window holds one wave or two: how it looks depends on the phase.
        &[Sawtooth, Stable, Bounded, Growing, WarmUp]
    } else if deep {
        &[Sawtooth, Stable]
    } else {
        &[Sawtooth, Stable, Bounded]
    };
    innocent(names, transient(dials.rng, &births, sizes, lives))
}

/// An allocator's chunks: taken at every new peak of the demand, kept for good.
fn arena(dials: &mut Dials) -> Recipe {
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

/// Quiet, with bursts that are over soon.
fn bursts(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 3.0, 20.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::short(dials.rng, scale / 30.0);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    let number = dials.rng.random_range(2.0..12.0);
    for _ in 0..poisson(dials.rng, number * end / scale) {
        let at = dials.rng.random_range(0.0..end);
        let length = log_uniform(dials.rng, 0.2, scale / 20.0);
        let many = load.base * dials.rng.random_range(2.0..12.0);
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..poisson(dials.rng, many) {
            times.push(at + dials.rng.random_range(0.0..length));
        }
        let lives = Lifetimes::short(dials.rng, scale / 15.0);
        blocks.extend(transient(dials.rng, &times, sizes, lives));
    }
    innocent(&[Stable, Sawtooth], blocks)
}

fn stable_churn(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 3.0, 80.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::short(dials.rng, scale / 25.0);
    innocent(
        &or_sawtooth(&[Stable], &load),
        transient(dials.rng, &births, sizes, lives),
    )
}

fn lognormal_lives(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 3.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::LogNormal {
        median: log_uniform(dials.rng, scale / 200.0, scale / 20.0),
        sigma: dials.rng.random_range(0.5..1.8),
    };
    innocent(
        &or_sawtooth(&[Stable, Bounded], &load),
        transient(dials.rng, &births, sizes, lives),
    )
}

fn pareto_lives(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 5.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::Pareto {
        least: log_uniform(dials.rng, scale / 600.0, scale / 60.0),
        alpha: dials.rng.random_range(1.2..2.5),
    };
    innocent(
        &or_sawtooth(&[Stable, Bounded], &load),
        transient(dials.rng, &births, sizes, lives),
    )
}

/// So heavy a tail that the mean life has no bound: what is held grows for ever, ever slower.
fn heavy_pareto_lives(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 5.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::Pareto {
        least: log_uniform(dials.rng, scale / 600.0, scale / 60.0),
        alpha: dials.rng.random_range(0.45..0.9),
    };
    innocent(
        &or_sawtooth(&[Growing, Bounded], &load),
        transient(dials.rng, &births, sizes, lives),
    )
}

/// A new configuration is built, then the old one is freed.
fn config_reload(dials: &mut Dials) -> Recipe {
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

/// One container's storage, replaced by one of twice the size when it is full.
fn vector_doubling(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
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

/// More and more load, each request as short as ever.
fn traffic_growth(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load {
        growth: dials.rng.random_range(2.5..8.0),
        noise: dials.rng.random_range(0.0..0.25),
        ..Load::steady(dials.rng, 8.0, 40.0)
    };
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let lives = Lifetimes::Exponential {
        mean: log_uniform(dials.rng, scale / 40.0, scale / 8.0),
    };
    innocent(&[Growing], transient(dials.rng, &births, sizes, lives))
}

/// Work piles up while the consumer is slower, and is worked off later.
fn queue_backlog(dials: &mut Dials) -> Recipe {
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

/// Every key is kept, and there are so many that new ones are still seen at the end, ever fewer.
fn recurring_keys_kept(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 15.0, 80.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let universe = requests.len() as f64 * scale / end * dials.rng.random_range(0.25..1.0);
    let exponent = dials.rng.random_range(0.7..1.2);
    let keys = Keys::Zipf { universe, exponent }.draw(dials.rng, requests.len());
    let blocks = cache(
        dials.rng,
        &requests,
        &keys,
        usize::MAX,
        Eviction::Fifo,
        sizes,
    );
    innocent(&[WarmUp, Bounded, Growing], blocks)
}

/// Parts that are set up when they are first used, some of them rarely: ever fewer are new.
fn lazy_initialisation(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
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

/// Most blocks are soon gone, some are meant to stay for longer.
fn two_lifetimes(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let long = fill_share(dials) * scale;
    let short = Lifetimes::Exponential {
        mean: log_uniform(dials.rng, scale / 200.0, scale / 40.0),
    };
    let share = log_uniform(dials.rng, 0.03, 0.5);
    let mut blocks = transient(dials.rng, &births, sizes, short);
    for block in &mut blocks {
        if dials.rng.random_bool(share) {
            block.death = block.birth + long * dials.rng.random_range(0.8..1.1);
        }
    }
    innocent(&or_stable(Bounded, 0.0), blocks)
}

/// Frequent flushes leave some behind, rare ones take everything: a heap with generations.
fn two_level_flushes(dials: &mut Dials) -> Recipe {
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

fn filling(recipe: Vec<Block>) -> Recipe {
    Recipe {
        truth: Truth::Filling,
        names: vec![Growing],
        blocks: recipe,
    }
}

fn filling_cache(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let keys = Keys::Unique.draw(dials.rng, requests.len());
    let capacity = load.base * end * dials.rng.random_range(1.05..4.0);
    filling(cache(
        dials.rng,
        &requests,
        &keys,
        capacity as usize,
        Eviction::Lru,
        sizes,
    ))
}

fn long_warm_up(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
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
