//! The watch: weighs the processes of a scope, in a thread of its own and at a gentle pace.
//!
//! It reads what each has of anonymous memory, resident and swapped out, from `/proc/PID/status`: files
//! that are mapped don't leak, and what was swapped out has not been given back. The file is held open,
//! so a later process of the same id is never taken for the one that is watched. Whatever else
//! can tell how much memory a process has at what time may tell the same list instead.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::super::weight::{WEIGHING_SHARE, thread_cpu_time};
use crate::{
    bad_input,
    config::TargetChoice,
    hunt::{MAX_WATCHED, WATCH_PERIOD, WatchedId, Watchlist},
    identity::Pid,
    target::{
        process::{ProcessFacts, anonymous_bytes, require_traceable},
        scope::WideScope,
    },
};

/// Time between two looks for processes that have come.
const SEARCH_PERIOD: Duration = Duration::from_secs(2);

/// What is read of a status: it has a line of all groups that the process is in, before the memory.
const STATUS_BYTES: usize = 32 << 10;

/// Who is to be watched.
pub(super) enum Scope {
    /// These and no others.
    Named(Vec<ProcessFacts>),
    /// Whoever is in it, now and later.
    Wide(WideScope),
}

impl Scope {
    /// The processes that the user named, which must be there.
    ///
    /// # Errors
    /// Bad input if one can't be traced.
    pub(super) fn new(target: &TargetChoice) -> Result<Self> {
        match target {
            TargetChoice::Wide(scope) => Ok(Self::Wide(scope.clone())),
            TargetChoice::Pids(pids) if pids.len() > MAX_WATCHED => Err(bad_input!(
                "too many of --pid: at most {MAX_WATCHED} are watched"
            )),
            TargetChoice::Pids(pids) => {
                let facts = pids.iter().map(|pid| require_traceable(*pid));
                Ok(Self::Named(facts.collect::<Result<_>>()?))
            }
            TargetChoice::Command { .. } => Err(bad_input!("hunt launches no command")),
        }
    }
}

/// The running watch. It ends when this is dropped.
pub(super) struct Watch {
    list: Arc<Mutex<Watchlist>>,
    /// Processor time that it took, nanoseconds.
    cpu_ns: Arc<AtomicU64>,
    /// Closed to end it.
    _alive: Sender<()>,
}

impl Watch {
    /// Begins to watch; growth below so many bytes is not significant. The processes that are there
    /// have been met when this returns.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub(super) fn start(scope: Scope, min_growth: u64) -> Result<Self> {
        let list = Arc::new(Mutex::new(Watchlist::new(min_growth)));
        let cpu_ns = Arc::new(AtomicU64::new(0));
        let (alive, ends) = channel();
        let mut scales = Scales {
            list: list.clone(),
            start: Instant::now(),
            files: HashMap::new(),
        };
        scales.search(&scope);
        scales.weigh();
        let spent = cpu_ns.clone();
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                let mut pause = Pause::default();
                let mut next_search = Instant::now() + SEARCH_PERIOD;
                while ends.recv_timeout(pause.length) == Err(RecvTimeoutError::Timeout) {
                    let begun = thread_cpu_time();
                    scales.weigh();
                    pause.after(thread_cpu_time().saturating_sub(begun));
                    if Instant::now() >= next_search {
                        let begun = thread_cpu_time();
                        scales.search(&scope);
                        let taken = thread_cpu_time().saturating_sub(begun);
                        next_search = Instant::now() + SEARCH_PERIOD.max(taken * WEIGHING_SHARE);
                    }
                    let taken = thread_cpu_time().as_nanos();
                    spent.store(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            })
            .context("cannot start the thread that watches")?;
        Ok(Self {
            list,
            cpu_ns,
            _alive: alive,
        })
    }

    /// Who is watched, for a moment.
    pub(super) fn list(&self) -> MutexGuard<'_, Watchlist> {
        lock(&self.list)
    }

    /// Processor time that the thread took so far, seconds.
    pub(super) fn cpu_seconds(&self) -> f64 {
        self.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// A panic of the other holder leaves it usable: every change is whole.
fn lock(list: &Mutex<Watchlist>) -> MutexGuard<'_, Watchlist> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the watch waits: its period, or longer where there is much to weigh.
struct Pause {
    length: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            length: Duration::from_secs_f64(WATCH_PERIOD),
        }
    }
}

impl Pause {
    fn after(&mut self, taken: Duration) {
        self.length = Self::default().length.max(taken * WEIGHING_SHARE);
    }
}

/// What is weighed, and where that is written down.
struct Scales {
    list: Arc<Mutex<Watchlist>>,
    start: Instant,
    files: HashMap<WatchedId, File>,
}

impl Scales {
    /// Takes in who has come.
    fn search(&mut self, scope: &Scope) {
        let mut left_out = 0;
        match scope {
            // Those who are gone don't come again.
            Scope::Named(facts) if self.files.is_empty() => {
                for facts in facts {
                    left_out += u64::from(!self.take_in(facts.clone()));
                }
            }
            Scope::Named(_) => return,
            Scope::Wide(scope) => {
                // An id that came back is known until the next weighing, which tells of the end.
                let known: HashSet<Pid> = self.files.keys().map(|id| id.pid).collect();
                for facts in scope.processes_but(|pid| known.contains(&pid)) {
                    left_out += u64::from(!self.take_in(facts));
                }
            }
        }
        lock(&self.list).leave_out(left_out);
    }

    /// Whether there was room for it, or it was gone again.
    fn take_in(&mut self, facts: ProcessFacts) -> bool {
        if !lock(&self.list).has_room() {
            return false;
        }
        let file = match File::open(format!("/proc/{}/status", facts.pid.0)) {
            Ok(file) => file,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        // The file may be of another process by now.
        if facts.is_alive() {
            self.files.insert(WatchedId::of(&facts), file);
            lock(&self.list).add(facts);
        }
        true
    }

    /// Weighs all, and lets go of those that have ended.
    fn weigh(&mut self) {
        let mut text = [0; STATUS_BYTES];
        let weighed: Vec<_> = self
            .files
            .iter()
            .map(|(id, file)| {
                let read = file.read_at(&mut text, 0).unwrap_or(0);
                (*id, self.start.elapsed(), anonymous_bytes(&text[..read]))
            })
            .collect();
        let mut list = lock(&self.list);
        for (id, at, bytes) in weighed {
            match bytes {
                Some(bytes) => list.note(id, at.as_secs_f64(), bytes),
                None => {
                    self.files.remove(&id);
                    list.end(id);
                }
            }
        }
    }
}
