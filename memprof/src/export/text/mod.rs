//! The report as text, made for reading on a terminal: a few lines at each interval, and at the
//! end what was traced, the totals, the stacks that hold most, and how far all that can be trusted.

mod allocator;
mod fit;
mod header;
mod interval;
mod page;
mod sections;
mod stack;
mod summary;
mod trust;

use std::io::{self, Write};

use self::interval::Before;
use self::page::{Page, Paint};
use super::{Exporter, Style};
use crate::report::Report;

/// Where the text behind the labels of the header, the summary and the trust section begins.
const LABEL_COLUMNS: usize = 16;

/// Writes text and remembers the interval before, for the growth since.
pub(super) struct Text {
    style: Style,
    before: Option<Before>,
}

impl Text {
    pub(super) fn new(style: Style) -> Self {
        Text {
            style,
            before: None,
        }
    }
}

impl Exporter for Text {
    fn interval(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page::new(out, self.style);
        interval::write(&mut page, report, self.before.as_ref())?;
        self.before = Some(Before::of(report));
        Ok(())
    }

    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page::new(out, self.style);
        if self.before.is_some() {
            page.blank()?;
        }
        header::write(&mut page, report)?;
        page.blank()?;
        summary::write(&mut page, report)?;
        page.blank()?;
        sections::write_processes(&mut page, report)?;
        write_allocators(&mut page, report, self.before.as_ref())?;
        sections::write_windows(&mut page, report)?;
        trust::write(&mut page, &report.quality)
    }
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
    let figures = allocator::Figures::of(&report.top_allocators, &report.summary);
    for one in &report.top_allocators {
        allocator::write(page, report, one, &figures, before)?;
        page.blank()?;
    }
    allocator::write_rest(page, report, &figures)
}

/// A line of a labelled list: `  label         text`, wrapped.
fn labelled(page: &mut Page<'_>, label: &str, text: &str) -> io::Result<()> {
    page.paragraph(
        (format!("  {label}"), Paint::Faint),
        LABEL_COLUMNS,
        text,
        Paint::Plain,
    )
}
