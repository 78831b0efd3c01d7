//! What the collector takes in, in events per second, with a million live blocks: half allocations,
//! half frees of random blocks, a thousand stacks, four rings. By one thread and, of the same events,
//! with the help of others; more of them than the machine has cores for are left out.

use std::cell::RefCell;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use memprof::events::event::{Event, Pid, SpaceId, StackId, What};
use memprof::events::order::Order;
use memprof::live::{Block, Division, LiveTable, MAX_PART_BITS};
use memprof::pipeline::{Hastened, LEAST_RUN, Pipeline, Workers};

const LIVE_BLOCKS: usize = 1_000_000;
const STACKS: u64 = 1_000;
const RINGS: usize = 4;
/// What a poll brings at ten million events a second and a hundred polls.
const BATCH: usize = 100_000;
const SPACE: SpaceId = SpaceId(1);

fn main() {
    divan::main();
}

/// A program that holds [`LIVE_BLOCKS`] and replaces random ones for ever.
struct Churn {
    random: u64,
    time: u64,
    /// Addresses, the live ones first.
    addresses: Vec<u64>,
    live: usize,
}

impl Churn {
    fn new() -> Self {
        let mut churn = Self {
            random: 42,
            time: 0,
            addresses: (0..2 * LIVE_BLOCKS as u64)
                .map(|i| 0x5555_0000_0000 + 48 * i)
                .collect(),
            live: 0,
        };
        for i in (1..churn.addresses.len()).rev() {
            let other = churn.below(i + 1);
            churn.addresses.swap(i, other);
        }
        churn
    }

    /// xorshift64* (Marsaglia 2003, Vigna 2016), scaled.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let upper = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((upper * limit as u64) >> 32) as usize
    }

    fn event(&mut self, what: What) -> Event {
        self.time += 100;
        Event {
            time: self.time,
            space: SPACE,
            what,
        }
    }

    fn allocate(&mut self) -> Event {
        let chosen = self.live + self.below(self.addresses.len() - self.live);
        self.addresses.swap(self.live, chosen);
        let address = self.addresses[self.live];
        self.live += 1;
        let size = 16 + self.below(500) as u64;
        let stack = self.below(STACKS as usize) as u64;
        self.event(What::Alloc {
            address,
            size,
            // Ids are hashes.
            stack: StackId((stack + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        })
    }

    fn free(&mut self) -> Event {
        let chosen = self.below(self.live);
        self.live -= 1;
        self.addresses.swap(self.live, chosen);
        let address = self.addresses[self.live];
        self.event(What::Free { address })
    }

    /// The next events as a poll finds them, ring after ring.
    fn batch(&mut self) -> Vec<Event> {
        let mut rings = vec![Vec::new(); RINGS];
        for _ in 0..BATCH / 2 {
            let ring = self.below(RINGS);
            rings[ring].push(self.free());
            rings[ring].push(self.allocate());
        }
        rings.concat()
    }

    fn fill(&mut self, mut apply: impl FnMut(Event)) {
        while self.live < LIVE_BLOCKS {
            apply(self.allocate());
        }
    }
}

/// Threads beside the collector's own.
fn helpers() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    [0, 1, 3, 7]
        .into_iter()
        .filter(|&helpers| helpers < cores)
        .collect()
}

#[divan::bench(args = helpers(), sample_count = 100, sample_size = 1)]
fn order_and_pipeline(bencher: Bencher, helpers: usize) {
    let mut pipeline = Pipeline::new(0, 7);
    let mut workers = None;
    if helpers > 0 {
        pipeline.divide(Division::into_parts(MAX_PART_BITS));
        workers = Workers::start(helpers, || {});
    }
    pipeline.add_process(Pid(1), SPACE);
    let mut churn = Churn::new();
    churn.fill(|event| pipeline.apply(event));
    let churn = RefCell::new(churn);
    let mut order = Order::new();
    bencher
        .with_inputs(|| churn.borrow_mut().batch())
        .input_counter(|_| ItemsCount::new(BATCH))
        .bench_local_refs(|batch| {
            let newest = batch.iter().map(|event| event.time).max().unwrap_or(0);
            for event in batch.drain(..) {
                order.push(event);
            }
            match &mut workers {
                None => order.release(newest - 1_000, &mut pipeline),
                Some(workers) => {
                    let mut hastened = Hastened {
                        pipeline: &mut pipeline,
                        workers,
                        least_run: LEAST_RUN,
                    };
                    order.release(newest - 1_000, &mut hastened);
                }
            }
        });
    assert_eq!(pipeline.counts().unknown_frees, 0);
    assert_eq!(pipeline.counts().superseded, 0);
    assert_eq!(workers.map_or(0, |workers| workers.used()), helpers);
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn order_alone(bencher: Bencher) {
    let mut churn = Churn::new();
    churn.fill(drop);
    let churn = RefCell::new(churn);
    let mut order = Order::new();
    bencher
        .with_inputs(|| churn.borrow_mut().batch())
        .input_counter(|_| ItemsCount::new(BATCH))
        .bench_local_refs(|batch| {
            for event in batch.drain(..) {
                order.push(event);
            }
            order.flush(&mut |event| drop(black_box(event)));
        });
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn live_table_alone(bencher: Bencher) {
    let mut table = LiveTable::new(0, 7);
    let mut apply = |event: Event| match event.what {
        What::Alloc { address, size, .. } => table.insert(
            address,
            Block {
                site: 1,
                size,
                birth: event.time,
            },
        ),
        What::Free { address } => table.remove(address),
        _ => None,
    };
    let mut churn = Churn::new();
    churn.fill(|event| {
        apply(event);
    });
    let churn = RefCell::new(churn);
    bencher
        .with_inputs(|| {
            let mut batch = churn.borrow_mut().batch();
            batch.sort_by_key(|event| event.time);
            batch
        })
        .input_counter(|_| ItemsCount::new(BATCH))
        .bench_local_refs(|batch| {
            for event in batch.drain(..) {
                black_box(apply(event));
            }
        });
}
