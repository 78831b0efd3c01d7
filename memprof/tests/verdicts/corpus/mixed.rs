//! Kinds after real programs: tables, pools, deployments and caches in several parts.

use std::collections::VecDeque;

use memprof::growth::Verdict::{Bounded, Growing, Sawtooth, Stable, WarmUp};
use rand::RngExt;

use super::blocks::{Block, Lifetimes, NEVER, Sizes, log_uniform, lost, transient};
use super::load::Load;
use super::stores::Keys;
use super::{Dials, Kind, Recipe, innocent, leak};

pub const LEAKS: &[Kind] = &[
    ("leak_with_growing_index", with_growing_index),
    ("leak_in_working_hours", in_working_hours),
    ("leak_rewritten_entries", rewritten_entries),
];

pub const INNOCENTS: &[Kind] = &[
    ("segmented_cache", segmented_cache),
    ("resized_cache", resized_cache),
    ("connection_pool", connection_pool),
    ("redeployment", redeployment),
    ("interned_strings", interned_strings),
];

/// Listeners that are never removed, from the same stack as the list of them, whose storage is
/// replaced by one of one and a half times the size.
fn with_growing_index(dials: &mut Dials) -> Recipe {
    let end = dials.end;
    let load = Load::steady(dials.rng, 2.0, 30.0);
    let bytes = log_uniform(dials.rng, 64.0, 2048.0);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let mut blocks = lost(dials.rng, &births, Sizes::exactly(bytes));
    let (mut at, mut slots) = (0.0, 16);
    while at < end {
        let full = births.get(slots).copied().unwrap_or(NEVER);
        blocks.push(Block {
            birth: at,
            death: full,
            bytes: 8 * slots as u64,
        });
        (at, slots) = (full, slots * 3 / 2);
    }
    // The list takes 8 to 12 bytes for each.
    leak(blocks, load.base * (bytes.floor() + 10.0))
}

/// It leaks while it is used, and rests in between.
fn in_working_hours(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let period = log_uniform(dials.rng, scale / 16.0, scale / 6.0);
    let busy = dials.rng.random_range(0.4..0.8);
    let phase = dials.rng.random_range(0.0..1.0);
    let load = Load::steady(dials.rng, 4.0, 40.0);
    let sizes = Sizes::draw(dials.rng);
    let chance = log_uniform(dials.rng, 0.1, 1.0);
    let mut births = load.arrivals(dials.rng, 0.0, end, end);
    births.retain(|at| (at / period + phase).fract() < busy);
    let lives = Lifetimes::short(dials.rng, scale / 15.0);
    let mut blocks = transient(dials.rng, &births, sizes, lives);
    for block in &mut blocks {
        if dials.rng.random_bool(chance) {
            block.death = NEVER;
        }
    }
    leak(blocks, load.base * busy * chance * sizes.mean())
}

/// Entries of a table without a bound: each is written anew a few times, then only kept.
fn rewritten_entries(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 2.0, 20.0);
    let sizes = Sizes::draw(dials.rng);
    let lives = Lifetimes::Exponential {
        mean: log_uniform(dials.rng, scale / 200.0, scale / 40.0),
    };
    let most = dials.rng.random_range(1..6);
    let mut blocks = Vec::new();
    for mut birth in load.arrivals(dials.rng, 0.0, end, end) {
        for _ in 0..dials.rng.random_range(0..=most) {
            let death = birth + lives.one(dials.rng);
            blocks.push(Block {
                birth,
                death,
                bytes: sizes.one(dials.rng),
            });
            birth = death;
        }
        blocks.push(Block {
            birth,
            death: NEVER,
            bytes: sizes.one(dials.rng),
        });
    }
    leak(blocks, load.base * sizes.mean())
}

/// New entries queue for a while; those asked for again in time are protected, least recently used
/// last, and fall back into the queue.
fn segmented_cache(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 10.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let keys = Keys::Zipf {
        universe: log_uniform(dials.rng, 1000.0, 50_000.0),
        exponent: dials.rng.random_range(0.6..1.0),
    }
    .draw(dials.rng, requests.len());
    let capacity = (load.base * scale * log_uniform(dials.rng, 0.04, 0.4)).max(8.0) as usize;
    let protected_share = dials.rng.random_range(0.3..0.8);
    let most_protected = (capacity as f64 * protected_share) as usize;
    let mut blocks: Vec<Block> = Vec::new();
    // (key, block), the next to leave in front.
    let mut queue: VecDeque<(u64, usize)> = VecDeque::new();
    let mut protected: VecDeque<(u64, usize)> = VecDeque::new();
    for (&at, &key) in requests.iter().zip(&keys) {
        let held = |entries: &VecDeque<(u64, usize)>| entries.iter().position(|it| it.0 == key);
        if let Some(index) = held(&protected) {
            let entry = protected.remove(index).expect("found");
            protected.push_back(entry);
        } else if let Some(index) = held(&queue) {
            let entry = queue.remove(index).expect("found");
            protected.push_back(entry);
            if protected.len() > most_protected {
                queue.extend(protected.pop_front());
            }
        } else {
            queue.push_back((key, blocks.len()));
            blocks.push(Block {
                birth: at,
                death: NEVER,
                bytes: sizes.one(dials.rng),
            });
        }
        if queue.len() + protected.len() > capacity
            && let Some((_, block)) = queue.pop_front()
        {
            blocks[block].death = at;
        }
    }
    innocent(&[Bounded, Stable, WarmUp, Growing], blocks)
}

/// A full cache is given more room under way, and fills that too.
fn resized_cache(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 50.0);
    let sizes = Sizes::draw(dials.rng);
    let births = load.arrivals(dials.rng, 0.0, end, end);
    let first = (load.base * scale * dials.rng.random_range(0.05..0.2)).max(2.0) as usize;
    let second = (first as f64 * dials.rng.random_range(1.3..1.8)) as usize;
    let resized = dials.rng.random_range(0.25..0.5) * scale;
    let mut blocks: Vec<Block> = Vec::new();
    let mut oldest = 0;
    for birth in births {
        let room = if birth < resized { first } else { second };
        blocks.push(Block {
            birth,
            death: NEVER,
            bytes: sizes.one(dials.rng),
        });
        while blocks.len() - oldest > room {
            blocks[oldest].death = birth;
            oldest += 1;
        }
    }
    innocent(&[Bounded], blocks)
}

/// Connections are opened when all are busy, and closed when they have been idle for long.
fn connection_pool(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let period = log_uniform(dials.rng, 0.1, 0.5) * scale;
    let load = Load::waving(dials.rng, 10.0, 60.0, period);
    let sizes = Sizes::draw(dials.rng);
    let mean = log_uniform(dials.rng, 0.2, 2.0);
    let lives = Lifetimes::Exponential { mean };
    let patience = log_uniform(dials.rng, scale / 60.0, scale / 4.0);
    let mut blocks: Vec<Block> = Vec::new();
    // (idle since, block); the most recently used is used first.
    let mut pool: Vec<(f64, usize)> = Vec::new();
    for at in load.arrivals(dials.rng, 0.0, end, end) {
        pool.retain(|(idle_since, block)| {
            let expired = idle_since + patience < at;
            if expired {
                blocks[*block].death = idle_since + patience;
            }
            !expired
        });
        let free = pool.iter().rposition(|(idle_since, _)| *idle_since <= at);
        let block = free.map(|index| pool.remove(index).1);
        let block = block.unwrap_or_else(|| {
            blocks.push(Block {
                birth: at,
                death: NEVER,
                bytes: sizes.one(dials.rng),
            });
            blocks.len() - 1
        });
        pool.push((at + lives.one(dials.rng), block));
    }
    innocent(&[Stable, Bounded, Sawtooth, WarmUp], blocks)
}

/// A warm-up, and under way everything is replaced by a new version that warms up again.
fn redeployment(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let sizes = Sizes::draw(dials.rng);
    let load = Load::steady(dials.rng, 5.0, 40.0);
    let warm_up = dials.rng.random_range(0.03..0.15) * scale;
    let every = dials.rng.random_range(0.35..0.6) * scale;
    let mut blocks = Vec::new();
    let mut at = 0.0;
    while at < end {
        let until = (at + warm_up).min(end);
        for birth in load.arrivals(dials.rng, at, until, end) {
            blocks.push(Block {
                birth,
                death: at + every + 0.5,
                bytes: sizes.one(dials.rng),
            });
        }
        at += every;
    }
    innocent(&[Stable, WarmUp, Bounded, Sawtooth], blocks)
}

/// Strings are shared while they are in use; those that no one has used for a while go with the
/// next sweep.
fn interned_strings(dials: &mut Dials) -> Recipe {
    let Dials { end, scale, .. } = *dials;
    let load = Load::steady(dials.rng, 8.0, 60.0);
    let sizes = Sizes::draw(dials.rng);
    let requests = load.arrivals(dials.rng, 0.0, end, end);
    let keys = Keys::Zipf {
        universe: log_uniform(dials.rng, 500.0, 20_000.0),
        exponent: dials.rng.random_range(0.7..1.2),
    }
    .draw(dials.rng, requests.len());
    let sweep = log_uniform(dials.rng, scale / 30.0, scale / 6.0);
    let mut blocks: Vec<Block> = Vec::new();
    // By key: last used, and its block.
    let mut held: std::collections::BTreeMap<u64, (f64, usize)> = std::collections::BTreeMap::new();
    let mut next = sweep;
    for (&at, &key) in requests.iter().zip(&keys) {
        while at >= next {
            held.retain(|_, (used, block)| {
                let stays = *used >= next - sweep;
                if !stays {
                    blocks[*block].death = next;
                }
                stays
            });
            next += sweep;
        }
        held.entry(key)
            .or_insert_with(|| {
                blocks.push(Block {
                    birth: at,
                    death: NEVER,
                    bytes: sizes.one(dials.rng),
                });
                (at, blocks.len() - 1)
            })
            .0 = at;
    }
    innocent(&[Bounded, Stable, Sawtooth], blocks)
}
