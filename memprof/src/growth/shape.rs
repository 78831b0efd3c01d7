//! What the course of a total is called when it is not a leak's.

use super::cohorts::{Cohort, cut, sum};
use super::hinge;
use super::theil_sen::{self, Trend};
use super::verdict::Verdict;

/// Falls that make a sawtooth.
const TEETH: u32 = 2;
/// Mann–Kendall's z from which a total rises (99 %, two-sided).
const RISING_Z: f64 = 2.6;
/// What a rise over the whole time must come to, as a share of the mean.
const RISING_SHARE: f64 = 0.2;
/// Growth has ended if it did so before this share of the time …
const LATEST_END: f64 = 0.85;
/// … and a break explains the course that much better than a line.
const BREAK_OVER_LINE: f64 = 0.9;
/// A total that began above this share of its later level did not grow.
const BEGAN_HIGH: f64 = 0.75;
/// Growth stands out from the scatter by so many standard deviations.
const OVER_SCATTER: f64 = 2.0;
/// A store turns over if it has renewed this share of what it would renew at an even pace.
const RENEWED: f64 = 0.25;
/// A total is level if a break explains its course that much better than a line, before this share
/// of the time, and if there are so many samples since.
const LEVEL_OVER_LINE: f64 = 0.5;
const LATEST_LEVEL: f64 = 0.6;
const LEAST_LEVEL: usize = 8;
/// Lags at which totals resemble themselves.
const LAGS: usize = 3;
/// More samples say no more about the trend of a total.
const TREND_SAMPLES: usize = 32;

/// The course of a total.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) verdict: Verdict,
    pub(super) confidence: f64,
    /// When growth ended, for what grew.
    pub(super) grew_until: f64,
    /// Of what is held, the share that was born since.
    pub(super) renewed: f64,
    /// Theil and Sen's slope, bytes per tick, its interval and test.
    pub(super) trend: Option<Trend>,
}

/// Names the course of equally spaced points (tick, bytes) with so many falls.
pub(super) fn of(points: &[(f64, f64)], falls: u32, cohorts: &[Cohort]) -> Option<Shape> {
    let hinge = hinge::fit(points)?;
    let (first, last) = (points.first()?.0, points.last()?.0);
    let trend = trend(points);
    let grew_share = (hinge.at - first) / (last - first);
    let ended = grew_share < LATEST_END && hinge.over_line < BREAK_OVER_LINE;
    let early = mean(&points[..(points.len() / 8).max(1)]);
    let grew =
        early < BEGAN_HIGH * hinge.level && hinge.level - early > OVER_SCATTER * hinge.scatter;
    let held = sum(cohorts, |cohort| cohort.bytes);
    let newer = sum(&cut(cohorts, hinge.at, f64::INFINITY), |cohort| {
        cohort.bytes
    });
    let renewed = if held > 0.0 { newer / held } else { 0.0 };
    let rise = trend.map_or(0.0, |trend| {
        trend.slope * (last - first) / mean(points).max(1.0)
    });
    let rising = trend.is_some_and(|trend| {
        trend.test.z > RISING_Z && trend.slope_ci95[0] > 0.0 && rise > RISING_SHARE
    });
    let since_end = (1.0 - grew_share).sqrt();
    let (verdict, confidence) = if falls >= TEETH {
        let teeth = f64::from(falls);
        (Verdict::Sawtooth, teeth / (teeth + 1.0))
    } else if rising && !ended {
        let chance = trend.map_or(0.5, |trend| 1.0 - trend.test.p_value());
        (Verdict::Growing, chance.min(0.9))
    } else if !grew {
        (Verdict::Stable, 1.0 / (1.0 + rise.abs()))
    } else if renewed > RENEWED * (1.0 - grew_share) {
        (Verdict::Bounded, since_end)
    } else {
        (Verdict::WarmUp, since_end)
    };
    Some(Shape {
        verdict,
        confidence,
        grew_until: hinge.at,
        renewed,
        trend,
    })
}

/// Since when a total has been level, if growth from `start` on came to an end: it surely rises by
/// less than `rate` per tick.
pub(super) fn level_since(points: &[(f64, f64)], start: f64, rate: f64) -> Option<f64> {
    let hinge = hinge::fit(points)?;
    let (begin, end) = (points.first()?.0, points.last()?.0);
    let from = hinge.at.max(start);
    if hinge.over_line > LEVEL_OVER_LINE || from > begin + LATEST_LEVEL * (end - begin) {
        return None;
    }
    let first = points.partition_point(|point| point.0 < from);
    let since = &points[first..];
    let trend = (since.len() >= LEAST_LEVEL).then(|| trend(since))??;
    (trend.slope_ci95[1] < rate).then_some(from)
}

/// The robust trend, per tick.
pub(super) fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let every = points.len().div_ceil(TREND_SAMPLES).max(1);
    let from = (points.len().max(1) - 1) % every;
    let thinned: Vec<(f64, f64)> = points.iter().skip(from).step_by(every).copied().collect();
    let step = thinned.get(1)?.0 - thinned[0].0;
    let samples: Vec<f64> = thinned.iter().map(|point| point.1).collect();
    let trend = theil_sen::fit(&samples, LAGS)?;
    Some(Trend {
        slope: trend.slope / step,
        slope_ci95: trend.slope_ci95.map(|end| end / step),
        ..trend
    })
}

fn mean(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64
}
