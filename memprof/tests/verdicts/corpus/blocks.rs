//! Blocks, their sizes and their lifetimes.

use rand::RngExt;
use rand_distr::{Distribution, Exp, LogNormal, Pareto};

use super::Rng;

/// A block; times in intervals, a death beyond the window never happens in it.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub birth: f64,
    pub death: f64,
    pub bytes: u64,
}

/// The death of what is never freed.
pub const NEVER: f64 = f64::INFINITY;

/// How large a stack's blocks are.
#[derive(Clone, Copy)]
pub struct Sizes {
    typical: f64,
    /// Standard deviation of the logarithm; 0 for one size only.
    spread: f64,
}

impl Sizes {
    /// Of blocks of the same stack: half of the stacks have one size, the others are lognormal.
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            typical: log_uniform(rng, 24.0, 16384.0).round(),
            spread: if rng.random_bool(0.5) {
                0.0
            } else {
                rng.random_range(0.1..1.0)
            },
        }
    }

    /// One size for all.
    pub fn exactly(bytes: f64) -> Self {
        Self {
            typical: bytes,
            spread: 0.0,
        }
    }

    pub fn one(&self, rng: &mut Rng) -> u64 {
        if self.spread == 0.0 {
            return self.typical as u64;
        }
        let drawn = log_normal(self.typical.ln(), self.spread).sample(rng);
        drawn.clamp(1.0, 1e9) as u64
    }

    /// The expectation.
    pub fn mean(&self) -> f64 {
        self.typical * (self.spread * self.spread / 2.0).exp()
    }
}

/// How long blocks live.
#[derive(Clone, Copy)]
pub enum Lifetimes {
    Exponential {
        mean: f64,
    },
    LogNormal {
        median: f64,
        sigma: f64,
    },
    /// P(longer than t) = (least / t)^alpha.
    Pareto {
        least: f64,
        alpha: f64,
    },
    Fixed {
        length: f64,
    },
}

impl Lifetimes {
    /// Short ones, of temporary data: means up to `longest`.
    pub fn short(rng: &mut Rng, longest: f64) -> Self {
        let mean = log_uniform(rng, longest / 50.0, longest);
        if rng.random_bool(0.6) {
            Self::Exponential { mean }
        } else {
            Self::LogNormal {
                median: mean * 0.6,
                sigma: 1.0,
            }
        }
    }

    pub fn one(&self, rng: &mut Rng) -> f64 {
        match *self {
            Self::Exponential { mean } => Exp::new(1.0 / mean).expect("positive").sample(rng),
            Self::LogNormal { median, sigma } => log_normal(median.ln(), sigma).sample(rng),
            Self::Pareto { least, alpha } => {
                Pareto::new(least, alpha).expect("positive").sample(rng)
            }
            Self::Fixed { length } => length,
        }
    }
}

fn log_normal(mu: f64, sigma: f64) -> LogNormal<f64> {
    LogNormal::new(mu, sigma).expect("a finite spread")
}

/// Uniform in the logarithm.
pub fn log_uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    (rng.random_range(from.ln()..to.ln())).exp()
}

/// Blocks that are born at the given times and live as long as that.
pub fn transient(rng: &mut Rng, births: &[f64], sizes: Sizes, lifetimes: Lifetimes) -> Vec<Block> {
    births
        .iter()
        .map(|&birth| Block {
            birth,
            death: birth + lifetimes.one(rng),
            bytes: sizes.one(rng),
        })
        .collect()
}

/// Blocks that are born at the given times and never freed.
pub fn lost(rng: &mut Rng, births: &[f64], sizes: Sizes) -> Vec<Block> {
    births
        .iter()
        .map(|&birth| Block {
            birth,
            death: NEVER,
            bytes: sizes.one(rng),
        })
        .collect()
}
