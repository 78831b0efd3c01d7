//! Which of a process's executable mappings the kernel side is told of: it has room for
//! [`MAX_MAPPINGS`].

use std::sync::Arc;

use memprof_common::unwind::{MAX_MAPPINGS, START_PADDING};

use crate::target::modules::{Module, ModuleIndex, Modules, Place, Region};

/// Code that a process has mapped.
#[derive(Clone)]
pub struct MappedCode {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// What it is.
    pub code: Code,
}

/// What mapped code is.
#[derive(Clone)]
pub enum Code {
    /// A file's.
    File {
        /// Its name.
        module: ModuleIndex,
        /// The file.
        handle: Arc<Module>,
        /// Where in it the mapping starts, in bytes.
        file_offset: u64,
    },
    /// The kernel's shared object.
    Vdso,
    /// Nobody's who could give tables: made at run time, or in a file that is not at hand.
    Unknown,
}

impl MappedCode {
    fn of(region: &Region, modules: &Modules) -> Self {
        let code = match region.place {
            Place::File {
                module,
                file_offset,
            } => modules
                .handle(module)
                .map_or(Code::Unknown, |handle| Code::File {
                    module,
                    handle,
                    file_offset,
                }),
            Place::Vdso => Code::Vdso,
            _ => Code::Unknown,
        };
        Self {
            start: region.start,
            end: region.end,
            code,
        }
    }

    fn has_tables(&self) -> bool {
        !matches!(self.code, Code::Unknown)
    }
}

/// The mappings to tell of, by address, and how many there was no room for.
///
/// Just-in-time compilers make hundreds of small ones. Without tables, what matters of them is
/// only that there is code: neighbours become one, and if that is not enough, so do those with
/// nothing but data between them. Then files come first, and the lowest addresses.
pub fn choose<'a>(
    regions: impl Iterator<Item = &'a Region>,
    modules: &Modules,
) -> (Vec<MappedCode>, u64) {
    // The page that x86-64 has for old system calls lies among the kernel's addresses, where the
    // search does not reach.
    let searched = regions.filter(|region| region.end < START_PADDING);
    let mut all: Vec<MappedCode> = Vec::new();
    for region in searched {
        let mapped = MappedCode::of(region, modules);
        join(&mut all, mapped, |last, next| last.end == next.start);
    }
    if all.len() > MAX_MAPPINGS {
        let apart = std::mem::take(&mut all);
        for mapped in apart {
            join(&mut all, mapped, |_, _| true);
        }
    }
    let left_out = all.len().saturating_sub(MAX_MAPPINGS);
    let unknown = all.iter().filter(|mapped| !mapped.has_tables()).count();
    let mut unknown_left_out = left_out.min(unknown);
    all.retain(|mapped| {
        let keep = mapped.has_tables() || unknown_left_out == 0;
        unknown_left_out -= usize::from(!keep);
        keep
    });
    all.truncate(MAX_MAPPINGS);
    (all, left_out as u64)
}

/// Adds a mapping, to the last one if both have no tables and `may_join`.
fn join(
    all: &mut Vec<MappedCode>,
    next: MappedCode,
    may_join: impl Fn(&MappedCode, &MappedCode) -> bool,
) {
    match all.last_mut() {
        Some(last) if !last.has_tables() && !next.has_tables() && may_join(last, &next) => {
            last.end = next.end;
        }
        _ => all.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jit(start: u64, end: u64) -> Region {
        Region {
            start,
            end,
            place: Place::Jit,
        }
    }

    /// Stands for a library: it has tables of its own, and no neighbour is joined to it.
    fn library(start: u64, end: u64) -> Region {
        Region {
            start,
            end,
            place: Place::Vdso,
        }
    }

    fn chosen(regions: &[Region]) -> (Vec<(u64, u64, bool)>, u64) {
        let (mapped, left_out) = choose(regions.iter(), &Modules::default());
        let mapped = mapped.iter();
        let mapped = mapped.map(|one| (one.start, one.end, one.has_tables()));
        (mapped.collect(), left_out)
    }

    #[test]
    fn code_made_at_run_time_is_one_mapping_where_it_touches() {
        let regions = [
            library(0x1000, 0x2000),
            jit(0x2000, 0x3000),
            jit(0x3000, 0x4000),
            jit(0x5000, 0x6000),
            library(0x6000, 0x7000),
        ];
        let expected = [
            (0x1000, 0x2000, true),
            (0x2000, 0x4000, false),
            (0x5000, 0x6000, false),
            (0x6000, 0x7000, true),
        ];
        assert_eq!(chosen(&regions), (expected.to_vec(), 0));
    }

    #[test]
    fn the_page_for_old_system_calls_is_not_left_out_but_passed_over() {
        let regions = [
            library(0x1000, 0x2000),
            jit(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000),
        ];
        assert_eq!(chosen(&regions), (vec![(0x1000, 0x2000, true)], 0));
    }

    #[test]
    fn many_pieces_of_code_made_at_run_time_take_no_librarys_room() {
        let mut regions = vec![library(0x1000, 0x2000)];
        regions.extend((0..2000).map(|n| jit(0x10_0000 + n * 0x2000, 0x10_1000 + n * 0x2000)));
        regions.push(library(0x7f00_0000_0000, 0x7f00_0000_1000));
        let (mapped, left_out) = chosen(&regions);
        assert_eq!(left_out, 0);
        assert_eq!(
            mapped,
            [
                (0x1000, 0x2000, true),
                (0x10_0000, 0x10_1000 + 1999 * 0x2000, false),
                (0x7f00_0000_0000, 0x7f00_0000_1000, true),
            ]
        );
    }

    #[test]
    fn where_there_is_no_room_libraries_come_first_and_the_rest_is_counted() {
        let many = MAX_MAPPINGS as u64 + 10;
        let regions: Vec<Region> = (0..many)
            .flat_map(|n| {
                let start = 0x10_0000 + n * 0x4000;
                [
                    library(start, start + 0x1000),
                    jit(start + 0x2000, start + 0x3000),
                ]
            })
            .collect();
        let (mapped, left_out) = chosen(&regions);
        assert_eq!(mapped.len(), MAX_MAPPINGS);
        assert_eq!(left_out, 2 * many - MAX_MAPPINGS as u64);
        assert!(mapped.iter().all(|&(_, _, has_tables)| has_tables));
        // With as many libraries as there is room, and code between them.
        let (mapped, left_out) = chosen(&regions[..300]);
        assert_eq!(
            (mapped.len(), left_out),
            (MAX_MAPPINGS, 300 - MAX_MAPPINGS as u64)
        );
        assert_eq!(mapped.iter().filter(|one| one.2).count(), 150);
        assert!(mapped.is_sorted());
    }
}
