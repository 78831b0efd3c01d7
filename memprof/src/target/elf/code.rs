//! The code of a file, a few bytes here and there.

use std::{cell::RefCell, collections::HashMap, fs::File, os::unix::fs::FileExt as _};

use super::{ElfFacts, LoadSegment};

/// Pages of code that are kept of one file: 4 MiB. What lies beyond reads as no code.
pub const MAX_CODE_PAGES: usize = 1024;
const PAGE: u64 = 4096;

/// Reads the code of one open file by file offset, a page at a time.
pub struct ElfCode<'file> {
    file: &'file File,
    segments: Vec<LoadSegment>,
    pages: RefCell<HashMap<u64, Vec<u8>>>,
}

impl<'file> ElfCode<'file> {
    /// A reader of the executable segments of `file`.
    pub fn new(file: &'file File, facts: &ElfFacts) -> Self {
        let executable = |segment: &&LoadSegment| segment.executable;
        Self {
            file,
            segments: facts.segments.iter().filter(executable).cloned().collect(),
            pages: RefCell::new(HashMap::new()),
        }
    }

    /// Copies the code from `offset` on, bytes from the start of the file; how many bytes there
    /// are, up to what fits: 0 outside of executable segments.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let Some(left) = self.segments.iter().find_map(|segment| {
            let within = offset.checked_sub(segment.file_offset)?;
            segment
                .file_size
                .checked_sub(within)
                .filter(|left| *left > 0)
        }) else {
            return 0;
        };
        let wanted = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < wanted {
            let copied = self.copy_from_page(offset + done as u64, &mut into[done..wanted]);
            if copied == 0 {
                break;
            }
            done += copied;
        }
        done
    }

    /// Copies from one page; 0 if it can't be read.
    fn copy_from_page(&self, offset: u64, into: &mut [u8]) -> usize {
        let mut pages = self.pages.borrow_mut();
        let number = offset / PAGE;
        if !pages.contains_key(&number) {
            if pages.len() >= MAX_CODE_PAGES {
                return 0;
            }
            pages.insert(number, self.read_page(number * PAGE));
        }
        let rest = pages
            .get(&number)
            .and_then(|page| page.get((offset % PAGE) as usize..))
            .unwrap_or_default();
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }

    /// A page, or as much of it as the file has.
    fn read_page(&self, start: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE as usize];
        let mut done = 0;
        while done < page.len() {
            match self.file.read_at(&mut page[done..], start + done as u64) {
                Ok(bytes) if bytes > 0 => done += bytes,
                _ => break,
            }
        }
        page.truncate(done);
        page
    }
}
