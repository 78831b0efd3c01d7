//! The judgement in common use, kept for comparison: a leak is what a straight line fits well that
//! rises. It calls every filling cache a leak, and misses leaks in what varies otherwise.

use super::least_squares::Line;

/// R² from which a line fits well.
const FITS_WELL: f64 = 0.8;
/// What a rise over the time must come to, as a share of the mean.
const LEAST_RISE: f64 = 0.1;

/// Whether a line through points (x, y) rises and fits well.
pub fn says_leak(line: &Line, points: &[(f64, f64)]) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return false;
    };
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
    line.slope * (last.0 - first.0) > LEAST_RISE * mean && line.r_squared > FITS_WELL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::least_squares::fit;

    fn says(total: impl Fn(f64) -> f64) -> bool {
        let points: Vec<(f64, f64)> = (0..60)
            .map(f64::from)
            .map(|time| (time, total(time)))
            .collect();
        says_leak(&fit(&points).expect("60 points"), &points)
    }

    #[test]
    fn it_takes_every_steady_rise_for_a_leak_and_no_step() {
        assert!(says(|time| 100.0 + time));
        assert!(!says(|time| 10_000.0 + time), "too little");
        assert!(!says(|_| 100.0));
        assert!(!says(|time| 100.0 - time));
        assert!(!says(|time| if time < 50.0 { 0.0 } else { 100.0 }));
        assert!(says(|time| time.min(45.0)), "a cache that has filled");
    }
}
