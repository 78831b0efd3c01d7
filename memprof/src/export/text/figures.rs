//! The figures in front of the entries of a list: size and share, aligned.

use std::io;

use super::fit::{columns, pad_left};
use super::page::{Page, Paint, Span};
use crate::report::{Report, TopAllocator};
use crate::units::{format_share, format_size};

/// The columns that the figures of a list take.
pub(super) struct Figures {
    outstanding_bytes: u64,
    /// What is outstanding beside the entries.
    rest_bytes: u64,
    size_columns: usize,
    share_columns: usize,
}

impl Figures {
    /// For a list of these `allocators` of `report`.
    pub(super) fn of(report: &Report, allocators: &[TopAllocator]) -> Self {
        let outstanding_bytes = report.summary.outstanding_bytes;
        let listed_bytes = allocators
            .iter()
            .fold(0u64, |sum, one| sum.saturating_add(one.shown_bytes));
        let rest_bytes = outstanding_bytes.saturating_sub(listed_bytes);
        let sizes = || {
            allocators
                .iter()
                .map(|one| one.shown_bytes)
                .chain([rest_bytes])
        };
        Figures {
            outstanding_bytes,
            rest_bytes,
            size_columns: sizes()
                .map(|bytes| columns(&format_size(bytes)))
                .max()
                .unwrap_or_default(),
            share_columns: sizes()
                .map(|bytes| columns(&format_share(bytes, outstanding_bytes)))
                .max()
                .unwrap_or_default(),
        }
    }

    /// `10.1 MiB  81.3%  `, as wide as for every other entry.
    pub(super) fn spans(&self, bytes: u64) -> [Span; 2] {
        let size = format_size(bytes);
        let share = format_share(bytes, self.outstanding_bytes);
        [
            (pad_left(&size, self.size_columns), Paint::Strong),
            (
                format!("  {}  ", pad_left(&share, self.share_columns)),
                Paint::Plain,
            ),
        ]
    }

    /// The last entry: what the others leave to explain.
    pub(super) fn write_rest(&self, page: &mut Page<'_>) -> io::Result<()> {
        if self.rest_bytes == 0 {
            return Ok(());
        }
        let [size, share] = self.spans(self.rest_bytes);
        let what = "outstanding elsewhere, not shown".to_owned();
        page.line(&[
            (" ".repeat(super::allocator::INDENT), Paint::Plain),
            size,
            share,
            (what, Paint::Faint),
        ])?;
        page.blank()
    }
}
