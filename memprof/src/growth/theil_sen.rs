//! The median of all slopes between two samples (Theil 1950; Sen 1968, Journal of the American
//! Statistical Association 63, 1379–1389), which a few spikes don't move, and its interval from
//! the variance of Mann–Kendall's s.

use super::distributions::NORMAL_975;
use super::mann_kendall::{self, MannKendall};

/// A robust slope with its test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Units per sample.
    pub slope: f64,
    /// Its 95 % interval.
    pub slope_ci95: [f64; 2],
    /// Whether there is a trend at all.
    pub test: MannKendall,
}

/// The trend of equally spaced samples; `lags` as of [`mann_kendall::test`]. `None` for fewer than
/// four.
pub fn fit(samples: &[f64], lags: usize) -> Option<Trend> {
    let mut slopes = Vec::with_capacity(samples.len() * samples.len().saturating_sub(1) / 2);
    for (i, a) in samples.iter().enumerate() {
        let later = samples[i + 1..].iter().zip(1..);
        slopes.extend(later.map(|(b, distance)| (b - a) / f64::from(distance)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let count = slopes.len();
    if count == 0 {
        return None;
    }
    let slope = (slopes[(count - 1) / 2] + slopes[count / 2]) / 2.0;
    let test = mann_kendall::test(samples, slope, lags)?;
    let reach = NORMAL_975 * (test.variance * test.inflation).sqrt();
    // The M1-th and the (M2 + 1)-th in order, as of Sen's section 3.
    let rank = |reach: f64| ((count as f64 + reach) / 2.0).round();
    let lower = (rank(-reach) - 1.0).max(0.0) as usize;
    let upper = (rank(reach) as usize).min(count - 1);
    Some(Trend {
        slope,
        slope_ci95: [slopes[lower.min(upper)], slopes[upper]],
        test,
    })
}

#[cfg(test)]
mod tests {
    use super::super::mann_kendall::tests::CORRELATED;
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9
    }

    #[test]
    fn slope_and_interval_are_those_of_an_independent_implementation() {
        // scipy 1.17.1: theilslopes(y, numpy.arange(len(y)), alpha=.95): slope, low, high
        let spiked: &[f64] = &[
            14.2, 14.9, 14.1, 16.3, 15.8, 17.0, 16.2, 18.9, 18.1, 19.4, 18.8, 21.0, 20.2, 22.7,
            21.5, 50.0,
        ];
        let tied: &[f64] = &[2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0, 5.0, 6.0, 6.0, 6.0, 7.0];
        for (samples, slope, low, high) in [
            (
                spiked,
                0.636_666_666_666_666_7,
                0.5,
                0.766_666_666_666_666_7,
            ),
            (tied, 0.5, 0.4, 0.5),
            (
                &CORRELATED,
                0.125_882_352_941_176_45,
                0.099_285_714_285_714_3,
                0.158_333_333_333_333_35,
            ),
        ] {
            let trend = fit(samples, 0).expect("enough samples");
            assert!(close(trend.slope, slope), "{trend:?}");
            assert!(close(trend.slope_ci95[0], low), "{trend:?}");
            assert!(close(trend.slope_ci95[1], high), "{trend:?}");
        }
    }

    #[test]
    fn autocorrelation_widens_the_interval() {
        let width = |lags| {
            let [low, high] = fit(&CORRELATED, lags).expect("enough samples").slope_ci95;
            high - low
        };
        assert!(width(3) > 1.2 * width(0));
        assert_eq!(fit(&[1.0, 2.0, 3.0], 0), None);
    }
}
