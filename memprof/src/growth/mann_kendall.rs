//! Whether a series has a trend: the Mann–Kendall test (Mann 1945; Kendall 1975), with ties, and
//! with its variance inflated for autocorrelation as by Hamed and Rao (1998, Journal of Hydrology
//! 204, 182–196): totals are sums, and neighbours resemble each other.

use super::distributions::{NORMAL_975, two_sided};

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannKendall {
    /// Pairs that rise less pairs that fall.
    pub s: f64,
    /// The variance of s without a trend, for independent samples.
    pub variance: f64,
    /// By what the variance is multiplied because the samples are not independent.
    pub inflation: f64,
    /// s over its standard deviation, corrected for continuity and autocorrelation.
    pub z: f64,
}

impl MannKendall {
    /// The two-sided p-value.
    pub fn p_value(&self) -> f64 {
        two_sided(self.z)
    }
}

/// Tests samples that follow each other. `slope` is what to take out before looking for
/// autocorrelation, that of Theil and Sen; with `lags` of 0 no autocorrelation is assumed.
pub fn test(samples: &[f64], slope: f64, lags: usize) -> Option<MannKendall> {
    let n = samples.len();
    if n < 4 {
        return None;
    }
    let mut s = 0.0;
    for (i, a) in samples.iter().enumerate() {
        for b in &samples[i + 1..] {
            s += f64::from(i8::from(b > a) - i8::from(b < a));
        }
    }
    let variance = variance(samples);
    let inflation = inflation(samples, slope, lags);
    let deviation = (variance * inflation).sqrt();
    let z = if deviation > 0.0 {
        (s - s.signum() * f64::from(u8::from(s != 0.0))) / deviation
    } else {
        0.0
    };
    Some(MannKendall {
        s,
        variance,
        inflation,
        z,
    })
}

/// n(n−1)(2n+5)/18, less the same of every group of ties.
fn variance(samples: &[f64]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties = sorted
        .chunk_by(|a, b| a == b)
        .map(|group| term(group.len() as f64));
    (term(samples.len() as f64) - ties.sum::<f64>()) / 18.0
}

fn inflation(samples: &[f64], slope: f64, lags: usize) -> f64 {
    let n = samples.len();
    let rest: Vec<f64> = samples
        .iter()
        .zip(0..)
        .map(|(y, i)| y - slope * f64::from(i))
        .collect();
    let ranks = centred_ranks(&rest);
    let power: f64 = ranks.iter().map(|rank| rank * rank).sum();
    if power <= 0.0 {
        return 1.0;
    }
    let count = n as f64;
    let mut sum = 0.0;
    for lag in 1..=lags.min(n.saturating_sub(3)) {
        let product: f64 = ranks.iter().zip(&ranks[lag..]).map(|(a, b)| a * b).sum();
        let correlation = product / power;
        let l = lag as f64;
        if correlation.abs() > NORMAL_975 / count.sqrt() {
            sum += (count - l) * (count - l - 1.0) * (count - l - 2.0) * correlation;
        }
    }
    (1.0 + 2.0 * sum / (count * (count - 1.0) * (count - 2.0))).max(1.0)
}

/// Ranks less their mean, ties sharing theirs.
fn centred_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = begin as f64 + (group.len() - 1) as f64 / 2.0;
        for &index in group {
            ranks[index] = mean - (values.len() - 1) as f64 / 2.0;
        }
        begin += group.len();
    }
    ranks
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs()
    }

    #[test]
    fn the_test_is_that_of_an_independent_implementation() {
        // pymannkendall 1.4.3: original_test(y): s, var_s, z, p
        let y = [
            14.2, 14.9, 14.1, 16.3, 15.8, 17.0, 16.2, 18.9, 18.1, 19.4, 18.8, 21.0, 20.2, 22.7,
            21.5, 50.0,
        ];
        let found = test(&y, 0.0, 0).expect("enough samples");
        assert_eq!(found.s, 100.0);
        assert!(close(found.variance, 493.333_333_333_333_3));
        assert!(close(found.z, 4.457_229_172_018_407));
        assert!(close(found.p_value(), 8.302_582_980_235_229e-6));
    }

    #[test]
    fn ties_take_from_the_variance() {
        // pymannkendall 1.4.3: original_test(y)
        let y = [2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0, 5.0, 6.0, 6.0, 6.0, 7.0];
        let found = test(&y, 0.0, 0).expect("enough samples");
        assert_eq!(found.s, 58.0);
        assert!(close(found.variance, 203.333_333_333_333_34));
        assert!(close(found.z, 3.997_335_177_914_177));
    }

    /// 0.1 i plus noise with an autocorrelation of 0.7: rng = numpy.random.default_rng(42),
    /// e = 0.7 e + rng.normal(), y = round(0.1 i + e, 2).
    pub(in crate::growth) const CORRELATED: [f64; 40] = [
        0.3, -0.73, 0.37, 1.36, -0.81, -1.65, -0.78, -0.58, -0.11, -0.59, 0.84, 1.76, 1.73, 2.8,
        2.92, 1.7, 2.11, 1.1, 2.26, 2.17, 2.0, 1.42, 2.95, 2.67, 2.23, 2.03, 2.8, 3.21, 3.57, 3.87,
        5.82, 4.67, 3.78, 2.9, 3.73, 4.86, 4.44, 3.45, 2.8, 3.85,
    ];

    #[test]
    fn autocorrelation_adds_to_the_variance() {
        // pymannkendall 1.4.3: hamed_rao_modification_test(y, lag=3): slope, s, var_s, z
        let found = test(&CORRELATED, 0.125_882_352_941_176_45, 3).expect("enough samples");
        assert_eq!(found.s, 531.0);
        assert!(close(found.variance, 7363.0));
        assert!(close(
            found.variance * found.inflation,
            14_064.521_479_831_144
        ));
        assert!(close(found.z, 4.469_031_227_016_542));
    }

    #[test]
    fn samples_that_never_vary_have_no_trend() {
        let flat = test(&[1.0; 10], 0.0, 3).expect("enough samples");
        assert_eq!((flat.z, flat.s), (0.0, 0.0));
        assert!((flat.p_value() - 1.0).abs() < 1e-12);
        assert_eq!(test(&[1.0, 2.0, 3.0], 0.0, 0), None);
    }
}
