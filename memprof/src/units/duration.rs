//! Durations.

use std::time::Duration;

use super::number::split_number;
use super::{ParseError, Problem};

/// The longest duration that is accepted: beyond any trace, and short enough to be added to any
/// clock without overflow.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const EXPECTED: &str = "a number of seconds, or one with a unit: ms, s, m, h, d, \
    such as 500ms, 30s, 10m or 1h30m, at most 36500d";

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Reads a duration: `30`, `30s`, `500ms`, `1.5h`, or a sum with falling units: `1h30m`.
///
/// # Errors
/// What is not such a number, or is longer than [`LONGEST`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    parse(text.trim()).map_err(|problem| ParseError {
        problem,
        expected: EXPECTED,
    })
}

fn parse(text: &str) -> Result<Duration, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    let mut total: u128 = 0;
    let mut smallest_unit = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after_number) = split_number(rest)?;
        let after_number = after_number.trim_start();
        let unit_end = after_number
            .find(|c: char| c.is_ascii_digit() || c == ' ')
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_end);
        let nanoseconds = if unit.is_empty() && after_unit.is_empty() && smallest_unit == u64::MAX {
            NANOSECONDS_PER_SECOND
        } else if unit.is_empty() {
            return Err(Problem::MissingUnit(rest.to_owned()));
        } else {
            nanoseconds_of(unit)
                .ok_or_else(|| Problem::UnknownUnit(after_number.trim_end().to_owned()))?
        };
        if nanoseconds >= smallest_unit {
            return Err(Problem::UnitsOutOfOrder(unit.to_owned()));
        }
        smallest_unit = nanoseconds;
        // Five units at most, each below 2^128 / 8.
        total += number.times(nanoseconds);
        rest = after_unit.trim_start();
    }
    if total > LONGEST.as_nanos() {
        return Err(Problem::TooLarge);
    }
    let per_second = u128::from(NANOSECONDS_PER_SECOND);
    let seconds = u64::try_from(total / per_second).map_err(|_| Problem::TooLarge)?;
    let nanoseconds = u32::try_from(total % per_second).map_err(|_| Problem::TooLarge)?;
    Ok(Duration::new(seconds, nanoseconds))
}

fn nanoseconds_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => NANOSECONDS_PER_SECOND / 1000,
        "s" => NANOSECONDS_PER_SECOND,
        "m" => 60 * NANOSECONDS_PER_SECOND,
        "h" => 3600 * NANOSECONDS_PER_SECOND,
        "d" => 86400 * NANOSECONDS_PER_SECOND,
        _ => return None,
    })
}

/// A duration in its two largest units: `350ms`, `5.2s`, `2m 05s`, `3h 04m`, `2d 03h`.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = (duration.as_nanos() + 500_000) / 1_000_000;
    let tenths = (milliseconds + 50) / 100;
    let seconds = (milliseconds + 500) / 1000;
    let minutes = (seconds + 30) / 60;
    let hours = (minutes + 30) / 60;
    if milliseconds == 0 {
        "0s".to_owned()
    } else if milliseconds < 1000 {
        format!("{milliseconds}ms")
    } else if tenths < 600 && tenths.is_multiple_of(10) {
        format!("{}s", tenths / 10)
    } else if tenths < 600 {
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else if seconds < 3600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else if minutes < 24 * 60 {
        format!("{}h {:02}m", minutes / 60, minutes % 60)
    } else {
        format!("{}d {:02}h", hours / 24, hours % 24)
    }
}

/// [`format_duration`] of a number of seconds; `?` for what is not a duration.
pub fn format_seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => format_duration(duration),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        for (text, milliseconds) in [
            ("0", 0),
            ("30", 30_000),
            ("30s", 30_000),
            ("0.25", 250),
            ("500ms", 500),
            ("10m", 600_000),
            ("1.5h", 5_400_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            (" 2m 05s ", 125_000),
            ("1d 1h 1m 1s 1ms", 90_061_001),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("36500d"), Ok(LONGEST));
    }

    #[test]
    fn nonsense_durations_are_refused_with_the_reason() {
        let text = |text: &str| text.to_owned();
        for (input, problem) in [
            ("", Problem::Empty),
            ("-1s", Problem::Negative),
            ("1h-5m", Problem::UnknownUnit(text("h-5m"))),
            ("NaN", Problem::NotANumber(text("NaN"))),
            ("s", Problem::NotANumber(text("s"))),
            ("1e999", Problem::UnknownUnit(text("e999"))),
            ("10x", Problem::UnknownUnit(text("x"))),
            ("10M", Problem::UnknownUnit(text("M"))),
            ("1h30", Problem::MissingUnit(text("30"))),
            ("1 2", Problem::MissingUnit(text("1 2"))),
            ("1m1h", Problem::UnitsOutOfOrder(text("h"))),
            ("1s1s", Problem::UnitsOutOfOrder(text("s"))),
            ("36501d", Problem::TooLarge),
            ("18446744073709551615d", Problem::TooLarge),
            ("99999999999999999999999s", Problem::TooLarge),
        ] {
            assert_eq!(
                parse_duration(input).unwrap_err().problem,
                problem,
                "{input}"
            );
        }
    }

    #[test]
    fn durations_are_printed_in_two_units_without_carrying_into_sixty() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.0001, "0s"),
            (0.35, "350ms"),
            (0.9999, "1s"),
            (5.2, "5.2s"),
            (59.97, "1m 00s"),
            (125.0, "2m 05s"),
            (3599.7, "1h 00m"),
            (11_040.0, "3h 04m"),
            (86_399.0, "1d 00h"),
            (183_600.0, "2d 03h"),
            (-1.0, "?"),
            (f64::NAN, "?"),
            (1e300, "?"),
        ] {
            assert_eq!(format_seconds(seconds), text, "{seconds}");
        }
    }
}
