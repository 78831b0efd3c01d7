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
