//! A part of a file, read by `pread`: the handle's position is shared by others.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Reads a range of a file's bytes; ends early if the file does.
pub struct FilePart<'file> {
    file: &'file File,
    left: Range<u64>,
}

impl<'file> FilePart<'file> {
    /// The bytes in `range` of `file`.
    pub fn new(file: &'file File, range: Range<u64>) -> Self {
        Self { file, left: range }
    }
}

impl Read for FilePart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.end.saturating_sub(self.left.start);
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = match buffer.get_mut(..wanted) {
            Some(part) => self.file.read_at(part, self.left.start)?,
            None => 0,
        };
        self.left.start += count as u64;
        Ok(count)
    }
}
