//! The few lines at the end of an interval.

use std::io;

use super::allocator::with_place;
use super::figures::Figures;
use super::fit::{columns, comma_separated, pad_left};
use super::history::{Before, difference};
use super::page::{Page, Paint};
use super::{plural, things, things_of, toucher};
use crate::report::{Report, TopAllocator};
use crate::units::{format_seconds, format_size, format_size_change};

/// From this width on the rows have room for blocks, and stand below the totals.
const BLOCKS_FROM_WIDTH: usize = 100;
/// From this width on they have room for ages too.
const AGES_FROM_WIDTH: usize = 120;
/// The room for the time since the start, at the beginning of the first line.
const ELAPSED_COLUMNS: usize = 7;

pub(super) fn write(
    page: &mut Page<'_>,
    report: &Report,
    before: Option<&Before>,
) -> io::Result<()> {
    let summary = &report.summary;
    let mut facts = Vec::new();
    if report.follows_allocations() {
        let outstanding = with_change(
            summary.outstanding_bytes,
            before.map(|before| before.outstanding_bytes),
        );
        facts.push(format!(
            "{outstanding} outstanding in {}",
            things(summary.outstanding_count, report)
        ));
    }
    if let Some(touched) = summary.touched_resident_bytes {
        let touched = with_change(
            touched,
            before.and_then(|before| before.touched_resident_bytes),
        );
        facts.push(format!("{touched} first touched and resident"));
    }
    if let Some(rss) = summary.rss_end_bytes {
        let rss = with_change(rss, before.and_then(|before| before.rss_bytes));
        facts.push(format!("RSS {rss}"));
    }
    let elapsed = pad_left(&format_seconds(report.duration_seconds), ELAPSED_COLUMNS);
    page.paragraph(
        vec![(format!("{elapsed}  "), Paint::Strong)],
        &comma_separated(facts),
        Paint::Strong,
    )?;
    let lost = report.quality.lost.total();
    if lost > 0 {
        let warning = format!("{:ELAPSED_COLUMNS$}  {} lost", "", plural(lost, "event"));
        page.text(&warning, Paint::Warning)?;
    }
    write_rows(page, report, before)
}

/// `12.4 MiB (+1.0 MiB)`
fn with_change(now: u64, before: Option<u64>) -> String {
    let size = format_size(now);
    match before {
        Some(before) => format!("{size} ({})", format_size_change(difference(now, before))),
        None => size,
    }
}

fn write_rows(page: &mut Page<'_>, report: &Report, before: Option<&Before>) -> io::Result<()> {
    let allocators = &report.top_allocators;
    let figures = Figures::of(report, allocators);
    let changes = column(allocators, |one| {
        let change = before.and_then(|before| before.change_of(one, report.duration_seconds));
        change.map(|(bytes, _)| format_size_change(bytes))
    });
    let blocks = column(allocators, |one| Some(things_of(one.shown_count, one)));
    let ages = column(allocators, |one| {
        let age = format_seconds(one.oldest_age_seconds?);
        Some(format!("oldest {age}"))
    });
    let has_blocks = page.width() >= BLOCKS_FROM_WIDTH;
    let has_ages = page.width() >= AGES_FROM_WIDTH;
    let indent = if has_blocks { ELAPSED_COLUMNS + 2 } else { 2 };
    for (index, one) in allocators.iter().enumerate() {
        let mut row = vec![(" ".repeat(indent), Paint::Plain)];
        row.extend(figures.spans(one.shown_bytes));
        row.push((changes[index].clone(), Paint::Plain));
        if has_blocks {
            row.push((blocks[index].clone(), Paint::Faint));
        }
        if has_ages {
            row.push((ages[index].clone(), Paint::Faint));
        }
        page.line(&with_place(page, row, one))?;
    }
    toucher::write_rows(page, report, before, indent)
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
