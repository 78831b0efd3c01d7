//! Whether births of survivors are steady or slowing.
//!
//! The model is the power-law process of reliability growth (Crow 1974, "Reliability Analysis for
//! Complex, Repairable Systems"): a rate ∝ t^(β−1) since growth began. β = 1 is steady. Stores
//! of recurring keys have 0.3 … 0.75, things set up at their first use and records (a pool that
//! grows at every new peak) 0. Steady is weighed against slowing by the ratio of their likelihoods,
//! slowing being any β below 0.8 alike (a Bayes factor; Kass and Raftery 1995).

use statrs::function::gamma::ln_gamma;

/// Slowing is a β from here …
const SLOWEST: f64 = -1.0;
/// … to there.
const LEAST_SLOW: f64 = 0.8;
const STEPS: i32 = 34;
/// A process without a beginning is infinite at the origin; this share of the time is left out.
const LEAST_CUT: f64 = 1e-3;

/// Births as the process sees them: all that matters of n of them is their mean of ln(L/t).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Births {
    weight: f64,
    sum: f64,
    /// Births before this share of the time are left out.
    cut: f64,
    /// How many there are of those, as a share of all.
    left_out: f64,
}

impl Births {
    /// None yet; those before the share `cut` of the time, a share `left_out` of all, won't come.
    pub(super) fn after(cut: f64, left_out: f64) -> Self {
        Self {
            cut,
            left_out,
            ..Self::default()
        }
    }

    /// Births of a weight, spread evenly over a span that lies within 0 (growth began) and 1 (now).
    pub(super) fn add(&mut self, weight: f64, from: f64, to: f64) {
        self.weight += weight;
        self.sum += weight * mean_log(from, to);
    }

    /// The β that explains them best, if none were left out.
    pub(super) fn exponent(&self) -> f64 {
        self.weight / self.sum
    }

    /// How probable β = 1 is against slowing, if they amount to `number` independent births and it
    /// was `odds` times as probable beforehand. Where a beginning was left out, slowing may or may
    /// not have to explain its share too: what speaks more for slowing counts.
    pub(super) fn steady(&self, number: f64, odds: f64) -> f64 {
        let all = number / (1.0 - self.left_out).max(0.01);
        let before = all - number;
        // The chance of that share if any is equally likely: 1 / (all + 1).
        let any_share = ln_gamma(all + 2.0) - ln_gamma(before + 1.0) - ln_gamma(number + 1.0);
        let steady = self.log_likelihood(1.0);
        let (mut slowing, mut with_beginning) = (0.0, 0.0);
        let width = (LEAST_SLOW - SLOWEST) / f64::from(STEPS);
        for step in 0..STEPS {
            let beta = SLOWEST + width * (f64::from(step) + 0.5);
            let ratio = number * (self.log_likelihood(beta) - steady);
            slowing += ratio.exp();
            if beta > 0.0 && self.cut > 0.0 {
                let share = self.cut.powf(beta);
                let beginning = before * share.ln() + number * (1.0 - share).ln();
                with_beginning += (ratio + any_share + beginning).exp();
            }
        }
        odds / (odds + slowing.max(with_beginning) / f64::from(STEPS))
    }

    /// Per birth: ln of u^(β−1) over its integral from the cut to 1.
    fn log_likelihood(&self, beta: f64) -> f64 {
        let cut = self.cut.max(LEAST_CUT);
        let integral = if beta.abs() < 1e-6 {
            -cut.ln()
        } else {
            (1.0 - cut.powf(beta)) / beta
        };
        (1.0 - beta) * self.sum / self.weight - integral.ln()
    }
}

/// The mean of ln(1/u) over [a, b], both within 0 and 1.
fn mean_log(a: f64, b: f64) -> f64 {
    let integral = |u: f64| if u > 0.0 { u - u * u.ln() } else { 0.0 };
    if b - a > 1e-9 {
        (integral(b) - integral(a)) / (b - a)
    } else {
        -a.max(LEAST_CUT).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quantiles of a process with an exponent, as births of weight 1 after a cut.
    fn births(exponent: f64, number: u32, cut: f64) -> Births {
        let mut births = Births::after(cut, cut.powf(exponent));
        for i in 0..number {
            let share = (f64::from(i) + 0.5) / f64::from(number);
            let share = births.left_out + (1.0 - births.left_out) * share;
            let at = share.powf(1.0 / exponent);
            births.add(1.0, at, at);
        }
        births
    }

    #[test]
    fn the_exponent_is_estimated_as_published() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 8.4.5.2 with the data of 8.2.2.3, case
        // study 1: 1 − b̂ = 0.516494, where b̂ has r − 1 in place of the r of maximum likelihood.
        let failures = [
            5.0, 40.0, 43.0, 175.0, 389.0, 712.0, 747.0, 795.0, 1299.0, 1478.0,
        ];
        let mut births = Births::default();
        for time in failures {
            births.add(1.0, time / 1500.0, time / 1500.0);
        }
        let without_bias = births.exponent() * 9.0 / 10.0;
        assert!((1.0 - without_bias - 0.516494).abs() < 1e-6);
    }

    #[test]
    fn steady_births_are_told_from_slowing_ones_when_there_are_enough() {
        assert!(births(1.0, 100, 0.0).steady(100.0, 2.0) > 0.99);
        assert!(births(0.5, 100, 0.0).steady(100.0, 2.0) < 0.01);
        let few = births(0.6, 5, 0.0).steady(5.0, 2.0);
        assert!((0.5..0.9).contains(&few), "{few}");
        assert!(births(1.0, 10, 0.0).steady(10.0, 2.0) > 0.9);
    }

    #[test]
    fn a_beginning_left_out_does_not_make_slowing_births_steady() {
        let p = births(0.4, 300, 0.2).steady(300.0, 0.5);
        assert!(p < 0.01, "{p}");
        let mut leak_after_it = births(1.0, 300, 0.2);
        leak_after_it.left_out = 0.7;
        let p = leak_after_it.steady(300.0, 0.5);
        assert!(p > 0.95, "{p}");
    }

    #[test]
    fn the_mean_logarithm_over_a_span_is_the_integral() {
        assert!((mean_log(0.0, 1.0) - 1.0).abs() < 1e-12);
        let steps: f64 = (0..1000)
            .map(|i| -(0.3 + 0.0002 * (f64::from(i) + 0.5)).ln())
            .sum();
        assert!((mean_log(0.3, 0.5) - steps / 1000.0).abs() < 1e-6);
    }
}
