//! How fast survivors accumulate, with a 95 % interval from the scatter of parts of the time (batch
//! means; Law and Kelton, "Simulation Modeling and Analysis"). It is symmetric in the logarithm, since scatter
//! grows with the rate.

use super::distributions::t_quantile_975;
use super::generations::Generations;
use super::ticks::Ticks;

/// A rate, bytes per tick or per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) mean: f64,
    /// Its 95 % interval.
    pub(super) ci95: [f64; 2],
}

impl Rate {
    /// From per tick.
    pub(super) fn per_second(&self, ticks: &Ticks) -> Self {
        let second = ticks.seconds(1.0);
        Self {
            mean: self.mean / second,
            ci95: self.ci95.map(|end| end / second),
        }
    }
}

/// The rate, per tick, at which generations leave what is likely to stay.
pub(super) fn of(generations: &Generations) -> Rate {
    let mean = generations.staying / generations.length();
    let cells = &generations.cells;
    // Where in its gap a window begins and ends is worth half a block.
    let scatter = cells.relative_error().hypot(0.5 / generations.blocks);
    let reach = t_quantile_975(cells.freedom()) * scatter;
    Rate {
        mean,
        ci95: [mean * (-reach).exp(), mean * reach.exp()],
    }
}
