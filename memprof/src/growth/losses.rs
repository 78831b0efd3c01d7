//! Whether the evidence is good enough to judge by.

/// What is missing from what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Frees that were lost and could not be reconciled: what they freed still looks outstanding.
    pub frees: u64,
    /// Lost events as a share of all.
    pub share: f64,
    /// The share that is tolerated.
    pub tolerated: f64,
}

impl Losses {
    /// Why nothing can be called a leak, if that is so.
    pub(super) fn spoil(&self) -> Option<String> {
        if self.frees > 0 {
            return Some(format!(
                "{} frees were lost: what looks outstanding may have been freed",
                self.frees
            ));
        }
        if self.share > self.tolerated {
            return Some(format!(
                "{:.2} % of the events were lost, more than the {:.2} % that are tolerated",
                100.0 * self.share,
                100.0 * self.tolerated
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_frees_and_too_many_losses_spoil_the_record() {
        let tolerant = Losses {
            frees: 0,
            share: 0.0005,
            tolerated: 0.001,
        };
        assert_eq!(tolerant.spoil(), None);
        let worse = Losses {
            share: 0.002,
            ..tolerant
        };
        let reason = worse.spoil().expect("too many");
        assert_eq!(
            reason,
            "0.20 % of the events were lost, more than the 0.10 % that are tolerated"
        );
        let lost_free = Losses {
            frees: 1,
            ..tolerant
        };
        assert!(lost_free.spoil().is_some());
    }
}
