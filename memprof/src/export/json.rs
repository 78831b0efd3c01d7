//! The report as one JSON object, at the end.

use std::io::{self, Write};

use super::Exporter;
use super::escape::disturbs;
use crate::report::Report;

/// Writes `memprof/report/v1`, indented.
pub(super) struct Json;

impl Exporter for Json {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        write_document(&serde_json::to_string_pretty(report)?, out)
    }
}

/// Writes `document` and a newline, with `\uXXXX` for the characters that JSON allows in strings
/// as they are but that disturb terminals and line-wise readers: JSON itself only forbids the
/// controls below 0x20, and some readers take U+2028 or U+0085 for the end of a line.
pub(super) fn write_document(document: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = document;
    // Outside of strings JSON is printable ASCII and newlines, inside them no newline is left.
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| c != '\n' && disturbs(c)) {
        out.write_all(&rest.as_bytes()[..at])?;
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.write_all(rest.as_bytes())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_disturb_are_escaped_and_read_back_unchanged() {
        let text = "\u{1b}[2J\n\u{2028}\u{85}\u{202e}\u{7f}\u{e0001}\u{fffd}é\"\\";
        let mut written = Vec::new();
        write_document(&serde_json::to_string(text).unwrap(), &mut written).unwrap();
        let written = String::from_utf8(written).unwrap();
        let line = written.strip_suffix('\n').unwrap();
        assert!(!line.chars().any(disturbs), "{line}");
        assert_eq!(serde_json::from_str::<String>(line).unwrap(), text);
    }
}
