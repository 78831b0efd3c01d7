//! Who is traced, what they have mapped, and what is in those files.

pub mod elf;
pub mod memory_file;
pub mod part;
pub mod mappings;
pub mod mmap_records;
pub mod mmap_events;
pub mod perf_map_file;
pub mod modules;
pub mod resident_pages;
pub mod pagemap;
pub mod process;
pub mod cgroups;
pub mod scope;
pub mod memory_limit;
pub mod launch;
