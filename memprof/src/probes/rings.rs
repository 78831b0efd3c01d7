//! The rings of the frequent records, one per CPU: as large as the number of CPUs allows at first, and
//! larger where they fill. The kernel takes the memory of a ring when it is made.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{ArrayOfMaps, MapData},
    util::online_cpus,
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use memprof_common::settings::MAX_RINGS;

/// What all rings may take when they are made.
const FIRST_BYTES: u32 = 64 << 20;
/// The smallest and the largest ring that is made at first. 8 MiB are over 200,000 records, a third of
/// a second of a CPU that does nothing but allocate.
const SMALLEST: u32 = 256 << 10;
const LARGEST_FIRST: u32 = 8 << 20;
/// The largest ring, and what all may take.
const LARGEST: u32 = 64 << 20;
const MOST_BYTES: u64 = 256 << 20;
/// By how much a ring grows at once.
const GROWTH: u32 = 4;

/// A ring buffer map, for whoever reads it.
#[derive(Debug)]
pub struct RingMap {
    /// The map.
    pub fd: OwnedFd,
    /// Its size.
    pub bytes: u32,
    /// Whose frequent records come through it; `None` for a ring of another kind.
    pub cpu: Option<u32>,
}

impl RingMap {
    pub(super) fn of(map: &MapData, bytes: u32, cpu: Option<u32>) -> Result<Self> {
        let fd = map.fd().as_fd().try_clone_to_owned();
        let fd = fd.context("cannot hold on to a ring")?;
        Ok(Self { fd, bytes, cpu })
    }
}

/// The rings. The kernel lets go of them when this is dropped, so the gate is closed by then.
pub struct Rings {
    outer: ArrayOfMaps<MapData, MapData>,
    total_bytes: u64,
    /// Rings that nobody has begun to read.
    unread: Vec<RingMap>,
}

/// Bytes of each ring at first, of so many.
pub fn first_ring_bytes(rings: u32) -> u32 {
    let share = FIRST_BYTES / rings.max(1);
    let power = 1 << share.max(1).ilog2();
    u32::clamp(power, SMALLEST, LARGEST_FIRST)
}

/// CPUs that are online.
///
/// # Errors
/// If they cannot be listed, or one is beyond [`MAX_RINGS`].
pub fn cpus() -> Result<Vec<u32>> {
    let cpus = online_cpus()
        .map_err(|(_, error)| error)
        .context("cannot list the CPUs")?;
    match cpus.iter().find(|cpu| **cpu >= MAX_RINGS) {
        Some(cpu) => bail!("CPU {cpu} is beyond the {MAX_RINGS} that memprof has rings for"),
        None => Ok(cpus),
    }
}

impl Rings {
    /// Makes a ring of `bytes` (a power of two, whole pages) for each CPU that is online.
    pub(super) fn make(outer: ArrayOfMaps<MapData, MapData>, bytes: u32) -> Result<Self> {
        let mut rings = Self {
            outer,
            total_bytes: 0,
            unread: Vec::new(),
        };
        for cpu in cpus()? {
            let ring = rings.put(cpu, bytes)?;
            rings.unread.push(ring);
        }
        Ok(rings)
    }

    /// A ring that is not one of a CPU.
    pub(super) fn add(&mut self, ring: RingMap) {
        self.total_bytes += u64::from(ring.bytes);
        self.unread.push(ring);
    }

    /// The rings that nobody has begun to read.
    pub fn take(&mut self) -> Vec<RingMap> {
        std::mem::take(&mut self.unread)
    }

    /// What all rings take, bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// A larger ring in place of one that fills; `None` if it has reached its limit, or all together
    /// have, or it is no CPU's. What the old one holds is still to be read.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn grow(&mut self, old: &RingMap) -> Result<Option<RingMap>> {
        let bytes = old.bytes.saturating_mul(GROWTH).min(LARGEST);
        let total = self.total_bytes + u64::from(bytes);
        match old.cpu {
            Some(cpu) if bytes > old.bytes && total <= MOST_BYTES => self.put(cpu, bytes).map(Some),
            _ => Ok(None),
        }
    }

    /// A ring that was read to its end, and that nothing comes through any more.
    pub fn let_go(&mut self, ring: RingMap) {
        self.total_bytes -= u64::from(ring.bytes);
    }

    fn put(&mut self, cpu: u32, bytes: u32) -> Result<RingMap> {
        let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
        let map = MapData::create(definition, "memprof_ring", None)
            .with_context(|| format!("cannot make a ring of {bytes} bytes"))?;
        // The kernel waits for the programs that still write to the old one.
        self.outer.set(cpu, &map, 0)?;
        self.total_bytes += u64::from(bytes);
        RingMap::of(&map, bytes, Some(cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_cpus_the_smaller_their_rings_are_at_first() {
        let sizes = [1, 2, 8, 9, 64, 512, 100_000].map(first_ring_bytes);
        let mib = 1 << 20;
        assert_eq!(
            sizes,
            [8 * mib, 8 * mib, 8 * mib, 4 * mib, mib, SMALLEST, SMALLEST]
        );
        assert!(sizes.iter().all(|bytes| bytes.is_power_of_two()));
    }
}
