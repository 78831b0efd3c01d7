//! Folded stacks, the input of flame graph tools: one line per stack, the process's name and the
//! frames from the outermost to the innermost separated by `;`, then a space and the bytes held.
//!
//! See <https://github.com/brendangregg/FlameGraph>.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Exporter;
use super::escape::escape;
use super::label::function_label;
use crate::report::{Report, TopAllocator};

/// Writes the shown bytes of every stack in the report, at the end.
pub(super) struct Folded;

impl Exporter for Folded {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        // Stacks that differ only in addresses read alike: their bytes are added up.
        let mut bytes_by_stack: BTreeMap<String, u64> = BTreeMap::new();
        for allocator in &report.top_allocators {
            if allocator.shown_bytes > 0 {
                let bytes = bytes_by_stack
                    .entry(folded_stack(report, allocator))
                    .or_default();
                *bytes = bytes.saturating_add(allocator.shown_bytes);
            }
        }
        for (stack, bytes) in bytes_by_stack {
            writeln!(out, "{stack} {bytes}")?;
        }
        Ok(())
    }
}

fn folded_stack(report: &Report, allocator: &TopAllocator) -> String {
    let process = match report.target.comm_of(allocator.pid) {
        Some(comm) => part(comm),
        None => format!("pid {}", allocator.pid),
    };
    let mut line = process;
    if allocator.stack.is_empty() {
        line.push_str(";[unknown]");
    }
    for frame in allocator.stack.iter().rev() {
        line.push(';');
        line.push_str(&part(&function_label(frame)));
    }
    line
}

/// One part of a line: `;` separates parts, so it can't stand inside one.
fn part(text: &str) -> String {
    escape(text, true).replace(';', ":")
}
