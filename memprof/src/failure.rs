//! How memprof fails: by what the user gave it, or by itself. The exit code tells which.

use std::fmt;

/// The user's input is wrong: one clear line of what, with what, and what to do.
#[derive(Debug)]
pub struct BadInput(pub String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// A [`BadInput`] as an error, formatted.
#[macro_export]
macro_rules! bad_input {
    ($($arguments:tt)*) => {
        anyhow::Error::new($crate::failure::BadInput(format!($($arguments)*)))
    };
}
