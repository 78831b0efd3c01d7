//! A hunt as text: each find with its call path, as it is made; at the end who grew, and what it cost.

use std::io::{self, Write};

use super::allocator::{self, INDENT};
use super::figures::Figures;
use super::fit::{comma_separated, words};
use super::page::{Page, Paint};
use super::summary::{runs_out, verdict_name};
use super::table::{self, Row};
use super::{Style, labelled, plural};
use crate::report::{
    Find, FindKind, GrownProcess, Hunt, Report, TopAllocator, Verdict, WatchedGrowth,
};
use crate::units::{format_count, format_rate, format_seconds, format_size, format_size_change};

/// Call paths of one find that are shown.
const SHOWN_PATHS: usize = 3;
/// Processes that grew and are listed.
const SHOWN_PROCESSES: usize = 20;

/// Writes one find.
pub(in crate::export) fn write_find(
    find: &Find,
    number: u64,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = Page::new(out, style);
    let paint = match find.kind {
        FindKind::Leak | FindKind::Growing => Paint::Warning,
        _ => Paint::Strong,
    };
    let who = named(find.comm.as_deref(), find.pid);
    page.line(&[
        (format!("Find {number}: {}", title(find.kind)), paint),
        (format!("  {who}"), Paint::Strong),
        (
            format!("  at {}", format_seconds(find.at_seconds)),
            Paint::Plain,
        ),
    ])?;
    page.blank()?;
    if let Some(exe) = &find.exe {
        labelled(&mut page, "program", &words(exe))?;
    }
    labelled(&mut page, "grew", &grew(&find.watched))?;
    if let Some(seconds) = find.looked_for_seconds {
        labelled(&mut page, "probed", &probed(find, seconds))?;
    }
    labelled(&mut page, "why", &words(&find.why))?;
    page.blank()?;
    match &find.report {
        Some(report) => write_paths(&mut page, report, find),
        None => Ok(()),
    }
}

/// Writes what there is to say at the end.
pub(in crate::export) fn write_hunt(
    hunt: &Hunt,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = Page::new(out, style);
    write_grown(&mut page, &hunt.growing)?;
    let watched = hunt.processes_watched;
    let mut whom = format!(
        "{} watched for {}",
        match watched {
            1 => "1 process".to_owned(),
            _ => format!("{} processes", format_count(watched)),
        },
        format_seconds(hunt.duration_seconds)
    );
    if hunt.processes_left_out > 0 {
        let left_out = format_count(hunt.processes_left_out);
        whom.push_str(&format!(", {left_out} left out"));
    }
    let leaks = hunt.finds.iter().filter(|find| find.kind == FindKind::Leak);
    let leaks = leaks.count();
    let mut outcome = match leaks {
        0 => "no leak found".to_owned(),
        count => format!("{} found", plural(count as u64, "leak")),
    };
    match hunt.finds.len() - leaks {
        0 => {}
        others => outcome.push_str(&format!(", {}", plural(others as u64, "other find"))),
    }
    let paint = if hunt.finds.is_empty() {
        Paint::Good
    } else {
        Paint::Strong
    };
    page.paragraph(Vec::new(), &words(&format!("{outcome}; {whom}")), paint)?;
    page.blank()?;
    let cost = &hunt.overhead;
    let mut facts = vec![format!(
        "{} of CPU time in the watch",
        format_seconds(cost.watch_cpu_seconds)
    )];
    if let Some(own) = cost.own_cpu_seconds {
        facts.push(format!("{} in memprof, all in all", format_seconds(own)));
    }
    facts.push(format!(
        "{} with {} probe hits, about {} in the processes that were probed",
        plural(hunt.looks, "exact look"),
        format_count(cost.probe_hits),
        format_seconds(cost.estimated_target_seconds)
    ));
    labelled(&mut page, "cost", &words(&facts.join(", ")))?;
    for note in &hunt.notes {
        labelled(&mut page, "note", &words(note))?;
    }
    Ok(())
}

fn title(kind: FindKind) -> &'static str {
    match kind {
        FindKind::Leak => "a leak",
        FindKind::Growing => "growth",
        FindKind::Elsewhere => "growth outside of blocks",
        FindKind::Undecided => "growth, undecided",
        FindKind::Unprobed => "growth that can't be probed",
    }
}

/// `server (pid 1234)`
fn named(comm: Option<&str>, pid: u32) -> String {
    match comm {
        Some(comm) => format!("{comm} (pid {pid})"),
        None => format!("pid {pid}"),
    }
}

fn grew(growth: &WatchedGrowth) -> Vec<String> {
    let [low, high] = growth.rate_ci95_bytes_per_second.map(format_rate);
    words(&format!(
        "{} in {}: {} (95 % interval {low} to {high})",
        format_size_change(growth.growth_bytes.cast_signed()),
        format_seconds(growth.seconds),
        format_rate(growth.rate_bytes_per_second),
    ))
}

fn probed(find: &Find, seconds: f64) -> Vec<String> {
    let mut facts = vec![format!("for {}", format_seconds(seconds))];
    let mut verdict = verdict_name(find.verdict).to_owned();
    if let Some(confidence) = find.confidence {
        verdict.push_str(&format!(" (confidence {confidence:.2})"));
    }
    facts.push(verdict);
    if let Some(report) = &find.report {
        let leak = &report.leak_detection;
        facts.extend(leak.rate_bytes_per_second.map(format_rate));
        facts.extend(runs_out(leak));
    }
    comma_separated(facts)
}

/// The call paths that leak or grow; without any, the first one of all.
fn write_paths(page: &mut Page<'_>, report: &Report, find: &Find) -> io::Result<()> {
    let is_suspect = |verdict| matches!(verdict, Verdict::Leak | Verdict::Growing);
    let all = &report.top_allocators;
    let mut shown: Vec<_> = all.iter().filter(|one| is_suspect(one.verdict)).collect();
    let rate = |bytes: Option<f64>| bytes.unwrap_or(0.0);
    shown.sort_by(|one, other| {
        let leaks = |verdict| verdict == Verdict::Leak;
        let by_verdict = leaks(other.verdict).cmp(&leaks(one.verdict));
        let [one, other] = [one, other].map(|path| rate(path.rate_bytes_per_second));
        by_verdict.then(other.total_cmp(&one))
    });
    if shown.is_empty() && find.kind == FindKind::Undecided {
        shown.extend(all.first());
    }
    let figures = Figures::of(report, all);
    for (rank, one) in (1..).zip(shown.iter().take(SHOWN_PATHS)) {
        // Its place among those that leak, not among all.
        let one = TopAllocator {
            rank,
            ..(*one).clone()
        };
        allocator::write(page, report, &one, &figures, None)?;
        page.blank()?;
    }
    if shown.len() > SHOWN_PATHS {
        let more = format!("{:INDENT$}and {} more", "", shown.len() - SHOWN_PATHS);
        page.text(&more, Paint::Faint)?;
        page.blank()?;
    }
    Ok(())
}

fn write_grown(page: &mut Page<'_>, grown: &[GrownProcess]) -> io::Result<()> {
    if grown.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row<4>> = grown
        .iter()
        .take(SHOWN_PROCESSES)
        .map(|one| Row {
            figures: [
                format_size_change(one.last_bytes.cast_signed() - one.first_bytes.cast_signed()),
                format_size(one.first_bytes),
                format_size(one.last_bytes),
                format_rate(one.growth.rate_bytes_per_second),
            ],
            lead: String::new(),
            name: described(one),
        })
        .collect();
    let heads = ["change", "from", "to", "rate"];
    table::write(page, "Processes that grew", heads, &rows)?;
    if grown.len() > SHOWN_PROCESSES {
        let more = format!("  and {} more", grown.len() - SHOWN_PROCESSES);
        page.text(&more, Paint::Faint)?;
        page.blank()?;
    }
    Ok(())
}

/// `server (pid 1234), probed twice: leak`
fn described(process: &GrownProcess) -> String {
    let mut text = named(process.comm.as_deref(), process.pid);
    if let Some(said) = &process.said {
        text.push_str(&format!(": {said}"));
    }
    if process.looks > 1 {
        text.push_str(&format!(" ({} looks)", process.looks));
    }
    if process.has_ended {
        text.push_str(", has ended");
    } else if !process.grows {
        text.push_str(", grows no longer");
    }
    text
}
