//! Quantiles and probabilities of the distributions that the judgement rests on.

use statrs::distribution::{ContinuousCDF, Gamma, Normal, StudentsT};

/// The 97.5 % quantile of the standard normal distribution.
pub const NORMAL_975: f64 = 1.959_963_984_540_054;

/// The 97.5 % quantile of Student's t with so many degrees of freedom, at least 1.
pub fn t_quantile_975(freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom.max(1.0)) {
        Ok(t) => t.inverse_cdf(0.975),
        Err(_) => NORMAL_975,
    }
}

/// P(X ≤ x) of a gamma distribution with a shape and a rate, both positive.
pub fn gamma_below(x: f64, shape: f64, rate: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    match Gamma::new(shape, rate) {
        Ok(gamma) => gamma.cdf(x),
        Err(_) => f64::NAN,
    }
}

/// The two-sided p-value of a standard normal statistic.
pub fn two_sided(z: f64) -> f64 {
    match Normal::new(0.0, 1.0) {
        Ok(normal) => 2.0 * normal.sf(z.abs()),
        Err(_) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_probabilities_are_those_of_an_independent_implementation() {
        // scipy 1.17.1: t.ppf(.975, df), gamma.cdf(x, shape, scale=1 / rate), 2 * norm.sf(z)
        for (freedom, quantile) in [
            (1.0, 12.706_204_736_174_694),
            (2.0, 4.302_652_729_749_462),
            (5.0, 2.570_581_835_636_314_5),
            (15.0, 2.131_449_545_559_776),
            (100.0, 1.983_971_518_523_551_8),
        ] {
            let found = t_quantile_975(freedom);
            assert!((found / quantile - 1.0).abs() < 1e-7, "{freedom} {found}");
        }
        for (x, shape, rate, probability) in [
            (0.3, 0.5, 2.0, 0.726_678_321_707_701_7),
            (0.3, 3.5, 20.0, 0.899_441_131_491_641_1),
            (0.3, 10.5, 20.0, 0.060_382_174_907_234_78),
        ] {
            assert!((gamma_below(x, shape, rate) - probability).abs() < 1e-9);
        }
        assert_eq!(gamma_below(0.0, 1.0, 1.0), 0.0);
        for (z, p) in [
            (1.0, 0.317_310_507_862_914_15),
            (-1.96, 0.049_995_790_296_440_87),
            (5.0, 5.733_031_437_583_866e-7),
        ] {
            assert!((two_sided(z) / p - 1.0).abs() < 1e-7, "{z}");
        }
    }
}
