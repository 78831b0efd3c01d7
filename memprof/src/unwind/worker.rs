//! The thread that loads tables, so that nobody waits for it who has rings to read.
//!
//! It is told what spaces have mapped, and tells the kernel at once, with the tables that are
//! there. Then it compiles what is missing, small files first, and tells the kernel again. Between
//! two files it looks for news.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    loader::{LoaderStats, UnwindLoader},
    mapped::{Code, MappedCode},
};
use crate::{
    identity::SpaceId,
    priority::hurry,
    target::modules::{Module, ModuleIndex},
};

/// While one file after the other is loaded, the kernel is told of them this often at most: each
/// time it forgets the rules that it remembers of the process.
const PUBLISH_PERIOD: Duration = Duration::from_micros(500);

/// What a space has mapped.
pub struct Mapped {
    /// The mappings, by address, as [`choose`](super::mapped::choose) picks them.
    pub code: Vec<MappedCode>,
    /// How many were not picked.
    pub left_out: u64,
}

/// What the thread has not taken notice of yet: the latest word on each space, so that no haste
/// of a target makes it grow.
#[derive(Default)]
struct Inbox {
    /// `None`: nothing happens in the space any more.
    spaces: HashMap<SpaceId, Option<Mapped>>,
    waiting: Vec<SyncSender<()>>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    news: Condvar,
    stats: Mutex<LoaderStats>,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // A panic of the other side leaves it usable: every change is one assignment.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, LoaderStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running thread. It ends when this is dropped, after the file that it is at.
pub struct TableLoader {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl TableLoader {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no room for one.
    pub fn start(loader: UnwindLoader) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            loader,
            wanted: BTreeSet::new(),
            missing: HashMap::new(),
            spaces: HashMap::new(),
            outdated: HashSet::new(),
        };
        let thread = thread::Builder::new()
            .name("tables".to_owned())
            .spawn(move || {
                hurry();
                worker.run();
            })
            .context("cannot start the thread that loads unwind tables")?;
        Ok(Self { shared, thread })
    }

    /// `space` has this mapped from now on.
    pub fn publish(&self, space: SpaceId, mapped: Mapped) {
        self.shared.inbox().spaces.insert(space, Some(mapped));
        self.shared.news.notify_one();
    }

    /// Nothing happens in `space` any more.
    pub fn forget(&self, space: SpaceId) {
        self.shared.inbox().spaces.insert(space, None);
        self.shared.news.notify_one();
    }

    /// Waits until all that was published is in the kernel, with its tables.
    pub fn settle(&self) {
        let (settled, answer) = sync_channel(1);
        self.shared.inbox().waiting.push(settled);
        self.shared.news.notify_one();
        // An error: the thread has panicked, which was printed and is reported.
        let _ = answer.recv();
    }

    /// What was loaded so far.
    pub fn stats(&self) -> LoaderStats {
        *self.shared.stats()
    }

    /// Whether the thread still works; if not, what is mapped from now on has no tables.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

impl Drop for TableLoader {
    fn drop(&mut self) {
        self.shared.inbox().closed = true;
        self.shared.news.notify_one();
    }
}

struct Worker {
    shared: Arc<Shared>,
    loader: UnwindLoader,
    /// Files to load, by their size.
    wanted: BTreeSet<(u64, ModuleIndex)>,
    /// The same, with the spaces that wait for each.
    missing: HashMap<ModuleIndex, (Arc<Module>, HashSet<SpaceId>)>,
    /// Spaces with files that are not loaded yet.
    spaces: HashMap<SpaceId, Mapped>,
    /// Of those, the ones of which a file was loaded since the kernel was told.
    outdated: HashSet<SpaceId>,
}

impl Worker {
    fn run(mut self) {
        let mut waiting = Vec::new();
        let mut told = Instant::now();
        while let Some(inbox) = self.news() {
            waiting.extend(inbox.waiting);
            for (space, mapped) in inbox.spaces {
                match mapped {
                    Some(mapped) => self.publish(space, mapped),
                    None => self.forget(space),
                }
            }
            if let Some((_, module)) = self.wanted.pop_first() {
                self.load(module);
            }
            if self.wanted.is_empty() || told.elapsed() > PUBLISH_PERIOD {
                self.publish_outdated();
                told = Instant::now();
            }
            *self.shared.stats() = self.loader.stats();
            if self.wanted.is_empty() {
                self.loader.make_room();
                for settled in waiting.drain(..) {
                    // Who waited may have given up.
                    let _: Result<_, _> = settled.send(());
                }
            }
        }
    }

    /// What has come; waits for something if there is nothing else to do. `None` at the end.
    fn news(&self) -> Option<Inbox> {
        let mut inbox = self.shared.inbox();
        let idle = self.wanted.is_empty();
        while idle && inbox.spaces.is_empty() && inbox.waiting.is_empty() && !inbox.closed {
            inbox = self
                .shared
                .news
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (!inbox.closed).then(|| std::mem::take(&mut *inbox))
    }

    fn publish(&mut self, space: SpaceId, mapped: Mapped) {
        self.outdated.remove(&space);
        self.loader.publish(space, &mapped.code, mapped.left_out);
        let mut is_complete = true;
        for one in &mapped.code {
            let Code::File { module, handle, .. } = &one.code else {
                continue;
            };
            if self.loader.is_loaded(*module) {
                continue;
            }
            is_complete = false;
            let missing = self.missing.entry(*module).or_insert_with(|| {
                self.wanted.insert((handle.size().unwrap_or(0), *module));
                (Arc::clone(handle), HashSet::new())
            });
            missing.1.insert(space);
        }
        if is_complete {
            self.spaces.remove(&space);
        } else {
            self.spaces.insert(space, mapped);
        }
    }

    fn forget(&mut self, space: SpaceId) {
        self.loader.forget(space);
        self.spaces.remove(&space);
        self.outdated.remove(&space);
    }

    fn load(&mut self, module: ModuleIndex) {
        let Some((handle, spaces)) = self.missing.remove(&module) else {
            return;
        };
        let waiting: Vec<SpaceId> = spaces
            .into_iter()
            .filter(|space| self.spaces.contains_key(space))
            .collect();
        // All who had it may be gone; the next one to map it asks for it anew.
        if !waiting.is_empty() {
            self.loader.load(module, &handle);
            self.outdated.extend(waiting);
        }
    }

    fn publish_outdated(&mut self) {
        for space in std::mem::take(&mut self.outdated) {
            if let Some(mapped) = self.spaces.remove(&space) {
                self.publish(space, mapped);
            }
        }
    }
}
