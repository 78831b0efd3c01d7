//! From the finished report to bytes: one exporter per format.
//!
//! A new format is one file with an [`Exporter`] and one line in the table `FORMATS`.

mod escape;
mod folded;
mod github;
mod json;
mod jsonl;
mod junit;
mod label;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

pub use escape::escape;
use serde::Serialize;

use crate::diff::Diff;
use crate::report::{Find, Hunt, Report};
use crate::snapshot::{Snapshot, SnapshotDiff};

/// Writes the reports of one run in one format. It may remember what it wrote, to print changes.
pub trait Exporter {
    /// Writes what the format has to say at the end of an interval; most formats say nothing.
    ///
    /// # Errors
    /// Those of `out`.
    fn interval(&mut self, _report: &Report, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Writes the final report. Called once, last.
    ///
    /// # Errors
    /// Those of `out`.
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}

/// Writes a comparison: as JSON in the format `json`, else as text.
///
/// # Errors
/// Those of `out`.
pub fn write_diff(
    diff: &Diff<'_>,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_as(format, diff, out, |out| text::write_diff(diff, style, out))
}

/// Writes a snapshot: as JSON in the format `json`, else as text with the `top` largest files.
///
/// # Errors
/// Those of `out`.
pub fn write_snapshot(
    snapshot: &Snapshot,
    top: usize,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_as(format, snapshot, out, |out| {
        text::write_snapshot(snapshot, top, style, out)
    })
}

/// Writes a comparison of snapshots: as JSON in the format `json`, else as text with the `top` largest
/// changes of files.
///
/// # Errors
/// Those of `out`.
pub fn write_snapshot_diff(
    diff: &SnapshotDiff<'_>,
    top: usize,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    write_as(format, diff, out, |out| {
        text::write_snapshot_diff(diff, top, style, out)
    })
}

/// Writes a hunt: as JSON in the formats `json` and `jsonl`, on one line in the latter, else as the end
/// of the text that [`write_find`] began.
///
/// # Errors
/// Those of `out`.
pub fn write_hunt(
    hunt: &Hunt,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format.is_whole_by_line() {
        return json::write_document(&serde_json::to_string(hunt)?, out);
    }
    write_as(format, hunt, out, |out| text::write_hunt(hunt, style, out))
}

/// Writes a find of a hunt, the so-and-so-many-th, when it is made: as a line of JSON in the format
/// `jsonl`, as text in the format `text`; the format `json` has it at the end alone.
///
/// # Errors
/// Those of `out`.
pub fn write_find(
    find: &Find,
    number: u64,
    format: Format,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format.name() {
        "json" => Ok(()),
        "jsonl" => {
            let line = FindLine {
                schema: "memprof/find/v1",
                find,
            };
            json::write_document(&serde_json::to_string(&line)?, out)
        }
        _ => text::write_find(find, number, style, out),
    }
}

/// A find on a line of its own.
#[derive(Serialize)]
struct FindLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    find: &'a Find,
}

/// Writes a document: as JSON in the format `json`, else as `text` does.
fn write_as(
    format: Format,
    document: &impl Serialize,
    out: &mut dyn Write,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if format.name() == "json" {
        json::write_document(&serde_json::to_string_pretty(document)?, out)
    } else {
        text(out)
    }
}

/// How text is to look. The caller decides it from the terminal and the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
    /// The columns that a line may take.
    pub width: usize,
    /// Whether the reader can display more than ASCII.
    pub unicode: bool,
}

/// One row of the table of formats.
struct Entry {
    name: &'static str,
    make: fn(Style) -> Box<dyn Exporter>,
    writes_intervals: bool,
    wants_every_stack: bool,
    whole_by_line: bool,
}

/// Every format that exists; the first is the default.
#[rustfmt::skip]
static FORMATS: [Entry; 4] = [
    Entry { name: "text", make: |style| Box::new(text::Text::new(style)), writes_intervals: true, wants_every_stack: false, whole_by_line: false },
    Entry { name: "json", make: |_| Box::new(json::Json), writes_intervals: false, wants_every_stack: false, whole_by_line: false },
    Entry { name: "jsonl", make: |_| Box::new(jsonl::JsonLines), writes_intervals: true, wants_every_stack: false, whole_by_line: true },
    Entry { name: "folded", make: |_| Box::new(folded::Folded), writes_intervals: false, wants_every_stack: true, whole_by_line: false },
];

/// The formats of `memprof check`, whose reports say what was decided; the first is the default.
#[rustfmt::skip]
static CHECK_FORMATS: [Entry; 4] = [
    Entry { name: "text", make: |style| Box::new(text::CheckText::new(style)), writes_intervals: false, wants_every_stack: false, whole_by_line: false },
    Entry { name: "json", make: |_| Box::new(json::Json), writes_intervals: false, wants_every_stack: false, whole_by_line: false },
    Entry { name: "junit", make: |_| Box::new(junit::JUnit), writes_intervals: false, wants_every_stack: false, whole_by_line: false },
    Entry { name: "github", make: |_| Box::new(github::GitHub), writes_intervals: false, wants_every_stack: false, whole_by_line: false },
];

/// An output format that exists. Read it from its name.
#[derive(Clone, Copy)]
pub struct Format(&'static Entry);

impl Format {
    /// All formats.
    pub fn all() -> impl Iterator<Item = Format> {
        FORMATS.iter().map(Format)
    }

    /// A format of `memprof check`, by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn of_check(name: &str) -> Result<Self, UnknownFormat> {
        find(&CHECK_FORMATS, name)
    }

    /// The name that users give.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// A new exporter for one run. Formats for machines ignore `style`.
    pub fn exporter(self, style: Style) -> Box<dyn Exporter> {
        (self.0.make)(style)
    }

    /// Whether [`Exporter::interval`] writes anything: else no report need be made for it.
    pub fn writes_intervals(self) -> bool {
        self.0.writes_intervals
    }

    /// Whether each line stands for itself, so that a reader of the file needs no end of it.
    pub fn is_whole_by_line(self) -> bool {
        self.0.whole_by_line
    }

    /// Whether the format is about all stacks: `top_allocators` should then hold every one, not
    /// only the first few.
    pub fn wants_every_stack(self) -> bool {
        self.0.wants_every_stack
    }
}

impl Default for Format {
    fn default() -> Self {
        Format(&FORMATS[0])
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({})", self.name())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        find(&FORMATS, name)
    }
}

fn find(formats: &'static [Entry], name: &str) -> Result<Format, UnknownFormat> {
    let found = formats.iter().find(|format| format.name == name);
    found.map(Format).ok_or_else(|| UnknownFormat {
        name: name.to_owned(),
        known: formats.iter().map(|format| format.name).collect(),
    })
}

/// The name of a format that does not exist; its message lists those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFormat {
    name: String,
    known: Vec<&'static str>,
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown format {:?}; there are {}",
            self.name,
            self.known.join(", ")
        )
    }
}

impl std::error::Error for UnknownFormat {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name_and_an_unknown_one_lists_them() {
        for format in Format::all() {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let error = "svg\u{1b}".parse::<Format>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#"unknown format "svg\u{1b}"; there are text, json, jsonl, folded"#
        );
    }

    #[test]
    fn text_is_the_default() {
        assert_eq!(Format::default().name(), "text");
    }
}
