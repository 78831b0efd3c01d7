//! The marks of a running trace, in the order of their times.

use crate::identity::Nanoseconds;

/// The most marks of one trace; further ones are refused, counted, and the report says so.
pub const MAX_MARKS: usize = 1000;

/// A named point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When, of `CLOCK_MONOTONIC`.
    pub at: Nanoseconds,
    /// Its name.
    pub label: String,
}

/// All of a trace.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    set: Vec<Mark>,
    refused: u64,
}

impl Marks {
    /// Sets a mark; `label` is given its number. That number, or `None` if there are too many.
    pub fn set(
        &mut self,
        at: Nanoseconds,
        label: impl FnOnce(usize) -> String,
    ) -> Option<(usize, &Mark)> {
        if self.set.len() >= MAX_MARKS {
            self.refused += 1;
            return None;
        }
        let number = self.set.len() + 1;
        // Several can be asked for at once; the clock was read before the lock was taken.
        let at = self.set.last().map_or(at, |last| last.at.max(at));
        self.set.push(Mark {
            at,
            label: label(number),
        });
        self.set.last().map(|mark| (number, mark))
    }

    /// Those that were set.
    pub fn all(&self) -> &[Mark] {
        &self.set
    }

    /// What is missing, in a sentence.
    pub fn limit(&self) -> Option<String> {
        (self.refused > 0).then(|| {
            format!(
                "{} marks were refused: a trace has at most {MAX_MARKS}",
                self.refused
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_numbered_and_their_times_never_decrease() {
        let mut marks = Marks::default();
        assert_eq!(marks.set(20, |_| "a".to_owned()).map(|(n, _)| n), Some(1));
        let second = marks.set(10, |number| format!("mark {number}"));
        let second = second.map(|(number, mark)| (number, mark.at, mark.label.clone()));
        assert_eq!(second, Some((2, 20, "mark 2".to_owned())));
        assert_eq!(marks.limit(), None);
    }

    #[test]
    fn marks_beyond_the_limit_are_refused_and_counted() {
        let mut marks = Marks::default();
        for at in 0..MAX_MARKS {
            assert!(marks.set(at as u64, |_| String::new()).is_some());
        }
        assert!(marks.set(5, |_| String::new()).is_none());
        assert_eq!(marks.all().len(), MAX_MARKS);
        assert!(marks.limit().is_some_and(|note| note.starts_with("1 mark")));
    }
}
