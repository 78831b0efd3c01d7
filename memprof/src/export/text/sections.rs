//! The sections that only some reports have: several processes, marks.

use std::io;

use super::allocator::with_place;
use super::figures::Figures;
use super::fit::{columns, pad_right, start_within};
use super::page::{Page, Paint};
use super::things;
use crate::report::{ProcessTotals, Report, Window};
use crate::units::{format_count, format_share, format_size};

/// Processes that are listed.
const LISTED_PROCESSES: usize = 10;
/// Windows between marks that are listed.
const LISTED_WINDOWS: usize = 20;
/// The room for their names: the kernel keeps 15 bytes of a name.
const NAME_COLUMNS: usize = 15;

/// The processes that hold most, where there are several.
pub(super) fn write_processes(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.processes.len() < 2 {
        return Ok(());
    }
    page.text("Processes", Paint::Strong)?;
    page.blank()?;
    let mut processes: Vec<&ProcessTotals> = report.processes.iter().collect();
    processes.sort_by_key(|process| std::cmp::Reverse(process.outstanding_bytes));
    processes.truncate(LISTED_PROCESSES);
    let names: Vec<String> = processes
        .iter()
        .map(|process| page.clean(process.comm.as_deref().unwrap_or("?")))
        .collect();
    let widest = names.iter().map(|name| columns(name)).max();
    let name_columns = widest.unwrap_or_default().min(NAME_COLUMNS);
    for (process, name) in processes.into_iter().zip(names) {
        let name = start_within(&name, name_columns);
        let size = format_size(process.outstanding_bytes);
        let share = format_share(process.outstanding_bytes, report.summary.outstanding_bytes);
        let mut facts = things(process.outstanding_count, report);
        if let Some(rss) = process.rss_bytes {
            facts.push_str(&format!(", RSS {}", format_size(rss)));
        }
        page.line(&[
            (format!("  {:>7}  ", process.pid), Paint::Faint),
            (format!("{size:>10}"), Paint::Strong),
            (format!("  {share:>6}  "), Paint::Plain),
            (format!("{}  ", pad_right(name, name_columns)), Paint::Plain),
            (facts, Paint::Faint),
        ])?;
    }
    if report.processes.len() > LISTED_PROCESSES {
        let more = format_count((report.processes.len() - LISTED_PROCESSES) as u64);
        page.text(&format!("  and {more} more"), Paint::Faint)?;
    }
    page.blank()
}

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
