//! A call path as a reader looks at it, whatever is counted there.

use super::{Frame, TopAllocator, TopToucher};

/// The frame to look at and the whole stack, of an entry of a report.
#[derive(Clone, Copy, Debug)]
pub struct CallPath<'a> {
    /// The function that was chosen.
    pub function: Option<&'a str>,
    /// Its source file.
    pub file: Option<&'a str>,
    /// The line there.
    pub line: Option<u32>,
    /// The path of the mapped file that holds it.
    pub module: Option<&'a str>,
    /// All frames, innermost first.
    pub stack: &'a [Frame],
}

impl<'a> From<&'a TopAllocator> for CallPath<'a> {
    fn from(one: &'a TopAllocator) -> Self {
        Self {
            function: one.function.as_deref(),
            file: one.file.as_deref(),
            line: one.line,
            module: one.module.as_deref(),
            stack: &one.stack,
        }
    }
}

impl<'a> From<&'a TopToucher> for CallPath<'a> {
    fn from(one: &'a TopToucher) -> Self {
        Self {
            function: one.function.as_deref(),
            file: one.file.as_deref(),
            line: one.line,
            module: one.module.as_deref(),
            stack: &one.stack,
        }
    }
}

impl CallPath<'_> {
    /// The index in `stack` of the frame that was chosen; `None` if none was, or the stack does not hold
    /// it.
    pub fn guilty_frame(&self) -> Option<usize> {
        if self.function.is_none() && self.module.is_none() {
            return None;
        }
        self.stack.iter().position(|frame| {
            frame.function.as_deref() == self.function
                && frame.file.as_deref() == self.file
                && frame.line == self.line
                && frame.module.as_deref() == self.module
        })
    }
}
