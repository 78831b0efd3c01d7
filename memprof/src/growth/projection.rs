//! Where growth leads if it goes on as it does.

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// A limit on memory, and what is in use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most that may be in use, bytes.
    pub bytes: u64,
    /// What is in use, bytes.
    pub used: u64,
}

/// The bytes outstanding in 24 hours, of so many that grow by so many per second.
pub fn in_24_hours(outstanding: u64, bytes_per_second: f64) -> u64 {
    let grown = (bytes_per_second * DAY).max(0.0);
    // A float that is out of range or no number saturates or becomes 0.
    outstanding.saturating_add(grown as u64)
}

/// Seconds until a limit is met. `None` without growth; 0 if it has been met.
pub fn seconds_to(limit: Limit, bytes_per_second: f64) -> Option<f64> {
    let left = limit.bytes.saturating_sub(limit.used);
    (bytes_per_second > 0.0).then(|| left as f64 / bytes_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_carried_forward_for_a_day() {
        assert_eq!(in_24_hours(1000, 2.0), 1000 + 2 * 86_400);
        assert_eq!(in_24_hours(1000, -2.0), 1000);
        assert_eq!(in_24_hours(1000, f64::NAN), 1000);
        assert_eq!(in_24_hours(1000, 1e300), u64::MAX);
    }

    #[test]
    fn a_limit_is_met_when_what_is_left_of_it_is_used_up() {
        let limit = Limit {
            bytes: 1000,
            used: 400,
        };
        assert_eq!(seconds_to(limit, 3.0), Some(200.0));
        assert_eq!(seconds_to(limit, 0.0), None);
        assert_eq!(seconds_to(limit, f64::NAN), None);
        let met = Limit {
            bytes: 1000,
            used: 2000,
        };
        assert_eq!(seconds_to(met, 3.0), Some(0.0));
    }
}
