//! Tables into the kernel: equal ones once, whoever maps them; each space's mappings as a whole.

use std::{
    collections::HashMap,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    os::unix::fs::FileExt as _,
    time::Duration,
};

use memprof_common::unwind::{MAX_MAPPINGS, NO_EXE, PENDING_EXE, ProcessMappings, START_PADDING};
use nix::time::{ClockId, clock_gettime};

pub use super::kernel_tables::UnwindMaps;
use super::{
    kernel_tables::KernelTables,
    mapped::{Code, MappedCode},
    rows::compile,
    tables::Tables,
};
use crate::{
    identity::{Pid, SpaceId},
    target::{
        elf::{ElfError, ElfReader, LoadSegment, UnwindSection, unwind_section_of_image},
        mappings::{Backing, Mappings},
        modules::{Module, ModuleIndex},
    },
};

/// The largest vdso that is read; the kernel's has two pages of code.
const MAX_VDSO_BYTES: u64 = 1 << 20;

/// The most that the tables of one file may take in the kernel, in bytes: four million rows.
/// Browsers need half of it.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// Processor time that all files of a run may take to be loaded: what compilers make fills all room
/// in a tenth of it, so what takes longer is the targets' malice.
pub const MAX_LOADING: Duration = Duration::from_secs(30);

/// An executable whose tables are in the kernel.
#[derive(Clone, Copy)]
struct Executable {
    number: u32,
    /// The address that table pcs are relative to.
    image_address: u64,
}

/// A file whose tables are in the kernel.
struct Loaded {
    executable: Executable,
    segments: Vec<LoadSegment>,
}

/// What was loaded, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderStats {
    /// Different tables in the kernel.
    pub executables: u64,
    /// Files that have the same tables as another one.
    pub shared: u64,
    /// Rows in the tables.
    pub rows: u64,
    /// Files without unwind information.
    pub without: u64,
    /// Files whose unwind information could not be read.
    pub unreadable: u64,
    /// Files whose tables would take more than [`MAX_FILE_BYTES`].
    pub too_large: u64,
    /// Files whose tables found no room beside the others.
    pub no_room: u64,
    /// Files that were not loaded because the others had taken [`MAX_LOADING`].
    pub no_time: u64,
    /// Functions left out because their file reached a limit.
    pub functions_over_limit: u64,
    /// Rows left out of pages with too many.
    pub dense_rows: u64,
    /// Pages left out of files with too many.
    pub pages_over_limit: u64,
    /// The most executable mappings of one process at one time that the kernel side had no room
    /// for.
    pub mappings_left_out: u64,
    /// Times the kernel refused to take a process's mappings.
    pub refused: u64,
}

/// Why a file has no tables.
enum Failure {
    NoUnwindInformation,
    Unreadable,
    TooLarge,
    NoRoom,
}

/// Puts tables and mappings into the kernel.
pub struct UnwindLoader {
    kernel: KernelTables,
    loaded: HashMap<ModuleIndex, Option<Loaded>>,
    /// By what the tables are made from. Not by build id, which is whatever a file says it is.
    by_section: HashMap<u64, Option<Executable>>,
    /// Keyed at random: who doesn't know the key can't make two sections with one hash.
    section_hash: RandomState,
    vdso: Option<Option<Executable>>,
    loading: Duration,
    stats: LoaderStats,
}

impl UnwindLoader {
    /// Nothing loaded yet.
    pub fn new(maps: UnwindMaps) -> Self {
        Self {
            kernel: KernelTables::new(maps),
            loaded: HashMap::new(),
            by_section: HashMap::new(),
            section_hash: RandomState::new(),
            vdso: None,
            loading: Duration::ZERO,
            stats: LoaderStats::default(),
        }
    }

    /// What was loaded so far.
    pub fn stats(&self) -> LoaderStats {
        self.stats
    }

    /// Whether it is settled what tables a file has, if any.
    pub fn is_loaded(&self, module: ModuleIndex) -> bool {
        self.loaded.contains_key(&module)
    }

    /// Loads the tables of a file, unless it is settled that it has some or none.
    pub fn load(&mut self, module: ModuleIndex, handle: &Module) {
        if self.is_loaded(module) {
            return;
        }
        let start = processor_time();
        let loaded = match handle.file() {
            Some(_) if self.loading > MAX_LOADING => {
                self.stats.no_time += 1;
                None
            }
            Some(file) => {
                let reader = ElfReader::new(file);
                let section = reader.unwind_section();
                self.load_section(&section).map(|executable| Loaded {
                    executable,
                    segments: reader.code_segments().unwrap_or_default(),
                })
            }
            None => {
                self.stats.unreadable += 1;
                None
            }
        };
        self.loading += processor_time().saturating_sub(start);
        self.loaded.insert(module, loaded);
    }

    /// Tells the kernel what `space` has mapped, by address; `left_out` is how much more there is.
    /// Files that are not loaded yet are marked as such.
    pub fn publish(&mut self, space: SpaceId, mapped: &[MappedCode], left_out: u64) {
        self.stats.mappings_left_out = self.stats.mappings_left_out.max(left_out);
        let mut mappings = Box::new(ProcessMappings {
            generation: 0,
            count: mapped.len().min(MAX_MAPPINGS) as u64,
            start: [START_PADDING; MAX_MAPPINGS],
            end: [0; MAX_MAPPINGS],
            bias: [0; MAX_MAPPINGS],
            exe: [NO_EXE; MAX_MAPPINGS],
        });
        for (index, mapped) in mapped.iter().take(MAX_MAPPINGS).enumerate() {
            mappings.start[index] = mapped.start;
            mappings.end[index] = mapped.end;
            (mappings.exe[index], mappings.bias[index]) = self.tables_of(mapped);
        }
        if self.kernel.set_mappings(space, mappings).is_err() {
            self.stats.refused += 1;
        }
    }

    /// A space in which nothing happens any more.
    pub fn forget(&mut self, space: SpaceId) {
        self.kernel.remove_mappings(space);
    }

    /// Makes room for the next tables, which takes the kernel some milliseconds: better now than
    /// when somebody waits for them.
    pub fn make_room(&mut self) {
        self.kernel.make_room();
    }

    /// The number of a mapping's executable, and its bias.
    fn tables_of(&mut self, mapped: &MappedCode) -> (u32, u64) {
        let tables = match &mapped.code {
            Code::File {
                module,
                file_offset,
                ..
            } => match self.loaded.get(module) {
                Some(Some(loaded)) => address_of_mapping(&loaded.segments, *file_offset)
                    .map(|address| (loaded.executable, address)),
                Some(None) => None,
                None => return (PENDING_EXE, 0),
            },
            Code::Vdso => {
                if self.vdso.is_none() {
                    self.vdso = Some(self.load_vdso());
                }
                // The image of the vdso begins at its first address.
                let executable = self.vdso.flatten();
                executable.map(|executable| (executable, executable.image_address))
            }
            Code::Unknown => None,
        };
        tables.map_or((NO_EXE, 0), |(executable, address)| {
            let relative = address.wrapping_sub(executable.image_address);
            (executable.number, mapped.start.wrapping_sub(relative))
        })
    }

    /// The kernel maps the same one into all processes. Ours is not a target's to write to.
    fn load_vdso(&mut self) -> Option<Executable> {
        let mappings = Mappings::read(Pid(std::process::id())).ok()?;
        let mut vdso = mappings.iter().filter(|one| one.backing == Backing::Vdso);
        let vdso = vdso.next()?;
        let bytes = (vdso.end - vdso.start).min(MAX_VDSO_BYTES);
        let mut image = vec![0; bytes as usize];
        let memory = File::open("/proc/self/mem").ok()?;
        memory.read_exact_at(&mut image, vdso.start).ok()?;
        self.load_section(&unwind_section_of_image(&image))
    }

    fn load_section(
        &mut self,
        section: &Result<Option<UnwindSection<'_>>, ElfError>,
    ) -> Option<Executable> {
        let outcome = match section {
            // Any file may be mapped.
            Ok(None) | Err(ElfError::NotElf) => Err(Failure::NoUnwindInformation),
            Err(_) => Err(Failure::Unreadable),
            Ok(Some(section)) => {
                let hash = self.section_hash.hash_one(section);
                if let Some(known) = self.by_section.get(&hash) {
                    self.stats.shared += u64::from(known.is_some());
                    return *known;
                }
                let made = self.make(section);
                self.by_section.insert(hash, made.as_ref().ok().copied());
                made
            }
        };
        match outcome {
            Ok(executable) => {
                self.stats.executables += 1;
                return Some(executable);
            }
            Err(Failure::NoUnwindInformation) => self.stats.without += 1,
            Err(Failure::Unreadable) => self.stats.unreadable += 1,
            Err(Failure::TooLarge) => self.stats.too_large += 1,
            Err(Failure::NoRoom) => self.stats.no_room += 1,
        }
        None
    }

    fn make(&mut self, section: &UnwindSection<'_>) -> Result<Executable, Failure> {
        let rows = compile(section);
        let tables = Tables::new(&rows.rows);
        if tables.bytes() > MAX_FILE_BYTES {
            return Err(Failure::TooLarge);
        }
        let number = self.kernel.put(&tables).map_err(|_| Failure::NoRoom)?;
        self.stats.rows += rows.stats.rows;
        self.stats.functions_over_limit += rows.stats.over_limit;
        self.stats.dense_rows += tables.dense_rows;
        self.stats.pages_over_limit += tables.pages_over_limit;
        Ok(Executable {
            number,
            image_address: section.image_address,
        })
    }
}

/// What the calling thread has had of the processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
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
