//! A comparison of two looks at a process as text.

use std::io;

use super::fit::{comma_separated, words};
use super::labelled;
use super::page::{Page, Paint};
use super::snapshot::process_line;
use super::table::{self, Row};
use crate::snapshot::{Change, Figure, FigureChange, GroupChange, SnapshotDiff, SnapshotSide};
use crate::units::{format_count, format_size, format_size_change};

const HEADS: [&str; 4] = ["RSS", "PSS", "swap", "virtual"];

/// Writes the whole comparison, with so many files.
pub(super) fn write(page: &mut Page<'_>, diff: &SnapshotDiff<'_>, top: usize) -> io::Result<()> {
    page.text(
        &format!("memprof {} snapshot diff", diff.memprof.version),
        Paint::Strong,
    )?;
    page.blank()?;
    write_side(page, "before", &diff.before)?;
    write_side(page, "after", &diff.after)?;
    for note in &diff.notes {
        labelled(page, "note", &words(note))?;
    }
    page.blank()?;
    let mut changed = false;
    for figure in &diff.figures {
        if let Some(change) = figure.change.filter(|change| *change != 0) {
            write_figure(page, figure, change)?;
            changed = true;
        }
    }
    if !changed {
        page.text("  none of the figures changed", Paint::Plain)?;
    }
    page.blank()?;
    write_groups(
        page,
        "by kind",
        diff.by_kind.as_deref(),
        usize::MAX,
        |kind| kind.name(),
    )?;
    write_groups(page, "by file", diff.by_file.as_deref(), top, |name| name)?;
    write_groups(
        page,
        "by permissions",
        diff.by_permissions.as_deref(),
        usize::MAX,
        |name| name,
    )
}

fn write_side(page: &mut Page<'_>, label: &str, side: &SnapshotSide<'_>) -> io::Result<()> {
    let mut facts = vec![side.path.clone()];
    facts.extend(side.label.map(str::to_owned));
    facts.push(process_line(side.process));
    facts.push(side.taken_at.to_owned());
    labelled(page, label, &comma_separated(facts))
}

fn write_figure(page: &mut Page<'_>, figure: &FigureChange, change: i64) -> io::Result<()> {
    let text = |value: Option<u64>| match value {
        None => "?".to_owned(),
        Some(value) if figure.name.is_size() => format_size(value),
        Some(value) => format_count(value),
    };
    let change = if figure.name.is_size() {
        format_size_change(change)
    } else {
        let sign = if change < 0 { "-" } else { "+" };
        format!("{sign}{}", format_count(change.unsigned_abs()))
    };
    let line = format!(
        "{change:>11}  {} {} {}",
        text(figure.before),
        page.arrow(),
        text(figure.after)
    );
    labelled(page, label(figure.name), &[line])
}

fn label(figure: Figure) -> &'static str {
    match figure {
        Figure::RssBytes => "RSS",
        Figure::PssBytes => "PSS",
        Figure::UssBytes => "USS",
        Figure::SwapBytes => "swap",
        Figure::PeakRssBytes => "peak RSS",
        Figure::VirtualBytes => "virtual",
        Figure::PageTablesBytes => "page tables",
        Figure::Mappings => "mappings",
        Figure::Threads => "threads",
        Figure::OpenFiles => "open files",
        Figure::CgroupUsageBytes => "cgroup",
        Figure::AvailableBytes => "available",
    }
}

fn write_groups<K>(
    page: &mut Page<'_>,
    what: &str,
    groups: Option<&[GroupChange<K>]>,
    top: usize,
    name: impl Fn(&K) -> &str,
) -> io::Result<()> {
    let Some(groups) = groups else { return Ok(()) };
    if groups.is_empty() {
        page.text(&format!("No change {what}"), Paint::Strong)?;
        return page.blank();
    }
    let listed = groups.iter().take(top);
    let rows: Vec<Row<4>> = listed
        .map(|group| Row {
            figures: [
                group.rss_bytes_change,
                group.pss_bytes_change,
                group.swap_bytes_change,
                group.size_bytes_change,
            ]
            .map(|change| match change {
                None => "?".to_owned(),
                Some(0) => "0".to_owned(),
                Some(change) => format_size_change(change),
            }),
            lead: String::new(),
            name: format!("{}{}", name(&group.name), word(group)),
        })
        .collect();
    table::write(page, &format!("Changes {what}"), HEADS, &rows)?;
    let more = groups.len().saturating_sub(top);
    if more > 0 {
        let more = format!("  and {} more that changed less", format_count(more as u64));
        page.text(&more, Paint::Faint)?;
        page.blank()?;
    }
    Ok(())
}

/// What the figures don't say.
fn word<K>(group: &GroupChange<K>) -> String {
    let mappings = match group.mappings_change {
        Some(0) | None => String::new(),
        Some(change) => format!(" ({change:+})"),
    };
    let word = match group.change {
        Change::New => ", new",
        Change::Gone => ", gone",
        Change::NotListedBefore => ", not listed before",
        Change::NotListedAfter => ", not listed now",
        Change::Grown | Change::Shrunk | Change::Changed => "",
    };
    format!("{mappings}{word}")
}
