//! A comparison of two reports as text.

use std::io;

use super::allocator::{INDENT, with_place};
use super::fit::{columns, comma_separated, pad_left, pad_right, words};
use super::page::{Page, Paint};
use super::summary::verdict_name;
use super::{labelled, plural, stack};
use crate::diff::{Amounts, Change, Counts, Diff, Side, StackChange};
use crate::units::{format_count, format_rate, format_seconds, format_size, format_size_change};

/// Writes the whole comparison.
pub(super) fn write(page: &mut Page<'_>, diff: &Diff<'_>) -> io::Result<()> {
    page.text(
        &format!("memprof {} diff", diff.memprof.version),
        Paint::Strong,
    )?;
    page.blank()?;
    write_side(page, "before", &diff.before)?;
    write_side(page, "after", &diff.after)?;
    let total = format!(
        "{}, {} blocks",
        format_size_change(diff.outstanding_bytes_change),
        signed_count(diff.outstanding_count_change)
    );
    labelled(page, "outstanding", &words(&total))?;
    let verdict = if diff.verdict_changed {
        format!(
            "{} {} {}",
            verdict_name(diff.before.verdict),
            page.arrow(),
            verdict_name(diff.after.verdict)
        )
    } else {
        format!("{}, as before", verdict_name(diff.after.verdict))
    };
    labelled(page, "verdict", &words(&verdict))?;
    labelled(page, "stacks", &comma_separated(counted(&diff.counts)))?;
    for note in &diff.notes {
        labelled(page, "note", &words(note))?;
    }
    page.blank()?;
    write_stacks(page, &diff.stacks)
}

fn write_side(page: &mut Page<'_>, label: &str, side: &Side<'_>) -> io::Result<()> {
    let facts = vec![
        side.path.clone(),
        format!(
            "{} in {}",
            format_size(side.outstanding_bytes),
            plural(side.outstanding_count, "block")
        ),
        format!(
            "{} from {}",
            format_seconds(side.duration_seconds),
            side.started_at
        ),
    ];
    labelled(page, label, &comma_separated(facts))
}

fn counted(counts: &Counts) -> Vec<String> {
    let all = [
        (counts.new, "new"),
        (counts.gone, "gone"),
        (counts.grown, "grown"),
        (counts.shrunk, "shrunk"),
        (counts.not_listed_before, "not listed before"),
        (counts.not_listed_after, "not listed any more"),
        (counts.unchanged, "unchanged"),
        (counts.verdict_changed, "of another verdict"),
    ];
    let some: Vec<String> = all
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", format_count(count)))
        .collect();
    if some.is_empty() {
        vec!["none".to_owned()]
    } else {
        some
    }
}

fn write_stacks(page: &mut Page<'_>, stacks: &[StackChange<'_>]) -> io::Result<()> {
    if stacks.is_empty() {
        return page.text("No stack changed", Paint::Strong);
    }
    page.text("Changes", Paint::Strong)?;
    let figures: Vec<String> = stacks.iter().map(figure).collect();
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let figure_columns = widest(&mut figures.iter().map(|text| columns(text)));
    let word_columns = widest(&mut stacks.iter().map(|one| columns(word(one.change))));
    for (one, figure) in stacks.iter().zip(&figures) {
        page.blank()?;
        let front = vec![
            (format!("{:>2}.  ", one.rank), Paint::Plain),
            (pad_left(figure, figure_columns), Paint::Strong),
            (
                format!("  {}  ", pad_right(word(one.change), word_columns)),
                paint(one.change),
            ),
        ];
        page.line(&with_place(page, front, one.row))?;
        let indent = vec![(" ".repeat(INDENT), Paint::Plain)];
        let facts = facts(one, page.arrow());
        page.paragraph(indent, &comma_separated(facts), Paint::Plain)?;
        stack::write(page, one.row)?;
    }
    Ok(())
}

/// The change in bytes, or what the one side that is known holds.
fn figure(one: &StackChange<'_>) -> String {
    match (one.outstanding_bytes_change, one.after, one.before) {
        (Some(change), ..) => format_size_change(change),
        (None, Some(amounts), _) | (None, None, Some(amounts)) => {
            format_size(amounts.outstanding_bytes)
        }
        (None, None, None) => "?".to_owned(),
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Gone => "gone",
        Change::Grown => "grown",
        Change::Shrunk => "shrunk",
        Change::Unchanged => "as before",
        Change::NotListedBefore => "not listed before",
        Change::NotListedAfter => "not listed now",
    }
}

fn paint(change: Change) -> Paint {
    match change {
        Change::New | Change::Grown => Paint::Warning,
        Change::Gone | Change::Shrunk => Paint::Good,
        Change::Unchanged | Change::NotListedBefore | Change::NotListedAfter => Paint::Plain,
    }
}

/// What it held and holds, and what was and is said of it.
fn facts(one: &StackChange<'_>, arrow: &str) -> Vec<String> {
    let (Some(before), Some(after)) = (&one.before, &one.after) else {
        let Some(known) = one.after.as_ref().or(one.before.as_ref()) else {
            return Vec::new();
        };
        let mut facts = vec![
            format_size(known.outstanding_bytes),
            plural(known.outstanding_count, "block"),
        ];
        facts.extend(known.rate_bytes_per_second.map(format_rate));
        facts.extend(judged(known));
        return facts;
    };
    let from_to = |from: String, to: String| format!("{from} {arrow} {to}");
    let mut facts = vec![
        from_to(
            format_size(before.outstanding_bytes),
            format_size(after.outstanding_bytes),
        ),
        from_to(
            format_count(before.outstanding_count),
            plural(after.outstanding_count, "block"),
        ),
    ];
    if let Some((was, is)) = before
        .rate_bytes_per_second
        .zip(after.rate_bytes_per_second)
    {
        facts.push(from_to(format_rate(was), format_rate(is)));
    }
    if one.verdict_changed {
        facts.push(from_to(
            verdict_name(before.verdict).to_owned(),
            verdict_name(after.verdict).to_owned(),
        ));
    } else {
        facts.extend(judged(after));
    }
    facts
}

fn judged(amounts: &Amounts) -> Option<String> {
    use crate::report::Verdict;
    (amounts.verdict != Verdict::InsufficientData).then(|| verdict_name(amounts.verdict).to_owned())
}

fn signed_count(count: i64) -> String {
    let sign = if count < 0 { "-" } else { "+" };
    format!("{sign}{}", format_count(count.unsigned_abs()))
}
