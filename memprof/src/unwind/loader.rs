//! Tables into the kernel: each file once, whoever maps it; each space's mappings as a whole.

use std::{collections::HashMap as StdHashMap, fs::File, os::unix::fs::FileExt as _};

use anyhow::Result;
use aya::{
    Pod,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use memprof_common::unwind::{
    Chunk, MAX_MAPPINGS, MAX_SEGMENTS, NO_EXE, Page, ProcessMappings, SEGMENT_CHUNKS,
    START_PADDING, page_key,
};

use super::{rows::compile, tables::Tables};
use crate::{
    identity::{Pid, SpaceId},
    target::{
        elf::{ElfReader, LoadSegment, UnwindSection, unwind_section_of_image},
        modules::{ModuleIndex, Modules, Place, Region},
    },
};

/// The largest vdso that is read; the kernel's has two pages of code.
const MAX_VDSO_BYTES: u64 = 1 << 20;

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
}

/// An executable whose tables are in the kernel.
#[derive(Clone, Copy)]
struct Executable {
    number: u32,
    /// The address that table pcs are relative to.
    image_address: u64,
}

/// What was loaded, and what found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderStats {
    /// Files with tables in the kernel.
    pub executables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Files whose unwind information could not be read or found no room.
    pub failed: u64,
    /// Mappings past [`MAX_MAPPINGS`] of their process.
    pub mappings_left_out: u64,
}

/// Puts tables and mappings into the kernel.
pub struct UnwindLoader {
    maps: UnwindMaps,
    open: Vec<Array<MapData, Plain<Chunk>>>,
    next_chunk: u32,
    next_number: u32,
    generation: u64,
    loaded: StdHashMap<ModuleIndex, Option<Executable>>,
    vdso: Option<Option<Executable>>,
    stats: LoaderStats,
}

impl UnwindLoader {
    /// Nothing loaded yet.
    pub fn new(maps: UnwindMaps) -> Self {
        Self {
            maps,
            open: Vec::new(),
            next_chunk: 0,
            next_number: NO_EXE + 1,
            generation: 0,
            loaded: StdHashMap::new(),
            vdso: None,
            stats: LoaderStats::default(),
        }
    }

    /// What was loaded so far.
    pub fn stats(&self) -> LoaderStats {
        self.stats
    }

    /// Tells the kernel what `space`, in which `pid` lives, has mapped, loading the tables of
    /// files that are new. `regions` are sorted by address.
    ///
    /// # Errors
    /// If the kernel has no room for the mappings.
    pub fn publish(
        &mut self,
        space: SpaceId,
        pid: Pid,
        regions: &[Region],
        modules: &Modules,
    ) -> Result<()> {
        self.generation += 1;
        let mut mappings = Box::new(ProcessMappings {
            generation: self.generation,
            count: 0,
            start: [START_PADDING; MAX_MAPPINGS],
            end: [0; MAX_MAPPINGS],
            bias: [0; MAX_MAPPINGS],
            exe: [NO_EXE; MAX_MAPPINGS],
        });
        let left_out = regions.len().saturating_sub(MAX_MAPPINGS) as u64;
        self.stats.mappings_left_out += left_out;
        // The page that x86-64 has for old system calls lies among the kernel's addresses, where
        // the search does not reach.
        let searched = regions.iter().filter(|region| region.end < START_PADDING);
        for (index, region) in searched.take(MAX_MAPPINGS).enumerate() {
            mappings.start[index] = region.start;
            mappings.end[index] = region.end;
            if let Some((executable, address)) = self.executable(pid, region, modules) {
                mappings.exe[index] = executable.number;
                let relative = address.wrapping_sub(executable.image_address);
                mappings.bias[index] = region.start.wrapping_sub(relative);
            }
            mappings.count += 1;
        }
        self.maps.mappings.insert(space.0, Plain(*mappings), 0)?;
        Ok(())
    }

    /// A space in which nothing happens any more.
    pub fn forget(&mut self, space: SpaceId) {
        // It may never have been published.
        let _ = self.maps.mappings.remove(&space.0);
    }

    /// The executable of a region, and the region's first address as the file has it.
    fn executable(
        &mut self,
        pid: Pid,
        region: &Region,
        modules: &Modules,
    ) -> Option<(Executable, u64)> {
        match region.place {
            Place::File {
                module,
                file_offset,
            } => {
                let facts = modules.get(module)?.facts()?.as_ref().ok()?;
                let address = address_of_mapping(&facts.segments, file_offset)?;
                let executable = match self.loaded.get(&module) {
                    Some(known) => *known,
                    None => {
                        let file = modules.get(module)?.file()?;
                        let executable = self.load_file(file);
                        self.loaded.insert(module, executable);
                        executable
                    }
                };
                Some((executable?, address))
            }
            Place::Vdso => {
                if self.vdso.is_none() {
                    self.vdso = Some(self.load_vdso(pid, region));
                }
                // The image of the vdso begins at its first address.
                let executable = self.vdso.flatten()?;
                Some((executable, executable.image_address))
            }
            _ => None,
        }
    }

    fn load_file(&mut self, file: &File) -> Option<Executable> {
        let reader = ElfReader::new(file);
        let section = reader.unwind_section();
        self.load(section.ok().flatten().as_ref())
    }

    fn load_vdso(&mut self, pid: Pid, region: &Region) -> Option<Executable> {
        let bytes = region.end.checked_sub(region.start)?.min(MAX_VDSO_BYTES);
        let mut image = vec![0; bytes as usize];
        let memory = File::open(format!("/proc/{}/mem", pid.0)).ok()?;
        memory.read_exact_at(&mut image, region.start).ok()?;
        self.load(unwind_section_of_image(&image).ok().flatten().as_ref())
    }

    fn load(&mut self, section: Option<&UnwindSection<'_>>) -> Option<Executable> {
        let loaded = section.and_then(|section| {
            let rows = compile(section);
            let tables = Tables::new(&rows.rows);
            let number = self.put(&tables).ok()?;
            self.stats.rows += rows.rows.len() as u64;
            Some(Executable {
                number,
                image_address: section.image_address,
            })
        });
        match loaded {
            Some(_) => self.stats.executables += 1,
            None => self.stats.failed += 1,
        }
        loaded
    }

    /// Puts one file's tables into the kernel; the executable's number. Chunks go first: a page
    /// must not name one that is not there.
    fn put(&mut self, tables: &Tables) -> Result<u32> {
        let first_chunk = self.next_chunk;
        for (number, chunk) in (first_chunk..).zip(&tables.chunks) {
            self.segment(number / SEGMENT_CHUNKS)?.set(
                number % SEGMENT_CHUNKS,
                Plain(*chunk),
                0,
            )?;
        }
        self.next_chunk += tables.chunks.len() as u32;
        let exe = self.next_number;
        self.next_number += 1;
        for (page_number, page) in &tables.pages {
            let key = page_key(
                exe,
                u64::from(*page_number) << memprof_common::unwind::PAGE_SHIFT,
            );
            let mut page = *page;
            page.first_chunk += first_chunk;
            self.maps.pages.insert(key, Plain(page), 0)?;
        }
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

/// The address, as the file has it, at which an executable mapping of `file_offset` starts. A
/// mapping starts at a page, its segment may start further in.
fn address_of_mapping(segments: &[LoadSegment], file_offset: u64) -> Option<u64> {
    let page = page_size::get() as u64;
    let segment = segments.iter().find(|segment| {
        let end = segment.file_offset.saturating_add(segment.file_size);
        segment.executable && segment.file_offset / page * page <= file_offset && file_offset < end
    })?;
    Some(
        segment
            .address
            .wrapping_sub(segment.file_offset)
            .wrapping_add(file_offset),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_starts_at_the_page_of_its_segment() {
        let code = LoadSegment {
            file_offset: 0x28a40,
            file_size: 0x1000,
            address: 0x2_9a40,
            executable: true,
        };
        let data = LoadSegment {
            file_offset: 0x28000,
            file_size: 0xa40,
            address: 0x2_8000,
            executable: false,
        };
        let segments = [data, code];
        assert_eq!(address_of_mapping(&segments, 0x28000), Some(0x2_9000));
        assert_eq!(address_of_mapping(&segments, 0x29000), Some(0x2_a000));
        assert_eq!(address_of_mapping(&segments, 0x2a000), None);
    }
}
