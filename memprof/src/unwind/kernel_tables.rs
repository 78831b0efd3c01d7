//! The kernel's maps for unwinding: tables are put in once, mappings are replaced as a whole.

use anyhow::Result;
use aya::{
    Pod,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use memprof_common::unwind::{
    Chunk, MAX_SEGMENTS, NO_EXE, PAGE_SHIFT, Page, ProcessMappings, SEGMENT_CHUNKS, page_key,
};

use super::tables::Tables;
use crate::identity::SpaceId;

/// A plain type of `memprof-common` on its way into a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Plain<T>(T);
// SAFETY: `repr(C)` structures of integers without padding.
unsafe impl Pod for Plain<Chunk> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Page> {}
// SAFETY: as above.
unsafe impl Pod for Plain<ProcessMappings> {}

/// The kernel's maps for unwinding, as they come from the loaded object.
pub struct UnwindMaps {
    /// Segments of chunks.
    pub segments: ArrayOfMaps<MapData, Array<MapData, Plain<Chunk>>>,
    /// Pages by [`page_key`].
    pub pages: HashMap<MapData, u64, Plain<Page>>,
    /// Mappings by address space.
    pub mappings: HashMap<MapData, u32, Plain<ProcessMappings>>,
    /// Another number whenever `mappings` has changed: the programs remember what they found there.
    pub mappings_version: Array<MapData, u64>,
}

/// What is in the maps.
pub(super) struct KernelTables {
    maps: UnwindMaps,
    open: Vec<Array<MapData, Plain<Chunk>>>,
    next_chunk: u32,
    next_number: u32,
    generation: u64,
    mappings_version: u64,
}

impl KernelTables {
    /// Nothing in them yet.
    pub(super) fn new(maps: UnwindMaps) -> Self {
        Self {
            maps,
            open: Vec::new(),
            next_chunk: 0,
            next_number: NO_EXE + 1,
            generation: 0,
            mappings_version: 0,
        }
    }

    /// Replaces the mappings of a space, unless they are the same.
    pub(super) fn set_mappings(
        &mut self,
        space: SpaceId,
        mut mappings: Box<ProcessMappings>,
    ) -> Result<()> {
        // A forked child has its parent's already; and a new generation costs all that is
        // remembered of the old one.
        if let Ok(Plain(current)) = self.maps.mappings.get(&space.0, 0) {
            mappings.generation = current.generation;
            if *mappings == current {
                return Ok(());
            }
        }
        self.generation += 1;
        mappings.generation = self.generation;
        self.maps.mappings.insert(space.0, Plain(*mappings), 0)?;
        self.tell_change()
    }

    /// Only after the change: who sees the new number finds the new mappings.
    fn tell_change(&mut self) -> Result<()> {
        self.mappings_version += 1;
        let version = &mut self.maps.mappings_version;
        Ok(version.set(0, self.mappings_version, 0)?)
    }

    /// Removes the mappings of a space, if there are any.
    pub(super) fn remove_mappings(&mut self, space: SpaceId) {
        // It may never have been published.
        let _ = self.maps.mappings.remove(&space.0);
        // Refused: then what is remembered is of a space that has ended.
        let _ = self.tell_change();
    }

    /// Makes room for the next tables, which takes the kernel some milliseconds: better now than
    /// when somebody waits for them.
    pub(super) fn make_room(&mut self) {
        // Refused: then so will be the tables, and be counted.
        let _ = self.segment(self.next_chunk / SEGMENT_CHUNKS + 1);
    }

    /// Puts one file's tables into the kernel; the executable's number. Chunks go first: a page
    /// must not name one that is not there.
    pub(super) fn put(&mut self, tables: &Tables) -> Result<u32> {
        let first_chunk = self.next_chunk;
        let end = first_chunk as usize + tables.chunks.len();
        anyhow::ensure!(
            end <= (MAX_SEGMENTS * SEGMENT_CHUNKS) as usize,
            "no room for more unwind tables"
        );
        for (number, chunk) in (first_chunk..).zip(&tables.chunks) {
            self.segment(number / SEGMENT_CHUNKS)?.set(
                number % SEGMENT_CHUNKS,
                Plain(*chunk),
                0,
            )?;
        }
        let exe = self.next_number;
        let mut put = Vec::with_capacity(tables.pages.len());
        for (page_number, page) in &tables.pages {
            let key = page_key(exe, u64::from(*page_number) << PAGE_SHIFT);
            let mut page = *page;
            page.first_chunk += first_chunk;
            if let Err(error) = self.maps.pages.insert(key, Plain(page), 0) {
                for key in put {
                    // What the kernel has just taken it also gives back.
                    let _ = self.maps.pages.remove(&key);
                }
                return Err(error.into());
            }
            put.push(key);
        }
        self.next_chunk = end as u32;
        self.next_number += 1;
        Ok(exe)
    }

    fn segment(&mut self, number: u32) -> Result<&mut Array<MapData, Plain<Chunk>>> {
        anyhow::ensure!(number < MAX_SEGMENTS, "no room for more unwind tables");
        while self.open.len() <= number as usize {
            let segment = Array::create(SEGMENT_CHUNKS, 0)?;
            self.maps
                .segments
                .set(self.open.len() as u32, &segment, 0)?;
            self.open.push(segment);
        }
        Ok(&mut self.open[number as usize])
    }
}
