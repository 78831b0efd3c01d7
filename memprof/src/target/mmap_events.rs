//! Perf events of our own that tell of executable mappings as they come, on the whole machine.
//!
//! One event per CPU, of no process: only such events see the mappings of children and of programs
//! that a process becomes, without a moment in between. The price is one record, a wakeup of the
//! reader, for every executable mapping, and for every process and thread that is made, renamed or
//! ends, anywhere; nothing for other memory and for system calls. Whom a record is about is picked
//! by the reader.
//!
//! What is unmapped leaves no record. It need not: what is not there is not run, and what is
//! mapped there next is told.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::from_ref,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::util::online_cpus;
use aya_obj::generated::{
    PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_event_mmap_page,
    perf_event_sample_format::PERF_SAMPLE_TIME, perf_sw_ids::PERF_COUNT_SW_DUMMY,
    perf_type_id::PERF_TYPE_SOFTWARE,
};
use memmap2::{MmapMut, MmapOptions};

use super::mmap_records::{CodeEvent, HEADER_BYTES, Record, decode, record_size};

/// Bytes of one CPU's ring: about a thousand records. What finds it full is lost, and everything
/// mapped is read again. A power of two, and a quarter of what the kernel lets any user lock.
const RING_BYTES: usize = 128 << 10;
/// A ring that held more than this may have lost records that nothing tells of yet: the kernel
/// does so with the next record that finds room. A record has at most a path's 4 KiB and a head.
const FULL_BYTES: u64 = RING_BYTES as u64 - (8 << 10);

/// The events, one per CPU, and their rings.
pub struct MmapEvents {
    rings: Vec<PerfRing>,
}

/// What a look at the rings found, beside the records themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Records that found no room, or were none.
    pub lost: u64,
    /// Records may be missing, whether or not any is counted as lost yet.
    pub incomplete: bool,
}

impl MmapEvents {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the kernel refuses: no `CAP_PERFMON`, no perf events at all.
    pub fn open() -> io::Result<Self> {
        let cpus = online_cpus().map_err(|(_, error)| error)?;
        let rings = cpus.into_iter().map(PerfRing::open);
        Ok(Self {
            rings: rings.collect::<io::Result<_>>()?,
        })
    }

    /// What becomes readable when there is a record.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.fd.as_fd())
    }

    /// Takes what has come since the last time, of each ring at most what it held at that moment,
    /// and puts it into the order of time.
    pub fn read(&mut self) -> (Vec<CodeEvent>, Look) {
        let mut events = Vec::new();
        let mut look = Look::default();
        for ring in &mut self.rings {
            ring.read(&mut events, &mut look);
        }
        look.incomplete |= look.lost > 0;
        events.sort_by_key(|event| event.time);
        (events, look)
    }
}

struct PerfRing {
    fd: OwnedFd,
    memory: MmapMut,
    data_offset: usize,
    record: Vec<u8>,
}

impl PerfRing {
    fn open(cpu: u32) -> io::Result<Self> {
        let mut attributes = perf_event_attr {
            type_: PERF_TYPE_SOFTWARE as u32,
            size: size_of::<perf_event_attr>() as u32,
            config: PERF_COUNT_SW_DUMMY as u64,
            sample_type: PERF_SAMPLE_TIME as u64,
            clockid: libc::CLOCK_MONOTONIC,
            // SAFETY: integers, bit fields and unions of integers, for which 0 means "not asked
            // for".
            ..unsafe { std::mem::zeroed() }
        };
        attributes.set_mmap(1);
        attributes.set_mmap2(1);
        attributes.set_comm(1);
        attributes.set_comm_exec(1);
        attributes.set_sample_id_all(1);
        attributes.set_use_clockid(1);
        // `wakeup_events` counts samples, of which there are none; every byte wakes.
        attributes.set_watermark(1);
        attributes.__bindgen_anon_2.wakeup_watermark = 1;
        // SAFETY: the structure outlives the call, and its size is in it.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                from_ref(&attributes),
                -1_i32,
                cpu as i32,
                -1_i32,
                u64::from(PERF_FLAG_FD_CLOEXEC),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let data_offset = page_size::get();
        let length = data_offset + RING_BYTES;
        // SAFETY: kernel memory that no file truncation can take away. The kernel writes the
        // data; every access goes through the two positions, by atomics.
        let memory = unsafe { MmapOptions::new().len(length).map_mut(fd.as_raw_fd())? };
        Ok(Self {
            fd,
            memory,
            data_offset,
            record: Vec::new(),
        })
    }

    fn head(&self) -> u64 {
        let page = self.memory.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the first page of a live mapping has this layout, and the field is aligned.
        unsafe { &*(&raw const (*page).data_head).cast::<AtomicU64>() }.load(Ordering::Acquire)
    }

    fn tail(&self) -> &AtomicU64 {
        let page = self.memory.as_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: as above; only this field is ours to write.
        unsafe { &*(&raw const (*page).data_tail).cast::<AtomicU64>() }
    }

    fn read(&mut self, events: &mut Vec<CodeEvent>, look: &mut Look) {
        let head = self.head();
        let mut tail = self.tail().load(Ordering::Relaxed);
        look.incomplete |= head.saturating_sub(tail) > FULL_BYTES;
        let mut header = [0; HEADER_BYTES];
        while tail < head {
            self.copy(tail, &mut header);
            let size = record_size(&header).filter(|&size| size as u64 <= head - tail);
            let Some(size) = size else {
                // The kernel writes whole records; what is none leaves no way to the next.
                look.lost += 1;
                tail = head;
                break;
            };
            let mut record = std::mem::take(&mut self.record);
            record.resize(size, 0);
            self.copy(tail, &mut record);
            match decode(&record) {
                Some(Record::Code(event)) => events.push(event),
                Some(Record::Lost(records)) => look.lost += records,
                Some(Record::Other) => {}
                None => look.lost += 1,
            }
            self.record = record;
            tail += size as u64;
        }
        // After the records were copied: the kernel may write over them from here on.
        self.tail().store(tail, Ordering::Release);
    }

    /// Copies from the ring, which may wrap around.
    fn copy(&self, position: u64, to: &mut [u8]) {
        let data = &self.memory[self.data_offset..];
        let start = position as usize & (RING_BYTES - 1);
        let first = to.len().min(RING_BYTES - start);
        let (left, right) = to.split_at_mut(first);
        left.copy_from_slice(&data[start..start + first]);
        right.copy_from_slice(&data[..right.len()]);
    }
}

const _: () = assert!(RING_BYTES.is_power_of_two());
