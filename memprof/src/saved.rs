//! Saved reports and snapshots, read back. A file may come from anywhere: what is read is bounded, and
//! what is neither is refused in one line.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use anyhow::Result;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{bad_input, export::escape, report::Report, snapshot::Snapshot};

/// The largest file that is read as a report. Reports take about 8 KB a stack.
pub const MAX_REPORT_BYTES: u64 = 256 << 20;

/// Reads a saved report; of a file of several (`--format jsonl`) the last.
///
/// # Errors
/// Bad input if there is no such file, it is too large, or is no report of a known version.
pub fn read(path: &Path) -> Result<Report> {
    read_within(path, MAX_REPORT_BYTES)
}

/// What two files of one kind hold.
#[derive(Debug)]
pub enum Pair {
    /// Two reports.
    Reports(Box<[Report; 2]>),
    /// Two snapshots.
    Snapshots(Box<[Snapshot; 2]>),
}

/// Reads two saved reports or two snapshots, to be compared.
///
/// # Errors
/// Bad input if one can't be read or is neither, or one is a report and the other a snapshot.
pub fn read_pair(before: &Path, after: &Path) -> Result<Pair> {
    let files = [
        bytes(before, MAX_REPORT_BYTES)?,
        bytes(after, MAX_REPORT_BYTES)?,
    ];
    let are_snapshots = [&files[0], &files[1]].map(|bytes| is_snapshot(bytes));
    match are_snapshots {
        [false, false] => Ok(Pair::Reports(Box::new([
            report(before, &files[0])?,
            report(after, &files[1])?,
        ]))),
        [true, true] => Ok(Pair::Snapshots(Box::new([
            snapshot(before, &files[0])?,
            snapshot(after, &files[1])?,
        ]))),
        [first_is_snapshot, _] => {
            let (a_snapshot, other, file) = if first_is_snapshot {
                (before, after, &files[1])
            } else {
                (after, before, &files[0])
            };
            if !head(file).is_some_and(|head| head.schema.starts_with("memprof/report/")) {
                snapshot(other, file)?;
            }
            Err(bad_input!(
                "{} is a snapshot and {} a report: give two of one kind",
                shown(a_snapshot),
                shown(other)
            ))
        }
    }
}

fn read_within(path: &Path, limit: u64) -> Result<Report> {
    report(path, &bytes(path, limit)?)
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy(), true).into_owned()
}

fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let shown = shown(path);
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
    Ok(bytes)
}

fn report(path: &Path, bytes: &[u8]) -> Result<Report> {
    parse(bytes, "memprof/report/v1").map_err(|why| {
        bad_input!(
            "{} is no report of memprof: {}: give what memprof trace --format json wrote",
            shown(path),
            escape(&why, true)
        )
    })
}

fn snapshot(path: &Path, bytes: &[u8]) -> Result<Snapshot> {
    parse(bytes, "memprof/snapshot/v1").map_err(|why| {
        bad_input!(
            "{} is no snapshot of memprof: {}: give what memprof snapshot --format json wrote",
            shown(path),
            escape(&why, true)
        )
    })
}

/// What a document says that it is.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

fn head(bytes: &[u8]) -> Option<Head> {
    let mut heads = serde_json::Deserializer::from_slice(bytes).into_iter::<Head>();
    heads.next()?.ok()
}

fn is_snapshot(bytes: &[u8]) -> bool {
    head(bytes).is_some_and(|head| head.schema.starts_with("memprof/snapshot/"))
}

/// The last of the documents in a text.
fn parse<T: DeserializeOwned>(bytes: &[u8], schema: &str) -> Result<T, String> {
    let mut last = None;
    for document in serde_json::Deserializer::from_slice(bytes).into_iter::<T>() {
        match document {
            Ok(document) => last = Some(document),
            // The line that a killed memprof was writing.
            Err(error) if error.is_eof() && last.is_some() => break,
            Err(error) => return Err(why_not(bytes, schema, &error)),
        }
    }
    last.ok_or_else(|| "it is empty".to_owned())
}

/// Why it is none: by its schema if it has another one.
fn why_not(bytes: &[u8], schema: &str, error: &serde_json::Error) -> String {
    match head(bytes) {
        Some(head) if head.schema != schema => {
            let other: String = head.schema.chars().take(80).collect();
            format!("its schema is {other:?}, not {schema:?}")
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
    fn what_is_no_snapshot_is_refused_in_one_line_and_mixes_with_no_report() {
        let snapshot = file(b"{\"schema\": \"memprof/snapshot/v1\"}");
        let newer = file(b"{\"schema\": \"memprof/snapshot/v9\"}");
        let report = file(b"{\"schema\": \"memprof/report/v1\"}");
        let refusal = |one: &tempfile::NamedTempFile, other: &tempfile::NamedTempFile| {
            let error = read_pair(one.path(), other.path()).unwrap_err();
            assert!(error.is::<crate::failure::BadInput>());
            let line = error.to_string();
            assert_eq!(line.lines().count(), 1, "{line}");
            line
        };
        assert!(refusal(&snapshot, &snapshot).contains("missing field"));
        assert!(refusal(&newer, &newer).contains("memprof/snapshot/v9"));
        for (one, other) in [(&snapshot, &report), (&report, &snapshot)] {
            assert!(refusal(one, other).contains("give two of one kind"));
        }
        let neither = file(b"[1, 2]");
        assert!(refusal(&snapshot, &neither).contains("no snapshot"));
        assert!(refusal(&neither, &snapshot).contains("no snapshot"));
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
