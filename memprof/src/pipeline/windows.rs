//! What each window between two marks left behind: of the blocks that are outstanding now, when each
//! was allocated. One look at every live block, when a report is made; nothing on the way.
//!
//! A birth is known to 16.8 ms, rounded down: a block that is allocated just behind a mark may count
//! for the window before it.

use hashbrown::{HashMap, hash_map::Entry};

use super::{Snapshot, space::Space};
use crate::events::event::{Nanoseconds, SpaceId};
use crate::stacks::weight::Amount;

/// Call paths by window that are kept, about 48 MiB; what blocks of further ones left is in the
/// windows' totals alone.
const MAX_CELLS: usize = 1 << 20;

/// What was left behind, by window and by call path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// What each window left, one more than there are marks.
    pub totals: Vec<Amount>,
    /// The same by call path, in order of the windows, the most bytes first.
    pub cells: Vec<Cell>,
    /// Blocks that are in the totals alone.
    pub unlisted: u64,
}

/// What one window left at one call path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The window, 0 for the one before the first mark.
    pub window: usize,
    /// The address space.
    pub space: SpaceId,
    /// The site, as a snapshot names it.
    pub site: u32,
    /// What is outstanding of what was allocated there then.
    pub left: Amount,
}

/// A sum in fractions: sampled blocks stand for others.
#[derive(Clone, Copy, Default)]
struct Sum {
    bytes: f64,
    count: f64,
}

impl Sum {
    fn amount(self) -> Amount {
        Amount {
            bytes: self.bytes.round() as u64,
            count: self.count.round() as u64,
        }
    }
}

/// Divides what is outstanding by the times of `marks`, which must not decrease; `snapshot` is of
/// the same moment.
pub(super) fn take(spaces: &[Space], marks: &[Nanoseconds], snapshot: &Snapshot) -> Windows {
    within(spaces, marks, snapshot, MAX_CELLS)
}

fn within(
    spaces: &[Space],
    marks: &[Nanoseconds],
    snapshot: &Snapshot,
    max_cells: usize,
) -> Windows {
    let mut totals = vec![Sum::default(); marks.len() + 1];
    let mut cells: HashMap<(usize, SpaceId, u32), Sum> = HashMap::new();
    let mut unlisted = 0;
    for space in spaces {
        let blocks = space.table.iter().map(|(_, block)| block);
        for block in blocks.chain(space.mapped_blocks()) {
            let window = marks.partition_point(|mark| *mark <= block.birth);
            let weight = space.sites.weight(block.site, block.size);
            let add = |sum: &mut Sum| {
                sum.bytes += weight.bytes;
                sum.count += weight.count;
            };
            add(&mut totals[window]);
            let site = snapshot.representative(space.id, block.site);
            let is_full = cells.len() >= max_cells;
            match cells.entry((window, space.id, site)) {
                Entry::Occupied(mut there) => add(there.get_mut()),
                Entry::Vacant(place) if !is_full => add(place.insert(Sum::default())),
                Entry::Vacant(_) => unlisted += 1,
            }
        }
    }
    let mut cells: Vec<Cell> = cells
        .into_iter()
        .map(|((window, space, site), sum)| Cell {
            window,
            space,
            site,
            left: sum.amount(),
        })
        .collect();
    cells.sort_unstable_by_key(|cell| {
        let most = std::cmp::Reverse(cell.left.bytes);
        (cell.window, most, cell.space, cell.site)
    });
    Windows {
        totals: totals.into_iter().map(Sum::amount).collect(),
        cells,
        unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::StackId;
    use crate::live::{Block, Division};

    const TICK: Nanoseconds = 1 << 24;

    /// A space with a block of each of these (site, size, tick of birth).
    fn space(blocks: &[(u32, u64, u64)]) -> Space {
        let mut space = Space::new(SpaceId(1), 0, 7, Division::default(), (100, 100));
        for stack in 0..4 {
            space.sites.create(StackId(stack), 0);
        }
        for (at, (site, size, tick)) in (1..).zip(blocks) {
            let block = Block {
                site: *site,
                size: *size,
                birth: tick * TICK,
            };
            space.table.insert(64 * at, block);
        }
        space
    }

    fn amount(bytes: u64, count: u64) -> Amount {
        Amount { bytes, count }
    }

    #[test]
    fn a_block_counts_for_the_window_in_which_it_was_allocated() {
        let spaces = [space(&[(0, 10, 0), (0, 20, 5), (1, 30, 5), (1, 40, 9)])];
        let marks = [2 * TICK, 5 * TICK, 9 * TICK + 1];
        let windows = take(&spaces, &marks, &Snapshot::default());
        let expected = [amount(10, 1), amount(0, 0), amount(90, 3), amount(0, 0)];
        assert_eq!(windows.totals, expected);
        let cells: Vec<_> = windows
            .cells
            .iter()
            .map(|cell| (cell.window, cell.site, cell.left.bytes))
            .collect();
        assert_eq!(cells, [(0, 0, 10), (2, 1, 70), (2, 0, 20)]);
        assert_eq!(windows.unlisted, 0);
    }

    #[test]
    fn without_marks_there_is_one_window() {
        let windows = take(&[space(&[(0, 10, 3)])], &[], &Snapshot::default());
        assert_eq!(windows.totals, [amount(10, 1)]);
    }

    #[test]
    fn marks_at_one_time_have_an_empty_window_between_them() {
        let marks = [TICK, TICK];
        let windows = take(&[space(&[(0, 10, 1)])], &marks, &Snapshot::default());
        assert_eq!(windows.totals, [amount(0, 0), amount(0, 0), amount(10, 1)]);
    }

    #[test]
    fn call_paths_that_find_no_room_are_in_the_totals_and_counted() {
        let spaces = [space(&[(0, 10, 0), (1, 20, 0), (2, 30, 0), (2, 30, 1)])];
        let windows = within(&spaces, &[], &Snapshot::default(), 1);
        assert_eq!(windows.totals, [amount(90, 4)]);
        assert_eq!(windows.cells.len(), 1);
        assert_eq!(windows.unlisted + windows.cells[0].left.count, 4);
    }
}
