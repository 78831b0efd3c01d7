//! The figures in front of the entries of a list: size and share, aligned.

use std::io;

use super::fit::{columns, pad_left};
use super::page::{Page, Paint, Span};
use crate::report::{Report, TopAllocator};
use crate::units::{format_share, format_size};

/// The columns that the figures of a list take.
pub(super) struct Figures {
    whole: u64,
    /// What the entries leave of it.
    rest_bytes: u64,
    size_columns: usize,
    share_columns: usize,
}

impl Figures {
    /// For a list of these `allocators` of `report`.
    pub(super) fn of(report: &Report, allocators: &[TopAllocator]) -> Self {
        let shown = allocators.iter().map(|one| one.shown_bytes);
        Self::new(report.summary.outstanding_bytes, shown)
    }

    /// For entries of so many bytes each, out of a `whole`.
    pub(super) fn new(whole: u64, entries: impl Iterator<Item = u64> + Clone) -> Self {
        let listed = entries.clone().fold(0u64, u64::saturating_add);
        let rest_bytes = whole.saturating_sub(listed);
        let sizes = || entries.clone().chain([rest_bytes]);
        Figures {
            whole,
            rest_bytes,
            size_columns: sizes()
                .map(|bytes| columns(&format_size(bytes)))
                .max()
                .unwrap_or_default(),
            share_columns: sizes()
                .map(|bytes| columns(&format_share(bytes, whole)))
                .max()
                .unwrap_or_default(),
        }
    }

    /// `10.1 MiB  81.3%  `, as wide as for every other entry.
    pub(super) fn spans(&self, bytes: u64) -> [Span; 2] {
        let size = format_size(bytes);
        let share = format_share(bytes, self.whole);
        [
            (pad_left(&size, self.size_columns), Paint::Strong),
            (
                format!("  {}  ", pad_left(&share, self.share_columns)),
                Paint::Plain,
            ),
        ]
    }

    /// The last entry: what the others leave to explain.
    pub(super) fn write_rest(&self, page: &mut Page<'_>, what: &str) -> io::Result<()> {
        if self.rest_bytes == 0 {
            return Ok(());
        }
        let [size, share] = self.spans(self.rest_bytes);
        page.line(&[
            (" ".repeat(super::allocator::INDENT), Paint::Plain),
            size,
            share,
            (what.to_owned(), Paint::Faint),
        ])?;
        page.blank()
    }
}
