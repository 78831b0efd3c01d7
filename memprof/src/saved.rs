//! Saved reports, read back. A file may come from anywhere: what is read is bounded, and what is
//! no report is refused in one line.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use anyhow::Result;
use serde::Deserialize;

use crate::{bad_input, export::escape, report::Report};

/// The largest file that is read as a report. Reports take about 8 KB a stack.
pub const MAX_REPORT_BYTES: u64 = 256 << 20;

/// Reads a saved report; of a file of several (`--format jsonl`) the last.
///
/// # Errors
/// Bad input if there is no such file, it is too large, or is no report of a known version.
pub fn read(path: &Path) -> Result<Report> {
    read_within(path, MAX_REPORT_BYTES)
}

fn read_within(path: &Path, limit: u64) -> Result<Report> {
    let shown = path.to_string_lossy();
    let shown = escape(&shown, true);
    let unreadable = |error: io::Error| {
        bad_input!(
            "{shown} can't be read ({}): give a saved JSON report",
            error.kind()
        )
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(bad_input!(
            "{shown} is larger than {}: save a report with a smaller --top",
            crate::units::format_size(limit)
        ));
    }
    parse(&bytes).map_err(|why| {
        bad_input!(
            "{shown} is no report of memprof: {}: give what memprof trace --format json wrote",
            escape(&why, true)
        )
    })
}

/// The last of the reports in a text.
fn parse(bytes: &[u8]) -> Result<Report, String> {
    let mut last = None;
    for report in serde_json::Deserializer::from_slice(bytes).into_iter::<Report>() {
        match report {
            Ok(report) => last = Some(report),
            // The line that a killed memprof was writing.
            Err(error) if error.is_eof() && last.is_some() => break,
            Err(error) => return Err(why_not(bytes, &error)),
        }
    }
    last.ok_or_else(|| "it is empty".to_owned())
}

/// Why it is no report: by its schema if it has another one.
fn why_not(bytes: &[u8], error: &serde_json::Error) -> String {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let first = serde_json::Deserializer::from_slice(bytes)
        .into_iter::<Head>()
        .next();
    match first {
        Some(Ok(head)) if head.schema != "memprof/report/v1" => {
            let schema: String = head.schema.chars().take(80).collect();
            format!("its schema is {schema:?}, not \"memprof/report/v1\"")
        }
        _ => {
            // An unknown word of the file may stand in it, of any length.
            let why: String = error.to_string().chars().take(200).collect();
            why
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn refusal(content: &[u8], limit: u64) -> String {
        let error = read_within(file(content).path(), limit).unwrap_err();
        assert!(error.is::<crate::failure::BadInput>());
        let line = error.to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
        line
    }

    #[test]
    fn what_is_no_report_is_refused_in_one_line() {
        assert!(refusal(b"", 100).contains("empty"));
        assert!(refusal(b"not json", 100).contains("no report"));
        assert!(refusal(b"{\"schema\": \"memprof/report/v1\"", 100).contains("EOF"));
        assert!(refusal(b"{\"schema\": \"memprof/report/v1\"}", 100).contains("missing field"));
        assert!(refusal(b"{\"schema\": \"memprof/diff/v1\"}", 100).contains("memprof/diff/v1"));
        let hostile = b"{\"schema\": \"\x1b]0;x\\n\\u202e\"}";
        refusal(hostile, 100);
        assert!(refusal(&[b' '; 101], 100).contains("larger than"));
        assert!(refusal(&[b'['; 100_000], 1 << 20).contains("no report"));
        assert!(refusal(b"\xff\xfe\0\0", 100).contains("no report"));
        let missing = read(Path::new("/no/such\nfile")).unwrap_err().to_string();
        assert_eq!(missing.lines().count(), 1);
        assert!(
            read(Path::new("/"))
                .unwrap_err()
                .to_string()
                .contains("directory")
        );
    }
}
