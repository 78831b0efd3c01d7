//! What was left between marks, in the reports that have some.

use std::io;

use super::allocator::with_place;
use super::figures::Figures;
use super::page::{Page, Paint};
use super::things;
use crate::report::{Report, Window};
use crate::units::{format_count, format_size};

/// Windows between marks that are listed.
const LISTED_WINDOWS: usize = 20;

/// What was left between marks; cycles have their own section, whose marks these are.
pub(super) fn write_windows(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.windows.is_empty() || report.cycles.is_some() {
        return Ok(());
    }
    page.text("Left between marks", Paint::Strong)?;
    page.blank()?;
    let listed = listed(&report.windows);
    for window in &listed {
        write_window(page, report, window)?;
    }
    if listed.len() < report.windows.len() {
        let more = format_count((report.windows.len() - listed.len()) as u64);
        page.text(&format!("  and {more} more that left less"), Paint::Faint)?;
    }
    page.blank()
}

/// The windows that left most, in the order of time.
fn listed(windows: &[Window]) -> Vec<&Window> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(windows[*index].left_bytes));
    order.truncate(LISTED_WINDOWS);
    order.sort_unstable();
    order.into_iter().map(|index| &windows[index]).collect()
}

fn write_window(page: &mut Page<'_>, report: &Report, window: &Window) -> io::Result<()> {
    page.line(&[
        (
            format!("  {} {} {}: ", window.from, page.arrow(), window.to),
            Paint::Plain,
        ),
        (format_size(window.left_bytes), Paint::Strong),
        (
            format!(" in {}", things(window.left_count, report)),
            Paint::Plain,
        ),
    ])?;
    let figures = Figures::of(report, &window.top_allocators);
    for one in &window.top_allocators {
        let mut row = vec![("    ".to_owned(), Paint::Plain)];
        row.extend(figures.spans(one.shown_bytes));
        page.line(&with_place(page, row, one))?;
    }
    Ok(())
}
