//! How bad a leak is, on one scale: the worse of what is left and of the rate.

use serde::{Deserialize, Serialize};

/// How bad a leak is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Under 500 KB and under 1 MB/s.
    None,
    /// Up to 5 MB, or from 1 MB/s.
    Minor,
    /// Up to 20 MB, or from 2 MB/s.
    Moderate,
    /// Above 20 MB, or from 5 MB/s.
    Severe,
}

impl Severity {
    /// In a word, as the JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::None => "none",
            Severity::Minor => "minor",
            Severity::Moderate => "moderate",
            Severity::Severe => "severe",
        }
    }
}

/// Where each degree begins. The default is what [`Severity`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeverityBounds {
    /// Bytes left: minor from the first on, moderate above the second, severe above the third.
    pub bytes: [u64; 3],
    /// Bytes per second: minor, moderate and severe from these on.
    pub rates: [f64; 3],
}

impl Default for SeverityBounds {
    fn default() -> Self {
        Self {
            bytes: [500_000, 5_000_000, 20_000_000],
            rates: [1e6, 2e6, 5e6],
        }
    }
}

impl SeverityBounds {
    /// The severity of a leak that has left so many bytes and leaks so many per second.
    pub fn of(&self, bytes: u64, bytes_per_second: f64) -> Severity {
        let by_bytes = match bytes {
            _ if bytes > self.bytes[2] => Severity::Severe,
            _ if bytes > self.bytes[1] => Severity::Moderate,
            _ if bytes >= self.bytes[0] => Severity::Minor,
            _ => Severity::None,
        };
        let by_rate = match bytes_per_second {
            rate if rate >= self.rates[2] => Severity::Severe,
            rate if rate >= self.rates[1] => Severity::Moderate,
            rate if rate >= self.rates[0] => Severity::Minor,
            _ => Severity::None,
        };
        by_bytes.max(by_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_what_is_left_and_of_the_rate_counts() {
        let bounds = SeverityBounds::default();
        for (bytes, rate, severity) in [
            (499_999, 999_999.0, Severity::None),
            (500_000, 0.0, Severity::Minor),
            (5_000_000, 0.0, Severity::Minor),
            (5_000_001, 0.0, Severity::Moderate),
            (20_000_000, 0.0, Severity::Moderate),
            (20_000_001, 0.0, Severity::Severe),
            (0, 1e6, Severity::Minor),
            (0, 2e6, Severity::Moderate),
            (0, 5e6, Severity::Severe),
            (0, 1e9, Severity::Severe),
            (6_000_000, 1e6, Severity::Moderate),
            (600_000, 3e6, Severity::Moderate),
            (0, -5e6, Severity::None),
            (0, f64::NAN, Severity::None),
        ] {
            assert_eq!(bounds.of(bytes, rate), severity, "{bytes} {rate}");
        }
    }

    #[test]
    fn bounds_can_be_chosen() {
        let bounds = SeverityBounds {
            bytes: [10, 20, 30],
            rates: [1.0, 2.0, 3.0],
        };
        assert_eq!(bounds.of(25, 0.0), Severity::Moderate);
        assert_eq!(bounds.of(0, 3.0), Severity::Severe);
    }
}
