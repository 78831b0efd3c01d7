//! A total that rises and then stays: least squares with one break point, the second part level
//! (segmented regression; Hinkley 1971).

/// A line up to a break, and level from there on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hinge {
    /// When it breaks.
    pub(super) at: f64,
    /// The level after that.
    pub(super) level: f64,
    /// The unexplained sum of squares, as a share of a straight line's.
    pub(super) over_line: f64,
    /// The standard deviation of what is unexplained.
    pub(super) scatter: f64,
}

/// Fits points (x, y) that are in the order of x. `None` for fewer than six.
pub(super) fn fit(points: &[(f64, f64)]) -> Option<Hinge> {
    let last = points.last()?.0;
    if points.len() < 6 {
        return None;
    }
    let line = fit_at(points, last);
    let breaks = points[1..]
        .iter()
        .map(|point| (point.0, fit_at(points, point.0)));
    let (at, best) = breaks.min_by(|a, b| a.1.unexplained.total_cmp(&b.1.unexplained))?;
    let share = best.unexplained / line.unexplained;
    Some(Hinge {
        at,
        level: best.level,
        over_line: if share.is_finite() { share } else { 1.0 },
        scatter: (best.unexplained / points.len() as f64).sqrt(),
    })
}

struct Fit {
    unexplained: f64,
    level: f64,
}

/// y = level + slope · min(x − at, 0).
fn fit_at(points: &[(f64, f64)], at: f64) -> Fit {
    let n = points.len() as f64;
    let before = |x: f64| (x - at).min(0.0);
    let mean_x = points.iter().map(|point| before(point.0)).sum::<f64>() / n;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / n;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for point in points {
        let (dx, dy) = (before(point.0) - mean_x, point.1 - mean_y);
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    Fit {
        unexplained: (yy - slope * xy).max(0.0),
        level: mean_y - slope * mean_x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(y: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..40).map(|x| (f64::from(x), y(f64::from(x)))).collect()
    }

    #[test]
    fn the_break_is_found_where_it_is() {
        let hinge = fit(&points(|x| 100.0 + 5.0 * x.min(25.0))).expect("enough points");
        assert_eq!(hinge.at, 25.0);
        assert!((hinge.level - 225.0).abs() < 1e-9);
        assert!(hinge.over_line < 1e-9 && hinge.scatter < 1e-6);
    }

    #[test]
    fn a_straight_line_has_no_break_before_its_end() {
        let hinge = fit(&points(|x| 3.0 * x)).expect("enough points");
        assert!(hinge.at >= 38.0);
        assert_eq!(fit(&points(|x| x)[..5]), None);
        assert_eq!(fit(&points(|_| 7.0)).expect("enough points").level, 7.0);
    }
}
