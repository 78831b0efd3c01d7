//! Annotations of GitHub Actions: a workflow command a line, which the runner shows at the file and
//! line that it names.
//!
//! See <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>; the
//! escapes are those of `@actions/core` (`command.ts`).

use std::io::{self, Write};

use super::Exporter;
use super::escape::escape;
use super::label::{allocator_label, frame_lines};
use crate::report::{Excused, Failure, Outcome, Report, TopAllocator};

/// Frames in one annotation.
const MAX_FRAMES: usize = 16;

/// Writes a command for each failure, and for what else a person should see.
pub(super) struct GitHub;

impl Exporter for GitHub {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Some(check) = &report.check else {
            return Ok(());
        };
        for failure in &check.failures {
            annotate(out, "error", failure, None)?;
        }
        let kind = match check.outcome {
            Outcome::Undecided => "error",
            _ => "warning",
        };
        for why in &check.not_judged {
            command(out, kind, "memprof: not judged", None, why)?;
        }
        for one in check.suppressed.iter().chain(&check.in_baseline) {
            let Excused { failure, because } = one;
            annotate(out, "notice", failure, Some(because))?;
        }
        for unused in &check.unused_suppressions {
            command(out, "warning", "memprof: unused suppression", None, unused)?;
        }
        let outcome = match check.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Undecided => "not decided",
        };
        writeln!(out, "memprof check: {outcome} (exit code {})", check.exit_code)
    }
}

fn annotate(
    out: &mut dyn Write,
    kind: &str,
    failure: &Failure,
    because: Option<&str>,
) -> io::Result<()> {
    let title = format!("memprof: {}", failure.criterion.name());
    let mut message = failure.reason.clone();
    if let Some(because) = because {
        message = format!("{because}: {message}");
    }
    let allocator = failure.allocator.as_ref();
    if let Some(allocator) = allocator {
        message = format!("{} {message}", allocator_label(allocator));
    }
    let mut message = escape(&message, true).into_owned();
    for line in allocator.iter().flat_map(|one| frame_lines(one, MAX_FRAMES)) {
        message.push_str("\n  ");
        message.push_str(&escape(&line, true));
    }
    write_command(out, kind, &title, allocator, &message)
}

fn command(
    out: &mut dyn Write,
    kind: &str,
    title: &str,
    allocator: Option<&TopAllocator>,
    message: &str,
) -> io::Result<()> {
    write_command(out, kind, title, allocator, &escape(message, true))
}

/// `message` is escaped for people, and may have several lines.
fn write_command(
    out: &mut dyn Write,
    kind: &str,
    title: &str,
    allocator: Option<&TopAllocator>,
    message: &str,
) -> io::Result<()> {
    write!(out, "::{kind} title={}", property(title))?;
    if let Some(TopAllocator {
        file: Some(file),
        directory,
        line,
        ..
    }) = allocator
    {
        let path = match directory {
            Some(directory) => format!("{directory}/{file}"),
            None => file.clone(),
        };
        write!(out, ",file={}", property(&escape(&path, true)))?;
        if let Some(line) = line {
            write!(out, ",line={line}")?;
        }
    }
    writeln!(out, "::{}", data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
