//! A span of time in about equal parts, and how survivors scatter over them.
//!
//! Where an interval of births lies across the end of a part, the part ends with the interval or
//! before it, so that none is divided by guesswork. So parts differ in length, and the variance of
//! a part's sum is taken to grow with it.

use super::cohorts::Cohort;
use super::plateau::Weight;

/// Parts that are aimed at.
const PARTS: usize = 16;
/// Autocorrelation beyond which it is not corrected for any further.
const MAX_AUTOCORRELATION: f64 = 0.8;
/// Autocorrelations of independent parts have about this standard deviation, over √n; what stays
/// within it is taken for chance.
const CHANCE: f64 = 1.0;

/// Survivors by part of the time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cells {
    /// (length, amount)
    parts: Vec<(f64, f64)>,
    length: f64,
    amount: f64,
}

impl Cells {
    /// Cohorts that lie within [begin, end) and follow each other, in parts.
    pub(super) fn of(cohorts: &[Cohort], by: Weight, begin: f64, end: f64) -> Self {
        let mut parts = Vec::with_capacity(PARTS);
        let (mut from, mut amount) = (begin, 0.0);
        let mut rest = cohorts;
        for part in 1..=PARTS {
            let mut until = begin + (end - begin) * part as f64 / PARTS as f64;
            while let [first, others @ ..] = rest {
                let middle = (first.from + first.to) / 2.0;
                if part < PARTS && first.to > until && middle > until {
                    until = until.min(first.from);
                    break;
                }
                amount += first.weight(by);
                rest = others;
                until = until.max(first.to);
            }
            if until > from {
                parts.push((until - from, amount));
                (from, amount) = (until, 0.0);
            }
        }
        Self {
            length: parts.iter().map(|part| part.0).sum(),
            amount: parts.iter().map(|part| part.1).sum(),
            parts,
        }
    }

    fn mean(&self) -> f64 {
        self.amount / self.length
    }

    /// Degrees of freedom of the scatter.
    pub(super) fn freedom(&self) -> f64 {
        self.parts.len() as f64 - 1.0
    }

    /// How many independent births of equal size would scatter so: for a Poisson number the
    /// variance is the mean. Mean squares of successive differences (von Neumann 1941) do not take
    /// a trend for scatter.
    pub(super) fn independent_births(&self) -> f64 {
        let squares = self.parts.windows(2).map(|pair| {
            let difference = pair[1].1 / pair[1].0 - pair[0].1 / pair[0].0;
            difference * difference / (1.0 / pair[0].0 + 1.0 / pair[1].0)
        });
        // Per unit of time.
        let variance = squares.sum::<f64>() / self.freedom().max(1.0);
        let least = 1e-6 * self.amount * self.amount / self.length;
        self.amount * self.amount / (variance.max(least) * self.length)
    }

    /// The standard error of the mean rate, as a share of it, widened where neighbouring parts
    /// resemble each other (Bayley and Hammersley 1946, "The 'Effective' Number of Independent
    /// Observations in an Autocorrelated Time Series").
    pub(super) fn relative_error(&self) -> f64 {
        let mean = self.mean();
        let residuals = self
            .parts
            .iter()
            .map(|(length, amount)| length.sqrt() * (amount / length - mean));
        let residuals: Vec<f64> = residuals.collect();
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        if squares <= 0.0 || mean <= 0.0 {
            return 0.0;
        }
        let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let correlation = match neighbours / squares {
            chance if chance * (self.parts.len() as f64).sqrt() <= CHANCE => 0.0,
            correlation => correlation.min(MAX_AUTOCORRELATION),
        };
        let widening = (1.0 + correlation) / (1.0 - correlation);
        let variance = squares / self.freedom().max(1.0);
        (variance / self.length * widening).sqrt() / mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohort(from: f64, to: f64, bytes: f64) -> Cohort {
        Cohort {
            from,
            to,
            bytes,
            blocks: bytes,
            freed: 0.0,
        }
    }

    /// One cohort per part.
    fn cells(amount: impl Fn(usize) -> f64) -> Cells {
        let cohorts: Vec<Cohort> = (0..PARTS)
            .map(|part| cohort(part as f64, part as f64 + 1.0, amount(part)))
            .collect();
        Cells::of(&cohorts, Weight::Bytes, 0.0, PARTS as f64)
    }

    #[test]
    fn parts_end_where_intervals_end() {
        let cohorts = [
            cohort(0.0, 20.0, 40.0),
            cohort(20.0, 36.0, 32.0),
            cohort(40.0, 41.0, 2.0),
            cohort(140.0, 160.0, 40.0),
        ];
        let cells = Cells::of(&cohorts, Weight::Bytes, 0.0, 160.0);
        assert_eq!(
            cells.parts[..4],
            [(20.0, 40.0), (16.0, 32.0), (4.0, 0.0), (10.0, 2.0)]
        );
        assert_eq!((cells.length, cells.amount), (160.0, 114.0));
    }

    #[test]
    fn the_error_is_that_of_a_mean_of_independent_parts() {
        // Python: x = [3, 5] * 8; statistics.stdev(x) / 16 ** 0.5 / 4
        let cells = cells(|part| if part % 2 == 0 { 3.0 } else { 5.0 });
        assert!((cells.relative_error() - 0.064_549_722).abs() < 1e-9);
        assert_eq!(cells.freedom(), 15.0);
    }

    #[test]
    fn parts_that_resemble_their_neighbours_widen_it() {
        let alternating = cells(|part| if part % 2 == 0 { 3.0 } else { 5.0 });
        let halves = cells(|part| if part < 8 { 3.0 } else { 5.0 });
        assert!(halves.relative_error() > 2.0 * alternating.relative_error());
        assert_eq!(cells(|_| 0.0).relative_error(), 0.0);
    }

    #[test]
    fn a_poisson_scatter_tells_how_many_there_were() {
        // Numbers whose successive differences have a mean square of twice their mean, 9.
        let counts = [9.0 - 4.5f64.sqrt(), 9.0 + 4.5f64.sqrt()];
        let scattered = cells(|part| counts[part % 2]);
        assert!((scattered.independent_births() - 144.0).abs() < 1e-6);
        // The same in batches of ten.
        let batches = cells(|part| 10.0 * (9.0 + (counts[part % 2] - 9.0) * 10f64.sqrt()));
        assert!((batches.independent_births() - 14.4).abs() < 1e-6);
        // A trend is no scatter.
        let rising = cells(|part| 100.0 + part as f64);
        assert!(rising.independent_births() > 1e5);
    }
}
