//! The BPF object in the kernel: loaded, told whom to follow, its gate opened and closed.
//!
//! Dropping it takes every probe out again; [`KernelSide::detach`] does it in the open, gate first.

use std::{collections::HashSet, io, num::NonZeroU32, os::fd::AsFd as _, path::Path, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, ArrayOfMaps, HashMap, MapData, MapError, PerCpuArray},
    programs::{
        RawTracePoint, UProbe,
        raw_trace_point::RawTracePointLink,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use memprof_common::{
    allocator::{
        GIVE_BY_RET_PROGRAM, GIVE_PROGRAM, LEAVE_BY_RET_PROGRAM, NOTE_SIZE_PROGRAM, RETURN_PROGRAM,
        Shape, USDT_ALLOC_PROGRAM, USDT_FREE_PROGRAM,
    },
    counters::{COUNTERS, Counter, Counters},
    placement::{EntryPlace, InnerPlace, PRESERVED_REGISTERS, SizeAt},
    sampling::Schedule,
    settings::{
        COPY_RING_BYTES, FIRST_KERNEL_SPACE, FollowedProcess, KernelOffsets, MAX_BROKEN_STACKS,
        RARE_RING_BYTES, WideScope,
    },
};
use nix::errno::Errno;

use super::{
    cost::{ProgramRuns, Reading, Trap},
    emulation::{Emulated, Emulation},
    inner::{InnerSite, Task, describe},
    page_sizes,
    placement::{CONVENTION_WORDS, Placement, SAVED_WORDS, first_instruction},
    plan::{End, Site},
    rings::{RingMap, Rings},
    usdt::UsdtSite,
    usdt_link::UsdtLink,
    ways::Exit,
};
use crate::{
    identity::{Nanoseconds, Pid, SpaceId},
    unwind::loader::UnwindMaps,
};

/// The BPF object, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MEMPROF_BPF_OBJECT"));

/// Raw tracepoints and their programs. They need no tracefs.
const TRACEPOINTS: [(&str, &str); 3] = [
    ("process_forked", "sched_process_fork"),
    ("process_executed", "sched_process_exec"),
    ("thread_exited", "sched_process_exit"),
];

/// The same, of every system call there is: attached only where mappings are followed.
const SYSTEM_CALLS: [(&str, &str); 2] = [
    ("syscall_entered", "sys_enter"),
    ("syscall_left", "sys_exit"),
];
/// What tells of pages that become resident or are given back. In this order: the counters' changes are
/// read with the help of what the faults leave.
const FAULTS: [(&str, &str); 3] = [
    ("program_faulted", "page_fault_user"),
    ("kernel_faulted", "page_fault_kernel"),
    ("resident_changed", "rss_stat"),
];
/// What tells that a process is in a new cgroup; wanted where cgroups make the scope.
const MOVED: (&str, &str) = ("process_moved", "cgroup_attach_task");
/// `BPF_NOEXIST`.
const IF_NEW: u64 = 1;
/// The probe programs beside those of entries.
const OTHER_PROGRAMS: [&str; 7] = [
    RETURN_PROGRAM,
    GIVE_PROGRAM,
    NOTE_SIZE_PROGRAM,
    GIVE_BY_RET_PROGRAM,
    LEAVE_BY_RET_PROGRAM,
    USDT_ALLOC_PROGRAM,
    USDT_FREE_PROGRAM,
];

/// A plain type of `memprof-common` on its way into a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);
// SAFETY: `repr(C)` structures of `u32`s without padding.
unsafe impl Pod for Plain<FollowedProcess> {}
// SAFETY: as above.
unsafe impl Pod for Plain<KernelOffsets> {}
// SAFETY: as above, of `u64`s.
unsafe impl Pod for Plain<Schedule> {}
// SAFETY: as above, of `u32`s and then `u64`s.
unsafe impl Pod for Plain<WideScope> {}

/// A program in its place; dropping it takes it out.
#[expect(dead_code, reason = "held for what dropping it does")]
enum ProbeLink {
    Uprobe(UProbeLink),
    Usdt(UsdtLink),
}

/// Which processes a probe fires for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One process; no other one pays.
    Process(Pid),
    /// Every process that maps the file pays for the trap; the programs then pick.
    Everyone,
}

/// What happens to the children of a followed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// They are followed too, and theirs.
    Followed,
    /// They are not, except while they share their parent's memory.
    Ignored,
}

/// What is followed beside blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Mappings, by system calls.
    pub mappings: bool,
    /// Pages that become resident, by page faults.
    pub pages: bool,
}

impl Beside {
    /// All of it.
    pub const ALL: Self = Self {
        mappings: true,
        pages: true,
    };

    /// The programs and their tracepoints.
    fn tracepoints(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let mappings = SYSTEM_CALLS.into_iter().filter(move |_| self.mappings);
        mappings.chain(FAULTS.into_iter().filter(move |_| self.pages))
    }
}

/// What loading gives: the kernel side, and the maps that others read and fill.
pub struct Loaded {
    /// The kernel side.
    pub side: KernelSide,
    /// The rings, those of the rare records and of copied stacks among them.
    pub rings: Rings,
    /// The unwind tables, empty.
    pub unwind: UnwindMaps,
}

/// What the kernel side knows of walks that broke down.
pub struct BrokenWalks(HashMap<MapData, u64, u32>);

impl BrokenWalks {
    /// No copy helps with the walk that has this id: its stacks need not be told apart by depth any
    /// more, nor copied.
    pub fn give_up(&mut self, walk: u64) {
        // Refused: then it goes on as before.
        let _ = self.0.insert(walk, MAX_BROKEN_STACKS, 0);
    }
}

/// The loaded kernel side.
pub struct KernelSide {
    bpf: Ebpf,
    gate: Array<MapData, u32>,
    sampling: Array<MapData, Plain<Schedule>>,
    schedule: Schedule,
    processes: HashMap<MapData, u32, Plain<FollowedProcess>>,
    counters: PerCpuArray<MapData, Counters>,
    next_space: u32,
    is_wide: bool,
    beside: Beside,
    emulation: Emulation,
    broken_walks: Option<BrokenWalks>,
    links: Vec<ProbeLink>,
    /// The tracepoints of system calls, while mappings are followed, and of page faults.
    tracepoints: Vec<RawTracePointLink>,
    /// Programs that some site runs from an instruction that the kernel steps.
    stepped: HashSet<&'static str>,
}

impl KernelSide {
    /// Loads the object with rings of `ring_bytes` each (a power of two, whole pages), one per
    /// CPU, has it find processes of the given scope, and tell of `beside` once they are watched.
    ///
    /// # Errors
    /// If the kernel refuses a map or a program: no privilege, no BTF, too old.
    pub fn load(
        offsets: KernelOffsets,
        ring_bytes: u32,
        scope: WideScope,
        beside: Beside,
    ) -> Result<Loaded> {
        let half = u64::from(ring_bytes / 2);
        let mut bpf = EbpfLoader::new()
            .override_global("OFFSETS", &Plain(offsets), true)
            .override_global("HALF_RING_BYTES", &half, true)
            .override_global("SCOPE", &Plain(scope), true)
            .override_global("TWO_PAGE_SIZES", &u32::from(page_sizes::are_two()), true)
            // Task storage, into which only the programs look.
            .allow_unsupported_maps()
            .load(OBJECT)
            .context("the kernel refused memprof's maps")?;
        let mut map = |name: &str| {
            bpf.take_map(name)
                .ok_or_else(|| anyhow!("the BPF object has no map {name}"))
        };
        let gate = Array::try_from(map("GATE")?)?;
        let sampling = Array::try_from(map("SAMPLING")?)?;
        let processes = HashMap::try_from(map("PROCESSES")?)?;
        let counters = PerCpuArray::try_from(map("COUNTERS")?)?;
        let mut next_space: Array<_, u64> = Array::try_from(map("NEXT_SPACE")?)?;
        let broken_walks = BrokenWalks(HashMap::try_from(map("BROKEN_WALKS")?)?);
        let outer = ArrayOfMaps::try_from(map("RINGS")?)?;
        let mut rings = Rings::make(outer, ring_bytes)?;
        // The programs name them by descriptors, which must be open until they are loaded.
        let mut own = Vec::new();
        for (name, bytes) in [("RARE", RARE_RING_BYTES), ("COPIES", COPY_RING_BYTES)] {
            let aya::maps::Map::RingBuf(ring) = map(name)? else {
                bail!("the BPF object's {name} is no ring buffer");
            };
            rings.add(RingMap::of(&ring, bytes, None)?);
            own.push(ring);
        }
        let unwind = UnwindMaps {
            segments: ArrayOfMaps::try_from(map("SEGMENTS")?)?,
            pages: HashMap::try_from(map("PAGES")?)?,
            mappings: HashMap::try_from(map("MAPPINGS")?)?,
            mappings_version: Array::try_from(map("MAPPINGS_VERSION")?)?,
        };
        next_space.set(0, u64::from(FIRST_KERNEL_SPACE), 0)?;
        let mut side = Self {
            bpf,
            gate,
            sampling,
            schedule: Schedule::default(),
            processes,
            counters,
            next_space: 1,
            is_wide: scope.is_wide != 0,
            beside,
            emulation: Emulation::unknown(),
            broken_walks: Some(broken_walks),
            links: Vec::new(),
            tracepoints: Vec::new(),
            stepped: HashSet::new(),
        };
        side.load_programs(scope.cgroups > 0)?;
        Ok(Loaded {
            side,
            rings,
            unwind,
        })
    }

    fn load_programs(&mut self, moves_matter: bool) -> Result<()> {
        for shape in Shape::ALL {
            self.uprobe(shape.entry_program())?.load()?;
        }
        for name in OTHER_PROGRAMS {
            self.uprobe(name)?.load()?;
        }
        for (program, _) in self.beside.tracepoints() {
            self.raw_tracepoint(program)?.load()?;
        }
        let moved = moves_matter.then_some(MOVED);
        for (program, tracepoint) in TRACEPOINTS.into_iter().chain(moved) {
            let program = self.raw_tracepoint(program)?;
            program.load()?;
            program
                .attach(tracepoint)
                .with_context(|| refused(tracepoint))?;
        }
        Ok(())
    }

    /// Follows mappings and pages too, as far as [`KernelSide::load`] was told. From here on every system
    /// call, or every page fault, of every process takes some longer.
    ///
    /// # Errors
    /// If the kernel refuses a tracepoint.
    pub fn watch(&mut self) -> Result<()> {
        for (program, tracepoint) in self.beside.tracepoints() {
            let program = self.raw_tracepoint(program)?;
            let link = program
                .attach(tracepoint)
                .with_context(|| refused(tracepoint))?;
            let link = program.take_link(link)?;
            self.tracepoints.push(link);
        }
        Ok(())
    }

    fn raw_tracepoint(&mut self, name: &str) -> Result<&mut RawTracePoint> {
        let program = self
            .bpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the BPF object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    fn uprobe(&mut self, name: &str) -> Result<&mut UProbe> {
        let program = self
            .bpf
            .program_mut(name)
            .ok_or_else(|| anyhow!("the BPF object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Follows `pid` from now on; the number of its address space, or `None` if the kernel side follows
    /// it already and tells of it.
    ///
    /// # Errors
    /// If the table of processes is full.
    pub fn follow(&mut self, pid: Pid, children: Children) -> Result<Option<SpaceId>> {
        let space = self.next_space;
        if space >= FIRST_KERNEL_SPACE {
            bail!("too many processes were named one by one");
        }
        self.next_space += 1;
        let entry = FollowedProcess {
            space,
            follow_children: u32::from(children == Children::Followed),
            follow_exec: 1,
        };
        let flags = if self.is_wide { IF_NEW } else { 0 };
        match self.processes.insert(pid.0, Plain(entry), flags) {
            Ok(()) => Ok(Some(SpaceId(space))),
            Err(MapError::SyscallError(error)) if is_there(&error.io_error) => Ok(None),
            Err(error) => Err(error).context("the kernel's table of followed processes is full"),
        }
    }

    /// Takes back that `pid` is followed: it was gone by then, and nobody tells of its end.
    pub fn unfollow(&mut self, pid: Pid) {
        // Refused: it is not there.
        let _ = self.processes.remove(&pid.0);
    }

    /// Places probes by what the kernel was found to emulate.
    pub fn place_by(&mut self, emulation: Emulation) {
        self.emulation = emulation;
    }

    /// What was found of the kernel's emulation of instructions.
    pub fn emulation(&self) -> &Emulation {
        &self.emulation
    }

    /// Instructions that the kernel is known to emulate.
    pub fn emulated(&self) -> Emulated {
        self.emulation.emulated
    }

    /// Probes one function of the file at `path`: inside, if that was found to do, else its entry,
    /// and its return where it gives a block. Why it is probed where it is.
    ///
    /// # Errors
    /// If the kernel refuses the function's start too, where a probe can always be.
    pub fn attach(&mut self, path: &Path, site: &Site, scope: Scope) -> Result<String> {
        if !site.inner.is_empty() {
            let inner = format!("one trap: {}", describe(&site.inner));
            match self.attach_all(path, &inner_points(site), scope) {
                Ok(()) => return Ok(inner),
                Err(error) => {
                    let entry = self.attach_entry(path, site, scope)?;
                    return Ok(format!("{entry}; {inner} was refused: {error:#}"));
                }
            }
        }
        self.attach_entry(path, site, scope)
    }

    /// Follows a USDT probe of the file at `path`, whose semaphore is held meanwhile. What is followed.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn attach_usdt(&mut self, path: &Path, site: &UsdtSite, scope: Scope) -> Result<String> {
        if !self.emulated().nop {
            self.stepped.insert(site.program);
        }
        let program = self.uprobe(site.program)?;
        let link = UsdtLink::new(program.fd()?.as_fd(), path, site, scope)?;
        self.links.push(ProbeLink::Usdt(link));
        let semaphore = match site.semaphore {
            Some(_) => ", by its semaphore",
            None => "",
        };
        Ok(format!("USDT {}{semaphore}", site.arguments.escape_debug()))
    }

    fn attach_entry(&mut self, path: &Path, site: &Site, scope: Scope) -> Result<String> {
        let Placement {
            place,
            emulated,
            reason,
        } = &site.placement;
        let program = entry_program(site);
        if !emulated {
            self.stepped.insert(program);
        }
        if let End::Noted(exits) | End::Awaited(exits) = &site.end
            && exits.iter().any(|exit| !exit.emulated)
        {
            self.stepped
                .extend(exit_points(site).iter().map(|point| point.program));
        }
        let start = first_instruction(site.arguments);
        // What does not fit into a cookie can't be told to the programs.
        let points = entry_points(site, *place).or_else(|| entry_points(site, start));
        let points = points.ok_or_else(|| anyhow!("its arguments can't be told"))?;
        let reason = format!("{reason}{}", describe_end(site));
        match self.attach_all(path, &points, scope) {
            Err(error) if place.offset != 0 => {
                let Some(points) = entry_points(site, start) else {
                    return Err(error);
                };
                self.attach_all(path, &points, scope)?;
                Ok(format!(
                    "first instruction: {reason} was refused: {error:#}"
                ))
            }
            attached => attached.map(|()| reason),
        }
    }

    /// Attaches all of these or none, in their order.
    fn attach_all(&mut self, path: &Path, points: &[Point], scope: Scope) -> Result<()> {
        let scope = match scope {
            Scope::Everyone => UProbeScope::AllProcesses,
            Scope::Process(pid) => UProbeScope::OneProcess(
                NonZeroU32::new(pid.0).ok_or_else(|| anyhow!("0 is no process id"))?,
            ),
        };
        let mut links = Vec::new();
        for point in points {
            let program = self.uprobe(point.program)?;
            let place = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(point.offset),
                cookie: (point.cookie != 0).then_some(point.cookie),
            };
            let link = program.attach(place, path, scope)?;
            links.push(ProbeLink::Uprobe(program.take_link(link)?));
        }
        self.links.append(&mut links);
        Ok(())
    }

    /// Opens the gate: from here on every call counts.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn open_gate(&mut self) -> Result<()> {
        self.gate.set(0, 1, 0)?;
        self.emulation.clean_up();
        Ok(())
    }

    /// Has blocks chosen `mean_bytes` apart from the time `from` on, which must be some milliseconds
    /// ahead unless the gate is still closed. What the collector has to know of it.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn sample(&mut self, mean_bytes: u64, from: Nanoseconds) -> Result<Schedule> {
        // One word at a time, each where it makes no difference yet: a program may read between.
        let mut schedule = self.schedule;
        schedule.before = schedule.after;
        self.sampling.set(0, Plain(schedule), 0)?;
        schedule.from = from;
        self.sampling.set(0, Plain(schedule), 0)?;
        schedule.after = mean_bytes;
        self.sampling.set(0, Plain(schedule), 0)?;
        self.schedule = schedule;
        Ok(schedule)
    }

    /// Closes the gate and takes the probes out, in the background: the kernel takes its time.
    ///
    /// # Errors
    /// If the kernel refuses to close the gate; the probes go all the same.
    pub fn withdraw(&mut self) -> Result<()> {
        let closed = self.close_gate();
        let links = std::mem::take(&mut self.links);
        self.tracepoints.clear();
        // Without a thread they go here and now.
        let _ = thread::Builder::new()
            .name("withdraw".to_owned())
            .spawn(move || drop(links));
        closed
    }

    /// Closes the gate: no more work in the target than the traps themselves.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn close_gate(&mut self) -> Result<()> {
        Ok(self.gate.set(0, 0, 0)?)
    }

    /// The counters, summed over the CPUs.
    ///
    /// # Errors
    /// If the kernel refuses the read.
    pub fn counters(&self) -> Result<Counters> {
        let mut sum = [0; COUNTERS];
        for cpu in self.counters.get(&0, 0)?.iter() {
            for (total, value) in sum.iter_mut().zip(cpu) {
                *total += value;
            }
        }
        Ok(sum)
    }

    /// The programs' runs as far as the kernel's statistics were on, and the hits of followed
    /// processes.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn reading(&mut self) -> Result<Reading> {
        let hits = self.counters()?[Counter::ProbeHits as usize];
        let entries = Shape::ALL.map(Shape::entry_program);
        let mut runs = Vec::with_capacity(entries.len() + OTHER_PROGRAMS.len());
        for name in entries.into_iter().chain(OTHER_PROGRAMS) {
            let trap = if name == RETURN_PROGRAM {
                Trap::Return
            } else if self.stepped.contains(name) {
                Trap::Stepped
            } else {
                Trap::Emulated
            };
            let info = self.uprobe(name)?.info()?;
            runs.push(ProgramRuns {
                trap,
                count: info.run_count(),
                time_ns: info.run_time().as_nanos() as u64,
            });
        }
        let pages = self.beside.pages;
        for (name, _) in FAULTS.into_iter().filter(|_| pages) {
            let info = self.raw_tracepoint(name)?.info()?;
            runs.push(ProgramRuns {
                trap: Trap::None,
                count: info.run_count(),
                time_ns: info.run_time().as_nanos() as u64,
            });
        }
        Ok(Reading { runs, hits })
    }

    /// The table of broken walks, for who learns what becomes of their copies; once.
    pub fn take_broken_walks(&mut self) -> Option<BrokenWalks> {
        self.broken_walks.take()
    }

    /// Probes that are in.
    pub fn probes(&self) -> usize {
        self.links.len()
    }

    /// Closes the gate, then takes the probes out, and tells before each how many are left. The
    /// kernel takes about 0.1 s for each, one after the other, whoever asks.
    pub fn detach(mut self, mut tell: impl FnMut(usize)) {
        // The probes go whether or not the gate could be closed.
        let _ = self.close_gate();
        self.tracepoints.clear();
        while let Some(link) = self.links.pop() {
            tell(self.links.len() + 1);
            drop(link);
        }
    }
}

fn refused(tracepoint: &str) -> String {
    format!("cannot attach to the tracepoint {tracepoint}")
}

fn is_there(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EEXIST as i32)
}

/// A program at an instruction.
struct Point {
    program: &'static str,
    /// Bytes from the start of the file.
    offset: u64,
    cookie: u64,
}

/// The program at the entry of a function.
fn entry_program(site: &Site) -> &'static str {
    match site.end {
        End::Noted(_) => NOTE_SIZE_PROGRAM,
        _ => site.shape.entry_program(),
    }
}

/// The return first: a call between the two would wait for a return that is not probed. A return
/// probe sits where the entry's does: so they are one trap. `None` if the place can't be told.
fn entry_points(site: &Site, place: EntryPlace) -> Option<Vec<Point>> {
    let place = EntryPlace {
        by_ret: matches!(site.end, End::Awaited(_)),
        ..place
    };
    let cookie = match site.end {
        End::Noted(_) => noting(site, place)?.pack()?,
        _ => place.pack()?,
    };
    let offset = site.offset + u64::from(place.offset);
    let at_entry = |program| Point {
        program,
        offset,
        cookie,
    };
    let mut points = exit_points(site);
    points.extend((site.end == End::Return).then(|| at_entry(RETURN_PROGRAM)));
    points.push(at_entry(entry_program(site)));
    Some(points)
}

/// The probes on a function's way out, if it has no return probe.
fn exit_points(site: &Site) -> Vec<Point> {
    let (program, exits) = match &site.end {
        End::Noted(exits) => (GIVE_BY_RET_PROGRAM, exits),
        End::Awaited(exits) => (LEAVE_BY_RET_PROGRAM, exits),
        End::None | End::Return => return Vec::new(),
    };
    let point = |exit: &Exit| Point {
        program,
        offset: exit.at,
        // A place that does not pack is never found.
        cookie: exit.place.pack().unwrap_or(0),
    };
    exits.iter().map(point).collect()
}

/// How the way out is seen, in words.
fn describe_end(site: &Site) -> String {
    let (End::Noted(exits) | End::Awaited(exits)) = &site.end else {
        return String::new();
    };
    let emulated = exits.iter().filter(|exit| exit.emulated).count();
    let jumps = match emulated {
        0 => String::new(),
        1 => "; 1 jump before a `ret`".to_owned(),
        many => format!("; {many} jumps before `ret`s"),
    };
    let stepped = match exits.len() - emulated {
        0 => String::new(),
        1 => "; 1 stepped `ret`".to_owned(),
        many => format!("; {many} stepped `ret`s"),
    };
    jumps + &stepped
}

/// An entry's place, as the program reads it that notes the size.
fn noting(site: &Site, place: EntryPlace) -> Option<InnerPlace> {
    let in_order = first_instruction(site.arguments);
    let word = |number: usize| {
        let placed = place.arguments[number].or(in_order.arguments[number]);
        placed.unwrap_or(CONVENTION_WORDS[number])
    };
    Some(InnerPlace {
        offset: place.offset,
        pushed_words: place.pushed_words,
        result: SAVED_WORDS[0],
        size: match site.shape {
            Shape::Size => SizeAt::Word(word(0)),
            Shape::Product => SizeAt::Product(word(0), word(1)),
            Shape::AlignedSize => SizeAt::Word(word(1)),
            _ => return None,
        },
        preserved: [None; PRESERVED_REGISTERS],
    })
}

fn inner_points(site: &Site) -> Vec<Point> {
    let point = |inner: &InnerSite| Point {
        program: match inner.task {
            Task::Give => GIVE_PROGRAM,
            Task::NoteSize => NOTE_SIZE_PROGRAM,
        },
        offset: site.offset + u64::from(inner.place.offset),
        // A place that does not pack is never found.
        cookie: inner.place.pack().unwrap_or(0),
    };
    site.inner.iter().map(point).collect()
}

/// Sum of what was counted as lost ends: of blocks, and of mappings.
pub fn lost_ends(counters: &Counters) -> u64 {
    counters[Counter::LostFree as usize] + counters[Counter::LostUnmap as usize]
}

/// Sum of what was counted as lost allocations, for whatever reason.
pub fn lost_allocations(counters: &Counters) -> u64 {
    [
        Counter::LostAlloc,
        Counter::UntrackedThreads,
        Counter::Oversized,
        Counter::UnreadableResults,
    ]
    .into_iter()
    .map(|counter| counters[counter as usize])
    .sum()
}
