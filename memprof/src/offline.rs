//! `memprof report` and `memprof diff`: what can be done with reports and snapshots that were saved.

use std::{
    cmp::Reverse,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{
    bad_input,
    config::{DiffConfig, ReportConfig, Sort},
    diff::{By, compare},
    export::{write_diff, write_snapshot_diff},
    report::{TopAllocator, TopToucher},
    saved::{self, Pair},
    session::output::Output,
    snapshot,
};

/// Writes a saved report in another format; memprof's exit code.
///
/// # Errors
/// Bad input if it is none, or a failure to write.
pub fn report(config: &ReportConfig) -> Result<ExitCode> {
    let mut report = saved::read(&config.file)?;
    if let Some(sort) = config.sort {
        reorder(&mut report.top_allocators, sort);
        reorder_touchers(&mut report.top_touchers, sort);
    }
    if let Some(top) = config.top {
        report.top_allocators.truncate(top);
        report.top_touchers.truncate(top);
    }
    let mut output = Output::open(&config.output, config.format)?;
    let mut exporter = config.format.exporter(output.style());
    written(&mut output, |out| exporter.finish(&report, out))
}

/// Writes what changed from one saved report or snapshot to another; memprof's exit code.
///
/// # Errors
/// Bad input if one of them is none or they are of two kinds, or a failure to write.
pub fn diff(config: &DiffConfig) -> Result<ExitCode> {
    let pair = saved::read_pair(&config.before, &config.after)?;
    let (before_path, after_path) = (&shown(&config.before), &shown(&config.after));
    match pair {
        Pair::Reports(reports) => {
            let [before, after] = &*reports;
            let by = match config.sort {
                Sort::Outstanding => By::OutstandingBytes,
                Sort::Allocated => By::AllocatedBytes,
                Sort::Count => By::OutstandingCount,
                Sort::Rate => By::Rate,
            };
            let diff = compare((before_path, before), (after_path, after), by, config.top);
            let mut output = Output::open(&config.output, config.format)?;
            let style = output.style();
            written(&mut output, |out| {
                write_diff(&diff, config.format, style, out)
            })
        }
        Pair::Snapshots(snapshots) => {
            if config.sort != Sort::Outstanding {
                return Err(bad_input!(
                    "--sort is about call paths, which snapshots have not: leave it out"
                ));
            }
            let [before, after] = &*snapshots;
            let diff = snapshot::compare((before_path, before), (after_path, after));
            let mut output = Output::open(&config.output, config.format)?;
            let style = output.style();
            written(&mut output, |out| {
                write_snapshot_diff(&diff, config.top, config.format, style, out)
            })
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn reorder(rows: &mut [TopAllocator], sort: Sort) {
    match sort {
        Sort::Outstanding => rows.sort_by_key(|row| Reverse(row.shown_bytes)),
        Sort::Allocated => rows.sort_by_key(|row| Reverse(row.allocated_bytes)),
        Sort::Count => rows.sort_by_key(|row| Reverse(row.shown_count)),
        Sort::Rate => rows.sort_by(|one, other| {
            let rate = |row: &TopAllocator| row.rate_bytes_per_second.unwrap_or(f64::MIN);
            rate(other).total_cmp(&rate(one))
        }),
    }
    for (rank, row) in (1..).zip(rows) {
        row.rank = rank;
    }
}

fn reorder_touchers(rows: &mut [TopToucher], sort: Sort) {
    rows.sort_by_key(|row| {
        Reverse(match sort {
            Sort::Allocated => row.touched_bytes,
            Sort::Outstanding | Sort::Count | Sort::Rate => row.resident_bytes,
        })
    });
    for (rank, row) in (1..).zip(rows) {
        row.rank = rank;
    }
}

/// Writes all of a document; memprof's exit code.
pub(crate) fn written(
    output: &mut Output,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<ExitCode> {
    match output.write(write).and_then(|()| output.finish()) {
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot write the report"),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}
