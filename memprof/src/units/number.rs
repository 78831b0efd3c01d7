//! Plain decimal numbers, read exactly, and counts and shares, printed.

use super::Problem;

/// Decimal places that are kept of a fraction; further ones are below any unit's resolution.
const PLACES: u32 = 18;

/// A number as typed: `whole` plus `fraction` / 10^[`PLACES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    whole: u64,
    fraction: u64,
}

impl Decimal {
    /// Whether anything stands behind the point.
    pub(super) fn has_fraction(self) -> bool {
        self.fraction != 0
    }

    /// The number times `factor`, rounded to the nearest integer.
    pub(super) fn times(self, factor: u64) -> u128 {
        let scale = 10u128.pow(PLACES);
        let fraction = u128::from(self.fraction) * u128::from(factor);
        // At most (2^64 - 1)^2 + 2^64: no overflow.
        u128::from(self.whole) * u128::from(factor) + (fraction + scale / 2) / scale
    }
}

/// Splits `text` into the number that it begins with and the rest.
pub(super) fn split_number(text: &str) -> Result<(Decimal, &str), Problem> {
    if text.starts_with('-') {
        return Err(Problem::Negative);
    }
    let (whole, rest) = split_digits(text);
    if whole.is_empty() {
        return Err(Problem::NotANumber(text.to_owned()));
    }
    let whole = whole.parse::<u64>().map_err(|_| Problem::TooLarge)?;
    let Some(after_point) = rest.strip_prefix('.') else {
        return Ok((Decimal { whole, fraction: 0 }, rest));
    };
    let (digits, rest) = split_digits(after_point);
    if digits.is_empty() {
        return Err(Problem::NotANumber(text.to_owned()));
    }
    let fraction = digits
        .bytes()
        .map(|digit| u64::from(digit - b'0'))
        .chain(std::iter::repeat(0))
        .take(PLACES as usize)
        .fold(0, |value, digit| value * 10 + digit);
    Ok((Decimal { whole, fraction }, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A count with thousands separators: `1,234,567`.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The share of `part` in `whole` in percent: `81.3%`; `-` where there is no whole. A part that is
/// not quite everything never reads `100.0%`, nor one that is something `0.0%`.
pub fn format_share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let per_mille = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    let per_mille = match per_mille {
        0 if part > 0 => return "<0.1%".to_owned(),
        1000 if part < whole => 999,
        rounded => rounded,
    };
    format!("{}.{}%", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_in_threes() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(format_count(count), text);
        }
    }

    #[test]
    fn shares_do_not_round_to_all_or_nothing() {
        for (part, whole, text) in [
            (0, 0, "-"),
            (0, 7, "0.0%"),
            (1, 1_000_000, "<0.1%"),
            (813, 1000, "81.3%"),
            (999_999, 1_000_000, "99.9%"),
            (u64::MAX, u64::MAX, "100.0%"),
        ] {
            assert_eq!(format_share(part, whole), text, "{part} of {whole}");
        }
    }
}
