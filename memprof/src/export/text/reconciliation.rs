//! What resident memory is made of: a short table, and if most of it is not explained, what to do.

use std::io;

use super::fit::{columns, pad_left, pad_right, words};
use super::page::{Page, Paint};
use crate::report::{Part, PartKind, PartKnownBy, Reconciliation, Report};
use crate::units::{format_count, format_seconds, format_size};

/// Parts of less than this share are not listed, but for what is not explained.
const LEAST_SHARE: f64 = 0.0005;

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let Some(reconciliation) = &report.reconciliation else {
        return match &report.reconciliation_unknown {
            Some(why) => {
                let front = vec![("Resident memory: ".to_owned(), Paint::Strong)];
                let sentence = format!("what it is made of is unknown: {why}");
                page.paragraph(front, &words(&sentence), Paint::Plain)?;
                page.blank()
            }
            None => Ok(()),
        };
    };
    let front = vec![("Resident memory: ".to_owned(), Paint::Strong)];
    page.paragraph(front, &words(&head(reconciliation)), Paint::Plain)?;
    page.blank()?;
    let rows: Vec<_> = reconciliation.parts.iter().filter_map(row).collect();
    let width = |column: fn(&Row) -> &str| rows.iter().map(|row| columns(column(row))).max();
    let figures = width(|row| &row.figure).unwrap_or(0);
    let shares = width(|row| &row.share).unwrap_or(0);
    let names = width(|row| row.name).unwrap_or(0);
    for row in &rows {
        page.line(&[
            ("  ".to_owned(), Paint::Plain),
            (pad_left(&row.figure, figures), row.paint),
            (format!("  {}", pad_left(&row.share, shares)), Paint::Plain),
            (format!("  {}", pad_right(row.name, names)), Paint::Plain),
            (format!("  {}", row.known), Paint::Faint),
        ])?;
    }
    page.blank()?;
    if reconciliation.reasons.is_empty() {
        return Ok(());
    }
    page.text("  Most of it is not explained:", Paint::Warning)?;
    for reason in &reconciliation.reasons {
        let front = vec![("  - ".to_owned(), Paint::Faint)];
        page.paragraph(front, &words(reason), Paint::Plain)?;
    }
    page.blank()
}

fn head(reconciliation: &Reconciliation) -> String {
    let mut head = format!(
        "{} at {}",
        format_size(reconciliation.rss_bytes),
        format_seconds(reconciliation.at_seconds)
    );
    match reconciliation.processes.len() {
        0 | 1 => {}
        count => head.push_str(&format!(
            " in {} processes, shared pages counted for each",
            format_count(count as u64)
        )),
    }
    if reconciliation.processes_left_out > 0 {
        let left_out = match reconciliation.processes_left_out {
            1 => "1 more process was".to_owned(),
            count => format!("{} more processes were", format_count(count)),
        };
        head.push_str(&format!("; {left_out} not looked at"));
    }
    if let Some(counter) = reconciliation.rss_counter_bytes {
        let off = reconciliation.rss_bytes.abs_diff(counter);
        // Who looks at both figures shall not wonder.
        if off as f64 > reconciliation.rss_bytes as f64 * 0.01 {
            head.push_str(&format!(
                "; the kernel's counter says {}",
                format_size(counter)
            ));
        }
    }
    head
}

struct Row {
    figure: String,
    share: String,
    name: &'static str,
    known: &'static str,
    paint: Paint,
}

/// A part, if there is something of it, or that is not known though it should be.
fn row(part: &Part) -> Option<Row> {
    let is_rest = part.part == PartKind::Unexplained;
    let is_missing = part.bytes.is_none() && part.part != PartKind::MappedByProgram;
    let share = part.share.unwrap_or(0.0);
    if share < LEAST_SHARE && !is_rest && !is_missing {
        return None;
    }
    Some(Row {
        figure: part.bytes.map_or_else(|| "?".to_owned(), format_size),
        share: part
            .share
            .map_or_else(String::new, |share| format!("{:.1}%", share * 100.0)),
        name: name(part.part),
        known: known_by(part.known_by),
        paint: match is_rest && share > 0.5 {
            true => Paint::Warning,
            false => Paint::Strong,
        },
    })
}

/// A part in words.
fn name(part: PartKind) -> &'static str {
    match part {
        PartKind::Held => "blocks",
        PartKind::SlackWithSurvivors => "allocator, beside blocks",
        PartKind::SlackFree => "allocator, free and kept",
        PartKind::Slack => "allocator",
        PartKind::MappedByProgram => "mapped by the program",
        PartKind::BeforeAttaching => "from before attaching",
        PartKind::Stacks => "stacks",
        PartKind::MappedFiles => "code and files",
        PartKind::Shared => "shared memory",
        PartKind::Unexplained => "not explained",
    }
}

fn known_by(known_by: PartKnownBy) -> &'static str {
    match known_by {
        PartKnownBy::Launch => "launched",
        PartKnownBy::Pages => "page by page",
        PartKnownBy::Name => "by name",
        PartKnownBy::Events => "by system call",
        PartKnownBy::Shape => "by its shape, a guess",
        PartKnownBy::Sample => "from a sample",
        PartKnownBy::Rest => "what remains",
        PartKnownBy::Unknown => "not known",
    }
}
