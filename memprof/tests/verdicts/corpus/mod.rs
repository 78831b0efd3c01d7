//! Simulated call stacks with known truth: 21 kinds of leak, 39 of innocents, and stores that are
//! still filling when the window ends, which nothing can tell from a leak. Every block is
//! simulated from birth to death, so that totals, counts and ages agree.
//!
//! Two halves: `Tuning`, on which thresholds were chosen, and `HeldOut`, with other seeds, wider
//! parameters and kinds of its own (`unseen.rs`). Where a look at the second half taught something,
//! what it was learnt from went to the first, and the second was made anew with other seeds and
//! kinds: `varied.rs` and `mixed.rs` were once held out.

mod blocks;
mod innocents;
mod leaks;
mod load;
mod mixed;
mod stores;
mod unseen;
mod varied;

use memprof::growth::{Room, Series, Ticks, Verdict};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use blocks::Block;

pub type Rng = Xoshiro256PlusPlus;

/// Which half of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Thresholds were chosen on it.
    Tuning,
    /// Nothing was chosen on it.
    HeldOut,
}

/// What a simulated program truly does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Truth {
    /// Blocks are lost, so many bytes per interval in expectation, from an interval on.
    Leak { bytes_per_interval: f64 },
    /// Nothing is lost.
    Innocent,
    /// A store that fills for longer than the window.
    Filling,
}

/// One simulated stack.
pub struct Sample {
    pub truth: Truth,
    /// The right names, for innocents.
    pub names: Vec<Verdict>,
    /// Intervals of the window.
    pub intervals: u32,
    /// An interval is 2^shift ns.
    pub shift: u32,
    events: Vec<Event>,
}

#[derive(Clone, Copy)]
struct Event {
    at: f64,
    /// Of a block that dies.
    birth: Option<f64>,
    bytes: u64,
}

/// What a program is made of: see the files of leaks and innocents.
pub struct Recipe {
    pub truth: Truth,
    pub names: Vec<Verdict>,
    pub blocks: Vec<Block>,
}

/// Everything that a recipe may draw on.
pub struct Dials<'a> {
    pub rng: &'a mut Rng,
    pub half: Half,
    /// Intervals of the window: what the program's own times are in proportion to.
    pub scale: f64,
    /// Intervals that it is watched for.
    pub end: f64,
}

/// What makes a recipe.
pub type Cook = fn(&mut Dials) -> Recipe;

/// A name, and what makes samples of it.
pub type Kind = (&'static str, Cook);

/// Kinds of leak in both halves.
pub const LEAKS: &[Kind] = leaks::KINDS;
/// Kinds of innocents in both halves.
pub const INNOCENTS: &[Kind] = innocents::KINDS;
/// Stores that are still filling.
pub const FILLING: &[Kind] = innocents::FILLING;

impl Half {
    /// All of its kinds of leak.
    pub fn leaks(self) -> Vec<Kind> {
        self.kinds([LEAKS, varied::LEAKS, mixed::LEAKS], unseen::LEAKS)
    }

    /// All of its kinds of innocents.
    pub fn innocents(self) -> Vec<Kind> {
        self.kinds(
            [INNOCENTS, varied::INNOCENTS, mixed::INNOCENTS],
            unseen::INNOCENTS,
        )
    }

    fn kinds(self, common: [&[Kind]; 3], unseen: &[Kind]) -> Vec<Kind> {
        let mut kinds = common.concat();
        if self == Self::HeldOut {
            kinds.extend_from_slice(unseen);
        }
        kinds
    }
}

fn leak(blocks: Vec<Block>, bytes_per_interval: f64) -> Recipe {
    Recipe {
        truth: Truth::Leak { bytes_per_interval },
        names: Vec::new(),
        blocks,
    }
}

fn innocent(names: &[Verdict], blocks: Vec<Block>) -> Recipe {
    Recipe {
        truth: Truth::Innocent,
        names: names.to_vec(),
        blocks,
    }
}

impl Sample {
    /// The sample of a kind with a number; the same every time.
    pub fn new(kind: Kind, half: Half, number: u64, intervals: u32) -> Self {
        Self::running_on(kind, half, number, intervals, 1)
    }

    /// The same kind of program, watched for so many times its own window.
    pub fn running_on(kind: Kind, half: Half, number: u64, window: u32, times: u32) -> Self {
        let intervals = window * times;
        let name = kind.0.bytes().fold(0u64, |hash, byte| {
            hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        let half_seed = match half {
            Half::Tuning => 0x7075_6e65,
            Half::HeldOut => 0x7468_6972_6420,
        };
        let seed = name ^ half_seed ^ (number << 40) ^ u64::from(intervals);
        let mut rng = Rng::seed_from_u64(seed);
        let shift = 28 + (number % 6) as u32;
        let recipe = kind.1(&mut Dials {
            rng: &mut rng,
            half,
            scale: f64::from(window),
            end: f64::from(intervals),
        });
        let mut events = Vec::with_capacity(2 * recipe.blocks.len());
        let end = f64::from(intervals);
        for block in &recipe.blocks {
            if block.birth >= end {
                continue;
            }
            events.push(Event {
                at: block.birth,
                birth: None,
                bytes: block.bytes,
            });
            if block.death < end {
                events.push(Event {
                    at: block.death.max(block.birth),
                    birth: Some(block.birth),
                    bytes: block.bytes,
                });
            }
        }
        // Stable: a death at the moment of its birth stays behind it.
        events.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self {
            truth: recipe.truth,
            names: recipe.names,
            intervals,
            shift,
            events,
        }
    }

    /// The events, in order, into a series with ticks of 2^`shift` ns; `at_interval` sees it at
    /// the end of every interval.
    pub fn play(&self, shift: u32, at_interval: impl FnMut(u32, &Series)) {
        self.play_into(Series::new, shift, at_interval);
    }

    /// The same into another kind of series.
    pub fn play_into(
        &self,
        series: fn(u32) -> Series,
        shift: u32,
        mut at_interval: impl FnMut(u32, &Series),
    ) {
        let ticks = Ticks::new(0, shift);
        let tick_of = |at: f64| ticks.of((at * (1u64 << self.shift) as f64) as u64);
        let first = self.events.first().map_or(0, |event| tick_of(event.at));
        let mut series = series(first);
        let mut room = Room::default();
        let mut events = self.events.iter().peekable();
        for interval in 1..=self.intervals {
            while let Some(event) = events.next_if(|event| event.at < f64::from(interval)) {
                match event.birth {
                    Some(birth) => {
                        series.died(tick_of(birth), tick_of(event.at), event.bytes, &mut room);
                    }
                    None => series.born(tick_of(event.at), event.bytes, &mut room),
                }
            }
            series.advance(tick_of(f64::from(interval)), &mut room);
            at_interval(interval, &series);
        }
    }
}
