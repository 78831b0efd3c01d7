//! How files of the target are read: by `pread`, and not more than a budget.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::read::{ReadCache, ReadCacheOps, ReadRef};

/// `pread` as [`ReadCache`] wants it. No shared file position: the handle is shared by others.
pub(super) struct Pread<'file> {
    pub(super) file: &'file File,
    pub(super) position: u64,
}

impl ReadCacheOps for Pread<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file.metadata().map(|data| data.len()).map_err(|_| ())
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let count = self.file.read_at(buffer, self.position).map_err(|_| ())?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.file
            .read_exact_at(buffer, self.position)
            .map_err(|_| ())?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

/// A reference to the cache that stops when the budget is spent: [`ReadCache`] itself would grow
/// with every overlapping read that a malformed file asks for.
#[derive(Clone, Copy)]
pub(super) struct Bounded<'a, 'file> {
    pub(super) cache: &'a ReadCache<Pread<'file>>,
    pub(super) budget: &'a Cell<u64>,
}

impl Bounded<'_, '_> {
    fn spend(self, bytes: u64) -> Result<(), ()> {
        let left = self.budget.get().checked_sub(bytes).ok_or(())?;
        self.budget.set(left);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Bounded<'a, '_> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // What ReadCache reads at a time when it looks for the end of a string.
        self.spend(256)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
