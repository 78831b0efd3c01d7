//! Rates: a size per time.

use super::size::parse_size;
use super::{ParseError, Problem};

const EXPECTED: &str = "a size per s, min, h or d, such as 10MB/h";

/// Reads a rate in bytes per second: `10MB/h`, `1MiB/s`.
///
/// # Errors
/// What is not a size, a slash and a unit of time.
pub fn parse_rate(text: &str) -> Result<f64, ParseError> {
    let refused = |problem| ParseError {
        problem,
        expected: EXPECTED,
    };
    let (size, unit) = text
        .split_once('/')
        .ok_or_else(|| refused(Problem::MissingUnit(text.to_owned())))?;
    let bytes = parse_size(size).map_err(|error| refused(error.problem))?;
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" | "hour" => 3600.0,
        "d" | "day" => 86_400.0,
        _ => return Err(refused(Problem::UnknownUnit(unit.to_owned()))),
    };
    Ok(bytes as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_sizes_per_time() {
        for (text, rate) in [
            ("36MB/h", 1e4),
            ("1KiB/s", 1024.0),
            ("6 KB / min", 100.0),
            ("86400/d", 1.0),
            ("0/s", 0.0),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "10MB", "MB/h", "10MB/", "10MB/week", "-1/s", "1/s/s"] {
            let refusal = parse_rate(text).expect_err(text).to_string();
            assert!(refusal.ends_with("such as 10MB/h"), "{refusal}");
        }
    }
}
