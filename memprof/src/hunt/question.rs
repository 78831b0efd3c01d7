//! When an exact look may end before its time: it has found the leak, or clearly there is none.

use crate::growth::Verdict;

/// Shorter looks see too few generations of blocks to compare, seconds.
const LEAST_SECONDS: f64 = 5.0;
/// Innocence takes longer to show, seconds …
const LEAST_INNOCENT_SECONDS: f64 = 10.0;
/// … and must be so sure.
const SURELY: f64 = 0.8;

/// Does it leak, and by which call path?
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// How sure the answer must be.
    pub min_confidence: f64,
}

impl Question {
    /// Whether the verdict on the whole with its confidence, and how sure the surest leak of a call path
    /// is, are the answer after so many seconds.
    pub fn is_answered(
        &self,
        (whole, confidence): (Verdict, Option<f64>),
        leak: Option<f64>,
        seconds: f64,
    ) -> bool {
        match whole {
            _ if leak.is_some_and(|sure| sure >= self.min_confidence) => seconds >= LEAST_SECONDS,
            // Its call paths have too little each to be named yet.
            Verdict::Leak | Verdict::Growing | Verdict::InsufficientData => false,
            Verdict::Stable | Verdict::Bounded | Verdict::WarmUp | Verdict::Sawtooth => {
                let is_sure = confidence.is_some_and(|sure| sure >= SURELY);
                is_sure && leak.is_none() && seconds >= LEAST_INNOCENT_SECONDS
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_leak_of_a_call_path_or_clear_innocence_is_an_answer_in_time() {
        let question = Question {
            min_confidence: 0.4,
        };
        let leak = (Verdict::Leak, Some(0.6));
        assert!(question.is_answered(leak, Some(0.5), 6.0));
        assert!(!question.is_answered(leak, Some(0.5), 3.0));
        assert!(!question.is_answered(leak, Some(0.3), 20.0));
        assert!(!question.is_answered(leak, None, 20.0));
        let stable = (Verdict::Stable, Some(0.9));
        assert!(!question.is_answered(stable, None, 6.0));
        assert!(question.is_answered(stable, None, 12.0));
        assert!(!question.is_answered(stable, Some(0.3), 12.0));
        let unsure = (Verdict::Stable, Some(0.5));
        assert!(!question.is_answered(unsure, None, 12.0));
        let unknown = (Verdict::InsufficientData, None);
        assert!(!question.is_answered(unknown, None, 100.0));
    }
}
