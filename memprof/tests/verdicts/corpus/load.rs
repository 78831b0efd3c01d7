//! When a program allocates: a rate per interval that is noisy, waves and grows.

use rand::RngExt;
use rand_distr::{Distribution, Normal, Poisson};

use super::Rng;
use super::blocks::log_uniform;

/// The load on a program.
#[derive(Clone, Debug)]
pub struct Load {
    /// Allocations per interval.
    pub base: f64,
    /// Standard deviation of the logarithm of the noise.
    pub noise: f64,
    /// How far the noise of one interval carries over to the next, 0 to 1.
    pub memory: f64,
    /// Amplitude of a wave, 0 to 1, its period in intervals, and its phase in periods.
    pub wave: f64,
    pub period: f64,
    pub phase: f64,
    /// The load at the window's end over that at its beginning.
    pub growth: f64,
}

impl Load {
    /// A steady load with some noise.
    pub fn steady(rng: &mut Rng, from: f64, to: f64) -> Self {
        Self {
            base: log_uniform(rng, from, to),
            noise: if rng.random_bool(0.3) {
                0.0
            } else {
                rng.random_range(0.05..0.5)
            },
            memory: rng.random_range(0.0..0.6),
            wave: 0.0,
            period: 1.0,
            phase: 0.0,
            growth: 1.0,
        }
    }

    /// A load that waves.
    pub fn waving(rng: &mut Rng, from: f64, to: f64, period: f64) -> Self {
        Self {
            wave: rng.random_range(0.3..0.9),
            period,
            phase: rng.random_range(0.0..1.0),
            ..Self::steady(rng, from, to)
        }
    }

    /// The expected rate at a time, of a window of `end` intervals.
    pub fn rate(&self, at: f64, end: f64) -> f64 {
        let turn = std::f64::consts::TAU * (at / self.period + self.phase);
        self.base * (1.0 + self.wave * turn.sin()) * (1.0 + (self.growth - 1.0) * at / end)
    }

    /// The mean expected rate over [from, to).
    pub fn mean_rate(&self, from: f64, to: f64, end: f64) -> f64 {
        let steps = 200;
        let step = (to - from) / f64::from(steps);
        let rates = (0..steps).map(|i| self.rate(from + (f64::from(i) + 0.5) * step, end));
        rates.sum::<f64>() / f64::from(steps)
    }

    /// Times of allocations in [from, to) of a window of `end` intervals, in order.
    pub fn arrivals(&self, rng: &mut Rng, from: f64, to: f64, end: f64) -> Vec<f64> {
        let normal = Normal::new(0.0, 1.0).expect("a standard deviation of 1");
        let mut times = Vec::new();
        let mut state = normal.sample(rng);
        let mut at = from;
        while at < to {
            let until = (at.floor() + 1.0).min(to);
            let kick: f64 = normal.sample(rng);
            state = self.memory * state + (1.0 - self.memory * self.memory).sqrt() * kick;
            // Lognormal with a mean of 1.
            let factor = (self.noise * state - self.noise * self.noise / 2.0).exp();
            let mean = self.rate((at + until) / 2.0, end) * factor * (until - at);
            let begin = times.len();
            for _ in 0..poisson(rng, mean) {
                times.push(rng.random_range(at..until));
            }
            times[begin..].sort_by(f64::total_cmp);
            at = until;
        }
        times
    }
}

/// A number of events of which `mean` are expected.
pub fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    Poisson::new(mean).map_or(0, |poisson| poisson.sample(rng) as u64)
}
