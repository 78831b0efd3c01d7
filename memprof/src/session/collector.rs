//! The thread that keeps up with the target: polls the rings, orders the events, applies them.
//!
//! It shares its state with the session by one lock, taken once a poll and once a report, never
//! per event; naming functions, which may take seconds, happens outside of it.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::{ClockId, clock_gettime},
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    code_maps::CodeMaps,
    copies::{Copies, Job},
    helpers::{Helpers, division_for_this_machine},
    marks::Marks,
    roster::Roster,
};
use crate::{
    events::{
        backlog::Backlog,
        decode::decode,
        event::{Event, StackCopy, What},
        order::{Order, Sink},
        pace::Pace,
        ring::{BatchEnd, Ring},
    },
    identity::{Nanoseconds, Pid, SpaceId, StackId},
    pipeline::{LEAST_RUN, Pipeline, Workers},
    priority::hurry,
    probes::{
        rings::{RingMap, Rings},
        territory::{Land, Territory},
    },
    stacks::table::MAX_STACKS,
    target::{
        cgroups,
        mmap_events::MmapEvents,
        modules::{FrameAddress, Module, ModuleIndex},
        process::ProcessFacts,
    },
    unwind::copied::Continued,
};

/// A ring that is found fuller than this is replaced by a larger one.
const GROW_ABOVE: f64 = 0.5;
/// How long a ring is read that was replaced: long after the last program that knew it, nanoseconds.
const LINGER: Nanoseconds = 1_000_000_000;
/// Records taken from one ring before the next one has its turn.
const BATCH: usize = 64 * 1024;

/// Something that the session has to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This process has code mapped, or may have soon, that nobody has looked at for allocators.
    NewCode(Pid),
    /// This process has a child with the same code.
    Forked {
        /// The process.
        parent: Pid,
        /// Its child.
        child: Pid,
    },
    /// The last followed process has ended.
    AllEnded,
}

/// What the collector knows, up to the last poll.
pub struct State {
    /// Blocks, stacks, totals.
    pub pipeline: Pipeline,
    /// Who has what code mapped.
    pub code: CodeMaps,
    /// Where the frames of each stack are, settled when it arrived.
    pub places: HashMap<StackId, Box<[FrameAddress]>>,
    /// Who was followed.
    pub processes: Roster,
    /// Records that were none.
    pub undecodable: u64,
    /// What the rings take in the kernel.
    pub ring_bytes: u64,
    /// How many threads have applied events.
    pub threads: usize,
    /// Who unwinds copied stacks.
    pub copies: Copies,
    /// Named points.
    pub marks: Marks,
    /// What code is allocators' own.
    territory: Territory,
    unknown_files: HashSet<ModuleIndex>,
    notices: UnboundedSender<Notice>,
}

impl State {
    /// Nothing known yet; `start` in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(
        start: Nanoseconds,
        code: CodeMaps,
        copies: Copies,
        notices: UnboundedSender<Notice>,
    ) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), start);
        let mut pipeline = Pipeline::new(start, seed);
        pipeline.divide(division_for_this_machine());
        Self {
            pipeline,
            code,
            places: HashMap::new(),
            processes: Roster::default(),
            undecodable: 0,
            ring_bytes: 0,
            threads: 1,
            copies,
            marks: Marks::default(),
            territory: Territory::default(),
            unknown_files: HashSet::new(),
            notices,
        }
    }

    /// A process is followed from the time `at` on.
    pub fn add(&mut self, facts: ProcessFacts, space: SpaceId, at: Nanoseconds) {
        let pid = facts.pid;
        self.pipeline.add_process(pid, space);
        self.code.add(space, pid);
        self.processes
            .add(facts, cgroups::of_process(pid), space, at);
    }

    /// The session may be on its way out and no longer listen.
    fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// Tells of code that is new to all.
    fn tell_new_code(&mut self) {
        for pid in self.code.take_new_code() {
            self.notify(Notice::NewCode(pid));
        }
    }

    /// Has a copied stack unwound, with what its process has mapped now. Its program counters came
    /// before it, and where they are has been looked at then.
    fn unwind_copy(&mut self, space: SpaceId, copy: StackCopy) {
        if let Some(stack) = self.pipeline.stacks().get(copy.id)
            && stack.wants_copies()
        {
            self.copies.send(Job {
                space,
                known: stack.pcs.clone(),
                copy,
                regions: self.code.regions(space),
                modules: self.code.modules().clone(),
            });
        }
    }

    fn decide_once(&mut self, stack: StackId) {
        if !self.pipeline.is_decided(stack) {
            self.decide(stack);
        }
    }

    /// Finds out whether what a stack maps is an allocator's own: what the outermost frame says that is
    /// in one. Of files that were not looked at yet that is to be learned.
    fn decide(&mut self, stack: StackId) {
        let Some(places) = self.places.get(&stack) else {
            return;
        };
        let modules = self.code.modules();
        let mut outermost = None;
        for frame in places {
            let Some((module, offset)) = frame.in_file() else {
                continue;
            };
            let Some(file) = modules.get(module).and_then(Module::file_key) else {
                continue;
            };
            // The call is before the address to which it returns.
            let at = offset.saturating_sub(u64::from(frame.is_return_address));
            outermost = self.territory.land_at(file, at).or(outermost);
            if !self.territory.knows(file) {
                self.unknown_files.insert(module);
            }
        }
        self.pipeline.decide(stack, outermost == Some(Land::Own));
    }

    /// Files of which it is not known what in them is an allocator's, though stacks that map go
    /// through them.
    pub fn take_unknown_files(&mut self) -> Vec<Arc<Module>> {
        let modules = self.code.modules();
        let unknown = self.unknown_files.drain();
        unknown
            .filter_map(|module| modules.handle(module))
            .collect()
    }

    /// Takes in what was found of allocators' code, and what follows for stacks that came before.
    pub fn learn(&mut self, found: Territory) {
        if found.is_empty() {
            return;
        }
        self.territory.extend(found);
        for stack in self.pipeline.charged_stacks() {
            self.decide(stack);
        }
    }

    /// Puts on record what copied stacks gave.
    fn continue_stacks(&mut self, continued: Vec<(StackId, Continued)>) {
        for (id, Continued { mut frames, end }) in continued {
            let pcs: Vec<u64> = frames.iter().map(|frame| frame.pc).collect();
            if let Some(kept) = self.pipeline.continue_stack(id, &pcs, end)
                && let Some(places) = self.places.get_mut(&id)
            {
                frames.truncate(kept);
                // Where names of code without a file are is a matter of the space.
                let perf_map = places.first().and_then(|place| place.perf_map);
                for frame in &mut frames {
                    frame.perf_map = perf_map;
                }
                *places = frames.into();
                // Further out there may be an allocator.
                if self.pipeline.is_decided(id) {
                    self.decide(id);
                }
            }
        }
    }
}

impl Sink for State {
    fn expect(&self, event: &Event) {
        self.pipeline.expect(event);
    }

    fn apply(&mut self, event: Event) {
        if let What::StackCopy(copy) = event.what {
            self.code.advance(event.time);
            return self.unwind_copy(event.space, *copy);
        }
        match &event.what {
            What::Alloc { .. } | What::Free { .. } | What::StackCopy(_) => {}
            What::ResizeFree { .. } | What::ResizeFailed { .. } => {}
            What::Unmap { .. } | What::UnmapFailed { .. } => {}
            What::Touch { .. } | What::CopyPage { .. } => {}
            What::GiveBack { .. } | What::GiveBackHeap { .. } => {}
            What::Map { stack, .. } => self.decide_once(*stack),
            What::Remap(remap) => self.decide_once(remap.stack),
            What::Stack(stack) => {
                let (id, pcs) = (stack.id, &stack.pcs);
                self.code.advance(event.time);
                if self.places.len() < MAX_STACKS {
                    let frames = self.code.resolve(event.space, pcs);
                    self.places.insert(id, frames);
                }
                if self.pipeline.awaits_decision(id) {
                    self.decide(id);
                }
            }
            What::Fork {
                pid,
                child,
                child_space,
            } => {
                self.code.advance(event.time);
                self.code.forked(event.space, *child_space, *child);
                let facts = ProcessFacts::read_of(*child, event.time);
                let cgroup = cgroups::of_process(*child);
                self.processes
                    .add_child(event.space, facts, cgroup, *child_space, event.time);
                self.notify(Notice::Forked {
                    parent: *pid,
                    child: *child,
                });
            }
            What::Exec { pid, new_space } => {
                self.code.advance(event.time);
                self.code.executed(event.space, *new_space, *pid);
                let facts = ProcessFacts::read_of(*pid, event.time);
                let cgroup = cgroups::of_process(*pid);
                self.processes.replace(facts, cgroup, *new_space);
                self.notify(Notice::NewCode(*pid));
            }
            What::Appear { pid } => {
                self.code.advance(event.time);
                self.code.add(event.space, *pid);
                let facts = ProcessFacts::read_of(*pid, event.time);
                let cgroup = cgroups::of_process(*pid);
                self.processes.add(facts, cgroup, event.space, event.time);
                self.notify(Notice::NewCode(*pid));
            }
            What::Exit { pid } => {
                self.processes.end(*pid, event.time);
                self.code.advance(event.time);
                self.code.exited(event.space, *pid);
            }
        }
        let exit = matches!(event.what, What::Exit { .. });
        self.pipeline.apply(event);
        if exit && self.processes.is_over() {
            self.notify(Notice::AllEnded);
        }
    }
}

/// The state, and who helps with long runs of events.
struct Hastened<'a> {
    state: &'a mut State,
    workers: Option<&'a mut Workers>,
}

impl Sink for Hastened<'_> {
    fn expect(&self, event: &Event) {
        self.state.expect(event);
    }

    fn apply(&mut self, event: Event) {
        self.state.apply(event);
    }

    fn least_run(&self) -> usize {
        match self.workers {
            Some(_) => LEAST_RUN,
            None => usize::MAX,
        }
    }

    fn apply_run(&mut self, run: &[Event]) -> bool {
        match &mut self.workers {
            // Frequent events are the pipeline's alone.
            Some(workers) => self.state.pipeline.apply_run(run, workers),
            None => false,
        }
    }
}

/// The state, shared.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// The state, for a moment. A panic of the other holder leaves it usable: what was applied
    /// is applied.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running thread.
pub struct Collector {
    shared: Shared,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts reading `rings` into `state`, and what `mmap_events` tell, if there are any.
    ///
    /// # Errors
    /// If a ring cannot be mapped or waited for.
    pub fn start(state: State, rings: Rings, mmap_events: Option<MmapEvents>) -> Result<Self> {
        let shared = Shared(Arc::new(Mutex::new(state)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut reader = Reader::new(rings, mmap_events)?;
        let (state, stopped) = (shared.clone(), stop.clone());
        let thread = thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || {
                hurry();
                reader.run(&state, &stopped);
            })
            .context("cannot start the collector's thread")?;
        Ok(Self {
            shared,
            stop,
            thread,
        })
    }

    /// The state.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Reads what the rings still hold, which the closed gate has made finite, then ends.
    pub fn finish(self) -> Shared {
        self.stop.store(true, Ordering::Release);
        // A panic in the thread has been printed; what it had applied is reported.
        let _ = self.thread.join();
        self.shared
    }
}

/// One ring, and how far it is known to have been read.
struct Source {
    ring: Ring,
    /// It stays open as long as it is read.
    map: RingMap,
    /// Time of the last record that was read.
    last: Nanoseconds,
    /// Since when another ring has taken its place.
    replaced: Option<Nanoseconds>,
}

struct Reader {
    sources: Vec<Source>,
    rings: Rings,
    mmap_events: Option<MmapEvents>,
    order: Order,
    pace: Pace,
    backlog: Backlog,
    helpers: Helpers,
    waker: Epoll,
}

impl Reader {
    fn new(mut rings: Rings, mmap_events: Option<MmapEvents>) -> Result<Self> {
        let waker = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for fd in mmap_events.iter().flat_map(MmapEvents::fds) {
            waker.add(fd, wakeup())?;
        }
        let maps = rings.take();
        let mut reader = Self {
            sources: Vec::with_capacity(maps.len()),
            rings,
            mmap_events,
            order: Order::new(),
            pace: Pace::default(),
            backlog: Backlog::default(),
            helpers: Helpers::for_this_machine(),
            waker,
        };
        for map in maps {
            reader.add(map)?;
        }
        Ok(reader)
    }

    fn add(&mut self, map: RingMap) -> Result<()> {
        let fd: BorrowedFd<'_> = map.fd.as_fd();
        let ring = Ring::map(fd, map.bytes).context("cannot map a ring")?;
        self.waker.add(fd, wakeup())?;
        self.sources.push(Source {
            ring,
            map,
            last: 0,
            replaced: None,
        });
        Ok(())
    }

    /// Has larger rings take the place of those that fill, and lets go of what was replaced.
    fn resize(&mut self, now: Nanoseconds) {
        for index in 0..self.sources.len() {
            let source = &self.sources[index];
            if source.replaced.is_some() || source.ring.fill() <= GROW_ABOVE {
                continue;
            }
            // Refused, it stays as it is: what it can't hold is counted.
            if let Ok(Some(larger)) = self.rings.grow(&source.map)
                && self.add(larger).is_ok()
            {
                self.sources[index].replaced = Some(now);
            }
        }
        let is_over = |source: &Source| {
            let replaced = source.replaced.is_some_and(|since| since + LINGER < now);
            replaced && source.ring.waiting() == 0
        };
        while let Some(index) = self.sources.iter().position(is_over) {
            let source = self.sources.swap_remove(index);
            self.rings.let_go(source.map);
        }
    }

    fn run(&mut self, state: &Shared, stop: &AtomicBool) {
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let stopping = stop.load(Ordering::Acquire);
            let pause = self.pace.after(self.fullest());
            let drained = self.poll(state);
            if stopping && drained {
                let mut state = state.lock();
                self.order.flush(&mut *state);
                let rest = state.copies.finish();
                state.continue_stacks(rest);
                return;
            }
            if drained {
                // Interrupted, timed out or woken: the rings are looked at in any case.
                let pause = EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO);
                let _ = self.waker.wait(&mut events, pause);
            }
        }
    }

    /// How full the fullest ring is, as a share.
    fn fullest(&self) -> f64 {
        let shares = self.sources.iter().map(|source| source.ring.fill());
        shares.fold(0.0, f64::max)
    }

    /// One look at every ring; whether nothing was left.
    ///
    /// Events up to the watermark are applied in order of time: a ring that was drained after
    /// `now` was taken holds nothing older than it that another event could follow from; one
    /// that was not drained is known up to the last record read.
    fn poll(&mut self, state: &Shared) -> bool {
        let now = monotonic();
        self.resize(now);
        // After the clock, as the rings: what an event up to `now` followed from is told by then.
        let told = self.mmap_events.as_mut().map(MmapEvents::read);
        let mut watermark = now;
        let mut drained = true;
        let mut undecodable = 0;
        for source in &mut self.sources {
            let (order, last) = (&mut self.order, &mut source.last);
            let end = source.ring.read(BATCH, |bytes| match decode(bytes) {
                Ok(event) => {
                    *last = event.time;
                    order.push(event);
                }
                Err(_) => undecodable += 1,
            });
            if end == BatchEnd::MoreToCome {
                drained = false;
                watermark = watermark.min(source.last);
            }
        }
        let mut state = state.lock();
        state.undecodable += undecodable;
        state.ring_bytes = self.rings.total_bytes();
        if let Some((events, look)) = told {
            state.code.hear(events, look);
        }
        let wants_help = self.backlog.wants_help(now, self.order.len(), drained);
        let workers = if wants_help {
            self.helpers.call()
        } else {
            None
        };
        let mut hastened = Hastened {
            state: &mut state,
            workers,
        };
        self.order.release(watermark, &mut hastened);
        state.threads = 1 + self.helpers.used();
        state.code.advance(watermark);
        state.code.catch_up(now);
        state.tell_new_code();
        let continued = state.copies.take();
        state.continue_stacks(continued);
        drained
    }
}

/// Edge-triggered: a ring that holds something is not an event, the wakeup is.
fn wakeup() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)
}

/// The kernel's clock of the events, nanoseconds.
pub fn monotonic() -> Nanoseconds {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}
