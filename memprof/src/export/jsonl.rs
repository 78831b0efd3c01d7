//! The report as JSON, one object per line: one at each interval, one at the end.

use std::io::{self, Write};

use super::Exporter;
use super::json::write_document;
use crate::report::Report;

/// Writes `memprof/report/v1`, each object on a line of its own.
pub(super) struct JsonLines;

impl Exporter for JsonLines {
    fn interval(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        write_document(&serde_json::to_string(report)?, out)
    }

    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        write_document(&serde_json::to_string(report)?, out)
    }
}
