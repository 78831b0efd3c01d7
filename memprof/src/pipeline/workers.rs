//! The threads that take a share of the collector's work when one can't keep up.
//!
//! They sleep until there is work, and end when this is dropped. Whoever hands out the work does its
//! share too and waits for nobody who has not begun, so a thread that the system keeps waiting holds
//! nothing up; and a panic in one of them is a panic of the one that handed out the work.

use std::sync::{Mutex, PoisonError};

use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::{Pipeline, parallel::Chunk};
use crate::events::{event::Event, order::Sink};

/// Frequent events in a row that are worth waking threads for: half a millisecond's work for one.
pub const LEAST_RUN: usize = 1 << 12;

/// Events that are routed, then worked off, then settled at a time: what is noted of them stays in a
/// core's cache, and there is enough to do to be worth a wakeup.
const CHUNK: usize = 1 << 13;

/// The threads, and what they need from one run of events to the next.
#[derive(Debug)]
pub struct Workers {
    pool: ThreadPool,
    pub(super) chunk_length: usize,
    /// The one that is worked off, and the one before.
    pub(super) chunks: [Chunk; 2],
    have_worked: bool,
}

impl Workers {
    /// Starts so many threads, which call `begin` first; `None` if the system refuses one.
    pub fn start(threads: usize, begin: fn()) -> Option<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("collector-{}", index + 1))
            .start_handler(move |_| begin())
            .build()
            .ok()?;
        Some(Self {
            pool,
            chunk_length: CHUNK,
            chunks: Default::default(),
            have_worked: false,
        })
    }

    /// Takes so many events at a time.
    #[must_use]
    pub fn in_chunks_of(mut self, events: usize) -> Self {
        self.chunk_length = events.max(1);
        self
    }

    /// How many of them there are.
    pub(super) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// How many of the threads have had something to do so far.
    pub fn used(&self) -> usize {
        if self.have_worked {
            self.pool.current_num_threads()
        } else {
            0
        }
    }

    /// Has `work` done on each of `tasks` by the threads and, once it has done what it has to do
    /// `meanwhile`, by the caller. Returns when all is done.
    pub(super) fn share<T: Send>(
        &mut self,
        tasks: &mut [T],
        work: impl Fn(&mut T) + Sync,
        meanwhile: impl FnOnce(),
    ) {
        self.have_worked = true;
        let helpers = self.pool.current_num_threads().min(tasks.len());
        let waiting = Mutex::new(tasks.iter_mut());
        let next = || {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.next()
        };
        let work_off = || {
            while let Some(task) = next() {
                work(task);
            }
        };
        self.pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| work_off());
            }
            meanwhile();
            work_off();
        });
    }
}

/// A pipeline with the threads at hand.
pub struct Hastened<'a> {
    /// Where the events go.
    pub pipeline: &'a mut Pipeline,
    /// Who helps.
    pub workers: &'a mut Workers,
    /// With how many events in a row: [`LEAST_RUN`].
    pub least_run: usize,
}

impl Sink for Hastened<'_> {
    #[inline]
    fn expect(&self, event: &Event) {
        self.pipeline.expect(event);
    }

    #[inline]
    fn apply(&mut self, event: Event) {
        self.pipeline.apply(event);
    }

    fn least_run(&self) -> usize {
        self.least_run
    }

    fn apply_run(&mut self, run: &[Event]) -> bool {
        self.pipeline.apply_run(run, self.workers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn workers(threads: usize) -> Workers {
        Workers::start(threads, || {}).expect("threads can be started")
    }

    #[test]
    fn every_task_is_done_once_and_what_is_done_meanwhile_too() {
        let mut workers = workers(3);
        assert_eq!(workers.used(), 0);
        for count in [0, 1, 2, 100] {
            let mut tasks = vec![0; count];
            let mut settled = 0;
            workers.share(&mut tasks, |task| *task += 1, || settled += 1);
            assert_eq!((tasks, settled), (vec![1; count], 1));
        }
        assert_eq!(workers.used(), 3);
    }

    /// The task of the caller's and the one of the other thread wait for each other.
    #[test]
    fn tasks_are_done_side_by_side_by_threads_with_names() {
        let mut workers = workers(1);
        let names = Mutex::new(HashSet::new());
        let both = std::sync::Barrier::new(2);
        let work = |_: &mut ()| {
            let name = thread::current().name().unwrap_or_default().to_owned();
            names.lock().expect("no panic").insert(name);
            both.wait();
        };
        workers.share(&mut [(), ()], work, || {});
        let names = names.into_inner().expect("no panic");
        assert!(
            names.len() == 2 && names.contains("collector-1"),
            "{names:?}"
        );
    }

    #[test]
    fn a_panic_in_a_thread_is_one_of_the_caller_and_the_threads_go_on() {
        let mut workers = workers(2);
        let done = AtomicUsize::new(0);
        let work = |task: &mut usize| {
            assert_ne!(*task, 3, "to be expected");
            done.fetch_add(1, Ordering::Relaxed);
        };
        let mut tasks = [1, 2, 3, 4, 5];
        let outcome = catch_unwind(AssertUnwindSafe(|| workers.share(&mut tasks, work, || {})));
        assert!(outcome.is_err());
        assert!(done.load(Ordering::Relaxed) <= 4);
        workers.share(&mut [1, 2], work, || {});
    }

    #[test]
    fn the_threads_end_with_whom_they_help() {
        /// Counted by how many hold it: each thread for as long as it lives.
        static ALIVE: Mutex<Option<Arc<()>>> = Mutex::new(None);
        thread_local! {
            static MINE: std::cell::RefCell<Option<Arc<()>>> = const { std::cell::RefCell::new(None) };
        }
        let alive = Arc::new(());
        *ALIVE.lock().expect("no panic") = Some(Arc::clone(&alive));
        let begin = || MINE.set(ALIVE.lock().expect("no panic").clone());
        let workers = Workers::start(2, begin).expect("threads can be started");
        while Arc::strong_count(&alive) < 4 {
            thread::yield_now();
        }
        drop(workers);
        while Arc::strong_count(&alive) > 2 {
            thread::yield_now();
        }
    }
}
