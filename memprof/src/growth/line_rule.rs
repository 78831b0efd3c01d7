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
