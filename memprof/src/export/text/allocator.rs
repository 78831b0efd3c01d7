//! One entry of the list of allocators: how much, whose line, how it grows, and the stack.

use std::io;

use super::fit::{columns, keep_both_ends, keep_end, pad_left};
use super::interval::Before;
use super::page::{Page, Paint, Span};
use super::stack;
use super::summary::verdict_name;
use crate::export::label::{file_name, function_label, source_label};
use crate::report::{Report, Summary, TopAllocator, Verdict};
use crate::units::{
    format_count, format_rate, format_seconds, format_share, format_size, format_size_change,
};

/// Where the lines below an entry's first begin.
const INDENT: usize = 5;

/// The figures of all entries, printed, and the columns that the widest take.
pub(super) struct Figures {
    outstanding_bytes: u64,
    size_columns: usize,
    share_columns: usize,
}

impl Figures {
    pub(super) fn of(allocators: &[TopAllocator], summary: &Summary) -> Self {
        let outstanding_bytes = summary.outstanding_bytes;
        let widest = |figure: &dyn Fn(&TopAllocator) -> String| {
            allocators
                .iter()
                .map(|allocator| columns(&figure(allocator)))
                .max()
                .unwrap_or_default()
        };
        Figures {
            outstanding_bytes,
            size_columns: widest(&|allocator| format_size(allocator.shown_bytes)),
            share_columns: widest(&|allocator| {
                format_share(allocator.shown_bytes, outstanding_bytes)
            }),
        }
    }

    /// `10.1 MiB  81.3%  `, aligned over all entries.
    pub(super) fn spans(&self, bytes: u64) -> [Span; 2] {
        let share = format_share(bytes, self.outstanding_bytes);
        [
            (
                pad_left(&format_size(bytes), self.size_columns),
                Paint::Strong,
            ),
            (
                format!("  {}  ", pad_left(&share, self.share_columns)),
                Paint::Plain,
            ),
        ]
    }

    pub(super) fn columns(&self) -> usize {
        self.size_columns + self.share_columns + 4
    }
}

pub(super) fn write(
    page: &mut Page<'_>,
    report: &Report,
    allocator: &TopAllocator,
    figures: &Figures,
    before: Option<&Before>,
) -> io::Result<()> {
    let rank = format!("{:>2}.  ", allocator.rank);
    let taken = columns(&rank) + figures.columns();
    let [size, share] = figures.spans(allocator.shown_bytes);
    let mut headline = vec![(rank, Paint::Plain), size, share];
    headline.extend(place(page, allocator, page.width().saturating_sub(taken)));
    page.line(&headline)?;

    let indent = (" ".repeat(INDENT), Paint::Plain);
    for facts in [
        holding_facts(report, allocator, before),
        history_facts(allocator),
    ] {
        page.paragraph(indent.clone(), INDENT, &facts, Paint::Plain)?;
    }
    stack::write(page, allocator)
}

/// What is outstanding beside the entries: what they leave to explain.
pub(super) fn write_rest(
    page: &mut Page<'_>,
    report: &Report,
    figures: &Figures,
) -> io::Result<()> {
    let shown = report.top_allocators.iter().fold(0u64, |sum, allocator| {
        sum.saturating_add(allocator.shown_bytes)
    });
    let rest = report.summary.outstanding_bytes.saturating_sub(shown);
    if rest == 0 {
        return Ok(());
    }
    let [size, share] = figures.spans(rest);
    let what = "outstanding elsewhere, not shown".to_owned();
    page.line(&[
        (" ".repeat(INDENT), Paint::Plain),
        size,
        share,
        (what, Paint::Faint),
    ])?;
    page.blank()
}

/// The guilty function and its source line, within `room` columns.
pub(super) fn place(page: &Page<'_>, allocator: &TopAllocator, room: usize) -> [Span; 2] {
    let function = page.clean(&guilty_function(allocator));
    let source = match source_label(allocator.file.as_deref(), allocator.line) {
        Some(source) => source,
        None if allocator.function.is_some() => allocator
            .module
            .as_deref()
            .map(file_name)
            .unwrap_or_default()
            .to_owned(),
        None => String::new(),
    };
    let source = page.clean(&source);
    let both = columns(&function) + 2 + columns(&source);
    let function_room = if both <= room {
        columns(&function)
    } else {
        // The file's name and line are what one opens: they get what the function leaves, and at
        // least two fifths.
        columns(&function).min((room * 3 / 5).max(room.saturating_sub(columns(&source) + 2)))
    };
    let function = keep_both_ends(&function, function_room, page.ellipsis());
    let source_room = room.saturating_sub(columns(&function) + 2);
    let source = keep_end(&source, source_room, page.ellipsis());
    [
        (format!("{function}  "), Paint::Guilty),
        (source, Paint::Plain),
    ]
}

fn guilty_function(allocator: &TopAllocator) -> String {
    if let Some(function) = &allocator.function {
        return function.clone();
    }
    let frame = allocator
        .guilty_frame()
        .and_then(|index| allocator.stack.get(index));
    match (frame, &allocator.module) {
        (Some(frame), _) => function_label(frame),
        (None, Some(module)) => format!("[{}]", file_name(module)),
        (None, None) => "[unknown]".to_owned(),
    }
}

/// What the stack holds: blocks, ages, growth.
fn holding_facts(report: &Report, allocator: &TopAllocator, before: Option<&Before>) -> String {
    let noun = if allocator.shown_count == 1 {
        "block"
    } else {
        "blocks"
    };
    let mut facts = Vec::new();
    if report.target.processes.len() > 1 {
        facts.push(match report.target.comm_of(allocator.pid) {
            Some(comm) => format!("{comm} (pid {})", allocator.pid),
            None => format!("pid {}", allocator.pid),
        });
    }
    facts.push(format!("{} {noun}", format_count(allocator.shown_count)));
    if allocator.shown_count != allocator.outstanding_count {
        facts.push(format!(
            "of {} in {} outstanding",
            format_size(allocator.outstanding_bytes),
            format_count(allocator.outstanding_count)
        ));
    }
    if let Some(age) = allocator.oldest_age_seconds {
        facts.push(format!("oldest {}", format_seconds(age)));
    }
    if let Some(rate) = allocator.rate_bytes_per_second {
        facts.push(format_rate(rate));
    } else if let Some((change, seconds)) =
        before.and_then(|before| before.change_of(allocator, report.duration_seconds))
    {
        facts.push(format!(
            "{} in the last {}",
            format_size_change(change),
            format_seconds(seconds)
        ));
    }
    if allocator.verdict != Verdict::InsufficientData {
        facts.push(match allocator.confidence {
            Some(confidence) => format!(
                "{} (confidence {confidence:.2})",
                verdict_name(allocator.verdict)
            ),
            None => verdict_name(allocator.verdict).to_owned(),
        });
    }
    facts.join(", ")
}

/// What went through the stack.
fn history_facts(allocator: &TopAllocator) -> String {
    let mut facts = format!(
        "allocated {} in {}",
        format_size(allocator.allocated_bytes),
        format_count(allocator.allocated_count)
    );
    if allocator.freed_count > 0 {
        facts.push_str(&format!(
            ", freed {} in {}",
            format_size(allocator.freed_bytes),
            format_count(allocator.freed_count)
        ));
    } else {
        facts.push_str(", none freed");
    }
    facts
}
