//! How fast survivors accumulate, with a 95 % interval from the scatter of equal parts of the time
//! (batch means; Law and Kelton, "Simulation Modeling and Analysis"), widened where neighbouring
//! parts resemble each other: bursts and waves. It is symmetric in the logarithm, since scatter
//! grows with the rate.

use super::cohorts::CELLS;
use super::distributions::t_quantile_975;
use super::generations::Generations;
use super::ticks::Ticks;

/// Autocorrelation beyond which the widening stays as it is.
const MAX_AUTOCORRELATION: f64 = 0.8;

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
    let reach = t_quantile_975((CELLS - 1) as f64) * relative_error(&generations.cells);
    Rate {
        mean,
        ci95: [mean * (-reach).exp(), mean * reach.exp()],
    }
}

/// The standard error of the cells' mean, as a share of it.
fn relative_error(cells: &[f64; CELLS]) -> f64 {
    let n = CELLS as f64;
    let mean = cells.iter().sum::<f64>() / n;
    let squares: f64 = cells.iter().map(|cell| (cell - mean).powi(2)).sum();
    if squares <= 0.0 || mean <= 0.0 {
        return 0.0;
    }
    let neighbours: f64 = cells
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    let correlation = (neighbours / squares).clamp(0.0, MAX_AUTOCORRELATION);
    let widening = (1.0 + correlation) / (1.0 - correlation);
    (squares / (n - 1.0) / n * widening).sqrt() / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_a_mean_of_independent_parts() {
        // Python: x = [3, 5] * 8; statistics.stdev(x) / 16 ** 0.5 / 4 = 0.0645497…
        let cells = std::array::from_fn(|i| if i % 2 == 0 { 3.0 } else { 5.0 });
        assert!((relative_error(&cells) - 0.064_549_722).abs() < 1e-9);
    }

    #[test]
    fn parts_that_resemble_their_neighbours_widen_it() {
        let alternating = std::array::from_fn(|i| if i % 2 == 0 { 3.0 } else { 5.0 });
        let halves = std::array::from_fn(|i| if i < 8 { 3.0 } else { 5.0 });
        assert!(relative_error(&halves) > 2.0 * relative_error(&alternating));
        assert_eq!(relative_error(&[0.0; CELLS]), 0.0);
    }
}
