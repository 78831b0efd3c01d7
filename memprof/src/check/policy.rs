//! What a check asks for.

use super::{Baseline, Suppressions};
use crate::growth::SeverityBounds;
use crate::report::Criteria;

/// What fails, and what does not though it would.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What fails.
    pub criteria: Criteria,
    /// Where the degrees of severity begin: for several call paths together.
    pub bounds: SeverityBounds,
    /// Known call paths that may fail.
    pub suppressions: Suppressions,
    /// An earlier report: only what is worse fails.
    pub baseline: Option<Baseline>,
}

/// What was seen from the end of the warm-up on and is not in the report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Watched {
    /// How long, seconds; `None` if the warm-up never ended.
    pub seconds: Option<f64>,
    /// The most bytes that were outstanding at one time.
    pub peak_outstanding_bytes: u64,
    /// The most resident memory at any look.
    pub peak_rss_bytes: Option<u64>,
}
