//! The executable mappings of one address space, by address. What is mapped over a region takes
//! its place.

use std::collections::{BTreeMap, HashMap};

use super::{ModuleIndex, Place};
use crate::target::mappings::FileId;

/// An executable mapping and where its addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Where its first address is.
    pub place: Place,
}

impl Region {
    /// The part of it from `start` on, which must be in it.
    fn from(mut self, start: u64) -> Self {
        if let Place::File { file_offset, .. } = &mut self.place {
            // Past the end of any file, if it is beyond 64 bits.
            *file_offset = file_offset.saturating_add(start - self.start);
        }
        self.start = start;
        self
    }
}

/// What stays as it is until an exec: the vdso never moves, the executable never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) vdso: Option<u64>,
    pub(super) executable: Option<(u64, u64)>,
}

/// The executable mappings of one address space at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// By first address, disjoint.
    regions: BTreeMap<u64, Region>,
    /// The files of them that are open.
    pub(super) modules: HashMap<FileId, ModuleIndex>,
    /// The module of the vdso.
    pub(super) vdso: Option<ModuleIndex>,
    pub(super) image: Image,
}

impl Layout {
    /// Nothing mapped yet.
    pub(super) fn of(image: Image) -> Self {
        Self {
            image,
            ..Self::default()
        }
    }

    /// Puts a region in place of what is there; whether that changed anything.
    pub(super) fn insert(&mut self, region: Region) -> bool {
        if region.start >= region.end || self.regions.get(&region.start) == Some(&region) {
            return false;
        }
        let before = self.regions.range_mut(..region.start).next_back();
        if let Some((_, before)) = before
            && before.end > region.start
        {
            let cut = *before;
            before.end = region.start;
            if cut.end > region.end {
                self.regions.insert(region.end, cut.from(region.end));
            }
        }
        while let Some((&start, &covered)) = self.regions.range(region.start..region.end).next() {
            self.regions.remove(&start);
            if covered.end > region.end {
                self.regions.insert(region.end, covered.from(region.end));
            }
        }
        self.regions.insert(region.start, region);
        true
    }

    /// Puts in a region unless something else is there.
    pub(super) fn insert_if_free(&mut self, region: Region) -> bool {
        let mut below = self.regions.range(..region.end);
        let free = below
            .next_back()
            .is_none_or(|(_, last)| last.end <= region.start);
        free && self.insert(region)
    }

    pub(super) fn find(&self, address: u64) -> Option<Place> {
        let (_, region) = self.regions.range(..=address).next_back()?;
        let within = (address < region.end).then(|| address - region.start)?;
        Some(match region.place {
            Place::File {
                module,
                file_offset,
            } => Place::File {
                module,
                file_offset: file_offset.checked_add(within)?,
            },
            // Its image begins at its first address.
            Place::Vdso => self.vdso.map_or(Place::Vdso, |module| Place::File {
                module,
                file_offset: within,
            }),
            other => other,
        })
    }

    pub(super) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.values()
    }

    pub(super) fn len(&self) -> usize {
        self.regions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, end: u64, module: u32, file_offset: u64) -> Region {
        Region {
            start,
            end,
            place: Place::File {
                module: ModuleIndex(module),
                file_offset,
            },
        }
    }

    fn layout(regions: &[Region]) -> Layout {
        let mut layout = Layout::default();
        for &region in regions {
            assert!(layout.insert(region));
        }
        layout
    }

    fn all(layout: &Layout) -> Vec<Region> {
        layout.regions().copied().collect()
    }

    #[test]
    fn a_region_takes_the_place_of_what_it_covers() {
        let mut layout = layout(&[file(0x1000, 0x2000, 1, 0), file(0x3000, 0x4000, 2, 0)]);
        assert!(layout.insert(file(0x1000, 0x5000, 3, 0x100)));
        assert_eq!(all(&layout), [file(0x1000, 0x5000, 3, 0x100)]);
    }

    #[test]
    fn what_a_region_covers_in_part_keeps_the_rest_with_its_place_in_the_file() {
        let mut layout = layout(&[
            file(0x1000, 0x3000, 1, 0x500),
            file(0x4000, 0x6000, 2, 0x700),
        ]);
        assert!(layout.insert(file(0x2000, 0x5000, 3, 0)));
        assert_eq!(
            all(&layout),
            [
                file(0x1000, 0x2000, 1, 0x500),
                file(0x2000, 0x5000, 3, 0),
                file(0x5000, 0x6000, 2, 0x1700),
            ]
        );
    }

    #[test]
    fn a_region_in_the_middle_of_another_splits_it() {
        let mut layout = layout(&[file(0x1000, 0x9000, 1, 0)]);
        assert!(layout.insert(file(0x4000, 0x5000, 2, 0)));
        assert_eq!(
            all(&layout),
            [
                file(0x1000, 0x4000, 1, 0),
                file(0x4000, 0x5000, 2, 0),
                file(0x5000, 0x9000, 1, 0x4000),
            ]
        );
        assert_eq!(layout.find(0x5010), Some(file(0, 0, 1, 0x4010).place));
        assert_eq!(layout.find(0x9000), None);
    }

    #[test]
    fn the_same_region_again_changes_nothing() {
        let mut layout = layout(&[file(0x1000, 0x2000, 1, 0)]);
        assert!(!layout.insert(file(0x1000, 0x2000, 1, 0)));
        assert!(!layout.insert(file(0x3000, 0x3000, 1, 0)));
        assert!(layout.insert(file(0x1000, 0x2000, 2, 0)));
    }

    #[test]
    fn a_region_that_gives_way_changes_nothing_where_something_is() {
        let mut layout = layout(&[file(0x2000, 0x3000, 1, 0)]);
        for (start, end) in [
            (0x1000, 0x2001),
            (0x2fff, 0x4000),
            (0x2100, 0x2200),
            (0, 0x9000),
        ] {
            assert!(!layout.insert_if_free(file(start, end, 2, 0)));
        }
        assert!(layout.insert_if_free(file(0x1000, 0x2000, 2, 0)));
        assert!(layout.insert_if_free(file(0x3000, 0x4000, 2, 0)));
        assert_eq!(layout.len(), 3);
    }

    /// Against a map of single addresses.
    #[test]
    fn any_sequence_of_regions_gives_each_address_its_last_one() {
        let mut state = 1_u64;
        let mut random = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % limit
        };
        for _ in 0..200 {
            let mut layout = Layout::default();
            let mut model = [None; 64];
            for module in 0..40 {
                let start = random(60);
                let end = start + 1 + random(64 - start - 1);
                let region = file(start, end, module, 1000);
                if random(3) == 0 {
                    let free = model[start as usize..end as usize]
                        .iter()
                        .all(Option::is_none);
                    assert_eq!(layout.insert_if_free(region), free);
                    if !free {
                        continue;
                    }
                } else {
                    layout.insert(region);
                }
                for address in start..end {
                    model[address as usize] =
                        Some(file(0, 0, module, 1000 + address - start).place);
                }
            }
            for address in 0..64 {
                assert_eq!(layout.find(address), model[address as usize], "{address}");
            }
        }
    }
}
