//! When growth began, and when its beginning was over: warm-up and leak often share a stack.

use super::cohorts::{Cohort, sum};
use super::plateau::Weight;

/// Survivors up to this share are not what grew.
const STRAY: f64 = 0.01;
/// A beginning is over before this share of the time.
const LATEST_END: f64 = 0.6;
/// How many ends of the beginning to try.
const ENDS: usize = 3;

/// When growth began, of survivors born before `end`: where all but a few are yet to come. The
/// first birth is where it was seen; it began half a gap before.
pub(super) fn origin(cohorts: &[Cohort], by: Weight, end: f64) -> Option<f64> {
    let settled: Vec<&Cohort> = cohorts
        .iter()
        .filter(|cohort| cohort.from < end && cohort.blocks > 0.0)
        .collect();
    let total: f64 = settled.iter().map(|cohort| cohort.weight(by)).sum();
    let mut passed = 0.0;
    let first = settled.iter().position(|cohort| {
        passed += cohort.weight(by);
        passed > STRAY * total
    })?;
    let later = &settled[first..];
    let gaps = later.windows(2).map(|pair| pair[1].from - pair[0].to);
    let half_gap = gaps.sum::<f64>() / (2.0 * later.len() as f64);
    Some(later[0].from - half_gap)
}

/// When a busy beginning may have ended. Of all ways to cut the time in two, the one in which two
/// steady rates explain the births best (a Poisson process's change point by maximum likelihood;
/// Akman and Raftery 1986, Annals of Statistics 14, 1583–1590), and the two cuts after it, since
/// intervals straddle; none if no cut leaves the first rate the higher one.
pub(super) fn beginning_ends(cohorts: &[Cohort], by: Weight, origin: f64, end: f64) -> Vec<f64> {
    let total = sum(cohorts, |cohort| cohort.weight(by));
    let mut passed = 0.0;
    let mut edges = Vec::new();
    let mut best = None;
    let mut most = 0.0;
    for cohort in cohorts {
        passed += cohort.weight(by);
        let cut = (cohort.to - origin) / (end - origin);
        let share = passed / total;
        if cut >= LATEST_END || share >= 1.0 {
            break;
        }
        let gain = share * (share / cut).ln() + (1.0 - share) * ((1.0 - share) / (1.0 - cut)).ln();
        if share > cut && gain > most {
            most = gain;
            best = Some(edges.len());
        }
        edges.push(cohort.to);
    }
    let from = best.unwrap_or(edges.len());
    edges.into_iter().skip(from).take(ENDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohorts(bytes: &[f64]) -> Vec<Cohort> {
        let births = bytes.iter().zip(0..);
        births
            .map(|(&bytes, at)| Cohort {
                from: f64::from(at),
                to: f64::from(at) + 1.0,
                bytes,
                blocks: bytes,
                freed: 0.0,
            })
            .collect()
    }

    #[test]
    fn strays_before_it_do_not_date_growth() {
        let mut bytes = vec![0.0; 100];
        bytes[3] = 1.0;
        bytes[40..].fill(10.0);
        // A hundredth of 601 bytes is passed with the first full tick.
        assert_eq!(origin(&cohorts(&bytes), Weight::Bytes, 100.0), Some(40.0));
    }

    #[test]
    fn growth_in_steps_began_half_a_step_before_the_first() {
        let mut bytes = vec![0.0; 100];
        for at in [15, 35, 55, 75, 95] {
            bytes[at] = 1.0;
        }
        let began = origin(&cohorts(&bytes), Weight::Bytes, 100.0).expect("growth");
        assert!((began - 7.4).abs() < 0.1, "{began}");
    }

    #[test]
    fn a_busy_beginning_ends_where_the_rate_falls() {
        let mut bytes = vec![2.0; 100];
        bytes[..10].fill(30.0);
        let cohorts = cohorts(&bytes);
        let ends = beginning_ends(&cohorts, Weight::Bytes, 0.0, 100.0);
        assert_eq!(ends, [10.0, 11.0, 12.0]);
        let steady = vec![2.0; 100];
        let cohorts = self::cohorts(&steady);
        let none = beginning_ends(&cohorts, Weight::Bytes, 0.0, 100.0);
        assert_eq!(none, Vec::<f64>::new());
    }
}
