//! Folded stacks, the input of flame graph tools: one line per stack, the process's name and the
//! frames from the outermost to the innermost separated by `;`, then a space and the bytes held. Where
//! page faults alone were followed it is the bytes resident of what was touched first, below a root
//! that says so.
//!
//! See <https://github.com/brendangregg/FlameGraph>.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Exporter;
use super::escape::escape;
use super::label::function_label;
use crate::report::{Frame, Report};

/// The root of stacks whose bytes are resident, not held.
const FIRST_TOUCHED_BY: &str = "[first touched by]";

/// Writes the bytes of every stack in the report, at the end.
pub(super) struct Folded;

impl Exporter for Folded {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        // Stacks that differ only in addresses read alike: their bytes are added up.
        let mut bytes_by_stack: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |stack: String, more: u64| {
            let bytes = bytes_by_stack.entry(stack).or_default();
            *bytes = bytes.saturating_add(more);
        };
        for one in report
            .top_allocators
            .iter()
            .filter(|one| one.shown_bytes > 0)
        {
            add(folded_stack(report, one.pid, &one.stack), one.shown_bytes);
        }
        // They are another quantity, which one graph can't show beside the first.
        if !report.follows_allocations() {
            let touchers = report.top_touchers.iter();
            for one in touchers.filter(|one| one.resident_bytes > 0) {
                let stack = folded_stack(report, one.pid, &one.stack);
                add(format!("{FIRST_TOUCHED_BY};{stack}"), one.resident_bytes);
            }
        }
        for (stack, bytes) in bytes_by_stack {
            writeln!(out, "{stack} {bytes}")?;
        }
        Ok(())
    }
}

fn folded_stack(report: &Report, pid: u32, stack: &[Frame]) -> String {
    let process = match report.target.comm_of(pid) {
        Some(comm) => part(comm),
        None => format!("pid {pid}"),
    };
    let mut line = process;
    if stack.is_empty() {
        line.push_str(";[unknown]");
    }
    for frame in stack.iter().rev() {
        line.push(';');
        line.push_str(&part(&function_label(frame)));
    }
    line
}

/// One part of a line: `;` separates parts, so it can't stand inside one.
fn part(text: &str) -> String {
    escape(text, true).replace(';', ":")
}
