//! The straight line through a total, by ordinary least squares: slope with its 95 % interval by
//! Student's t, and R². What people expect to see, and what most tools decide by; it can't tell a
//! filling cache from a leak, and takes the samples for independent, which totals never are.

use super::distributions::t_quantile_975;

/// A fitted line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Units of y per unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
    /// The share of y's variance that the line explains, 0 to 1; 0 if y never varies.
    pub r_squared: f64,
    /// The standard error of the slope.
    pub slope_error: f64,
    /// The slope's 95 % interval.
    pub slope_ci95: [f64; 2],
}

/// Fits a line to points (x, y). `None` for fewer than three points or if x never varies.
pub fn fit(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / n;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    if xx <= 0.0 || !(xx + xy + yy).is_finite() {
        return None;
    }
    let slope = xy / xx;
    let unexplained = (yy - slope * xy).max(0.0);
    let slope_error = (unexplained / (n - 2.0) / xx).sqrt();
    let reach = t_quantile_975(n - 2.0) * slope_error;
    Some(Line {
        slope,
        intercept: mean_y - slope * mean_x,
        r_squared: if yy > 0.0 {
            (1.0 - unexplained / yy).clamp(0.0, 1.0)
        } else {
            0.0
        },
        slope_error,
        slope_ci95: [slope - reach, slope + reach],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs().max(1.0)
    }

    /// NIST Statistical Reference Datasets, "Norris": (y, x).
    const NORRIS: [(f64, f64); 36] = [
        (0.1, 0.2),
        (338.8, 337.4),
        (118.1, 118.2),
        (888.0, 884.6),
        (9.2, 10.1),
        (228.1, 226.5),
        (668.5, 666.3),
        (998.5, 996.3),
        (449.1, 448.6),
        (778.9, 777.0),
        (559.2, 558.2),
        (0.3, 0.4),
        (0.1, 0.6),
        (778.1, 775.5),
        (668.8, 666.9),
        (339.3, 338.0),
        (448.9, 447.5),
        (10.8, 11.6),
        (557.7, 556.0),
        (228.3, 228.1),
        (998.0, 995.8),
        (888.8, 887.6),
        (119.6, 120.2),
        (0.3, 0.3),
        (0.6, 0.3),
        (557.6, 556.8),
        (339.3, 339.1),
        (888.0, 887.2),
        (998.5, 999.0),
        (778.9, 779.0),
        (10.2, 11.1),
        (117.6, 118.3),
        (228.9, 229.2),
        (668.4, 669.1),
        (449.2, 448.9),
        (0.2, 0.5),
    ];

    #[test]
    fn certified_values_are_met() {
        let points = NORRIS.map(|(y, x)| (x, y));
        let line = fit(&points).expect("36 points");
        assert!(close(line.slope, 1.002_116_818_020_45));
        assert!(close(line.intercept, -0.262_323_073_774_029));
        assert!(close(line.r_squared, 0.999_993_745_883_712));
        assert!(close(line.slope_error, 0.429_796_848_199_937e-3));
    }

    #[test]
    fn the_interval_is_that_of_an_independent_implementation() {
        // scipy 1.17.1: r = linregress(range(10), y); t = scipy.stats.t.ppf(.975, 8)
        //   r.slope, r.intercept, r.rvalue ** 2, r.slope - t * r.stderr, r.slope + t * r.stderr
        let y = [3.1, 4.2, 4.1, 6.9, 7.7, 7.2, 9.9, 10.4, 12.5, 11.8];
        let points: Vec<(f64, f64)> = (0..10).map(f64::from).zip(y).collect();
        let line = fit(&points).expect("10 points");
        assert!(close(line.slope, 1.069_090_909_090_909));
        assert!(close(line.intercept, 2.969_090_909_090_909));
        assert!(close(line.r_squared, 0.950_772_547_610_492_2));
        assert!(close(line.slope_ci95[0], 0.870_757_860_049_259_3));
        assert!(close(line.slope_ci95[1], 1.267_423_958_132_559));
    }

    #[test]
    fn what_never_varies_has_no_slope_and_explains_nothing() {
        let flat = fit(&[(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]).expect("three points");
        assert_eq!((flat.slope, flat.r_squared), (0.0, 0.0));
        assert_eq!(fit(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(fit(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(fit(&[(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 3.0)]), None);
    }
}
