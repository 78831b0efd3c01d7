//! Sizes in bytes, their changes and rates.

use super::number::split_number;
use super::{ParseError, Problem};

const EXPECTED: &str = "a number of bytes, or one with a unit: \
    K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000), \
    such as 64KiB";

const PRINTED_UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Reads a size: `4096`, `64KiB`, `1.5GiB`, `10MB`. Units of one letter are binary, as in the
/// coreutils; case does not matter.
///
/// # Errors
/// What is not such a number, is not a whole number of bytes or does not fit into 64 bits.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    parse(text.trim()).map_err(|problem| ParseError {
        problem,
        expected: EXPECTED,
    })
}

fn parse(text: &str) -> Result<u64, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    let (number, unit) = split_number(text)?;
    let unit = unit.trim_start();
    let factor = factor_of(unit).ok_or_else(|| Problem::UnknownUnit(unit.to_owned()))?;
    if factor == 1 && number.has_fraction() {
        return Err(Problem::FractionOfByte);
    }
    u64::try_from(number.times(factor)).map_err(|_| Problem::TooLarge)
}

fn factor_of(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(1);
    }
    let power = "kmgtpe".find(unit.chars().next()?)?;
    let power = u32::try_from(power).ok()? + 1;
    match unit.get(1..)? {
        "" | "ib" => Some(1024u64.pow(power)),
        "b" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// A size in the largest binary unit that leaves a number of at least 1: `512 B`, `1.5 MiB`.
pub fn format_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    format_magnitude(bytes as f64)
}

/// A change of a size, with its sign: `+1.0 MiB`, `-512 B`, `0 B`.
pub fn format_size_change(bytes: i64) -> String {
    let sign = match bytes {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", format_size(bytes.unsigned_abs()))
}

/// A rate of change with its sign: `+172.4 KiB/s`, `-3.0 B/s`, `0 B/s`; `?` for what is no number.
pub fn format_rate(bytes_per_second: f64) -> String {
    if !bytes_per_second.is_finite() {
        return "?".to_owned();
    }
    let magnitude = bytes_per_second.abs();
    if magnitude < 0.05 {
        return "0 B/s".to_owned();
    }
    let sign = if bytes_per_second > 0.0 { '+' } else { '-' };
    format!("{sign}{}/s", format_magnitude(magnitude))
}

fn format_magnitude(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = 0;
    // What would round to 1024.0 belongs to the next unit.
    while value >= 1023.95 && unit + 1 < PRINTED_UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", PRINTED_UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("64KiB", 64 << 10),
            ("64kib", 64 << 10),
            ("512K", 512 << 10),
            ("10MB", 10_000_000),
            ("1.5GiB", 3 << 29),
            ("0.3KiB", 307),
            (" 1 MiB ", 1 << 20),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_sizes_are_refused_with_the_reason() {
        let text = |text: &str| text.to_owned();
        for (input, problem) in [
            ("", Problem::Empty),
            ("  ", Problem::Empty),
            ("-1", Problem::Negative),
            ("NaN", Problem::NotANumber(text("NaN"))),
            ("inf", Problem::NotANumber(text("inf"))),
            ("+1", Problem::NotANumber(text("+1"))),
            (".5K", Problem::NotANumber(text(".5K"))),
            ("5.K", Problem::NotANumber(text("5.K"))),
            ("1e999", Problem::UnknownUnit(text("e999"))),
            ("10x", Problem::UnknownUnit(text("x"))),
            ("0x10", Problem::UnknownUnit(text("x10"))),
            ("1Ki", Problem::UnknownUnit(text("Ki"))),
            ("1é", Problem::UnknownUnit(text("é"))),
            ("1Ké", Problem::UnknownUnit(text("Ké"))),
            ("1.5", Problem::FractionOfByte),
            ("18446744073709551616", Problem::TooLarge),
            ("16EiB", Problem::TooLarge),
            ("99999999999999999999999", Problem::TooLarge),
        ] {
            assert_eq!(parse_size(input).unwrap_err().problem, problem, "{input}");
        }
    }

    #[test]
    fn the_error_says_what_was_wrong_and_what_is_expected() {
        let message = parse_size("10\u{1b}x").unwrap_err().to_string();
        assert!(message.starts_with(r#"unknown unit "\u{1b}x"; expected a number"#));
        assert!(message.contains("64KiB"));
    }

    #[test]
    fn sizes_are_printed_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(format_size_change(i64::MIN), "-8.0 EiB");
        assert_eq!(format_size_change(0), "0 B");
    }

    #[test]
    fn rates_carry_their_sign_and_survive_what_is_no_number() {
        assert_eq!(format_rate(176_538.0), "+172.4 KiB/s");
        assert_eq!(format_rate(-3.0), "-3.0 B/s");
        assert_eq!(format_rate(-0.0), "0 B/s");
        assert_eq!(format_rate(f64::NAN), "?");
        assert_eq!(format_rate(f64::INFINITY), "?");
    }
}
