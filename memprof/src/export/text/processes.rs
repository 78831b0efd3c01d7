//! Who holds most, where several processes were followed: the processes, or groups of them.

use std::io;

use super::fit::{columns, pad_right, start_within};
use super::page::{Page, Paint};
use super::summary::verdict_name;
use super::things;
use crate::report::{Group, GroupBy, ProcessTotals, Report, Verdict};
use crate::units::{format_count, format_rate, format_share, format_size};

/// Rows that are listed.
const LISTED: usize = 10;
/// The room for the names of processes: the kernel keeps 15 bytes of a name.
const NAME_COLUMNS: usize = 15;
/// The room for the names of cgroups, of which the end is shown.
const GROUP_COLUMNS: usize = 40;

/// One line.
struct Row {
    number: String,
    name: String,
    /// Bytes that it holds, or that are resident of what it touched.
    bytes: u64,
    facts: Vec<String>,
}

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let title = match report.group_by {
        GroupBy::Process => "Processes",
        GroupBy::Comm => "By name",
        GroupBy::Cgroup => "By cgroup",
        GroupBy::All => "All processes",
    };
    let rows: Vec<Row> = match report.group_by {
        GroupBy::Process => {
            let processes = report.processes.iter();
            processes.map(|one| process(one, report)).collect()
        }
        _ => report.groups.iter().map(|one| group(one, report)).collect(),
    };
    if rows.len() < 2 && report.processes.len() < 2 {
        return Ok(());
    }
    page.text(title, Paint::Strong)?;
    page.blank()?;
    let room = match report.group_by {
        GroupBy::Cgroup => GROUP_COLUMNS,
        _ => NAME_COLUMNS,
    };
    let more = rows.len().saturating_sub(LISTED);
    let rows: Vec<(String, Row)> = rows
        .into_iter()
        .take(LISTED)
        .map(|row| (page.clean(&row.name), row))
        .collect();
    let widest = rows.iter().map(|row| columns(&row.0)).max();
    let name_columns = widest.unwrap_or_default().min(room);
    let summary = &report.summary;
    let whole = bytes_of(
        report,
        summary.outstanding_bytes,
        summary.touched_resident_bytes,
    );
    for (name, row) in rows {
        let name = start_within(&name, name_columns);
        let size = format_size(row.bytes);
        let share = format_share(row.bytes, whole);
        page.line(&[
            (format!("  {:>7}  ", row.number), Paint::Faint),
            (format!("{size:>10}"), Paint::Strong),
            (format!("  {share:>6}  "), Paint::Plain),
            (format!("{}  ", pad_right(name, name_columns)), Paint::Plain),
            (page.clean(&row.facts.join(", ")), Paint::Faint),
        ])?;
    }
    if more > 0 {
        page.text(
            &format!("  and {} more", format_count(more as u64)),
            Paint::Faint,
        )?;
    }
    page.blank()
}

fn process(process: &ProcessTotals, report: &Report) -> Row {
    let mut facts = facts_of(
        report,
        process.outstanding_count,
        process.touched_resident_bytes,
    );
    facts.extend(verdict(process.verdict, process.rate_bytes_per_second));
    facts.extend(resident(process.rss_bytes));
    facts.extend(process.ended.then(|| "ended".to_owned()));
    let has_none = process.coverage.as_ref().is_some_and(Vec::is_empty);
    if has_none && report.follows_allocations() {
        facts.push("no allocator that is probed".to_owned());
    }
    facts.extend(process.container.clone());
    Row {
        number: process.pid.to_string(),
        name: process.comm.clone().unwrap_or_else(|| "?".to_owned()),
        bytes: bytes_of(
            report,
            process.outstanding_bytes,
            process.touched_resident_bytes,
        ),
        facts,
    }
}

fn group(group: &Group, report: &Report) -> Row {
    let mut facts = facts_of(
        report,
        group.outstanding_count,
        group.touched_resident_bytes,
    );
    facts.extend(verdict(group.verdict, group.rate_bytes_per_second));
    facts.extend(resident(group.rss_bytes));
    if group.living < group.processes {
        let ended = group.processes - group.living;
        facts.push(format!("{} ended", format_count(ended)));
    }
    // A container's name says more than the path that it comes from.
    let name = group.container.as_ref().or(group.name.as_ref());
    Row {
        number: format!("{}\u{d7}", format_count(group.processes)),
        name: name.cloned().unwrap_or_else(|| "?".to_owned()),
        bytes: bytes_of(
            report,
            group.outstanding_bytes,
            group.touched_resident_bytes,
        ),
        facts,
    }
}

/// What a row is about: what is outstanding, or where page faults alone were followed, what is resident.
fn bytes_of(report: &Report, outstanding: u64, resident: Option<u64>) -> u64 {
    if report.follows_allocations() {
        outstanding
    } else {
        resident.unwrap_or_default()
    }
}

fn facts_of(report: &Report, outstanding_count: u64, resident: Option<u64>) -> Vec<String> {
    match (report.follows_allocations(), resident) {
        (true, None) => vec![things(outstanding_count, report)],
        (true, Some(bytes)) => vec![
            things(outstanding_count, report),
            format!("{} first touched", format_size(bytes)),
        ],
        (false, _) => vec!["first touched and resident".to_owned()],
    }
}

fn resident(bytes: Option<u64>) -> Option<String> {
    bytes.map(|bytes| format!("RSS {}", format_size(bytes)))
}

/// What is worth a word here: growth.
fn verdict(verdict: Option<Verdict>, rate: Option<f64>) -> Option<String> {
    let verdict = verdict.filter(|one| matches!(one, Verdict::Leak | Verdict::Growing))?;
    let rate = rate.map(|rate| format!(" {}", format_rate(rate)));
    Some(format!(
        "{}{}",
        verdict_name(verdict),
        rate.unwrap_or_default()
    ))
}
