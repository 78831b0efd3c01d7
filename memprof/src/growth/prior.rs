//! How far growth that looks like a leak may still be a store that fills: the same data, until the
//! store is full. Only time tells them apart, so the confidence grows with the time for which
//! growth has been watched, by what is assumed of stores.
//!
//! Assumed: stores fill within 10 minutes in half of the cases, and in t within a share of
//! t / (t + 10 min) (log-logistic; a fifth take over 40 minutes). Of stacks that keep more than half
//! of what they allocate, leaks and stores are about equally many; of those that keep less, there
//! are twice as many leaks. And a program that has run for seconds is still starting.

/// Half of the stores are full after so many seconds.
const MEDIAN_FILL: f64 = 600.0;
/// Stores per leak among stacks that keep most of what they allocate, and among the others.
const STORES_PER_LEAK: f64 = 0.8;
const STORES_PER_LEAK_AMONG_CHURN: f64 = 0.45;
/// Starting programs per leak, times the seconds that they have run.
const STARTING: f64 = 3.0;

/// The chance that growth is a leak that has gone on for so many seconds unabated, if `kept_share`
/// of what is allocated stays.
pub(super) fn leak_not_store(seconds: f64, kept_share: f64) -> f64 {
    let stores = if kept_share > 0.5 {
        STORES_PER_LEAK
    } else {
        STORES_PER_LEAK_AMONG_CHURN
    };
    let filling = stores / (1.0 + seconds / MEDIAN_FILL);
    let starting = STARTING / seconds.max(f64::MIN_POSITIVE);
    1.0 / (1.0 + filling + starting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_grows_with_time_and_with_churn() {
        let of_minutes = |minutes: f64, kept| leak_not_store(60.0 * minutes, kept);
        assert!(of_minutes(0.05, 1.0) < 0.45);
        assert!((0.5..0.6).contains(&of_minutes(1.0, 1.0)));
        assert!(of_minutes(20.0, 1.0) < 0.8 && of_minutes(25.0, 1.0) > 0.8);
        assert!(of_minutes(7.0, 0.2) < 0.8 && of_minutes(9.0, 0.2) > 0.8);
        assert!(of_minutes(7.0 * 24.0 * 60.0, 1.0) > 0.99);
        assert!(leak_not_store(0.0, 1.0) < 1e-9);
    }
}
