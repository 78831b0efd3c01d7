//! Who touched memory first: the section of the final report, and the rows of an interval.

use std::io;

use super::allocator::{INDENT, with_place};
use super::figures::Figures;
use super::fit::{comma_separated, pad_left, words};
use super::history::{Before, difference};
use super::page::{Page, Paint};
use super::stack;
use crate::report::{Report, TopToucher};
use crate::units::{format_seconds, format_size, format_size_change};

/// What is to be known of these figures, wherever they stand.
const MEANING: &str = "Page faults say who touched memory first, not who holds it.";

pub(super) fn write(
    page: &mut Page<'_>,
    report: &Report,
    before: Option<&Before>,
) -> io::Result<()> {
    if report.summary.touched_bytes.is_none() {
        return Ok(());
    }
    if report.top_touchers.is_empty() {
        page.text("No page was touched first", Paint::Strong)?;
        return page.blank();
    }
    page.text("First touched by", Paint::Strong)?;
    page.paragraph(Vec::new(), &words(MEANING), Paint::Faint)?;
    page.blank()?;
    let figures = figures(report);
    for one in &report.top_touchers {
        let rank = (format!("{:>2}.  ", one.rank), Paint::Plain);
        let [size, share] = figures.spans(one.resident_bytes);
        page.line(&with_place(page, vec![rank, size, share], one))?;
        let indent = vec![(" ".repeat(INDENT), Paint::Plain)];
        for facts in [holding(report, one, before), history(one)] {
            page.paragraph(indent.clone(), &comma_separated(facts), Paint::Plain)?;
        }
        stack::write(page, one)?;
        page.blank()?;
    }
    figures.write_rest(page, "first touched elsewhere, not shown")
}

/// The rows of an interval, behind so many spaces.
pub(super) fn write_rows(
    page: &mut Page<'_>,
    report: &Report,
    before: Option<&Before>,
    indent: usize,
) -> io::Result<()> {
    let figures = figures(report);
    let change = |one: &TopToucher| {
        let change = before.and_then(|before| before.change_of_toucher(one));
        change.map_or_else(String::new, format_size_change)
    };
    let changes: Vec<String> = report.top_touchers.iter().map(change).collect();
    let widest = changes.iter().map(String::len).max().unwrap_or_default();
    for (one, change) in report.top_touchers.iter().zip(&changes) {
        let mut row = vec![(" ".repeat(indent), Paint::Plain)];
        row.extend(figures.spans(one.resident_bytes));
        if widest > 0 {
            row.push((pad_left(change, widest) + "  ", Paint::Plain));
        }
        row.push(("first touched by ".to_owned(), Paint::Faint));
        page.line(&with_place(page, row, one))?;
    }
    Ok(())
}

fn figures(report: &Report) -> Figures {
    let whole = report.summary.touched_resident_bytes.unwrap_or_default();
    Figures::new(
        whole,
        report.top_touchers.iter().map(|one| one.resident_bytes),
    )
}

/// What is resident, by kind.
fn holding(report: &Report, one: &TopToucher, before: Option<&Before>) -> Vec<String> {
    let mut facts = Vec::new();
    if report.target.processes.len() > 1 {
        facts.push(match report.target.comm_of(one.pid) {
            Some(comm) => format!("{comm} (pid {})", one.pid),
            None => format!("pid {}", one.pid),
        });
    }
    let kinds = [
        (one.anonymous_bytes, "anonymous"),
        (one.file_bytes, "of files"),
        (one.shared_bytes, "shared"),
    ];
    let mut parts = |all: &[(u64, &str)], whole: Option<u64>| {
        for (bytes, what) in all.iter().filter(|part| part.0 > 0) {
            facts.push(match whole {
                Some(whole) if whole == *bytes => (*what).to_owned(),
                _ => format!("{} {what}", format_size(*bytes)),
            });
        }
    };
    parts(&kinds, Some(one.resident_bytes));
    parts(
        &[
            (one.huge_bytes, "in huge pages"),
            (one.by_kernel_bytes, "touched by the kernel in system calls"),
        ],
        None,
    );
    if let Some((before, change)) =
        before.and_then(|before| Some((before, before.change_of_toucher(one)?)))
    {
        facts.push(format!(
            "{} in the last {}",
            format_size_change(change),
            format_seconds(report.duration_seconds - before.at_seconds)
        ));
    }
    facts
}

/// What went through the stack.
fn history(one: &TopToucher) -> Vec<String> {
    let mut facts = vec![format!("touched {}", format_size(one.touched_bytes))];
    let parts = [
        (one.inherited_bytes, "inherited"),
        (one.copied_bytes, "copied after a fork"),
    ];
    for (bytes, what) in parts.into_iter().filter(|part| part.0 > 0) {
        facts.push(format!("{what} {}", format_size(bytes)));
    }
    facts.push(match one.given_back_bytes {
        0 => "none given back".to_owned(),
        bytes => format!("given back {}", format_size(bytes)),
    });
    facts
}

impl Before {
    /// The growth of what a stack touched first and is resident; `None` if it was not in the report
    /// before.
    fn change_of_toucher(&self, one: &TopToucher) -> Option<i64> {
        let before = self.resident_by_stack.get(&(one.pid, one.stack_id))?;
        Some(difference(one.resident_bytes, *before))
    }
}
