//! What a check decided, as text: the totals, what failed with its call path, what was let pass and
//! why, and how far all that can be trusted.

use std::io::{self, Write};

use super::allocator::{INDENT, with_place};
use super::fit::words;
use super::page::{Page, Paint, Span};
use super::{header, plural, stack, summary, trust};
use crate::export::{Exporter, Style};
use crate::report::{Check, Excused, Failure, Outcome, Report};
use crate::units::format_seconds;

/// Failures that are listed, and of those that were let pass.
const MAX_SHOWN: usize = 20;

/// Writes the final report of a check.
pub(in crate::export) struct CheckText {
    style: Style,
}

impl CheckText {
    pub(in crate::export) fn new(style: Style) -> Self {
        Self { style }
    }
}

impl Exporter for CheckText {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let mut page = Page::new(out, self.style);
        header::write(&mut page, report)?;
        page.blank()?;
        summary::write(&mut page, report)?;
        page.blank()?;
        if let Some(check) = &report.check {
            write(&mut page, check)?;
        }
        trust::write(&mut page, report)
    }
}

fn write(page: &mut Page<'_>, check: &Check) -> io::Result<()> {
    let (headline, paint) = headline(check);
    page.paragraph(Vec::new(), &words(&headline), paint)?;
    page.blank()?;
    for (number, failure) in (1..).zip(check.failures.iter().take(MAX_SHOWN)) {
        write_failure(page, number, failure)?;
    }
    write_more(page, check.failures.len())?;
    write_list(page, "Not judged", &check.not_judged)?;
    write_excused(page, "Suppressed", &check.suppressed)?;
    write_excused(page, "In the baseline", &check.in_baseline)?;
    write_list(page, "Unused suppressions", &check.unused_suppressions)
}

fn headline(check: &Check) -> (String, Paint) {
    let judged = match check.judged_seconds {
        Some(seconds) => format!("judged over {}", format_seconds(seconds)),
        None => "not judged".to_owned(),
    };
    let code = format!("exit code {}", check.exit_code);
    match check.outcome {
        Outcome::Passed => (format!("PASSED: {judged}; {code}"), Paint::Good),
        Outcome::Failed => {
            let failures = plural(check.failures.len() as u64, "failure");
            (
                format!("FAILED: {failures}, {judged}; {code}"),
                Paint::Warning,
            )
        }
        Outcome::Undecided => (
            format!("NOT DECIDED: the evidence is not good enough, {judged}; {code}"),
            Paint::Warning,
        ),
    }
}

fn write_more(page: &mut Page<'_>, all: usize) -> io::Result<()> {
    if all <= MAX_SHOWN {
        return Ok(());
    }
    page.text(&format!("  and {} more", all - MAX_SHOWN), Paint::Faint)?;
    page.blank()
}

fn write_failure(page: &mut Page<'_>, number: usize, failure: &Failure) -> io::Result<()> {
    page.line(&titled(page, format!("{number:>2}.  "), failure))?;
    let indent = (" ".repeat(INDENT), Paint::Plain);
    page.paragraph(vec![indent], &words(&failure.reason), Paint::Plain)?;
    if let Some(allocator) = &failure.allocator {
        stack::write(page, allocator)?;
    }
    page.blank()
}

/// The criterion and the function that it is about.
fn titled(page: &Page<'_>, front: String, failure: &Failure) -> Vec<Span> {
    let name = failure.criterion.name();
    let line = vec![(front, Paint::Plain), (format!("{name}  "), Paint::Strong)];
    match &failure.allocator {
        Some(allocator) => with_place(page, line, allocator),
        None => line,
    }
}

fn write_excused(page: &mut Page<'_>, title: &str, all: &[Excused]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    page.text(title, Paint::Strong)?;
    for one in all.iter().take(MAX_SHOWN) {
        page.line(&titled(page, "  ".to_owned(), &one.failure))?;
        let indent = (" ".repeat(INDENT), Paint::Plain);
        let text = format!("{}; let pass: {}", one.failure.reason, one.because);
        page.paragraph(vec![indent], &words(&text), Paint::Faint)?;
    }
    if all.len() <= MAX_SHOWN {
        return page.blank();
    }
    write_more(page, all.len())
}

fn write_list(page: &mut Page<'_>, title: &str, all: &[String]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    page.text(title, Paint::Strong)?;
    for text in all {
        page.paragraph(
            vec![("  ".to_owned(), Paint::Plain)],
            &words(text),
            Paint::Plain,
        )?;
    }
    page.blank()
}
