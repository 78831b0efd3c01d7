//! Caches, filled and turning over, and such as keep every key.

use memprof::growth::Verdict::{Bounded, Growing, Stable, WarmUp};
use rand::RngExt;

use super::{fill_share, filling, innocent, or_stable};
use crate::corpus::blocks::{Block, Lifetimes, Sizes, log_uniform, transient};
use crate::corpus::load::Load;
use crate::corpus::stores::{Eviction, Keys, cache, distinct_by};
use crate::corpus::{Dials, Recipe};

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

pub fn fifo_cache(dials: &mut Dials) -> Recipe {
    let (filled, blocks) = cache_of(dials, Keys::Unique, Eviction::Fifo);
    innocent(&or_stable(Bounded, filled), blocks)
}

pub fn lru_cache(dials: &mut Dials) -> Recipe {
    let keys = zipf(dials);
    let eviction = if dials.rng.random_bool(0.3) {
        Eviction::Lfu
    } else {
        Eviction::Lru
    };
    let (filled, blocks) = cache_of(dials, keys, eviction);
    innocent(&or_stable(Bounded, filled), blocks)
}

pub fn random_cache(dials: &mut Dials) -> Recipe {
    let keys = if dials.rng.random_bool(0.5) {
        Keys::Unique
    } else {
        zipf(dials)
    };
    let (filled, blocks) = cache_of(dials, keys, Eviction::Random);
    innocent(&or_stable(Bounded, filled), blocks)
}

/// Most entries are dropped at once, some are admitted to a cache from the same stack.
pub fn cache_with_admission(dials: &mut Dials) -> Recipe {
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
pub fn all_keys_cached(dials: &mut Dials) -> Recipe {
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

/// Every key is kept, and there are so many that new ones are still seen at the end, ever fewer.
pub fn recurring_keys_kept(dials: &mut Dials) -> Recipe {
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

/// A few keys are asked for all the time and never leave; the rest comes and goes.
pub fn hot_set_cache(dials: &mut Dials) -> Recipe {
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

pub fn filling_cache(dials: &mut Dials) -> Recipe {
    let end = dials.end;
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
