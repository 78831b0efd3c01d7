//! The totals of the final report.

use std::io;

use super::fit::{columns, comma_separated, pad_left, pad_right, words};
use super::history::difference;
use super::page::{Page, Paint};
use super::{LABEL_COLUMNS, labelled, plural, things};
use crate::report::{LeakDetection, Report, Severity, Summary, Verdict};
use crate::units::{format_rate, format_seconds, format_size, format_size_change};

/// One total: its name, the figure, and what is to be said about it.
struct Row {
    label: &'static str,
    figure: String,
    details: Vec<String>,
}

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let rows = rows(report);
    let figure_columns = rows
        .iter()
        .map(|row| columns(&row.figure))
        .max()
        .unwrap_or_default();
    for (index, row) in rows.iter().enumerate() {
        let paint = if index == 0 {
            Paint::Strong
        } else {
            Paint::Plain
        };
        let label = pad_right(&format!("  {}", row.label), LABEL_COLUMNS);
        let figure = pad_left(&row.figure, figure_columns);
        let front = vec![
            (label, Paint::Faint),
            (figure, paint),
            ("  ".to_owned(), Paint::Plain),
        ];
        page.paragraph(front, &row.details, Paint::Plain)?;
    }
    labelled(page, "verdict", &words(&verdict(&report.leak_detection)))
}

fn rows(report: &Report) -> Vec<Row> {
    let (summary, duration_seconds) = (&report.summary, report.duration_seconds);
    let mut allocated = vec![things(summary.allocated_count, report)];
    allocated.extend(throughput(summary.allocated_bytes, duration_seconds));
    let mut held = vec![things(summary.outstanding_count, report), peak(summary)];
    if let Some([low, high]) = summary.outstanding_bytes_ci95 {
        let interval = format!(
            "95 % between {} and {}",
            format_size(low),
            format_size(high)
        );
        held.insert(0, interval);
    }
    let mut rows = Vec::new();
    let allocations = [
        Row {
            label: "outstanding",
            figure: format_size(summary.outstanding_bytes),
            details: comma_separated(held),
        },
        Row {
            label: "allocated",
            figure: format_size(summary.allocated_bytes),
            details: comma_separated(allocated),
        },
        Row {
            label: "freed",
            figure: format_size(summary.freed_bytes),
            details: vec![things(summary.freed_count, report)],
        },
    ];
    if report.follows_allocations() {
        rows.extend(allocations);
    }
    if summary.inherited_count > 0 {
        let blocks = things(summary.inherited_count, report);
        rows.push(Row {
            label: "inherited",
            figure: format_size(summary.inherited_bytes),
            details: words(&format!("{blocks} copied to forked children")),
        });
    }
    if summary.discarded_count > 0 {
        let blocks = things(summary.discarded_count, report);
        rows.push(Row {
            label: "discarded",
            figure: format_size(summary.discarded_bytes),
            details: words(&format!("{blocks} gone by exec")),
        });
    }
    rows.extend(mappings(summary));
    rows.extend(touched(summary));
    rows.extend(joined(summary));
    rows.push(rss(summary));
    if let Some(unattributed) = summary.unattributed_bytes {
        rows.push(Row {
            label: "unattributed",
            figure: format_size_change(unattributed),
            details: words("RSS growth beyond what is outstanding"),
        });
    }
    rows
}

/// What is mapped, if that was followed.
fn mappings(summary: &Summary) -> Vec<Row> {
    let mut rows = Vec::new();
    let (Some(bytes), Some(count)) = (summary.mapped_bytes, summary.mapped_count) else {
        return rows;
    };
    let mut details = vec!["of the outstanding,".to_owned(), plural(count, "mapping")];
    let parts = [
        (summary.heap_bytes, "heap (brk)"),
        (summary.thread_stack_bytes, "thread stacks"),
    ];
    for (bytes, what) in parts {
        if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
            details.push(format!("{} {what}", format_size(bytes)));
        }
    }
    let first = details.remove(0);
    let mut details = comma_separated(details);
    details.insert(0, first);
    rows.push(Row {
        label: "mapped",
        figure: format_size(bytes),
        details,
    });
    let apart = [
        (
            summary.allocator_mapped_bytes,
            "of allocators",
            "mapped by allocators for their blocks",
        ),
        (summary.file_mapped_bytes, "of files", "mapped from files"),
    ];
    for (bytes, label, what) in apart {
        if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
            rows.push(Row {
                label,
                figure: format_size(bytes),
                details: words(&format!("{what}, not in what is outstanding")),
            });
        }
    }
    rows
}

/// What was touched first, if that was followed.
fn touched(summary: &Summary) -> Vec<Row> {
    let (Some(resident), Some(all)) = (summary.touched_resident_bytes, summary.touched_bytes)
    else {
        return Vec::new();
    };
    let parts = |all: &[(Option<u64>, &str)]| {
        let parts = all.iter().filter_map(|(bytes, what)| {
            let bytes = bytes.filter(|bytes| *bytes > 0)?;
            Some(format!("{} {what}", format_size(bytes)))
        });
        let mut details = comma_separated(parts.collect());
        details.insert(0, "resident:".to_owned());
        details
    };
    let mut rows = vec![
        Row {
            label: "first touched",
            figure: format_size(resident),
            details: parts(&[
                (summary.touched_anonymous_bytes, "anonymous"),
                (summary.touched_file_bytes, "of files"),
                (summary.touched_shared_bytes, "shared"),
                (summary.touched_huge_bytes, "in huge pages"),
                (summary.touched_by_kernel_bytes, "touched by the kernel"),
                (
                    summary.touched_ended_bytes,
                    "of it in processes when they ended",
                ),
            ]),
        },
        Row {
            label: "touched in all",
            figure: format_size(all),
            details: words("each time that it became resident"),
        },
    ];
    let more = [
        (
            summary.touched_inherited_bytes,
            "left by forks",
            "which children have beside their parents",
        ),
        (
            summary.touched_copied_bytes,
            "copied since",
            "as they were written to",
        ),
    ];
    for (bytes, label, what) in more {
        if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
            rows.push(Row {
                label,
                figure: format_size(bytes),
                details: words(what),
            });
        }
    }
    rows.push(Row {
        label: "given back",
        figure: format_size(summary.given_back_bytes.unwrap_or_default()),
        details: words("as far as the kernel tells"),
    });
    rows
}

/// What of the outstanding was touched, if that is known.
fn joined(summary: &Summary) -> Option<Row> {
    let touched = summary.held_touched_bytes?;
    let mut details = Vec::new();
    match summary.held_untouched_bytes {
        Some(bytes) => details.push(format!("{} untouched", format_size(bytes))),
        None => details.push("since memprof attached".to_owned()),
    }
    if let Some(bytes) = summary.kept_free_bytes.filter(|bytes| *bytes > 0) {
        let kept = format_size(bytes);
        details.push(format!("{kept} free in pages with few survivors"));
    }
    let mut details = comma_separated(details);
    details.insert(0, "of the outstanding,".to_owned());
    Some(Row {
        label: "held, touched",
        figure: format_size(touched),
        details,
    })
}

fn peak(summary: &Summary) -> String {
    let peak = format!("peak {}", format_size(summary.peak_outstanding_bytes));
    match summary.peak_at_seconds {
        Some(at) => format!("{peak} at {}", format_seconds(at)),
        None => peak,
    }
}

fn throughput(bytes: u64, seconds: f64) -> Option<String> {
    if seconds > 0.0 && bytes > 0 {
        let rate = format_rate(bytes as f64 / seconds);
        Some(rate.trim_start_matches('+').to_owned())
    } else {
        None
    }
}

/// The resident memory at the end, with where it came from and how high it was.
fn rss(summary: &Summary) -> Row {
    let figure = match summary.rss_end_bytes {
        Some(end) => format_size(end),
        None => "unknown".to_owned(),
    };
    let mut details = Vec::new();
    if let Some(start) = summary.rss_start_bytes {
        details.push(match summary.rss_end_bytes {
            Some(end) => format!(
                "{} from {}",
                format_size_change(difference(end, start)),
                format_size(start)
            ),
            None => format!("from {}", format_size(start)),
        });
    }
    if let Some(peak) = summary.rss_peak_bytes {
        details.push(format!("peak {}", format_size(peak)));
    }
    Row {
        label: "RSS",
        figure,
        details: comma_separated(details),
    }
}

fn verdict(leak: &LeakDetection) -> String {
    let mut text = verdict_name(leak.verdict).to_owned();
    if let Some(confidence) = leak.confidence {
        text.push_str(&format!(", confidence {confidence:.2}"));
    }
    if let Some(severity) = leak.severity.filter(|severity| *severity != Severity::None) {
        text.push_str(&format!(", severity {}", severity.name()));
    }
    if let Some(rate) = leak.rate_bytes_per_second {
        text.push_str(&format!(", {}", format_rate(rate)));
    }
    if let Some(end) = runs_out(leak) {
        text.push_str(&format!(", {end}"));
    }
    if !leak.reasons.is_empty() {
        text.push_str(": ");
        text.push_str(&leak.reasons.join("; "));
    }
    text
}

/// When the memory runs out, if that is known.
pub(super) fn runs_out(leak: &LeakDetection) -> Option<String> {
    let (limit, seconds) = (leak.limit_bytes?, leak.projected_oom_seconds?);
    Some(format!(
        "memory ({}) runs out in {}",
        format_size(limit),
        format_seconds(seconds)
    ))
}

/// A verdict in words.
pub(super) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leak => "leak",
        Verdict::Growing => "growing",
        Verdict::WarmUp => "warm-up",
        Verdict::Bounded => "bounded",
        Verdict::Sawtooth => "sawtooth",
        Verdict::Stable => "stable",
        Verdict::InsufficientData => "not judged",
    }
}
