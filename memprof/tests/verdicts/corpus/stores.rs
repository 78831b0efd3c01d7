//! Caches and other stores: what they hold, and what they let go.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rand::RngExt;
use rand_distr::{Distribution, Zipf};

use super::Rng;
use super::blocks::{Block, NEVER, Sizes};

/// What a full store lets go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The oldest.
    Fifo,
    /// The least recently used.
    Lru,
    /// Any.
    Random,
    /// What was used least often (ties: the oldest).
    Lfu,
}

/// Which keys are asked for.
#[derive(Clone, Copy)]
pub enum Keys {
    /// Never the same twice.
    Unique,
    /// Among so many, the k-th with a chance of k^-exponent.
    Zipf { universe: f64, exponent: f64 },
}

impl Keys {
    /// The keys of as many requests.
    pub fn draw(&self, rng: &mut Rng, requests: usize) -> Vec<u64> {
        match *self {
            Self::Unique => (0..requests as u64).collect(),
            Self::Zipf { universe, exponent } => {
                let zipf = Zipf::new(universe, exponent).expect("a universe of keys");
                (0..requests).map(|_| zipf.sample(rng) as u64).collect()
            }
        }
    }
}

struct Entry {
    block: usize,
    used: u64,
    uses: u64,
}

/// The blocks of a cache: one per key that is missed, freed when it is evicted.
pub fn cache(
    rng: &mut Rng,
    requests: &[f64],
    keys: &[u64],
    capacity: usize,
    eviction: Eviction,
    sizes: Sizes,
) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut held: HashMap<u64, Entry> = HashMap::new();
    // By what is evicted first.
    let mut order: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut listed: Vec<u64> = Vec::new();
    let rank = |entry: &Entry, first: u64| match eviction {
        Eviction::Lru => (entry.used, 0),
        Eviction::Lfu => (entry.uses, first),
        Eviction::Fifo | Eviction::Random => (first, 0),
    };
    for (stamp, (&at, &key)) in requests.iter().zip(keys).enumerate() {
        let stamp = stamp as u64;
        if let Some(entry) = held.get_mut(&key) {
            let first = blocks[entry.block].birth.to_bits();
            order.remove(&rank(entry, first));
            entry.used = stamp;
            entry.uses += 1;
            order.insert(rank(entry, first), key);
            continue;
        }
        if held.len() >= capacity.max(1) {
            let victim = if eviction == Eviction::Random {
                let at = rng.random_range(0..listed.len());
                Some(listed.swap_remove(at))
            } else {
                order.pop_first().map(|(_, victim)| victim)
            };
            if let Some(entry) = victim.and_then(|victim| held.remove(&victim)) {
                blocks[entry.block].death = at;
            }
        }
        let entry = Entry {
            block: blocks.len(),
            used: stamp,
            uses: 1,
        };
        if eviction == Eviction::Random {
            listed.push(key);
        } else {
            order.insert(rank(&entry, at.to_bits()), key);
        }
        held.insert(key, entry);
        blocks.push(Block {
            birth: at,
            death: NEVER,
            bytes: sizes.one(rng),
        });
    }
    blocks
}

/// How many different keys were asked for by a time.
pub fn distinct_by(requests: &[f64], keys: &[u64], time: f64) -> usize {
    let asked = requests.iter().zip(keys).filter(|(at, _)| **at < time);
    let mut seen: Vec<_> = asked.map(|(_, key)| *key).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// A buffer that is emptied at given times, or when it has taken in so many.
pub fn flushed(
    rng: &mut Rng,
    births: &[f64],
    flushes: &[f64],
    keep: f64,
    sizes: Sizes,
) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(births.len());
    let mut pending: VecDeque<f64> = flushes.iter().copied().collect();
    for &birth in births {
        while pending.front().is_some_and(|&flush| flush <= birth) {
            pending.pop_front();
        }
        let death = match pending.front() {
            Some(&flush) if !rng.random_bool(keep) => flush,
            _ => NEVER,
        };
        blocks.push(Block {
            birth,
            death: if pending.is_empty() { NEVER } else { death },
            bytes: sizes.one(rng),
        });
    }
    blocks
}
