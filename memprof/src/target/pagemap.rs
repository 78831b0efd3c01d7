//! `/proc/PID/pagemap`: which pages of a process are in memory.
//!
//! Kernels since 6.7 tell it by runs of pages (`PAGEMAP_SCAN`, Documentation/admin-guide/mm/pagemap.rst),
//! skip what is not mapped, and know the page of zeros, which is nobody's memory though it stands for
//! every page that was read and never written. Older ones give a word for each page, in which they do
//! not tell that one.
//!
//! The kernel holds the lock of the target's address space for reading meanwhile, for a GiB at a time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use super::resident_pages::{PAGE_BYTES, ResidentPages};
use crate::identity::Pid;

/// Words that are read of an older kernel for one set: what is behind the 64 GiB of addresses that they
/// stand for is unknown.
pub const MAX_WORDS: u64 = 1 << 24;
/// Bytes of addresses that are looked at in one go, some milliseconds at the most: what takes the lock of the
/// address space for writing waits as long.
const SCAN_BYTES: u64 = 1 << 30;
/// Runs that are taken at a time.
const RUNS: usize = 1024;
/// Words that are read at a time.
const WORDS: u64 = 8192;

/// The page is in memory: bit 63 of a word.
const PRESENT_BIT: u64 = 1 << 63;
/// The same, and the page of zeros, for `PAGEMAP_SCAN`.
const IS_PRESENT: u64 = 1 << 3;
const IS_ZEROS: u64 = 1 << 5;

/// A run of pages, as the kernel fills it in (`struct page_region`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Run {
    start: u64,
    end: u64,
    categories: u64,
}

/// What the kernel is asked (`struct pm_scan_arg`).
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`
const PAGEMAP_SCAN: libc::c_ulong =
    (3 << 30) | ((size_of::<Scan>() as libc::c_ulong) << 16) | ((b'f' as libc::c_ulong) << 8) | 16;

/// The page map of one process: of the program that it ran when this was opened, whatever it runs since.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    can_scan: bool,
}

impl Pagemap {
    /// Opens that of `pid`.
    ///
    /// # Errors
    /// The system's: `NotFound`, `PermissionDenied` for who may not trace the process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self {
            file: File::open(format!("/proc/{}/pagemap", pid.0))?,
            can_scan: true,
        })
    }

    /// The pages that are in memory in some ranges of whole pages, which must rise. The set ends where
    /// it is full, or where too much would have to be read.
    ///
    /// # Errors
    /// The system's.
    pub fn resident(
        &mut self,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> io::Result<ResidentPages> {
        let mut pages = ResidentPages::default();
        let mut words = 0;
        for range in ranges {
            if range.start >= range.end {
                continue;
            }
            if self.can_scan {
                match self.scan(range.clone(), &mut pages) {
                    Ok(true) => continue,
                    Ok(false) => break,
                    Err(error) if is_unknown_to_kernel(&error) => self.can_scan = false,
                    Err(error) => return Err(error),
                }
            }
            words += (range.end - range.start) / PAGE_BYTES;
            if words > MAX_WORDS {
                pages.cut(
                    range
                        .start
                        .next_multiple_of(super::resident_pages::CHUNK_BYTES),
                );
                break;
            }
            if !self.read(range, &mut pages)? {
                break;
            }
        }
        Ok(pages)
    }

    /// Whether the kernel tells pages by runs; known once they were asked for.
    pub fn can_scan(&self) -> bool {
        self.can_scan
    }

    /// Adds the pages of a range, run by run; whether there was room.
    fn scan(&self, range: Range<u64>, pages: &mut ResidentPages) -> io::Result<bool> {
        let mut runs = [Run::default(); RUNS];
        let mut at = range.start;
        while at < range.end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                start: at,
                end: range.end.min(at.saturating_add(SCAN_BYTES)),
                vec: runs.as_mut_ptr() as u64,
                vec_len: RUNS as u64,
                category_inverted: IS_ZEROS,
                category_mask: IS_PRESENT | IS_ZEROS,
                return_mask: IS_PRESENT,
                ..Scan::default()
            };
            // SAFETY: the kernel writes at most `vec_len` runs to `vec`, and to `scan`, which both live
            // until it returns.
            let found =
                unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut scan) };
            let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
            for run in runs.iter().take(found) {
                if !pages.insert(run.start..run.end) {
                    return Ok(false);
                }
            }
            // It always gets on, or else would be asked for ever.
            if scan.walk_end <= at {
                return Err(io::ErrorKind::InvalidData.into());
            }
            at = scan.walk_end;
        }
        Ok(true)
    }

    /// Adds the pages of a range, word by word; whether there was room.
    fn read(&self, range: Range<u64>, pages: &mut ResidentPages) -> io::Result<bool> {
        let mut buffer = vec![0; WORDS as usize * 8];
        let mut page = range.start / PAGE_BYTES;
        let end = range.end / PAGE_BYTES;
        while page < end {
            let wanted = (end - page).min(WORDS) as usize * 8;
            let got = self.file.read_at(&mut buffer[..wanted], page * 8)?;
            // The program is gone.
            if got < 8 {
                break;
            }
            let (words, _) = buffer[..got].as_chunks::<8>();
            for run in present_runs(words.iter().map(|word| u64::from_ne_bytes(*word))) {
                let address = |index| (page + index) * PAGE_BYTES;
                if !pages.insert(address(run.start)..address(run.end)) {
                    return Ok(false);
                }
            }
            page += words.len() as u64;
        }
        Ok(true)
    }
}

/// Kernels before 6.7 have no such call.
fn is_unknown_to_kernel(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL))
}

/// Runs of pages that are in memory, by index.
fn present_runs(words: impl Iterator<Item = u64>) -> impl Iterator<Item = Range<u64>> {
    let mut words = (0..).zip(words).peekable();
    std::iter::from_fn(move || {
        let (start, _) = words.find(|(_, word)| word & PRESENT_BIT != 0)?;
        let mut end = start + 1;
        while words.next_if(|(_, word)| word & PRESENT_BIT != 0).is_some() {
            end += 1;
        }
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use memmap2::{Advice, MmapMut};

    use super::*;

    const PAGE: usize = PAGE_BYTES as usize;

    /// Of this process, with these pages written and these only read.
    fn mapped(pages: usize, written: &[usize], read: &[usize]) -> (MmapMut, Range<u64>) {
        let mut memory = MmapMut::map_anon(pages * PAGE).unwrap();
        memory.advise(Advice::NoHugePage).unwrap();
        for page in written {
            memory[page * PAGE] = 1;
        }
        for page in read {
            assert_eq!(std::hint::black_box(&memory)[page * PAGE], 0);
        }
        let start = memory.as_ptr() as u64;
        let range = start..start + (pages * PAGE) as u64;
        (memory, range)
    }

    fn this_process() -> Pagemap {
        Pagemap::open(Pid(std::process::id())).unwrap()
    }

    fn numbers(pages: &ResidentPages, start: u64) -> Vec<usize> {
        let pages = pages.pages_in(0..u64::MAX);
        pages
            .map(|page| ((page - start) / PAGE_BYTES) as usize)
            .collect()
    }

    #[test]
    fn pages_that_were_written_are_in_memory_and_those_that_were_only_read_are_not() {
        let written = [0, 1, 2, 600, 1023];
        let (_memory, range) = mapped(1024, &written, &[5, 6]);
        let mut pagemap = this_process();
        let pages = pagemap.resident([range.clone()]).unwrap();
        if pagemap.can_scan {
            assert_eq!(numbers(&pages, range.start), written);
        }
        assert_eq!(pages.end(), None);
    }

    #[test]
    fn words_tell_the_same_but_for_the_page_of_zeros() {
        let (_memory, range) = mapped(9000, &[1, 8191, 8192, 8999], &[3]);
        let mut pagemap = this_process();
        pagemap.can_scan = false;
        let pages = pagemap.resident([range.clone()]).unwrap();
        assert_eq!(numbers(&pages, range.start), [1, 3, 8191, 8192, 8999]);
    }

    #[test]
    fn many_short_runs_take_several_calls() {
        let every_second: Vec<usize> = (0..3 * RUNS).map(|run| 2 * run).collect();
        let (_memory, range) = mapped(6 * RUNS, &every_second, &[]);
        let pages = this_process().resident([range.clone()]).unwrap();
        assert_eq!(numbers(&pages, range.start), every_second);
    }

    #[test]
    fn of_more_addresses_than_are_read_the_rest_is_unknown() {
        let (_memory, range) = mapped(16, &[1], &[]);
        let mut pagemap = this_process();
        pagemap.can_scan = false;
        let beyond = range.end..range.end + MAX_WORDS * PAGE_BYTES;
        let pages = pagemap.resident([range.clone(), beyond]).unwrap();
        assert!(pages.end().is_some_and(|end| end >= range.end));
        assert!(pages.contains(range.start + PAGE_BYTES));
    }

    #[test]
    fn runs_are_told_from_words() {
        let present = PRESENT_BIT | 77;
        let words = [present, present, 0, 1 << 62, present];
        let runs: Vec<_> = present_runs(words.into_iter()).collect();
        assert_eq!(runs, [0..2, 4..5]);
        assert_eq!(present_runs([].into_iter()).count(), 0);
    }

    #[test]
    fn there_is_no_page_map_of_a_process_that_is_not_there() {
        let error = Pagemap::open(Pid(u32::MAX)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
