//! Names of code that was made at run time: the perf maps of all processes of a run, read as they
//! grow, kept when they are gone.

use std::sync::Arc;

use super::perf_map::PerfMap;
use crate::target::modules::FoundPerfMap;
use crate::target::perf_map_file::PerfMapIndex;

/// What one perf map may take, in bytes; further functions have no name.
pub const MAX_PERF_MAP_BYTES: u64 = 64 << 20;
/// What all perf maps of a run may take, in bytes; further functions have no name.
pub const MAX_ALL_PERF_MAPS_BYTES: u64 = 256 << 20;
/// What is read of perf maps at one look, in bytes; the rest waits for the next.
/// (A core parses some 100 MB a second.)
pub(super) const MAX_READ_AT_ONCE: u64 = 8 << 20;
/// Looks for one report; what is unread then names nothing in it.
pub(super) const MAX_LOOKS: usize = 8;

/// The perf maps of a run.
#[derive(Default)]
pub(super) struct JitNames {
    maps: Vec<(FoundPerfMap, PerfMap)>,
    held_bytes: u64,
}

impl JitNames {
    /// Adds perf maps that were found, in the order of their indices.
    pub(super) fn add(&mut self, found: Vec<FoundPerfMap>) {
        let empty = found.into_iter().map(|found| (found, PerfMap::default()));
        self.maps.extend(empty);
    }

    /// Reads what is new in them; whether that was all.
    pub(super) fn read(&mut self) -> bool {
        let mut left = MAX_READ_AT_ONCE;
        for (found, map) in &mut self.maps {
            if found.file.is_over() {
                continue;
            }
            let others = self.held_bytes - map.held_bytes();
            let room = MAX_ALL_PERF_MAPS_BYTES.saturating_sub(others);
            let limit = room.min(MAX_PERF_MAP_BYTES);
            left -= found.file.read_new(left, |text| map.read(text, limit));
            self.held_bytes = others + map.held_bytes();
        }
        left > 0
    }

    /// Reads on until all is read; whether it came to that.
    pub(super) fn read_all(&mut self) -> bool {
        (0..MAX_LOOKS).any(|_| self.read())
    }

    /// The name of the code at an address in a process with that perf map.
    pub(super) fn find(&self, index: PerfMapIndex, address: u64) -> Option<&Arc<str>> {
        let mut next = Some(index);
        while let Some(index) = next {
            let (found, map) = self.maps.get(usize::from(index.0))?;
            if let Some(name) = map.find(address) {
                return Some(name);
            }
            // Always an earlier one, so there is an end.
            next = found.inherited.filter(|inherited| *inherited < index);
        }
        None
    }

    /// Functions for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.maps.iter().map(|(_, map)| map.left_out()).sum()
    }
}
