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
/// Annotations of one kind: GitHub shows no more of a step.
const MAX_ANNOTATIONS: usize = 10;

/// Writes a command for each failure, and for what else a person should see.
pub(super) struct GitHub;

impl Exporter for GitHub {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Some(check) = &report.check else {
            return Ok(());
        };
        // The last one says how many there are beside it.
        let shown = match check.failures.len() {
            all @ ..=MAX_ANNOTATIONS => all,
            _ => MAX_ANNOTATIONS - 1,
        };
        for failure in &check.failures[..shown] {
            annotate(out, "error", failure, None)?;
        }
        if shown < check.failures.len() {
            let more = format!("and {} more failures", check.failures.len() - shown);
            command(out, "error", "memprof: more", &more)?;
        }
        let kind = match check.outcome {
            Outcome::Undecided => "error",
            _ => "warning",
        };
        for why in &check.not_judged {
            command(out, kind, "memprof: not judged", why)?;
        }
        let excused = check.suppressed.iter().chain(&check.in_baseline);
        for one in excused.take(MAX_ANNOTATIONS) {
            let Excused { failure, because } = one;
            annotate(out, "notice", failure, Some(because))?;
        }
        for unused in check.unused_suppressions.iter().take(MAX_ANNOTATIONS) {
            command(out, "warning", "memprof: unused suppression", unused)?;
        }
        let outcome = match check.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Undecided => "not decided",
        };
        writeln!(
            out,
            "memprof check: {outcome} (exit code {})",
            check.exit_code
        )
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
        message = format!("{message}; let pass: {because}");
    }
    let allocator = failure.allocator.as_ref();
    if let Some(allocator) = allocator {
        message = format!("{} {message}", allocator_label(allocator));
    }
    let mut message = escape(&message, true).into_owned();
    for line in allocator
        .iter()
        .flat_map(|one| frame_lines(one, MAX_FRAMES))
    {
        message.push_str("\n  ");
        message.push_str(&escape(&line, true));
    }
    write_command(out, kind, &title, allocator, &message)
}

/// One that is about no file.
fn command(out: &mut dyn Write, kind: &str, title: &str, message: &str) -> io::Result<()> {
    write_command(out, kind, title, None, &escape(message, true))
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
