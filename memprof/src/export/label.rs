//! How a frame is called where it has no name, and where it is.

use crate::report::{Frame, TopAllocator};

/// The function's name; without one `[module+0x123]`, or `[unknown]`.
pub(super) fn function_label(frame: &Frame) -> String {
    if let Some(function) = &frame.function {
        return function.clone();
    }
    match (&frame.module, frame.offset) {
        (Some(module), Some(offset)) => format!("[{}+{offset}]", file_name(module)),
        (Some(module), None) => format!("[{}]", file_name(module)),
        (None, _) => "[unknown]".to_owned(),
    }
}

/// `file:line`, or `file`.
pub(super) fn source_label(file: Option<&str>, line: Option<u32>) -> Option<String> {
    let file = file?;
    Some(match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

/// The function that a person would go and fix, with its source line.
pub(super) fn allocator_label(allocator: &TopAllocator) -> String {
    let guilty = allocator.guilty_frame();
    let function = match (&allocator.function, guilty) {
        (Some(function), _) => function.clone(),
        (None, Some(index)) => function_label(&allocator.stack[index]),
        (None, None) => "[unknown]".to_owned(),
    };
    match source_label(allocator.file.as_deref(), allocator.line) {
        Some(source) => format!("{function} ({source})"),
        None => function,
    }
}

/// A line for each of the innermost `most` frames, and one for those left out.
pub(super) fn frame_lines(allocator: &TopAllocator, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = allocator
        .stack
        .iter()
        .take(most)
        .map(|frame| {
            let function = function_label(frame);
            match source_label(frame.file.as_deref(), frame.line) {
                Some(source) => format!("{function} ({source})"),
                None => function,
            }
        })
        .collect();
    let left_out = allocator.stack.len() - lines.len();
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    lines
}

/// The last part of a path; the path itself where that would be empty.
pub(super) fn file_name(path: &str) -> &str {
    match path.rsplit('/').next() {
        Some("") | None => path,
        Some(name) => name,
    }
}
