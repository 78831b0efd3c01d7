//! What the exporters write, held against a report made by hand.

#![allow(clippy::unwrap_used)] // in helpers too, which clippy does not count as tests

mod diff;
mod check;
mod growth;
mod hostile;
mod hunt;
mod json;
mod reconciliation;
mod sample;
mod snapshot;
mod snapshots;
mod width;

use memprof::export::{Format, Style};
use memprof::report::Report;

/// A page as a test wants it: no colour, full Unicode.
fn plain(width: usize) -> Style {
    Style {
        color: false,
        width,
        unicode: true,
    }
}

/// What `format` writes for a run with these interval reports and this final one.
fn export(format: &str, style: Style, intervals: &[&Report], last: &Report) -> String {
    let format: Format = format.parse().unwrap();
    let mut exporter = format.exporter(style);
    let mut written = Vec::new();
    for report in intervals {
        let before = written.len();
        exporter.interval(report, &mut written).unwrap();
        assert_eq!(
            written.len() > before,
            format.writes_intervals(),
            "{format}"
        );
    }
    exporter.finish(last, &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

/// What a format of `memprof check` writes.
fn export_check(format: &str, style: Style, report: &Report) -> String {
    let mut exporter = Format::of_check(format).unwrap().exporter(style);
    let mut written = Vec::new();
    exporter.finish(report, &mut written).unwrap();
    String::from_utf8(written).unwrap()
}
