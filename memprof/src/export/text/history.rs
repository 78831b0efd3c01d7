//! What the reports before said: the growth since is the difference.

use std::collections::HashMap;

use crate::report::{HexStackId, Report, TopAllocator};

/// The last two reports.
#[derive(Default)]
pub(super) struct History {
    last: Option<Before>,
    older: Option<Before>,
}

impl History {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn remember(&mut self, report: &Report) {
        self.older = self.last.replace(Before::of(report));
    }

    /// The report to compare one at `now_seconds` with: the last one, or the one before if the
    /// last is too recent to show growth, as it is when a run ends just after an interval.
    pub(super) fn basis(&self, now_seconds: f64) -> Option<&Before> {
        let last = self.last.as_ref()?;
        let Some(older) = &self.older else {
            return Some(last).filter(|last| last.at_seconds < now_seconds);
        };
        let interval = last.at_seconds - older.at_seconds;
        let is_recent = now_seconds - last.at_seconds < interval / 2.0;
        Some(if is_recent { older } else { last })
    }
}

/// What the report before said, for the growth since.
pub(super) struct Before {
    pub(super) at_seconds: f64,
    /// All outstanding bytes.
    pub(super) outstanding_bytes: u64,
    /// The resident memory.
    pub(super) rss_bytes: Option<u64>,
    /// What is resident of what was touched first.
    pub(super) touched_resident_bytes: Option<u64>,
    /// Of stacks that touched memory first, as many as a report lists.
    pub(super) resident_by_stack: HashMap<(u32, HexStackId), u64>,
    /// Of those that allocate.
    bytes_by_stack: HashMap<(u32, HexStackId), u64>,
}

impl Before {
    fn of(report: &Report) -> Self {
        Before {
            at_seconds: report.duration_seconds,
            outstanding_bytes: report.summary.outstanding_bytes,
            rss_bytes: report.summary.rss_end_bytes,
            touched_resident_bytes: report.summary.touched_resident_bytes,
            resident_by_stack: report
                .top_touchers
                .iter()
                .map(|one| ((one.pid, one.stack_id), one.resident_bytes))
                .collect(),
            bytes_by_stack: report
                .top_allocators
                .iter()
                .map(|one| ((one.pid, one.stack_id), one.outstanding_bytes))
                .collect(),
        }
    }

    /// The growth of a stack up to `now_seconds`, in bytes, and the seconds that it took; `None`
    /// if the stack was not in the report before.
    pub(super) fn change_of(&self, one: &TopAllocator, now_seconds: f64) -> Option<(i64, f64)> {
        let before = self.bytes_by_stack.get(&(one.pid, one.stack_id))?;
        let change = difference(one.outstanding_bytes, *before);
        Some((change, now_seconds - self.at_seconds))
    }
}

/// `now - before`, at the limits of `i64` if it is beyond them.
pub(super) fn difference(now: u64, before: u64) -> i64 {
    let magnitude = i64::try_from(now.abs_diff(before)).unwrap_or(i64::MAX);
    if now >= before { magnitude } else { -magnitude }
}
