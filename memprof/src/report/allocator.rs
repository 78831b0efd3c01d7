//! One call path that allocates, with what it holds.

use serde::{Deserialize, Serialize};

use super::{CallPath, FirstToucher, Frame, HexStackId, Severity, Verdict};
pub use crate::events::event::MappingKind;

/// The totals of one stack of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopAllocator {
    /// 1 for the first in the chosen order.
    pub rank: u32,
    /// The process; of several, the one that holds most.
    pub pid: u32,
    /// How many processes it was added up over.
    #[serde(default = "one")]
    pub processes: u64,
    /// The name or the cgroup that they share, if that made them a group.
    #[serde(default)]
    pub group: Option<String>,
    /// The stack's name, the same in all reports of one run.
    pub stack_id: HexStackId,
    /// What is allocated here: blocks or mappings.
    #[serde(default)]
    pub kind: AllocatorKind,
    /// Of what kind the mappings are; `None` for blocks.
    #[serde(default)]
    pub mapping: Option<MappingKind>,
    /// Bytes allocated here and not freed since.
    pub outstanding_bytes: u64,
    /// Blocks allocated here and not freed since.
    pub outstanding_count: u64,
    /// Where `outstanding_bytes` is in 95 of 100 cases, if blocks were sampled.
    #[serde(default)]
    pub outstanding_bytes_ci95: Option<[u64; 2]>,
    /// Of `outstanding_bytes`, those in blocks that pass `--min-age`, `--min-size`, `--max-size`.
    pub shown_bytes: u64,
    /// Of `outstanding_count`, the blocks that pass them.
    pub shown_count: u64,
    /// All bytes ever allocated here.
    pub allocated_bytes: u64,
    /// All blocks ever allocated here.
    pub allocated_count: u64,
    /// Bytes allocated here and freed since.
    pub freed_bytes: u64,
    /// Blocks allocated here and freed since.
    pub freed_count: u64,
    /// The age of the oldest outstanding block; `None` without one.
    pub oldest_age_seconds: Option<f64>,
    /// What the growth of this stack looks like.
    pub verdict: Verdict,
    /// How sure the verdict is, 0 to 1.
    pub confidence: Option<f64>,
    /// How fast the outstanding bytes grow.
    pub rate_bytes_per_second: Option<f64>,
    /// The 95 % confidence interval of that rate: lower end, upper end.
    #[serde(default)]
    pub rate_ci95_bytes_per_second: Option<[f64; 2]>,
    /// Of a leak the bytes that it has left for good so far, of other growth what is outstanding.
    #[serde(default)]
    pub left_bytes: Option<u64>,
    /// How bad a leak is, or growth that may be one.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// The function that a person would go and fix: the first frame outside allocators, their
    /// shims and standard containers.
    pub function: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// The line in `file`.
    pub line: Option<u32>,
    /// The directory of `file`, as the compiler knew it.
    #[serde(default)]
    pub directory: Option<String>,
    /// The path of the mapped file that holds it.
    pub module: Option<String>,
    /// All frames, innermost (the allocator function) first.
    pub stack: Vec<Frame>,
    /// Of `outstanding_bytes`, those on pages that are resident as far as page faults told (`--events
    /// malloc,faults`, in a report of the whole; `None` else, here and below).
    #[serde(default)]
    pub touched_bytes: Option<u64>,
    /// Of `outstanding_bytes`, the others: reserved and never touched, or given back since. `None` too if
    /// the process had run before: what it had touched by then is not known.
    #[serde(default)]
    pub untouched_bytes: Option<u64>,
    /// Free bytes on resident pages with less than half in blocks, as far as these blocks keep them; `None`
    /// as above.
    #[serde(default)]
    pub kept_free_bytes: Option<u64>,
    /// Who touched most of `touched_bytes` first, at most three; the rest was touched by others.
    #[serde(default)]
    pub first_touched_by: Vec<FirstToucher>,
}

/// What a call path allocates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllocatorKind {
    /// Blocks, from an allocator's functions.
    #[default]
    Malloc,
    /// Mappings, from the kernel.
    Mmap,
}

/// A report from before paths were added up has one process each.
fn one() -> u64 {
    1
}

impl TopAllocator {
    /// The index in `stack` of the frame that `function`, `file`, `line` and `module` were taken
    /// from; `None` if no frame was chosen or the stack does not hold it.
    pub fn guilty_frame(&self) -> Option<usize> {
        CallPath::from(self).guilty_frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::HexAddress;

    #[test]
    fn of_a_recursive_function_the_innermost_call_is_the_guilty_one() {
        let frame = |function: &str| Frame {
            function: Some(function.to_owned()),
            module: Some("/bin/x".to_owned()),
            address: Some(HexAddress(1)),
            ..Frame::default()
        };
        let mut allocator = TopAllocator {
            rank: 1,
            pid: 1,
            processes: 1,
            group: None,
            stack_id: HexStackId(1),
            kind: AllocatorKind::Malloc,
            mapping: None,
            outstanding_bytes: 0,
            outstanding_count: 0,
            outstanding_bytes_ci95: None,
            shown_bytes: 0,
            shown_count: 0,
            allocated_bytes: 0,
            allocated_count: 0,
            freed_bytes: 0,
            freed_count: 0,
            oldest_age_seconds: None,
            verdict: Verdict::InsufficientData,
            confidence: None,
            rate_bytes_per_second: None,
            rate_ci95_bytes_per_second: None,
            left_bytes: None,
            severity: None,
            function: Some("walk".to_owned()),
            file: None,
            line: None,
            directory: None,
            module: Some("/bin/x".to_owned()),
            stack: vec![frame("malloc"), frame("walk"), frame("walk")],
            touched_bytes: None,
            untouched_bytes: None,
            kept_free_bytes: None,
            first_touched_by: Vec::new(),
        };
        assert_eq!(allocator.guilty_frame(), Some(1));
        allocator.function = None;
        allocator.module = None;
        assert_eq!(allocator.guilty_frame(), None);
    }
}
