//! The thread that unwinds copied stacks: reading unwind information takes milliseconds, for which
//! the rings must not wait.

use std::{
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel},
    thread,
    time::{Duration, Instant},
};

use memprof_common::event::whole_stack_id;

use crate::{
    events::event::StackCopy,
    identity::{SpaceId, StackId},
    probes::kernel_side::BrokenWalks,
    target::modules::{Modules, Region},
    unwind::copied::{Code, Continued, CopiedMemory, CopiedStack, CopyUnwinder},
};

/// Copies that wait for the thread; further ones are dropped.
const MAX_WAITING: usize = 1024;
/// Copies of one broken walk that gave nothing, after which no more are made.
const MAX_FRUITLESS: u32 = 3;
/// Broken walks whose copies gave nothing that are remembered; with more, all are forgotten.
const MAX_REMEMBERED: usize = 16 * 1024;
/// How long the end of a run waits for the copies that are left.
const PATIENCE: Duration = Duration::from_secs(2);

/// A copy, and what its process had mapped when it was made.
pub struct Job {
    /// The copy.
    pub copy: StackCopy,
    /// Where its process lives.
    pub space: SpaceId,
    /// What is known of its stack.
    pub known: Box<[u64]>,
    /// The executable mappings.
    pub regions: Vec<Region>,
    /// The files among them.
    pub modules: Modules,
}

impl Job {
    fn unwind(&self, unwinder: &mut CopyUnwinder) -> Option<Continued> {
        let stack = CopiedStack {
            known: &self.known,
            frames: self.copy.frames,
            interrupted: self.copy.interrupted,
            registers: &self.copy.registers,
            memory: CopiedMemory {
                start: self.copy.start,
                bytes: &self.copy.bytes,
            },
        };
        unwinder.unwind(&stack, self.code())
    }

    fn code(&self) -> Code<'_> {
        Code {
            regions: &self.regions,
            modules: &self.modules,
        }
    }
}

/// What the copy of a stack gave.
struct Outcome {
    stack: StackId,
    /// The id that the walk would have if it had not broken down.
    walk: u64,
    result: Result<Continued, Nothing>,
}

/// Why a copy gave no more than the walk had found.
enum Nothing {
    /// The walk broke down in code that the collector does not know either, yet.
    UnknownCode,
    /// There is no unwind information that would help.
    Hopeless,
}

impl Outcome {
    fn of(job: &Job, unwinder: &mut CopyUnwinder) -> Self {
        let walked = job.known.get(..job.copy.frames).unwrap_or_default();
        let broken = job.copy.registers.broken[0];
        let result = unwind(job, unwinder).ok_or(if job.code().is_known(broken) {
            Nothing::Hopeless
        } else {
            Nothing::UnknownCode
        });
        Self {
            stack: job.copy.id,
            walk: whole_stack_id(job.space.0, walked),
            result,
        }
    }
}

/// The thread, and the ways to it and back.
pub struct Copies {
    /// `None` once the run is over.
    jobs: Option<SyncSender<Job>>,
    outcomes: Receiver<Outcome>,
    under_way: u64,
    dropped: u64,
    /// How often a walk's copies gave nothing.
    fruitless: HashMap<u64, u32>,
    broken_walks: Option<BrokenWalks>,
}

impl Copies {
    /// Starts the thread. It ends when this is dropped. `broken_walks` hears of which walks need
    /// no copies.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(broken_walks: Option<BrokenWalks>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(MAX_WAITING);
        let (results, outcomes) = channel();
        thread::Builder::new()
            .name("unwinder".to_owned())
            .spawn(move || {
                let mut unwinder = CopyUnwinder::default();
                for job in waiting {
                    if results.send(Outcome::of(&job, &mut unwinder)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            outcomes,
            under_way: 0,
            dropped: 0,
            fruitless: HashMap::new(),
            broken_walks,
        })
    }

    /// Has a copy unwound, unless too many wait already.
    pub fn send(&mut self, job: Job) {
        let Some(jobs) = &self.jobs else { return };
        match jobs.try_send(job) {
            Ok(()) => self.under_way += 1,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped += 1,
        }
    }

    /// Copies that were not unwound, because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
            + if self.jobs.is_none() {
                self.under_way
            } else {
                0
            }
    }

    /// What has been unwound since this was asked last; never waits.
    pub fn take(&mut self) -> Vec<(StackId, Continued)> {
        let mut taken = Vec::new();
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.note(outcome, &mut taken);
        }
        taken
    }

    /// What is still to come, waited for within limits. Nothing can be sent afterwards.
    pub fn finish(&mut self) -> Vec<(StackId, Continued)> {
        let until = Instant::now() + PATIENCE;
        self.jobs = None;
        let mut taken = Vec::new();
        while self.under_way > 0 {
            let left = until.saturating_duration_since(Instant::now());
            match self.outcomes.recv_timeout(left) {
                Ok(outcome) => self.note(outcome, &mut taken),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        taken
    }

    fn note(&mut self, outcome: Outcome, taken: &mut Vec<(StackId, Continued)>) {
        self.under_way = self.under_way.saturating_sub(1);
        match outcome.result {
            Ok(continued) => {
                self.fruitless.remove(&outcome.walk);
                taken.push((outcome.stack, continued));
            }
            Err(Nothing::Hopeless) => self.note_fruitless(outcome.walk),
            Err(Nothing::UnknownCode) => {}
        }
    }

    fn note_fruitless(&mut self, walk: u64) {
        if self.fruitless.len() == MAX_REMEMBERED {
            self.fruitless.clear();
        }
        let times = self.fruitless.entry(walk).or_insert(0);
        *times += 1;
        if *times >= MAX_FRUITLESS
            && let Some(broken) = &mut self.broken_walks
        {
            broken.give_up(walk);
        }
    }
}

/// What the copy gives. The parsers are other people's and the files the target's: a panic, which
/// has been printed, costs this one stack, which stays as it was, and what was kept of the files.
fn unwind(job: &Job, unwinder: &mut CopyUnwinder) -> Option<Continued> {
    let result = catch_unwind(AssertUnwindSafe(|| job.unwind(unwinder)));
    result.unwrap_or_else(|_| {
        *unwinder = CopyUnwinder::default();
        None
    })
}
