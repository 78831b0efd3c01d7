//! When an exact look may end before its time: it has found the leak, or clearly there is none.

use crate::growth::Verdict;

/// Shorter looks see too few generations of blocks to compare, seconds.
const LEAST_SECONDS: f64 = 5.0;
/// Innocence takes longer to show, seconds …
const LEAST_INNOCENT_SECONDS: f64 = 10.0;
/// … and must be so sure.
const SURELY: f64 = 0.8;

/// What is found explains the growth for which it was looked for if it comes to this share of it. The
/// rest may be what the allocator adds to small blocks, and keeps for itself.
const EXPLAINS: f64 = 0.25;

/// Does it leak, and by which call path?
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// How sure the answer must be.
    pub min_confidence: f64,
    /// How fast the process grew, bytes per second: what is to be explained.
    pub rate: f64,
}

impl Question {
    /// Whether the verdict on the whole with its confidence, and the confidence and rate of each call path
    /// that leaks, are the answer after so many seconds.
    pub fn is_answered(
        &self,
        (whole, confidence): (Verdict, Option<f64>),
        leaks: impl Iterator<Item = (Option<f64>, Option<f64>)>,
        seconds: f64,
    ) -> bool {
        let (mut sure, mut any, mut rate) = (false, false, 0.0);
        for (confidence, of_path) in leaks {
            any = true;
            sure |= self.is_sure(confidence);
            rate += of_path.unwrap_or(0.0);
        }
        match whole {
            _ if sure && self.is_explained_by(rate) => seconds >= LEAST_SECONDS,
            // Its call paths have too little each to be named yet.
            Verdict::Leak | Verdict::Growing | Verdict::InsufficientData => false,
            Verdict::Stable | Verdict::Bounded | Verdict::WarmUp | Verdict::Sawtooth => {
                let is_sure = confidence.is_some_and(|sure| sure >= SURELY);
                is_sure && !any && seconds >= LEAST_INNOCENT_SECONDS
            }
        }
    }

    /// Whether something is sure enough.
    pub fn is_sure(&self, confidence: Option<f64>) -> bool {
        confidence.is_some_and(|sure| sure >= self.min_confidence)
    }

    /// Whether a leak of so many bytes per second is why the process grew.
    pub fn is_explained_by(&self, rate: f64) -> bool {
        rate >= EXPLAINS * self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_leak_of_a_call_path_or_clear_innocence_is_an_answer_in_time() {
        let question = Question {
            min_confidence: 0.4,
            rate: 1e6,
        };
        let answered = |whole, confidence, leaks: &[(f64, f64)], seconds| {
            let leaks = leaks.iter().map(|(sure, rate)| (Some(*sure), Some(*rate)));
            question.is_answered((whole, confidence), leaks, seconds)
        };
        let leak = Verdict::Leak;
        assert!(answered(leak, Some(0.6), &[(0.5, 9e5), (0.1, 10.0)], 6.0));
        assert!(!answered(leak, Some(0.6), &[(0.5, 9e5)], 3.0));
        assert!(!answered(leak, Some(0.6), &[(0.3, 9e5)], 20.0));
        assert!(!answered(leak, Some(0.6), &[], 20.0));
        // A leak, but not the one that it was looked at for.
        assert!(!answered(leak, Some(0.6), &[(0.9, 4e4)], 20.0));
        let stable = Verdict::Stable;
        assert!(!answered(stable, Some(0.9), &[], 6.0));
        assert!(answered(stable, Some(0.9), &[], 12.0));
        assert!(!answered(stable, Some(0.9), &[(0.3, 10.0)], 12.0));
        assert!(!answered(stable, Some(0.5), &[], 12.0));
        assert!(!answered(Verdict::InsufficientData, None, &[], 100.0));
    }
}
