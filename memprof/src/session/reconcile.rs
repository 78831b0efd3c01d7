//! Reads the targets' memory while they live, page by page, for the report to say what it is.
//!
//! A launched command is gone when its report is made, so it is looked at now and then, and the last
//! look counts. Reading takes the lock of the target's address space for reading: what it takes is held
//! to a small share of the time.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use procfs::process::Process as Proc;

use super::{
    collector::{Shared, monotonic},
    roster::Followed,
    targets::Tracer,
};
use crate::{
    config::{Events, TargetChoice},
    identity::{Nanoseconds, Pid, SpaceId, seconds_since},
    live::mappings::Owner,
    pipeline::Contents,
    reconcile::{
        held::{HeldPages, MAX_BLOCKS},
        sum::{parts, together, unexplained_share},
        tally::{Before, Blocks, Memory, is_looked_up, tally},
        unexplained::{Circumstances, GO_HEAP, reasons},
    },
    report::{PartKind, ReconciledProcess, Reconciliation},
    snapshot::{Class, MappingKind, Regions, classify, parse_smaps, read_smaps, stack_pointers},
    target::{pagemap::Pagemap, process::resident_bytes, resident_pages::ResidentPages},
    units::format_count,
};

/// The first look; further ones come at growing distances, up to the interval of reports.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Looks get one part in this many of the time.
const LOOKING_SHARE: u32 = 400;
/// Processes that are looked at, those with most resident memory.
pub(super) const MAX_PROCESSES: usize = 16;
/// Of processes with so much in memory or more smaps is not read, if there is another way.
const LARGE: u64 = 1 << 30;
/// How far the kernel's counter may be behind.
const COUNTER_LAG_BYTES: u64 = 32 << 20;
/// How long it may take to note what the targets have in memory when they are attached to.
const NOTING_TIME: Duration = Duration::from_secs(1);
/// What these notes may take.
const MAX_NOTED_BYTES: usize = 64 << 20;
/// If more than this share is not explained, the report says what it may be.
const MUCH: f64 = 0.5;
/// The allocator that has each large block mapped alone, by the name that coverage has for it.
const MAPS_BLOCKS_ALONE: &str = "glibc";

/// What a look needs besides.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// What is probed.
    pub tracer: &'a Tracer,
    /// What the collector knows.
    pub shared: &'a Shared,
    /// What is followed.
    pub events: Events,
    /// Events were lost.
    pub loses: bool,
}

/// Someone to look at.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The process.
    pub pid: Pid,
    /// When it started, ticks since boot.
    pub start_ticks: u64,
    comm: Option<String>,
    /// Where it lives.
    pub space: SpaceId,
    origin: Option<SpaceId>,
    has_run_another: bool,
}

impl Target {
    fn of(process: &Followed) -> Option<Self> {
        Some(Self {
            pid: process.facts.pid,
            start_ticks: process.facts.start_ticks,
            comm: process.facts.comm.clone(),
            space: process.space()?,
            origin: process.origin(),
            has_run_another: process.has_run_another(),
        })
    }
}

/// Pages that a process had in memory when it was attached to; `None` if they were not noted.
type Noted = Option<ResidentPages>;

/// Who mapped which range, by address.
type Ranges = Vec<(Range<u64>, Owner)>;

/// Looks at the targets' memory, and remembers the last look.
pub struct Reconciler {
    start: Nanoseconds,
    begun: Instant,
    /// Processes that started before this had lived before they were followed, ticks since boot.
    begun_ticks: u64,
    launches: bool,
    longest: Duration,
    noted: HashMap<SpaceId, Noted>,
    next: Instant,
    last: Option<Reconciliation>,
    why_not: Option<String>,
}

impl Reconciler {
    /// Notes what those have in memory that are attached to. `start`: of the run; `interval`: of its
    /// reports.
    pub fn begin(
        target: &TargetChoice,
        shared: &Shared,
        start: Nanoseconds,
        interval: Duration,
    ) -> Self {
        let begun = Instant::now();
        let launches = matches!(target, TargetChoice::Command { .. });
        let mut reconciler = Self {
            start,
            begun,
            begun_ticks: ticks_since_boot(),
            launches,
            longest: interval,
            noted: HashMap::new(),
            next: begun + FIRST_LOOK,
            last: None,
            why_not: None,
        };
        if !launches {
            reconciler.note(&largest_first(living(shared)));
        }
        reconciler
    }

    fn note(&mut self, targets: &[Target]) {
        let mut room = MAX_NOTED_BYTES;
        for target in targets {
            let has_time = self.begun.elapsed() < NOTING_TIME;
            let pages = has_time.then(|| private_pages(target.pid).ok()).flatten();
            let pages = pages.filter(|pages| pages.memory_bytes() <= room);
            room -= pages.as_ref().map_or(0, ResidentPages::memory_bytes);
            self.noted.insert(target.space, pages);
        }
    }

    /// Whether it is time for a look.
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// The last look, if there was one, or else why not.
    pub fn last(&self) -> (Option<Reconciliation>, Option<String>) {
        if self.last.is_some() {
            return (self.last.clone(), None);
        }
        let why = self.why_not.clone();
        let never = || "nobody lived long enough to be looked at".to_owned();
        (None, Some(why.unwrap_or_else(never)))
    }

    /// Looks at those that live. If nobody does, or none can be read, the last look stays.
    pub fn look(&mut self, around: Around<'_>) {
        let begun = Instant::now();
        let at_seconds = seconds_since(self.start, monotonic());
        let mut targets = largest_first(living(around.shared));
        let mut left_out = targets.len().saturating_sub(MAX_PROCESSES) as u64;
        targets.truncate(MAX_PROCESSES);
        let mut processes = Vec::new();
        let mut most: Option<(u64, Vec<String>)> = None;
        for target in &targets {
            match self.process(target, around) {
                Ok((process, why)) => {
                    let unexplained = unexplained_bytes(&process);
                    if most.as_ref().is_none_or(|(most, _)| unexplained > *most) {
                        most = Some((unexplained, why));
                    }
                    processes.push(process);
                }
                Err(error) => {
                    left_out += 1;
                    self.why_not = Some(error.to_string());
                }
            }
        }
        let reasons = most.map(|(_, reasons)| reasons).unwrap_or_default();
        if let Some(mut all) = together(at_seconds, processes, reasons, left_out) {
            if all.unexplained_share <= MUCH {
                all.reasons.clear();
            }
            self.last = Some(all);
        }
        let now = Instant::now();
        let distance = (now - self.begun).min(self.longest);
        self.next = now + distance.max((now - begun) * LOOKING_SHARE);
    }

    /// Looks at one process: its parts, and what the rest may be.
    fn process(
        &self,
        target: &Target,
        around: Around<'_>,
    ) -> Result<(ReconciledProcess, Vec<String>)> {
        let pid = target.pid;
        let process = Proc::new(i32::try_from(pid.0)?)?;
        let program = process.stat()?;
        if program.starttime != target.start_ticks {
            bail!("process {} has ended", pid.0);
        }
        let Mapped {
            regions,
            classes,
            resident,
        } = Mapped::read(pid, &process, LARGE)?;
        if regions.total.rss_bytes == 0 {
            bail!("process {} shows nothing in memory", pid.0);
        }
        let rss_counter_bytes = resident_bytes(pid);
        if process.stat()?.startstack != program.startstack {
            bail!("process {} began to run another program", pid.0);
        }

        let mut held = HeldPages::new(&resident);
        let allocators = around.tracer.probed_in(pid);
        let allocators: Option<Vec<&str>> =
            allocators.map(|all| all.map(|one| &*one.allocator).collect());
        let is_probed =
            around.events.malloc && allocators.as_ref().is_none_or(|all| !all.is_empty());
        let (blocks, mapped) = join(target.space, &mut held, &resident, around, is_probed)?;
        let before = self.before(target);
        let tally = tally(&Memory {
            regions: &regions,
            classes: &classes,
            resident: &resident,
            held: &held,
            blocks,
            mapped: mapped.as_deref(),
            before,
            maps_blocks_alone: allocators
                .is_some_and(|all| all.iter().all(|name| *name == MAPS_BLOCKS_ALONE)),
        });
        let parts = parts(&tally);
        let circumstances = Circumstances {
            pid: pid.0,
            is_probed,
            follows_mappings: around.events.mmap,
            follows_faults: around.events.faults,
            is_attached: !matches!(before, Before::Nothing),
            before_is_known: !matches!(before, Before::Unknown),
            loses: around.loses,
        };
        let reconciled = ReconciledProcess {
            pid: pid.0,
            comm: target.comm.clone(),
            rss_bytes: tally.total(),
            rss_counter_bytes,
            unexplained_share: unexplained_share(&parts),
            parts,
        };
        Ok((reconciled, reasons(&tally.rest, &circumstances)))
    }

    /// Whether a process was followed from its program's start.
    pub fn saw_all_of(&self, process: &Followed) -> bool {
        let target = Target::of(process);
        target.is_some_and(|target| matches!(self.before(&target), Before::Nothing))
    }

    /// What a process had in memory before it was followed; of a fork, what it was a copy of had then.
    fn before(&self, target: &Target) -> Before<'_> {
        let origin = target.origin.unwrap_or(target.space);
        match self.noted.get(&origin) {
            Some(Some(pages)) => Before::Pages(pages),
            Some(None) => Before::Unknown,
            None if self.launches || target.has_run_another => Before::Nothing,
            None if target.start_ticks >= self.begun_ticks => Before::Nothing,
            None => Before::Unknown,
        }
    }
}

/// Joins a space's blocks with its pages, and copies what it has mapped: all that takes the lock.
fn join(
    space: SpaceId,
    held: &mut HeldPages,
    resident: &ResidentPages,
    around: Around<'_>,
    is_probed: bool,
) -> Result<(Blocks, Option<Ranges>)> {
    let state = around.shared.lock();
    let contents = state.pipeline.contents(space);
    let mapped = around.events.mmap.then(|| {
        let ranges = contents.iter().flat_map(Contents::ranges);
        ranges.collect()
    });
    let blocks = match contents {
        None => Blocks::Seen,
        Some(contents) if contents.block_count() > MAX_BLOCKS => bail!(
            "it has {} blocks, more than are joined with pages",
            format_count(contents.block_count() as u64)
        ),
        Some(contents) => join_blocks(contents, held, resident),
    };
    if !held.is_whole() {
        bail!("its blocks are too large to be joined with pages");
    }
    Ok((if is_probed { blocks } else { Blocks::Unseen }, mapped))
}

fn join_blocks(contents: Contents<'_>, held: &mut HeldPages, resident: &ResidentPages) -> Blocks {
    if !contents.is_sampled() {
        for (address, size, _) in contents.blocks() {
            held.add(address, size);
        }
        return Blocks::Seen;
    }
    let mut sum = 0.0;
    for (address, size, stands_for) in contents.blocks() {
        held.add(address, size);
        let resident = resident.resident_bytes(address..address.saturating_add(size));
        sum += stands_for * resident as f64 / size.max(1) as f64;
    }
    Blocks::Sampled(sum)
}

fn unexplained_bytes(process: &ReconciledProcess) -> u64 {
    let mut parts = process.parts.iter();
    let rest = parts.find(|one| one.part == PartKind::Unexplained);
    rest.and_then(|one| one.bytes).unwrap_or(0)
}

/// What a process has mapped, what that is for, and which pages of it are in memory.
struct Mapped {
    regions: Regions,
    classes: Vec<Class>,
    resident: ResidentPages,
}

impl Mapped {
    /// Reads it, of one with `large` bytes in memory or more without smaps.
    fn read(pid: Pid, process: &Proc, large: u64) -> Result<Self> {
        let mut notes = Vec::new();
        let mut pointers = stack_pointers(process, &mut notes).unwrap_or_default();
        pointers.sort_unstable();
        let mut pagemap =
            Pagemap::open(pid).map_err(|error| anyhow!("/proc/{}/pagemap: {error}", pid.0))?;
        if resident_bytes(pid).is_some_and(|bytes| bytes >= large)
            && let Some(found) = Self::by_pages(pid, process, &pointers, &mut pagemap)?
        {
            return Ok(found);
        }
        let regions = read_smaps(process, &mut notes);
        let regions = regions.ok_or_else(|| anyhow!(notes.pop().unwrap_or_default()))?;
        let classes = classify(&regions.kept, &pointers);
        let kept = regions.kept.iter().zip(&classes);
        let looked_up = kept.filter(|(region, class)| is_looked_up(region, **class));
        let resident = pagemap.resident(looked_up.map(|(region, _)| region.start..region.end))?;
        Ok(Self {
            regions,
            classes,
            resident,
        })
    }

    /// Without smaps, for which the kernel looks at the record of every page and holds the lock meanwhile:
    /// some 20 ms a GiB. `None` if this kernel can't tell pages so, or counts others than these.
    fn by_pages(
        pid: Pid,
        process: &Proc,
        pointers: &[u64],
        pagemap: &mut Pagemap,
    ) -> Result<Option<Self>> {
        let mut regions = parse_smaps(maps(process)?)?;
        for region in &mut regions.kept {
            // Here glibc's arenas are told from Go's heap, which has their shape, by where that lies.
            region.is_noreserve = region.start >> 32 != GO_HEAP >> 32;
        }
        let classes = classify(&regions.kept, pointers);
        let kept = regions.kept.iter().zip(&classes);
        let of_process = kept.filter(|(_, class)| class.kind != MappingKind::Kernel);
        let resident = pagemap.resident(of_process.map(|(region, _)| region.start..region.end))?;
        for region in &mut regions.kept {
            let bytes = resident.resident_bytes(region.start..region.end);
            region.amounts.rss_bytes = bytes;
            regions.total.rss_bytes += bytes;
        }
        // Pages of devices and huge pages of a pool are none of its own.
        let counted = resident_bytes(pid).unwrap_or(0);
        let is_right =
            regions.total.rss_bytes.abs_diff(counted) <= counted / 20 + COUNTER_LAG_BYTES;
        let is_whole = resident.end().is_none() && regions.beyond_count == 0;
        Ok(
            (pagemap.can_scan() && is_right && is_whole).then_some(Self {
                regions,
                classes,
                resident,
            }),
        )
    }
}

fn maps(process: &Proc) -> Result<impl BufRead> {
    Ok(BufReader::with_capacity(
        64 << 10,
        process.open_relative("maps")?,
    ))
}

/// Pages of a process in private memory that is of no file.
fn private_pages(pid: Pid) -> Result<ResidentPages> {
    let process = Proc::new(i32::try_from(pid.0)?)?;
    let Regions { kept, .. } = parse_smaps(maps(&process)?)?;
    // What nobody may touch is large and has no memory.
    let private = kept.iter().filter(|region| {
        !region.has_inode && !region.is_shared() && region.permissions[..2] != *b"--"
    });
    let ranges = private.map(|region| region.start..region.end);
    Ok(Pagemap::open(pid)?.resident(ranges)?)
}

/// Those that live, one for each address space.
pub(super) fn living(shared: &Shared) -> Vec<Target> {
    let state = shared.lock();
    let mut spaces = HashSet::new();
    let living = state.processes.living();
    let targets = living.filter_map(|process: &Followed| {
        Target::of(process).filter(|target| spaces.insert(target.space))
    });
    targets.collect()
}

pub(super) fn largest_first(targets: Vec<Target>) -> Vec<Target> {
    let mut weighed: Vec<_> = targets
        .into_iter()
        .filter_map(|target| Some((resident_bytes(target.pid)?, target)))
        .collect();
    weighed.sort_by_key(|(bytes, target)| (std::cmp::Reverse(*bytes), target.pid));
    weighed.into_iter().map(|(_, target)| target).collect()
}

/// Now, as the starts of processes are counted.
fn ticks_since_boot() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let now = now.map_or(Duration::ZERO, Duration::from);
    (now.as_secs_f64() * procfs::ticks_per_second() as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_process(large: u64) -> Mapped {
        let pid = Pid(std::process::id());
        Mapped::read(pid, &Proc::myself().unwrap(), large).unwrap()
    }

    #[test]
    fn pages_alone_tell_the_same_as_smaps() {
        // Large enough that what other tests do meanwhile does not matter.
        let own = vec![1_u8; 64 << 20];
        let (by_smaps, by_pages) = (this_process(u64::MAX), this_process(0));
        let bytes = |mapped: &Mapped| mapped.regions.total.rss_bytes;
        let (one, other) = (bytes(&by_smaps), bytes(&by_pages));
        assert!(
            one.abs_diff(other) < one / 4,
            "{one} by smaps, {other} by pages"
        );
        let start = std::hint::black_box(&own).as_ptr() as u64;
        for mapped in [&by_smaps, &by_pages] {
            let range = start..start + own.len() as u64;
            assert_eq!(mapped.resident.resident_bytes(range), own.len() as u64);
        }
    }

    #[test]
    fn a_process_that_is_not_there_has_no_private_pages() {
        assert!(private_pages(Pid(u32::MAX)).is_err());
        assert!(private_pages(Pid(std::process::id())).unwrap().bytes() > 0);
    }
}
