//! The only file that polls: BPF ring buffers, read in place, with what is known of how far.
//!
//! The reader is our own for one reason: events of several rings are merged by time, so it must
//! tell "nothing more" from "a record that is reserved and not yet committed", which
//! `aya::maps::RingBuf` does not; and it gives room back once a batch, not once a record.
//! Layout and memory order: `kernel/bpf/ringbuf.c`.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bit of a record's length: reserved, not yet committed.
const BUSY: u32 = 1 << 31;
/// Bit of a record's length: given up by its writer.
const DISCARDED: u32 = 1 << 30;
/// Bytes before each record's payload.
const HEADER: u64 = 8;

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// Nothing was left.
    Drained,
    /// At a record that its writer has not committed yet, or at the limit of the batch.
    MoreToCome,
}

/// One BPF ring buffer, mapped; the only consumer of it.
pub struct Ring {
    consumer: MmapMut,
    producer: Mmap,
    page: usize,
    size: u64,
    position: u64,
}

impl Ring {
    /// Maps the ring buffer map `fd` of `size` bytes.
    ///
    /// # Errors
    /// If the kernel refuses the mapping: no ring buffer, or another size.
    pub fn map(fd: BorrowedFd<'_>, size: u32) -> io::Result<Self> {
        let page = page_size::get();
        let size = size as usize;
        if !size.is_power_of_two() || !size.is_multiple_of(page) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a ring's size is a power of two and a multiple of the page size",
            ));
        }
        // SAFETY: the mapping is of kernel memory that no file truncation can take away; the
        // kernel writes it, and every access below goes through atomics or stays behind them.
        let consumer = unsafe { MmapOptions::new().len(page).map_mut(fd.as_raw_fd())? };
        // SAFETY: as above. The data pages are mapped twice in a row, so that a record which
        // wraps around is contiguous.
        let producer = unsafe {
            MmapOptions::new()
                .offset(page as u64)
                .len(page + 2 * size)
                .map(fd.as_raw_fd())?
        };
        let mut ring = Self {
            consumer,
            producer,
            page,
            size: size as u64,
            position: 0,
        };
        ring.position = ring.consumer_position().load(Ordering::Acquire);
        Ok(ring)
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the first word of a page-aligned, live mapping.
        unsafe { &*self.consumer.as_ptr().cast::<AtomicU64>() }
    }

    fn producer_position(&self) -> u64 {
        // SAFETY: the first word of a page-aligned, live mapping.
        unsafe { &*self.producer.as_ptr().cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    /// Bytes waiting to be read.
    pub fn waiting(&self) -> u64 {
        self.producer_position().saturating_sub(self.position)
    }

    /// The share of the ring that waits to be read.
    pub fn fill(&self) -> f64 {
        self.waiting() as f64 / self.size as f64
    }

    /// Hands up to `limit` records to `each`, oldest first, then gives their room back.
    pub fn read(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> BatchEnd {
        let end = self.producer_position();
        let data = &self.producer[self.page..];
        let mut position = self.position;
        let mut left = limit;
        let mut result = BatchEnd::Drained;
        while position < end {
            if left == 0 {
                result = BatchEnd::MoreToCome;
                break;
            }
            left -= 1;
            let start = (position & (self.size - 1)) as usize;
            // SAFETY: records start at multiples of eight inside the mapped data.
            let header = unsafe { &*data.as_ptr().add(start).cast::<AtomicU32>() };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                result = BatchEnd::MoreToCome;
                break;
            }
            let length = u64::from(header & !(BUSY | DISCARDED));
            let payload = start + HEADER as usize;
            // Only the kernel writes lengths; one beyond the mapping would be its error, and is
            // handed on as an empty record, which no decoder takes.
            let bytes = data.get(payload..payload + length as usize).unwrap_or(&[]);
            if header & DISCARDED == 0 {
                each(bytes);
            }
            position += (HEADER + length).next_multiple_of(8);
        }
        if position != self.position {
            self.position = position;
            // After the records were read: the kernel may write over them from here on.
            self.consumer_position().store(position, Ordering::Release);
        }
        result
    }
}
