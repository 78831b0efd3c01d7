//! Known call paths that may fail, each with the reason why, from a TOML file:
//!
//! ```toml
//! [[suppression]]
//! function = "plugin_load"          # the function that a failure names
//! module = "libplugins.so*"         # its file: a path, or the last part of one
//! stack = "worker_*"                # any function on the call path
//! reason = "plugins stay loaded; see #412"
//! ```
//!
//! What is given must all match. A pattern is a whole name, in which `*` stands for anything and `?`
//! for one character.

use std::fmt;

use serde::Deserialize;
use wildmatch::WildMatch;

use crate::report::TopAllocator;

/// The most suppressions of one file; more are refused: each is tried on each failure.
pub const MAX_SUPPRESSIONS: usize = 10_000;

/// Patterns for what may fail.
#[derive(Clone, Debug, Default)]
pub struct Suppressions(Vec<Suppression>);

/// One of them.
#[derive(Clone, Debug)]
pub struct Suppression {
    function: Option<WildMatch>,
    module: Option<WildMatch>,
    stack: Option<WildMatch>,
    /// Why it may fail.
    pub reason: String,
    /// The patterns as they stand in the file.
    text: String,
}

/// Why a file of suppressions was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    suppression: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    function: Option<String>,
    module: Option<String>,
    stack: Option<String>,
    #[serde(default)]
    reason: String,
}

impl Suppressions {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is not such a file, in one line.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let file: File = toml::from_str(text).map_err(|error| Refused(explain(&error, text)))?;
        if file.suppression.len() > MAX_SUPPRESSIONS {
            return Err(Refused(format!(
                "{} suppressions, more than {MAX_SUPPRESSIONS}: use patterns",
                file.suppression.len()
            )));
        }
        let numbered = (1..).zip(file.suppression);
        let all = numbered.map(|(number, entry)| entry.validated(number));
        all.collect::<Result<_, _>>().map(Self)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indices of those that match a call path.
    pub(super) fn matching(&self, allocator: &TopAllocator) -> Vec<usize> {
        let matches = |one: &(usize, &Suppression)| one.1.matches(allocator);
        let all = self.0.iter().enumerate().filter(matches);
        all.map(|(index, _)| index).collect()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Suppression> {
        self.0.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Suppression> {
        self.0.iter()
    }
}

/// Where in the file it is wrong, and what; without the excerpt, which takes several lines.
fn explain(error: &toml::de::Error, text: &str) -> String {
    let message: Vec<&str> = error.message().split_whitespace().collect();
    let message = message.join(" ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

impl Entry {
    fn validated(self, number: usize) -> Result<Suppression, Refused> {
        let reason = self.reason.trim();
        if reason.is_empty() {
            return Err(Refused(format!(
                "suppression {number} has no reason: say why it may fail"
            )));
        }
        let given = [
            ("function", &self.function),
            ("module", &self.module),
            ("stack", &self.stack),
        ];
        let mut parts = Vec::new();
        for (key, pattern) in given {
            match pattern.as_deref() {
                Some("") => {
                    return Err(Refused(format!(
                        "suppression {number} has an empty {key}, which matches nothing"
                    )));
                }
                Some(pattern) => parts.push(format!("{key} {pattern:?}")),
                None => {}
            }
        }
        if parts.is_empty() {
            return Err(Refused(format!(
                "suppression {number} says nothing of a function, module or stack"
            )));
        }
        let pattern = |text: &Option<String>| text.as_deref().map(WildMatch::new);
        Ok(Suppression {
            function: pattern(&self.function),
            module: pattern(&self.module),
            stack: pattern(&self.stack),
            reason: reason.to_owned(),
            text: parts.join(", "),
        })
    }
}

impl Suppression {
    fn matches(&self, allocator: &TopAllocator) -> bool {
        let matched = |pattern: &Option<WildMatch>, texts: &[Option<&str>]| {
            pattern.as_ref().is_none_or(|pattern| {
                let mut texts = texts.iter().flatten();
                texts.any(|text| pattern.matches(text))
            })
        };
        let module = allocator.module.as_deref();
        let module_name = module.and_then(|path| path.rsplit('/').next());
        let functions: Vec<Option<&str>> = allocator
            .stack
            .iter()
            .map(|frame| frame.function.as_deref())
            .collect();
        matched(&self.function, &[allocator.function.as_deref()])
            && matched(&self.module, &[module, module_name])
            && matched(&self.stack, &functions)
    }
}

impl fmt::Display for Suppression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.reason)
    }
}
