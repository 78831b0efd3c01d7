//! Random runs of several processes, scattered over rings and polls, through [`Order`],
//! the live tables and [`Pipeline`], against a model that keeps plain maps and is told
//! everything in order; by one thread, and by several with the live tables divided.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use memprof::events::event::{Event, Nanoseconds, Pid, SpaceId, StackId, What};
use memprof::events::order::{Order, Sink};
use memprof::live::{Division, TICK_BITS};
use memprof::pipeline::{Counts, Pipeline, ShownFilter, Workers};
use memprof::stacks::SiteTotals;
use memprof::stacks::weight::Amount;
use proptest::prelude::*;

const START: Nanoseconds = 1 << 40;
const RINGS: usize = 3;

/// A step of the run; which process, address and so on is a number to choose by.
#[derive(Clone, Debug)]
struct Step {
    act: Act,
    process: usize,
    address: u64,
    ring: usize,
    /// Time since the step before; without any it goes to the same ring.
    gap: Nanoseconds,
    /// Whether the collector polls then, how far back its watermark lies, and how much of what is
    /// later than that it finds in each ring.
    poll: Option<(Nanoseconds, [usize; RINGS])>,
}

#[derive(Clone, Debug)]
enum Act {
    Alloc { size: u64, stack: u64 },
    Free,
    ResizeFree,
    ResizeFailed,
    Fork,
    Vfork,
    Exec,
    Exit,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![30 => 0u64..5000, 1 => (1u64 << 32)..(1 << 33)];
    let act = prop_oneof![
        60 => (size, 0u64..5).prop_map(|(size, stack)| Act::Alloc { size, stack }),
        40 => Just(Act::Free),
        15 => Just(Act::ResizeFree),
        8 => Just(Act::ResizeFailed),
        3 => Just(Act::Fork),
        2 => Just(Act::Vfork),
        2 => Just(Act::Exec),
        2 => Just(Act::Exit),
    ];
    let address = prop_oneof![
        20 => (0u64..40).prop_map(|i| 0x1000 + 16 * i),
        1 => 0x1001u64..0x1008,
    ];
    let gap = prop_oneof![1 => Just(0), 5 => 1u64..1000, 1 => 1u64 << 24..1 << 27];
    let found = prop::array::uniform3(0usize..6);
    let poll = prop::option::weighted(0.1, (0u64..3000, found));
    (act, any::<usize>(), address, 0..RINGS, gap, poll).prop_map(
        |(act, process, address, ring, gap, poll)| Step {
            act,
            process,
            address,
            ring,
            gap,
            poll,
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ModelBlock {
    stack: StackId,
    size: u64,
    birth: Nanoseconds,
}

#[derive(Clone, Debug, Default)]
struct ModelSpace {
    members: Vec<Pid>,
    blocks: HashMap<u64, ModelBlock>,
    totals: BTreeMap<StackId, SiteTotals>,
}

impl ModelSpace {
    fn of(member: Pid) -> Self {
        Self {
            members: vec![member],
            ..Self::default()
        }
    }

    fn totals(&mut self, block: &ModelBlock) -> &mut SiteTotals {
        self.totals.entry(block.stack).or_default()
    }
}

/// What the collector should come to think, and the program that makes it think so.
#[derive(Debug)]
struct Model {
    spaces: BTreeMap<SpaceId, ModelSpace>,
    /// Who lives, and where.
    processes: Vec<(Pid, SpaceId)>,
    resizes: Vec<(SpaceId, u64, Option<ModelBlock>)>,
    next: u32,
    counts: Counts,
    peak: u64,
    peak_at: Nanoseconds,
}

impl Model {
    fn new() -> Self {
        let (pid, space) = (Pid(1), SpaceId(1));
        Self {
            spaces: BTreeMap::from([(space, ModelSpace::of(pid))]),
            processes: vec![(pid, space)],
            resizes: Vec::new(),
            next: 2,
            counts: Counts::default(),
            peak: 0,
            peak_at: START,
        }
    }

    /// What the step does, as an event, if it can be done.
    fn act(&mut self, step: &Step, time: Nanoseconds) -> Option<Event> {
        let at = step.process % self.processes.len();
        let (pid, space) = self.processes[at];
        let address = step.address;
        let event = match step.act {
            Act::Alloc { size, stack } => {
                let stack = StackId(stack);
                self.allocate(space, address, stack, size, time);
                let what = What::Alloc {
                    address,
                    size,
                    stack,
                };
                (space, what)
            }
            Act::Free => {
                self.free(space, address);
                (space, What::Free { address })
            }
            Act::ResizeFree => {
                let block = self.free(space, address);
                self.resizes.retain(|r| (r.0, r.1) != (space, address));
                self.resizes.push((space, address, block));
                (space, What::ResizeFree { address })
            }
            Act::ResizeFailed => {
                // One of those under way, or now and then of none.
                let chosen = step.process % (self.resizes.len() + 1);
                let (space, address) = self.fail_resize(chosen).unwrap_or((space, 0x9000));
                (space, What::ResizeFailed { address })
            }
            Act::Fork | Act::Vfork => {
                let child = Pid(self.next);
                let child_space = if matches!(step.act, Act::Fork) {
                    SpaceId(self.next)
                } else {
                    space
                };
                self.next += 1;
                self.fork(space, child, child_space);
                let what = What::Fork {
                    pid,
                    child,
                    child_space,
                };
                (space, what)
            }
            Act::Exec => {
                let new_space = SpaceId(self.next);
                self.next += 1;
                self.leave_for_new_program(space, pid);
                self.spaces.insert(new_space, ModelSpace::of(pid));
                self.processes[at].1 = new_space;
                (space, What::Exec { pid, new_space })
            }
            Act::Exit => {
                if self.processes.len() == 1 {
                    return None;
                }
                self.space(space).members.retain(|&member| member != pid);
                self.processes.remove(at);
                (space, What::Exit { pid })
            }
        };
        let held = self.spaces.values().flat_map(|space| space.blocks.values());
        let held: u64 = held.map(|block| block.size).sum();
        if held > self.peak {
            (self.peak, self.peak_at) = (held, time);
        }
        let (space, what) = event;
        Some(Event { time, space, what })
    }

    fn space(&mut self, id: SpaceId) -> &mut ModelSpace {
        self.spaces.get_mut(&id).expect("spaces are never removed")
    }

    fn allocate(&mut self, id: SpaceId, address: u64, stack: StackId, size: u64, birth: u64) {
        let space = self.space(id);
        let block = ModelBlock { stack, size, birth };
        let old = space.blocks.insert(address, block);
        space.totals(&block).allocate(Amount::of_block(size));
        if let Some(old) = old {
            space.totals(&old).free(Amount::of_block(old.size));
            self.counts.superseded += 1;
        }
    }

    fn free(&mut self, id: SpaceId, address: u64) -> Option<ModelBlock> {
        let space = self.space(id);
        let block = space.blocks.remove(&address);
        match block {
            Some(old) => space.totals(&old).free(Amount::of_block(old.size)),
            None => self.counts.unknown_frees += 1,
        }
        block
    }

    fn fail_resize(&mut self, chosen: usize) -> Option<(SpaceId, u64)> {
        if chosen >= self.resizes.len() {
            self.counts.resize_failures_unmatched += 1;
            return None;
        }
        let (id, address, block) = self.resizes.remove(chosen);
        let space = self.space(id);
        match block {
            None => self.counts.unknown_frees -= 1,
            Some(_) if space.blocks.contains_key(&address) => {
                self.counts.resize_failures_superseded += 1;
            }
            Some(old) => {
                space.blocks.insert(address, old);
                space.totals(&old).unfree(Amount::of_block(old.size));
            }
        }
        Some((id, address))
    }

    fn fork(&mut self, id: SpaceId, child: Pid, child_space: SpaceId) {
        self.processes.push((child, child_space));
        if child_space == id {
            self.space(id).members.push(child);
            return;
        }
        let mut copy = ModelSpace::of(child);
        copy.blocks.clone_from(&self.space(id).blocks);
        for block in copy.blocks.clone().values() {
            copy.totals(block).inherited_bytes += block.size;
            copy.totals(block).inherited_count += 1;
        }
        self.spaces.insert(child_space, copy);
    }

    fn leave_for_new_program(&mut self, id: SpaceId, pid: Pid) {
        let space = self.space(id);
        space.members.retain(|&member| member != pid);
        if space.members.is_empty() {
            for block in std::mem::take(&mut space.blocks).values() {
                space.totals(block).discarded_bytes += block.size;
                space.totals(block).discarded_count += 1;
            }
            self.resizes.retain(|resize| resize.0 != id);
        }
    }

    fn describe(&self, now: Nanoseconds, filter: &ShownFilter) -> Description {
        let mut sites = Description::new();
        for (&id, space) in &self.spaces {
            for (&stack, &totals) in &space.totals {
                let held = space.blocks.values().filter(|block| block.stack == stack);
                let shown = held.clone().filter(|block| {
                    now - tick(block.birth) >= filter.min_age_ns
                        && block.size >= filter.min_size
                        && block.size <= filter.max_size
                });
                let site = (
                    totals,
                    shown.clone().map(|block| block.size).sum(),
                    shown.count() as u64,
                    held.map(|block| tick(block.birth)).min(),
                );
                sites.insert((id, stack), site);
            }
        }
        sites
    }
}

/// Each site's totals, shown bytes and count, and oldest birth.
type Description = BTreeMap<(SpaceId, StackId), (SiteTotals, u64, u64, Option<Nanoseconds>)>;

fn tick(birth: Nanoseconds) -> Nanoseconds {
    START + ((birth - START) >> TICK_BITS << TICK_BITS)
}

/// The pipeline, with everything that can be applied by several threads applied so; and the times of
/// what it was given.
struct Recorded {
    pipeline: Pipeline,
    workers: Workers,
    released: Vec<Nanoseconds>,
}

impl Sink for Recorded {
    fn apply(&mut self, event: Event) {
        self.released.push(event.time);
        self.pipeline.apply(event);
    }

    fn least_run(&self) -> usize {
        1
    }

    fn apply_run(&mut self, run: &[Event]) -> bool {
        let applied = self.pipeline.apply_run(run, &mut self.workers);
        if applied {
            self.released.extend(run.iter().map(|event| event.time));
        }
        applied
    }
}

thread_local! {
    /// Threads are started once, not for every run.
    static WORKERS: RefCell<Option<Workers>> = const { RefCell::new(None) };
}

fn workers(chunk: usize) -> Workers {
    let kept = WORKERS.take();
    let workers = kept.or_else(|| Workers::start(2, || {}));
    workers.expect("threads can be started").in_chunks_of(chunk)
}

/// A poll: ring after ring, all up to the watermark and in each ring some more.
fn poll(
    rings: &mut [VecDeque<Event>; RINGS],
    watermark: Nanoseconds,
    more: [usize; RINGS],
    order: &mut Order,
) {
    for (ring, more) in rings.iter_mut().zip(more) {
        let due = ring.partition_point(|event| event.time <= watermark);
        let found = (due + more).min(ring.len());
        ring.drain(..found).for_each(|event| order.push(event));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_collector_agrees_with_a_naive_model_whatever_the_interleaving(
        seed: u64,
        steps in prop::collection::vec(step(), 0..400),
        filter in (0u64..1 << 28, 0u64..2000, 1000u64..6000),
        // One part is one thread.
        division in (0u32..=3, 0usize..20),
        chunk in 1usize..30,
    ) {
        let mut model = Model::new();
        let mut pipeline = Pipeline::new(START, seed);
        pipeline.divide(Division {
            part_bits: division.0,
            whole_up_to: division.1,
        });
        pipeline.add_process(Pid(1), SpaceId(1));
        let mut sink = Recorded {
            pipeline,
            workers: workers(chunk),
            released: Vec::new(),
        };
        let mut order = Order::new();
        let mut rings = <[VecDeque<Event>; RINGS]>::default();
        let mut now = START;
        let mut ring = 0;
        let mut watermark = 0;
        for step in &steps {
            now += step.gap;
            if step.gap > 0 {
                ring = step.ring;
            }
            if let Some(event) = model.act(step, now) {
                rings[ring].push_back(event);
            }
            if let Some((lag, more)) = step.poll {
                // More may still happen at this very moment.
                watermark = watermark.max(now - 1 - lag);
                poll(&mut rings, watermark, more, &mut order);
                order.release(watermark, &mut sink);
                prop_assert!(sink.released.last().is_none_or(|&last| last <= watermark));
            }
        }
        poll(&mut rings, now, [0; RINGS], &mut order);
        order.flush(&mut sink);
        let Recorded { pipeline, workers, released } = sink;
        WORKERS.set(Some(workers));
        prop_assert!(released.is_sorted());
        prop_assert_eq!(order.late(), 0);

        let filter = ShownFilter {
            min_age_ns: filter.0,
            min_size: filter.1,
            max_size: filter.2,
        };
        let described: Description = pipeline
            .snapshot(now, &filter)
            .sites
            .iter()
            .map(|site| {
                let stack = site.stack.expect("no common site in so small a run");
                let shown = (site.shown_bytes, site.shown_count);
                ((site.space, stack), (site.totals, shown.0, shown.1, site.oldest_birth))
            })
            .collect();
        prop_assert_eq!(&described, &model.describe(now, &filter));

        let mut sum = SiteTotals::default();
        let mut held = 0;
        for process in pipeline.processes() {
            let space = &model.spaces[&process.space];
            prop_assert_eq!(&process.members, &space.members);
            prop_assert_eq!(process.ended, space.members.is_empty());
            let bytes: u64 = space.blocks.values().map(|block| block.size).sum();
            prop_assert_eq!(process.totals.outstanding_bytes(), bytes);
            prop_assert_eq!(process.totals.outstanding_count(), space.blocks.len() as u64);
            sum.add(&process.totals);
            held += space.blocks.len();
        }
        let summary = pipeline.summary();
        prop_assert_eq!(summary.totals, sum);
        prop_assert_eq!(pipeline.live_blocks(), held);
        prop_assert_eq!((summary.peak_outstanding_bytes, summary.peak_at), (model.peak, model.peak_at));
        prop_assert_eq!(pipeline.counts(), model.counts);
    }
}
