//! Whether inner probes would see what the calls of a function really do: tried in a child of our
//! own, call by call.
//!
//! The analysis (`inner`) proves its sites for every way through the code, as far as it
//! understands the code. Here a child that runs the very same file makes some hundred calls, of
//! every size that takes another way, alone and after it has started a thread. It stops at a
//! breakpoint at each function's start, at each site and at each return; and all that a program
//! would read at the site must be what the call turns out to be: the block that is returned, the
//! size that was asked for, the slot of the return address, the caller's registers. Each site
//! must have been met. Otherwise the function is probed at its entry and its return.

#[cfg(target_arch = "x86_64")]
mod child;
#[cfg(target_arch = "x86_64")]
mod tracee;

use memprof_common::allocator::Shape;

use super::inner::InnerSite;

/// A function to try; addresses are those of this process.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its first instruction.
    pub start: u64,
    /// `Size` or `Product`.
    pub shape: Shape,
    /// The inner probes that it may get.
    pub sites: Vec<InnerSite>,
}

/// What went wrong with a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the subjects it is about; `None` for all of them.
    pub subject: Option<usize>,
    /// What it was.
    pub reason: String,
}

impl Refusal {
    #[cfg(target_arch = "x86_64")]
    fn of_all(reason: impl Into<String>) -> Self {
        Self {
            subject: None,
            reason: reason.into(),
        }
    }
}

/// Tries the subjects, whose blocks `free` (its address in this process) takes back.
///
/// # Errors
/// The first call that was not as the sites say, or why there could be no trial.
#[cfg(target_arch = "x86_64")]
pub fn prove(subjects: &[Subject], free: u64) -> Result<(), Refusal> {
    let calls = child::Calls::of(subjects, free);
    let child = child::start(calls).map_err(|error| Refusal::of_all(format!("{error:#}")))?;
    tracee::follow(child, subjects)
}

/// Inner probes are known on x86-64 alone.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn prove(_subjects: &[Subject], _free: u64) -> Result<(), Refusal> {
    Err(Refusal {
        subject: None,
        reason: "there are no inner probes on this architecture".to_owned(),
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
