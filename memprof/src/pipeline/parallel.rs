//! Long runs of allocations and frees, applied by several threads to the same effect, bit for bit, as
//! one by one.
//!
//! Most of an event's time goes into the live table: the block is somewhere in memory. What happens to
//! the blocks of one part of a table (`live/divided.rs`) does not depend on the others, so:
//!
//! 1. the events of a chunk are *routed*, in order: their spaces and sites looked up, or made, and what
//!    is to be done in which part of which table noted, by lane;
//! 2. the lanes are *worked off* side by side, each in order; what was in the table at an event's
//!    address before it takes the event's place in the lane;
//! 3. the chunk is *settled*, in order: from those blocks follow totals, growth, peak and counts, by
//!    the code that applies events one by one too.
//!
//! While the lanes of one chunk are worked off, the chunk before is settled. Nothing is decided by what
//! the threads do when: a lane has one thread at a time, and what is routed or settled is the caller's
//! alone. Sites are made before earlier events are settled; nothing that is settled can tell.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Pipeline;
use super::workers::Workers;
use crate::events::event::{Event, SpaceId, What};
use crate::live::{Block, DividedTable, LiveTable, MAX_PART_BITS};

/// What is worked off side by side at the most.
const LANES: usize = 1 << MAX_PART_BITS;
/// How many operations before its own a block is fetched into the cache.
const LOOK_AHEAD: usize = 8;

/// Something to be done to one live table.
#[derive(Debug)]
struct Operation {
    address: u64,
    /// Whose table: the place of its space in the chunk.
    place: u32,
    /// The block to put in, `None` to take one out; then what was there before.
    block: Option<Block>,
}

/// Where the operation of an event is, and what it was found to be about.
#[derive(Clone, Copy, Debug)]
struct Route {
    lane: u32,
    /// Index of the space.
    space: u32,
    /// Of an allocation.
    site: u32,
}

/// What is noted of some consecutive events.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    routes: Vec<Route>,
    lanes: [Vec<Operation>; LANES],
    /// The spaces that they are in, by place.
    spaces: Vec<u32>,
}

/// A table, out of its space for as long as threads work on it.
struct Taken {
    table: DividedTable,
    /// The lane of its operations if it is whole: those of different processes get different threads.
    lane_if_whole: usize,
}

/// What one thread does without a pause: a lane, and the tables that are its, by place.
struct Task<'a> {
    tables: Vec<Option<&'a mut LiveTable>>,
    operations: &'a mut [Operation],
}

impl Pipeline {
    /// Applies the next events, all of them frequent ones ([`What::is_frequent`]), with the help of
    /// `workers`. Gives `false`, and has done nothing, if they have to be applied one by one: because
    /// the tables are not to be divided, or because one event more or less may decide whether there is
    /// room for a block.
    pub fn apply_run(&mut self, run: &[Event], workers: &mut Workers) -> bool {
        let room = self.limits.live_blocks.saturating_sub(self.live_blocks);
        if self.division.part_bits == 0 || room < run.len() {
            return false;
        }
        let [mut current, mut before] = std::mem::take(&mut workers.chunks);
        let mut unsettled: &[Event] = &[];
        for events in run.chunks(workers.chunk_length) {
            self.route(events, &mut current);
            let mut tables = self.take_tables(&current.spaces);
            // The tables come back whatever happens: a report may still be made of them.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let settle = || self.settle(unsettled, &before);
                workers.share(&mut current.tasks(&mut tables), Task::work_off, settle);
            }));
            self.put_back(&current.spaces, tables);
            if let Err(panic) = outcome {
                resume_unwind(panic);
            }
            unsettled = events;
            std::mem::swap(&mut current, &mut before);
        }
        self.settle(unsettled, &before);
        workers.chunks = [current, before];
        true
    }

    fn route(&mut self, events: &[Event], chunk: &mut Chunk) {
        chunk.clear();
        let part_bits = self.division.part_bits;
        for event in events {
            let at = self.space_at(event.space);
            let (address, allocated) = match event.what {
                What::Alloc {
                    address,
                    size,
                    stack,
                } => {
                    let block = Block {
                        site: self.site(at, event.time, stack),
                        size,
                        birth: event.time,
                    };
                    (address, Some(block))
                }
                What::Free { address } | What::ResizeFree { address } => (address, None),
                _ => unreachable!("a run is of frequent events"),
            };
            let space = &mut self.spaces[at];
            let place = match space.place {
                Some(place) => place,
                None => {
                    let place = chunk.spaces.len() as u32;
                    chunk.spaces.push(at as u32);
                    space.place = Some(place);
                    space.table.divide_if_large();
                    place
                }
            };
            let lane = space.table.part(address);
            let lane = lane.unwrap_or_else(|| lane_if_whole(space.id, part_bits));
            chunk.lanes[lane].push(Operation {
                address,
                place,
                block: allocated,
            });
            chunk.routes.push(Route {
                lane: lane as u32,
                space: at as u32,
                site: allocated.map_or(0, |block| block.site),
            });
        }
        for &at in &chunk.spaces {
            self.spaces[at as usize].place = None;
        }
    }

    fn settle(&mut self, events: &[Event], chunk: &Chunk) {
        let mut lanes = chunk.lanes.each_ref().map(|lane| lane.iter());
        for (event, route) in events.iter().zip(&chunk.routes) {
            let before = lanes[route.lane as usize].next().and_then(|one| one.block);
            let at = route.space as usize;
            match event.what {
                What::Alloc { size, .. } => {
                    let block = Block {
                        site: route.site,
                        size,
                        birth: event.time,
                    };
                    self.allocated(at, &block, before);
                }
                What::ResizeFree { address } => {
                    self.freed(at, event.time, before.as_ref());
                    self.resizes.remember(event.space, address, before);
                }
                _ => self.freed(at, event.time, before.as_ref()),
            }
        }
    }

    fn take_tables(&mut self, spaces: &[u32]) -> Vec<Taken> {
        let part_bits = self.division.part_bits;
        let take = |&at: &u32| {
            let space = &mut self.spaces[at as usize];
            Taken {
                table: std::mem::take(&mut space.table),
                lane_if_whole: lane_if_whole(space.id, part_bits),
            }
        };
        spaces.iter().map(take).collect()
    }

    fn put_back(&mut self, spaces: &[u32], tables: Vec<Taken>) {
        for (&at, taken) in spaces.iter().zip(tables) {
            self.spaces[at as usize].table = taken.table;
        }
    }
}

fn lane_if_whole(space: SpaceId, part_bits: u32) -> usize {
    space.0 as usize & ((1 << part_bits) - 1)
}

impl Chunk {
    fn clear(&mut self) {
        self.routes.clear();
        self.spaces.clear();
        self.lanes.iter_mut().for_each(Vec::clear);
    }

    /// The lanes in which there is something to do, with the tables, which stand in order of their
    /// places.
    fn tasks<'a>(&'a mut self, tables: &'a mut [Taken]) -> Vec<Task<'a>> {
        let lanes = self.lanes.iter_mut();
        let task = |operations: &'a mut Vec<Operation>| Task {
            tables: Vec::with_capacity(tables.len()),
            operations,
        };
        let mut tasks: Vec<Task<'a>> = lanes.map(task).collect();
        for taken in tables {
            let parts = taken.table.parts();
            let first_lane = if parts.len() > 1 {
                0
            } else {
                taken.lane_if_whole
            };
            let mut parts = parts.iter_mut();
            for (lane, task) in tasks.iter_mut().enumerate() {
                let part = if lane < first_lane {
                    None
                } else {
                    parts.next()
                };
                task.tables.push(part);
            }
        }
        tasks.retain(|task| !task.operations.is_empty());
        tasks
    }
}

impl Task<'_> {
    fn work_off(&mut self) {
        for index in 0..self.operations.len() {
            if let Some(ahead) = self.operations.get(index + LOOK_AHEAD)
                && let Some(table) = &self.tables[ahead.place as usize]
            {
                table.prefetch(ahead.address);
            }
            let operation = &mut self.operations[index];
            let Some(table) = &mut self.tables[operation.place as usize] else {
                unreachable!("a lane's operations are on its own tables");
            };
            operation.block = match operation.block {
                Some(block) => table.insert(operation.address, block),
                None => table.remove(operation.address),
            };
        }
    }
}
