//! The books of many sites, kept by several threads at a time: their totals, and how their blocks come
//! and go. What one event does to a site's books depends on what earlier ones did there and on nothing
//! else, if every block stands for itself alone and there is room for every site's history.
//!
//! Each thread has the sites between two cuts and goes through all outcomes of a chunk for those that
//! are about them.

use super::Pipeline;
use super::parallel::{Chunk, Outcome};
use crate::events::event::{Event, What};
use crate::growth::{Room, Series, Tick, Ticks};
use crate::live::Block;
use crate::stacks::weight::Amount;
use crate::stacks::{SiteTotals, Sites};

/// How many events are looked at to find cuts that leave each thread about as much to do.
const LOOKED_AT: usize = 256;

/// A site: the place of its space in a chunk, and its index there.
type Site = (u32, u32);

/// The sites of the spaces of a chunk, by place, out of their spaces for as long as threads work on
/// them.
pub(super) struct Books {
    spaces: Vec<(Sites, Vec<Series>)>,
    /// Where one thread's sites end and the next one's begin, ascending.
    cuts: Vec<Site>,
    /// Room for the histories of each thread's sites.
    rooms: Vec<Room>,
}

/// The sites of one thread, and what it has to count there.
pub(super) struct BookKeeping<'a> {
    pages: Vec<Page<'a>>,
    room: &'a mut Room,
    ticks: Ticks,
    events: &'a [Event],
    chunk: &'a Chunk,
}

/// Those of one space.
struct Page<'a> {
    first: u32,
    totals: &'a mut [SiteTotals],
    series: &'a mut [Series],
}

impl Pipeline {
    /// The books of the sites of a chunk, for so many threads besides this one; `None` if one thread
    /// has to keep them: blocks stand for others, or some history may find no room.
    pub(super) fn take_books(
        &mut self,
        events: &[Event],
        chunk: &Chunk,
        threads: usize,
    ) -> Option<Books> {
        if events.is_empty() {
            return None;
        }
        let at = |at: &u32| *at as usize;
        let all = || chunk.spaces.iter().map(at);
        let series: usize = all().map(|at| self.spaces[at].series.len()).sum();
        let is_plain = all().all(|at| self.spaces[at].sites.is_plain());
        if !is_plain {
            return None;
        }
        let cuts = cuts(chunk, threads + 1);
        // Who gets how much of it is not known here, and each gets at most that much.
        let rooms: Vec<Room> = (0..=cuts.len())
            .map_while(|_| self.room.lend(series))
            .collect();
        if rooms.len() <= cuts.len() {
            rooms.into_iter().for_each(|room| self.room.take_back(room));
            return None;
        }
        let take = |at: usize| {
            let space = &mut self.spaces[at];
            (
                std::mem::take(&mut space.sites),
                std::mem::take(&mut space.series),
            )
        };
        Some(Books {
            spaces: all().map(take).collect(),
            cuts,
            rooms,
        })
    }

    pub(super) fn put_books_back(&mut self, books: Books, chunk: &Chunk) {
        for (&at, (sites, series)) in chunk.spaces.iter().zip(books.spaces) {
            let space = &mut self.spaces[at as usize];
            space.sites = sites;
            space.series = series;
        }
        for room in books.rooms {
            self.room.take_back(room);
        }
    }
}

/// Where to cut the sites of a chunk, so that about as many events are about each of `count` parts.
fn cuts(chunk: &Chunk, count: usize) -> Vec<Site> {
    let mut some: Vec<Site> = chunk.some_sites(LOOKED_AT).collect();
    some.sort_unstable();
    let cut = |part| some.get(part * some.len() / count).copied();
    let mut cuts: Vec<Site> = (1..count).filter_map(cut).collect();
    cuts.dedup();
    cuts
}

impl Books {
    pub(super) fn keeping<'a>(
        &'a mut self,
        events: &'a [Event],
        chunk: &'a Chunk,
        ticks: Ticks,
    ) -> Vec<BookKeeping<'a>> {
        let cuts = &self.cuts;
        let keeping = |room: &'a mut Room| BookKeeping {
            pages: Vec::with_capacity(self.spaces.len()),
            room,
            ticks,
            events,
            chunk,
        };
        let mut keeping: Vec<BookKeeping<'a>> = self.rooms.iter_mut().map(keeping).collect();
        for (place, (sites, series)) in (0..).zip(&mut self.spaces) {
            let mut totals = sites.plain_totals().unwrap_or_default();
            let mut series = series.as_mut_slice();
            let mut first = 0;
            for (part, one) in keeping.iter_mut().enumerate() {
                let end = match cuts.get(part) {
                    Some(&(at, site)) if at == place => site as usize,
                    Some(&(at, _)) if at < place => first,
                    _ => usize::MAX,
                };
                let count = end.saturating_sub(first);
                let (my_totals, rest) = totals.split_at_mut(count.min(totals.len()));
                totals = rest;
                let (my_series, rest) = series.split_at_mut(count.min(series.len()));
                series = rest;
                let next = first + my_totals.len();
                one.pages.push(Page {
                    first: first as u32,
                    totals: my_totals,
                    series: my_series,
                });
                first = next;
            }
        }
        // Nearly all may be about one site.
        keeping.retain(|one| one.pages.iter().any(|page| !page.totals.is_empty()));
        keeping
    }
}

impl BookKeeping<'_> {
    pub(super) fn work_off(&mut self) {
        let chunk = self.chunk;
        for outcome in chunk.outcomes(self.events) {
            let Outcome { event, place, .. } = outcome;
            let tick = self.ticks.of(event.time);
            if let Some(before) = &outcome.before {
                self.died(place, before, tick);
            }
            if let (&What::Alloc { size, .. }, Some(site)) = (&event.what, outcome.site) {
                self.born(place, site, size, tick);
            }
        }
    }

    #[inline]
    fn born(&mut self, place: u32, site: u32, size: u64, tick: Tick) {
        let page = &mut self.pages[place as usize];
        let index = site.wrapping_sub(page.first) as usize;
        if let Some(totals) = page.totals.get_mut(index) {
            totals.allocate(Amount::of_block(size));
            page.series[index].born(tick, size, self.room);
        }
    }

    #[inline]
    fn died(&mut self, place: u32, block: &Block, tick: Tick) {
        let page = &mut self.pages[place as usize];
        let index = block.site.wrapping_sub(page.first) as usize;
        if let Some(totals) = page.totals.get_mut(index) {
            totals.free(Amount::of_block(block.size));
            if let Some(series) = page.series.get_mut(index) {
                let birth = self.ticks.of(block.birth);
                series.died(birth, tick, block.size, self.room);
            }
        }
    }
}
