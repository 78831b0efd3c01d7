//! One entry of the list of allocators: how much, whose line, how it grows, and the stack.

use std::io;

use super::figures::Figures;
use super::fit::{columns, comma_separated, keep_end};
use super::history::Before;
use super::name::shorten;
use super::page::{Page, Paint, Span};
use super::stack;
use super::summary::verdict_name;
use super::things_of;
use crate::export::label::{file_name, function_label, source_label};
use crate::report::{AllocatorKind, CallPath, Report, TopAllocator, Verdict};
use crate::units::{format_count, format_rate, format_seconds, format_size, format_size_change};

/// Where the lines below an entry's first begin.
pub(super) const INDENT: usize = 5;
/// So much free memory that is kept by few blocks gets a line.
const NOTABLE_KEPT_BYTES: u64 = 64 << 10;

pub(super) fn write(
    page: &mut Page<'_>,
    report: &Report,
    allocator: &TopAllocator,
    figures: &Figures,
    before: Option<&Before>,
) -> io::Result<()> {
    let rank = format!("{:>2}.  ", allocator.rank);
    let [size, share] = figures.spans(allocator.shown_bytes);
    page.line(&with_place(
        page,
        vec![(rank, Paint::Plain), size, share],
        allocator,
    ))?;

    let indent = vec![(" ".repeat(INDENT), Paint::Plain)];
    for facts in [
        holding_facts(report, allocator, before),
        history_facts(allocator),
        touched_facts(allocator),
        kept_facts(allocator),
    ] {
        if facts.is_empty() {
            continue;
        }
        page.paragraph(indent.clone(), &comma_separated(facts), Paint::Plain)?;
    }
    stack::write(page, allocator)
}

/// What of it was touched, and who was first, if that is known.
fn touched_facts(allocator: &TopAllocator) -> Vec<String> {
    let Some(touched) = allocator.touched_bytes else {
        return Vec::new();
    };
    let (held, since) = match allocator.untouched_bytes {
        Some(untouched) => (touched.saturating_add(untouched), ""),
        None => (allocator.outstanding_bytes, " since memprof attached"),
    };
    if held == 0 {
        return Vec::new();
    }
    let mut facts = vec![format!(
        "of {} held {} touched{since}",
        format_size(held),
        format_size(touched)
    )];
    if let Some(untouched) = allocator.untouched_bytes.filter(|bytes| *bytes > 0) {
        facts.push(format!("{} untouched", format_size(untouched)));
    }
    let named: u64 = allocator.first_touched_by.iter().map(|one| one.bytes).sum();
    for (index, one) in allocator.first_touched_by.iter().enumerate() {
        let by = if index == 0 { "first touched by " } else { "" };
        let function = one.function.as_deref().unwrap_or("[unknown]");
        let source = source_label(one.file.as_deref(), one.line);
        let source = source.map_or_else(String::new, |source| format!(" {source}"));
        let bytes = match one.bytes {
            bytes if bytes == touched => String::new(),
            bytes => format!(" ({})", format_size(bytes)),
        };
        facts.push(format!("{by}{function}{source}{bytes}"));
    }
    let others = touched.saturating_sub(named);
    if others > 0 {
        facts.push(format!("others ({})", format_size(others)));
    }
    facts
}

/// What it keeps beside what it holds, if that is worth a line.
fn kept_facts(allocator: &TopAllocator) -> Vec<String> {
    let kept = allocator.kept_free_bytes;
    let kept = kept.filter(|bytes| *bytes >= NOTABLE_KEPT_BYTES);
    let sentence = |bytes| {
        format!(
            "keeps {} free in pages with few survivors",
            format_size(bytes)
        )
    };
    kept.map(sentence).into_iter().collect()
}

/// `line` with the guilty function and its source line behind, in the room that is left.
pub(super) fn with_place<'a>(
    page: &Page<'_>,
    mut line: Vec<Span>,
    path: impl Into<CallPath<'a>>,
) -> Vec<Span> {
    let path = path.into();
    let taken: usize = line.iter().map(|(text, _)| columns(text)).sum();
    let room = page.width().saturating_sub(taken);
    let function = page.clean(&guilty_function(&path));
    let source = match source_label(path.file, path.line) {
        Some(source) => source,
        None if path.function.is_some() => {
            path.module.map(file_name).unwrap_or_default().to_owned()
        }
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
    let function = shorten(&function, function_room, page.ellipsis());
    let source_room = room.saturating_sub(columns(&function) + 2);
    let source = keep_end(&source, source_room, page.ellipsis());
    line.push((format!("{function}  "), Paint::Guilty));
    line.push((source, Paint::Plain));
    line
}

fn guilty_function(path: &CallPath<'_>) -> String {
    if let Some(function) = path.function {
        return function.to_owned();
    }
    let frame = path.guilty_frame().and_then(|index| path.stack.get(index));
    match (frame, path.module) {
        (Some(frame), _) => function_label(frame),
        (None, Some(module)) => format!("[{}]", file_name(module)),
        (None, None) => "[unknown]".to_owned(),
    }
}

/// What the stack holds: blocks, ages, growth.
fn holding_facts(
    report: &Report,
    allocator: &TopAllocator,
    before: Option<&Before>,
) -> Vec<String> {
    let mut facts = Vec::new();
    if allocator.processes > 1 || allocator.group.is_some() {
        let group = allocator.group.iter().cloned();
        facts.extend(group.chain([plural_processes(allocator.processes)]));
    } else if report.target.processes.len() > 1 {
        facts.push(match report.target.comm_of(allocator.pid) {
            Some(comm) => format!("{comm} (pid {})", allocator.pid),
            None => format!("pid {}", allocator.pid),
        });
    }
    if allocator.shown_count == allocator.outstanding_count {
        facts.push(things_of(allocator.shown_count, allocator));
    } else {
        facts.push(format!(
            "{} of {} shown",
            format_count(allocator.shown_count),
            things_of(allocator.outstanding_count, allocator)
        ));
        facts.push(format!(
            "{} in all",
            format_size(allocator.outstanding_bytes)
        ));
    }
    if let Some(mapping) = allocator.mapping {
        facts.push(mapping.name().to_owned());
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
    facts
}

fn plural_processes(count: u64) -> String {
    match count {
        1 => "1 process".to_owned(),
        _ => format!("{} processes", format_count(count)),
    }
}

/// What went through the stack.
fn history_facts(allocator: &TopAllocator) -> Vec<String> {
    let (got, given_back, none) = match allocator.kind {
        AllocatorKind::Malloc => ("allocated", "freed", "none freed"),
        AllocatorKind::Mmap => ("mapped", "unmapped", "none unmapped"),
    };
    let allocated = format!(
        "{got} {} in {}",
        format_size(allocator.allocated_bytes),
        things_of(allocator.allocated_count, allocator)
    );
    let freed = match allocator.freed_count {
        // Of a mapping a part may be gone.
        0 if allocator.freed_bytes == 0 => none.to_owned(),
        0 => format!("{given_back} {} of it", format_size(allocator.freed_bytes)),
        count => format!(
            "{given_back} {} in {}",
            format_size(allocator.freed_bytes),
            format_count(count)
        ),
    };
    vec![allocated, freed]
}
