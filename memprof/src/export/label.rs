//! How a frame is called where it has no name, and where it is.

use crate::report::Frame;

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

/// The last part of a path; the path itself where that would be empty.
pub(super) fn file_name(path: &str) -> &str {
    match path.rsplit('/').next() {
        Some("") | None => path,
        Some(name) => name,
    }
}
