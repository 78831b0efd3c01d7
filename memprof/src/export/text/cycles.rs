//! What was left cycle by cycle.

use std::io;

use super::allocator::with_place;
use super::fit::{columns, comma_separated, pad_left, words};
use super::page::{Page, Paint};
use super::{labelled, plural};
use crate::report::{CycleKind, Cycles, LeftPerCycle, Report};
use crate::units::{format_count, format_seconds, format_size, format_size_change};

/// Cycles that are listed one by one: the first ones, and the rest from the end.
const LISTED_CYCLES: usize = 20;
const LISTED_FIRST: usize = 8;

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let Some(cycles) = &report.cycles else {
        return Ok(());
    };
    page.text("Left per cycle", Paint::Strong)?;
    page.blank()?;
    labelled(page, "cycles", &comma_separated(done(cycles)))?;
    labelled(page, "command", &words(&cycles.command.join(" ")))?;
    labelled(page, "left", &words(&left(cycles)))?;
    if let Some(growth) = cycles.growth_bytes_per_cycle {
        let mut text = format!("{} a cycle", signed_size(growth));
        if let Some([low, high]) = cycles.growth_bytes_per_cycle_ci95 {
            text.push_str(&format!(
                ", 95 % between {} and {}",
                signed_size(low),
                signed_size(high)
            ));
        }
        labelled(page, "growth", &words(&text))?;
    }
    let verdict = match cycles.leaks {
        Some(true) => "leaks each cycle",
        Some(false) => "no leak",
        None => "not judged",
    };
    let reasons = cycles.reasons.join("; ");
    labelled(page, "verdict", &words(&format!("{verdict}: {reasons}")))?;
    page.blank()?;
    write_each(page, cycles)?;
    write_paths(page, cycles)?;
    page.blank()
}

fn done(cycles: &Cycles) -> Vec<String> {
    let what = match cycles.kind {
        CycleKind::Action => "actions",
        CycleKind::Launch => "launches",
    };
    let mut facts = vec![format!(
        "{} of {} {what}",
        format_count(cycles.completed.into()),
        format_count(cycles.requested.into())
    )];
    facts.push(format!("the first {} to warm up", cycles.warm_up));
    if cycles.failed > 0 {
        facts.push(format!("{} failed", format_count(cycles.failed.into())));
    }
    facts
}

fn left(cycles: &Cycles) -> String {
    match (cycles.left_bytes_per_cycle, cycles.left_count_per_cycle) {
        (Some(bytes), Some(count)) => format!("{} a cycle in the median", amount(bytes, count)),
        _ => "unknown: no cycle after the warm-up".to_owned(),
    }
}

fn amount(bytes: f64, count: f64) -> String {
    let size = format_size(bytes.max(0.0) as u64);
    // Of an even number of cycles the median may be a half.
    if count.fract() == 0.0 {
        format!("{size} in {}", plural(count.max(0.0) as u64, "block"))
    } else {
        format!("{size} in {count:.1} blocks")
    }
}

fn signed_size(bytes: f64) -> String {
    format_size_change(bytes.round() as i64)
}

fn write_each(page: &mut Page<'_>, cycles: &Cycles) -> io::Result<()> {
    let all = &cycles.cycles;
    let gap = all.len().saturating_sub(LISTED_CYCLES);
    let sizes: Vec<String> = all.iter().map(|one| format_size(one.left_bytes)).collect();
    let size_columns = sizes.iter().map(|size| columns(size)).max();
    for (index, (one, size)) in all.iter().zip(sizes).enumerate() {
        if gap > 0 && index == LISTED_FIRST {
            let left_out = format!(
                "         {} {} more",
                page.ellipsis(),
                format_count(gap as u64)
            );
            page.text(&left_out, Paint::Faint)?;
        }
        if gap > 0 && (LISTED_FIRST..LISTED_FIRST + gap).contains(&index) {
            continue;
        }
        let is_warm_up = one.number <= cycles.warm_up;
        let paint = if is_warm_up {
            Paint::Faint
        } else {
            Paint::Plain
        };
        let mut facts = format!(
            "  {}, {} outstanding, took {}",
            plural(one.left_count, "block"),
            format_size(one.outstanding_bytes),
            format_seconds(one.command_seconds)
        );
        match one.exit_status {
            Some(0) => {}
            Some(status) => facts.push_str(&format!(", exit status {status}")),
            None => facts.push_str(", no exit status"),
        }
        if is_warm_up {
            facts.push_str(", warm-up");
        }
        page.line(&[
            (format!("  {:>5}  ", one.number), Paint::Faint),
            (pad_left(&size, size_columns.unwrap_or_default()), paint),
            (facts, paint),
        ])?;
    }
    Ok(())
}

fn write_paths(page: &mut Page<'_>, cycles: &Cycles) -> io::Result<()> {
    let counted = cycles.completed.saturating_sub(cycles.warm_up);
    // What one odd cycle left is in the JSON.
    let often = |one: &&LeftPerCycle| one.left_count_per_cycle > 0.0 || one.leaks == Some(true);
    let paths: Vec<&LeftPerCycle> = cycles.top_allocators.iter().filter(often).collect();
    if !paths.is_empty() {
        page.blank()?;
    }
    for one in paths {
        let leaks = one.leaks == Some(true);
        let figure = amount(one.left_bytes_per_cycle, one.left_count_per_cycle);
        let often = format!(" a cycle, by {} of {counted}  ", one.cycles);
        let paint = if leaks { Paint::Warning } else { Paint::Plain };
        let row = vec![
            ("  ".to_owned(), Paint::Plain),
            (figure, paint),
            (often, Paint::Plain),
        ];
        page.line(&with_place(page, row, &one.allocator))?;
    }
    Ok(())
}
