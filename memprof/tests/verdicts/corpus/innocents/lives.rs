//! Blocks that come and go by themselves, under steady and varying load.

use memprof::growth::Verdict::{self, Bounded, Growing, Sawtooth, Stable, WarmUp};
use rand::RngExt;
use rand_distr::{Distribution, Exp};

use super::{fill_share, innocent, or_sawtooth, or_stable};
use crate::corpus::blocks::{Block, Lifetimes, Sizes, log_uniform, transient};
use crate::corpus::load::{Load, poisson};
use crate::corpus::{Dials, Recipe};

/// Everything lives for a fixed time.
pub fn sessions_ttl(dials: &mut Dials) -> Recipe {
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
pub fn sessions_sliding_ttl(dials: &mut Dials) -> Recipe {
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

/// Most blocks are soon gone, some are meant to stay for longer.
pub fn two_lifetimes(dials: &mut Dials) -> Recipe {
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

/// Load, and with it what is held, rises and falls.
pub fn daily_wave(dials: &mut Dials) -> Recipe {
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

/// Quiet, with bursts that are over soon.
pub fn bursts(dials: &mut Dials) -> Recipe {
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

pub fn stable_churn(dials: &mut Dials) -> Recipe {
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

pub fn lognormal_lives(dials: &mut Dials) -> Recipe {
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

pub fn pareto_lives(dials: &mut Dials) -> Recipe {
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
pub fn heavy_pareto_lives(dials: &mut Dials) -> Recipe {
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

/// More and more load, each request as short as ever.
pub fn traffic_growth(dials: &mut Dials) -> Recipe {
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
