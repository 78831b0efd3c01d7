//! Sizes, durations, rates and counts: from what users type, to what they read.
//!
//! Reading is exact decimal arithmetic, without floating point: what is not a plain number with a
//! known unit is refused with what was wrong and what is expected, never rounded into something
//! that nobody meant. Printing is for people: few digits, always with a unit.

mod duration;
mod number;
mod rate;
mod size;

use std::fmt;

pub use duration::{LONGEST, format_duration, format_seconds, parse_duration};
pub use number::{format_count, format_share};
pub use rate::parse_rate;
pub use size::{format_rate, format_size, format_size_change, parse_size};

/// Why a size or a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What was wrong with it.
    pub problem: Problem,
    /// What would have been right, in words.
    pub expected: &'static str,
}

/// What was wrong with a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There was nothing.
    Empty,
    /// It began with a minus sign.
    Negative,
    /// No number stood where one was expected, but this.
    NotANumber(String),
    /// The number was followed by this.
    UnknownUnit(String),
    /// A number without a unit in a sum of several parts.
    MissingUnit(String),
    /// The parts of a sum were not in the order of falling units.
    UnitsOutOfOrder(String),
    /// A fraction of a byte.
    FractionOfByte,
    /// More than can be represented, or more than makes sense.
    TooLarge,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug formatting of the user's text escapes control characters.
        match &self.problem {
            Problem::Empty => write!(f, "empty")?,
            Problem::Negative => write!(f, "negative")?,
            Problem::NotANumber(text) => write!(f, "{text:?} is not a number")?,
            Problem::UnknownUnit(unit) => write!(f, "unknown unit {unit:?}")?,
            Problem::MissingUnit(number) => write!(f, "{number:?} has no unit")?,
            Problem::UnitsOutOfOrder(unit) => write!(f, "unit {unit:?} after a smaller one")?,
            Problem::FractionOfByte => write!(f, "not a whole number of bytes")?,
            Problem::TooLarge => write!(f, "too large")?,
        }
        write!(f, "; expected {}", self.expected)
    }
}

impl std::error::Error for ParseError {}
