//! The few lines at the end of an interval.

use std::collections::HashMap;
use std::io;

use super::allocator::{Figures, place};
use super::fit::{columns, pad_left};
use super::page::{Page, Paint};
use super::summary::difference;
use crate::report::{HexStackId, Report, TopAllocator};
use crate::units::{format_count, format_seconds, format_size, format_size_change};

/// From this width on the rows have room for blocks and ages.
const WIDE_COLUMNS: usize = 90;

/// What the report before said, for the growth since.
pub(super) struct Before {
    at_seconds: f64,
    outstanding_bytes: u64,
    rss_bytes: Option<u64>,
    /// As many as a report lists.
    bytes_by_stack: HashMap<(u32, HexStackId), u64>,
}

impl Before {
    pub(super) fn of(report: &Report) -> Self {
        Before {
            at_seconds: report.duration_seconds,
            outstanding_bytes: report.summary.outstanding_bytes,
            rss_bytes: report.summary.rss_end_bytes,
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

pub(super) fn write(
    page: &mut Page<'_>,
    report: &Report,
    before: Option<&Before>,
) -> io::Result<()> {
    let summary = &report.summary;
    let mut totals = format_size(summary.outstanding_bytes);
    if let Some(before) = before {
        let change = difference(summary.outstanding_bytes, before.outstanding_bytes);
        totals.push_str(&format!(" ({})", format_size_change(change)));
    }
    let mut others = format!(" in {} blocks", format_count(summary.outstanding_count));
    if let Some(rss) = summary.rss_end_bytes {
        others.push_str(&format!(", RSS {}", format_size(rss)));
        if let Some(rss_before) = before.and_then(|before| before.rss_bytes) {
            let change = format_size_change(difference(rss, rss_before));
            others.push_str(&format!(" ({change})"));
        }
    }
    let lost = report.quality.lost.total();
    if lost > 0 {
        let warning = format!("  {} events lost", format_count(lost));
        page.line(&[(warning, Paint::Warning)])?;
    }
    page.line(&[
        (
            pad_left(&format_seconds(report.duration_seconds), 7),
            Paint::Strong,
        ),
        ("  outstanding ".to_owned(), Paint::Plain),
        (totals, Paint::Strong),
        (others, Paint::Plain),
    ])?;
    write_rows(page, report, before)
}

fn write_rows(page: &mut Page<'_>, report: &Report, before: Option<&Before>) -> io::Result<()> {
    let allocators = &report.top_allocators;
    let figures = Figures::of(allocators, &report.summary);
    let changes = column(allocators, |one| {
        let change = before.and_then(|before| before.change_of(one, report.duration_seconds));
        change.map(|(bytes, _)| format_size_change(bytes))
    });
    let blocks = column(allocators, |one| {
        Some(format!("{} blocks", format_count(one.shown_count)))
    });
    let ages = column(allocators, |one| {
        let age = format_seconds(one.oldest_age_seconds?);
        Some(format!("oldest {age}"))
    });
    let wide = page.width() >= WIDE_COLUMNS;
    for (index, one) in allocators.iter().enumerate() {
        let mut row = vec![("  ".to_owned(), Paint::Plain)];
        row.extend(figures.spans(one.shown_bytes));
        row.push((changes[index].clone(), Paint::Plain));
        if wide {
            row.push((blocks[index].clone(), Paint::Faint));
            row.push((ages[index].clone(), Paint::Faint));
        }
        let taken: usize = row.iter().map(|(text, _)| columns(text)).sum();
        row.extend(place(page, one, page.width().saturating_sub(taken)));
        page.line(&row)?;
    }
    Ok(())
}

/// The cells of one column, aligned to the right with two spaces behind; no column at all if every
/// cell is unknown.
fn column(
    allocators: &[TopAllocator],
    cell: impl Fn(&TopAllocator) -> Option<String>,
) -> Vec<String> {
    let cells: Vec<_> = allocators.iter().map(cell).collect();
    let widest = cells.iter().flatten().map(|text| columns(text)).max();
    cells
        .into_iter()
        .map(|text| match widest {
            Some(widest) => pad_left(&text.unwrap_or_default(), widest) + "  ",
            None => String::new(),
        })
        .collect()
}
