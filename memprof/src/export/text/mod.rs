//! The report as text, made for reading on a terminal: a few lines at each interval, and at the
//! end what was traced, the totals, the stacks that hold most, and how far all that can be trusted.

mod allocator;
mod changes;
mod cycles;
mod check;
mod figures;
mod fit;
mod header;
mod history;
mod hunt;
mod interval;
mod name;
mod page;
mod processes;
mod reconciliation;
mod sections;
mod snapshot;
mod snapshot_changes;
mod stack;
mod summary;
mod table;
mod toucher;
mod trust;

use std::io::{self, Write};

pub(super) use self::check::CheckText;
use self::figures::Figures;
use self::history::{Before, History};
pub(super) use self::hunt::{write_find, write_hunt};
use self::page::{Page, Paint};
use super::{Exporter, Style};
use crate::diff::Diff;
use crate::report::{AllocatorKind, EventKind, Report, TopAllocator};
use crate::snapshot::{Snapshot, SnapshotDiff};
use crate::units::format_count;

/// Where the text behind the labels of the header, the summary and the trust section begins.
const LABEL_COLUMNS: usize = 17;

/// Writes text and remembers the last intervals, for the growth since.
pub(super) struct Text {
    style: Style,
    history: History,
}

impl Text {
    pub(super) fn new(style: Style) -> Self {
        Text {
            style,
            history: History::default(),
        }
    }
}

impl Exporter for Text {
    fn interval(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page::new(out, self.style);
        if !self.history.is_empty() {
            page.blank()?;
        }
        interval::write(
            &mut page,
            report,
            self.history.basis(report.duration_seconds),
        )?;
        self.history.remember(report);
        Ok(())
    }

    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page::new(out, self.style);
        if !self.history.is_empty() {
            page.blank()?;
        }
        header::write(&mut page, report)?;
        page.blank()?;
        summary::write(&mut page, report)?;
        page.blank()?;
        reconciliation::write(&mut page, report)?;
        processes::write(&mut page, report)?;
        let before = self.history.basis(report.duration_seconds);
        if report.follows_allocations() {
            write_allocators(&mut page, report, before)?;
        }
        toucher::write(&mut page, report, before)?;
        cycles::write(&mut page, report)?;
        sections::write_windows(&mut page, report)?;
        trust::write(&mut page, report)
    }
}

/// Writes a comparison of two reports.
pub(super) fn write_diff(diff: &Diff<'_>, style: Style, out: &mut dyn Write) -> io::Result<()> {
    changes::write(&mut Page::new(out, style), diff)
}

/// Writes a snapshot, with so many files.
pub(super) fn write_snapshot(
    snapshot: &Snapshot,
    top: usize,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    snapshot::write(&mut Page::new(out, style), snapshot, top)
}

/// Writes a comparison of two snapshots, with so many files.
pub(super) fn write_snapshot_diff(
    diff: &SnapshotDiff<'_>,
    top: usize,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    snapshot_changes::write(&mut Page::new(out, style), diff, top)
}

fn write_allocators(
    page: &mut Page<'_>,
    report: &Report,
    before: Option<&Before>,
) -> io::Result<()> {
    if report.top_allocators.is_empty() {
        page.text("No stack to show", Paint::Strong)?;
        return page.blank();
    }
    page.text("Top allocators", Paint::Strong)?;
    page.blank()?;
    let figures = Figures::of(report, &report.top_allocators);
    for one in &report.top_allocators {
        allocator::write(page, report, one, &figures, before)?;
        page.blank()?;
    }
    figures.write_rest(page, "outstanding elsewhere, not shown")
}

/// A line of a labelled list: `  label         text`, wrapped.
fn labelled(page: &mut Page<'_>, label: &str, parts: &[String]) -> io::Result<()> {
    let label = fit::pad_right(&format!("  {label}"), LABEL_COLUMNS);
    page.paragraph(vec![(label, Paint::Faint)], parts, Paint::Plain)
}

/// So many of what a report counts: blocks, mappings, or both.
fn things(count: u64, report: &Report) -> String {
    let has = |kind| report.events.contains(&kind);
    match (has(EventKind::Malloc), has(EventKind::Mmap)) {
        (false, true) => plural(count, "mapping"),
        (true, true) => format!("{} and mappings", plural(count, "block")),
        _ => plural(count, "block"),
    }
}

/// So many of what a call path allocates.
fn things_of(count: u64, allocator: &TopAllocator) -> String {
    match allocator.kind {
        AllocatorKind::Malloc => plural(count, "block"),
        AllocatorKind::Mmap => plural(count, "mapping"),
    }
}

/// `1 event`, `2 events`.
fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", format_count(count))
}
