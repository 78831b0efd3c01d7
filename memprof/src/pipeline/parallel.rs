//! Long runs of allocations and frees, applied by several threads to the same effect, bit for bit, as
//! one by one.
//!
//! Most of an event's time goes into the live table: the block is somewhere in memory. What happens to
//! the blocks of one part of a table (`live/divided.rs`) does not depend on the others. What follows from
//! it for a site's totals and growth does not depend on other sites. So:
//!
//! 1. the events of a chunk are *routed*, in order: their spaces and sites looked up, or made, and what
//!    is to be done in which part of which table noted, by lane;
//! 2. the lanes are *worked off* side by side, each in order; what was in the table at an event's
//!    address before it takes the event's place in the lane;
//! 3. the chunk is *settled* with those blocks: side by side the books of each site (`books.rs`), in
//!    order of the events, and beside them, in order, what is one for all: sums, peak, counts, resizes.
//!
//! While the lanes of one chunk are worked off, the chunk before is settled. Nothing is decided by what
//! the threads do when: a part of a table, and a site, has one thread at a time, and what is routed or
//! summed up is the caller's alone. Sites are made before earlier events are settled; nothing that is
//! settled can tell.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Pipeline;
use super::books::BookKeeping;
use super::workers::Workers;
use crate::events::event::{Event, SpaceId, What};
use crate::live::{Block, DividedTable, LiveTable, MAX_PART_BITS};
use crate::stacks::weight::Amount;

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
    /// Of its space in the chunk.
    place: u32,
    /// Of an allocation.
    site: Option<u32>,
}

/// An event of a chunk that was worked off.
pub(super) struct Outcome<'a> {
    pub(super) event: &'a Event,
    pub(super) place: u32,
    /// Of an allocation.
    pub(super) site: Option<u32>,
    /// The block that was at its address before.
    pub(super) before: Option<Block>,
}

/// What is noted of some consecutive events.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    routes: Vec<Route>,
    lanes: [Vec<Operation>; LANES],
    /// Indices of the spaces that they are in, by place.
    pub(super) spaces: Vec<u32>,
}

/// A table, out of its space for as long as threads work on it.
struct Taken {
    table: DividedTable,
    /// The lane of its operations if it is whole: those of different processes get different threads.
    lane_if_whole: usize,
}

/// What one thread does without a pause.
enum Task<'a> {
    Table(TableWork<'a>),
    Books(BookKeeping<'a>),
}

/// A lane, and the tables that are its, by place.
struct TableWork<'a> {
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
            self.work_off(&mut current, (unsettled, &before), workers);
            unsettled = events;
            std::mem::swap(&mut current, &mut before);
        }
        current.clear();
        self.work_off(&mut current, (unsettled, &before), workers);
        workers.chunks = [current, before];
        true
    }

    /// Does what was routed to the tables, and settles the chunk before.
    fn work_off(
        &mut self,
        chunk: &mut Chunk,
        (events, before): (&[Event], &Chunk),
        workers: &mut Workers,
    ) {
        let mut tables = self.take_tables(&chunk.spaces);
        let mut books = self.take_books(events, before, workers.threads());
        // All comes back whatever happens: a report may still be made of it.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let ticks = self.ticks;
            let mut tasks = chunk.table_work(&mut tables);
            let settles_alone = books.is_none();
            let settle = || {
                if settles_alone {
                    self.settle(events, before);
                } else {
                    self.sum_up(events, before);
                }
            };
            if let Some(books) = &mut books {
                let keeping = books.keeping(events, before, ticks);
                tasks.extend(keeping.into_iter().map(Task::Books));
            }
            workers.share(&mut tasks, Task::work_off, settle);
        }));
        for (&at, taken) in chunk.spaces.iter().zip(tables) {
            self.spaces[at as usize].table = taken.table;
        }
        if let Some(books) = books {
            self.put_books_back(books, before);
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    fn route(&mut self, events: &[Event], chunk: &mut Chunk) {
        chunk.clear();
        let part_bits = self.division.part_bits;
        for event in events {
            let at = self.space_at(event.space);
            let tick = self.ticks.of(event.time);
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
                    self.spaces[at].begin_series(block.site, tick);
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
                place,
                site: allocated.map(|block| block.site),
            });
        }
        for &at in &chunk.spaces {
            self.spaces[at as usize].place = None;
        }
    }

    /// What is left to do for the outcomes of a chunk beside the books of its sites.
    fn sum_up(&mut self, events: &[Event], chunk: &Chunk) {
        for outcome in chunk.outcomes(events) {
            let event = outcome.event;
            let before = outcome.before.map(|block| Amount::of_block(block.size));
            match event.what {
                What::Alloc { address, size, .. } => {
                    self.sum_allocated(event.time, Amount::of_block(size), before);
                    self.follow_block(event.space, address, size);
                }
                What::ResizeFree { address } => {
                    self.sum_freed(before);
                    self.resizes.remember(event.space, address, outcome.before);
                }
                _ => self.sum_freed(before),
            }
        }
    }

    /// All of it by one thread.
    fn settle(&mut self, events: &[Event], chunk: &Chunk) {
        for outcome in chunk.outcomes(events) {
            let Outcome { event, before, .. } = outcome;
            let at = chunk.spaces[outcome.place as usize] as usize;
            match (&event.what, outcome.site) {
                (&What::Alloc { address, size, .. }, Some(site)) => {
                    let block = Block {
                        site,
                        size,
                        birth: event.time,
                    };
                    self.allocated(at, &block, before);
                    self.follow_block(event.space, address, size);
                }
                (&What::ResizeFree { address }, _) => {
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

    /// The events, which are those that were routed, with what came of them.
    pub(super) fn outcomes<'a>(&'a self, events: &'a [Event]) -> impl Iterator<Item = Outcome<'a>> {
        let mut lanes = self.lanes.each_ref().map(|lane| lane.iter());
        events.iter().zip(&self.routes).map(move |(event, route)| {
            let operation = lanes[route.lane as usize].next();
            Outcome {
                event,
                place: route.place,
                site: route.site,
                before: operation.and_then(|one| one.block),
            }
        })
    }

    /// The places and sites of some of the allocations.
    pub(super) fn some_sites(&self, count: usize) -> impl Iterator<Item = (u32, u32)> {
        // Odd: every second event may be a free.
        let step = (self.routes.len() / count.max(1)) | 1;
        let routes = self.routes.iter().step_by(step);
        routes.filter_map(|route| Some((route.place, route.site?)))
    }

    /// The lanes in which there is something to do, with the tables, which stand in order of their
    /// places.
    fn table_work<'a>(&'a mut self, tables: &'a mut [Taken]) -> Vec<Task<'a>> {
        let lanes = self.lanes.iter_mut();
        let task = |operations: &'a mut Vec<Operation>| TableWork {
            tables: Vec::with_capacity(tables.len()),
            operations,
        };
        let mut tasks: Vec<TableWork<'a>> = lanes.map(task).collect();
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
        tasks.into_iter().map(Task::Table).collect()
    }
}

impl Task<'_> {
    fn work_off(&mut self) {
        match self {
            Self::Table(work) => work.work_off(),
            Self::Books(work) => work.work_off(),
        }
    }
}

impl TableWork<'_> {
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
