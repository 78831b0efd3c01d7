//! From what the collector knows to a finished report: snapshot, sort, cut, name.

use std::collections::HashSet;

use memprof_common::counters::{Counter, Counters};

use super::{
    by_process::{self, Row},
    collector::State,
    cycles::Cycles,
    joined::{self, AllJoined, ShownJoined},
    left::{self, Left},
    notes,
    paths::{self, Path},
    reconcile::Reconciler,
    roster::Followed,
    touchers::{self, Touched},
};
use crate::{
    config::Sort,
    growth::{Context, Judgement},
    identity::{Nanoseconds, seconds_since},
    pipeline::{MappedTotals, ShownFilter, SiteSnapshot, Summary},
    probes::kernel_side::lost_allocations,
    report::{
        AllocatorKind, Coverage, Frame, GroupBy, HexAddress, HexStackId, Lost, Overhead, Process,
        Quality, Sampling, StackWays, TopAllocator, TopToucher, Verdict,
    },
    stacks::weight::Uncertainty,
    symbols::{
        Symbols,
        frame::Frame as NamedFrame,
        guilty::{Skips, guilty_frame},
    },
    target::modules::{FrameAddress, Modules},
};

/// A call path to show.
pub struct ShownSite {
    /// What it holds.
    pub path: Path,
    /// Where its frames are.
    pub places: Box<[FrameAddress]>,
    /// What is said of its growth; `None` if its program is gone.
    pub judgement: Option<Judgement>,
    /// What of its memory was touched; `None` if that is not known.
    pub joined: Option<ShownJoined>,
}

/// What is to be shown of all that is known.
#[derive(Clone, Copy)]
pub struct Choice<'a> {
    /// Which blocks.
    pub filter: &'a ShownFilter,
    /// Which call paths first.
    pub sort: Sort,
    /// What they are added up over.
    pub group_by: GroupBy,
    /// How many of them.
    pub top: usize,
    /// What was left between marks too.
    pub windows: bool,
    /// What was done again and again.
    pub cycles: Option<&'a Cycles>,
    /// Who touched pages first too.
    pub faults: bool,
    /// What of the blocks was touched too, and who knows since when each process was followed.
    pub joins: Option<&'a Reconciler>,
    /// Beside those, how many that leak or grow.
    pub suspects: usize,
}

/// What a report needs from the collector, copied out of the lock.
pub struct Extract {
    /// Totals over all.
    pub summary: Summary,
    /// What is mapped.
    pub mapped: MappedTotals,
    /// How far the outstanding bytes may be off.
    pub uncertainty: Uncertainty,
    /// The call paths to show, in order.
    pub sites: Vec<ShownSite>,
    /// What is said of the growth of all together.
    pub whole: Judgement,
    /// The files that their frames are in.
    pub modules: Modules,
    /// Who was followed.
    pub processes: Vec<Followed>,
    /// Totals by process.
    pub by_process: Vec<Row>,
    /// How many were followed.
    pub processes_met: u64,
    /// Who touched pages first, if that was followed.
    pub touched: Option<Touched>,
    /// What of the blocks was touched, if that was asked for.
    pub joined: Option<AllJoined>,
    /// What was left between marks, and by cycles.
    pub left: Left,
    /// How far it can be trusted, without what only the session knows.
    pub quality: Quality,
}

/// Copies out of the state what a report at the time `now` shows.
pub fn extract(
    state: &State,
    counters: &Counters,
    now: Nanoseconds,
    choice: Choice<'_>,
    context: &Context,
) -> Extract {
    let Choice {
        filter,
        sort,
        group_by,
        top,
        suspects,
        faults,
        ..
    } = choice;
    let mut snapshot = state.pipeline.snapshot(now, filter);
    let joined = choice
        .joins
        .map(|reconciler| joined::join(state, &snapshot, reconciler));
    let between = left::between(state, &snapshot, choice);
    let mut sites = std::mem::take(&mut snapshot.sites);
    let mut uncertainty = Uncertainty::default();
    for site in &sites {
        uncertainty.join(&site.uncertainty);
    }
    sites.retain(|site| is_shown(site, sort));
    let mut all = paths::add_up(state, sites, group_by);
    all.sort_by_key(|path| {
        let site = &path.site;
        let most = std::cmp::Reverse(sort_key(site, sort));
        (most, site.space, site.site)
    });
    let judged = state.pipeline.judge(now, context);
    let rest = all.split_off(top.min(all.len()));
    let rest = rest
        .into_iter()
        .filter(|path| judged.is_suspect(&path.site));
    all.extend(rest.take(suspects));
    let show = |path: Path| {
        let stack = path.site.stack;
        let places = stack.and_then(|stack| state.places.get(&stack));
        ShownSite {
            places: places.cloned().unwrap_or_default(),
            joined: joined
                .as_ref()
                .and_then(|joined| joined.of(state, &path.members)),
            judgement: match path.members[..] {
                [_] => state.pipeline.judgement(&judged, &path.site, now, context),
                _ => state
                    .pipeline
                    .judgement_together(&path.members, now, context),
            },
            path,
        }
    };
    let left = between.shown(&|site| show(Path::alone(site)));
    let sites = all.into_iter().map(show).collect();
    let by_process = by_process::rows(state, &judged, faults);
    let touched = faults.then(|| touchers::extract(state, counters, sort, top));
    let mut quality = quality(state, counters);
    quality.faults = touched.as_ref().map(|touched| touched.quality);
    quality.complete &= touched.as_ref().is_none_or(|touched| {
        touched.quality.pages_not_followed + touched.quality.lost_changes == 0
    });
    let listed = by_process.len() as u64;
    Extract {
        summary: state.pipeline.summary(),
        mapped: state.pipeline.mapped(),
        uncertainty,
        touched,
        joined,
        left,
        sites,
        whole: judged.whole,
        modules: state.code.modules().clone(),
        processes: state.processes.iter().cloned().collect(),
        by_process,
        processes_met: state.processes.met(),
        quality: Quality {
            unlisted_processes: state.processes.met().saturating_sub(listed),
            ..quality
        },
    }
}

/// A path that holds nothing and is not sorted by what it once allocated is not news.
fn is_shown(site: &SiteSnapshot, sort: Sort) -> bool {
    site.shown_count > 0 || sort == Sort::Allocated
}

fn sort_key(site: &SiteSnapshot, sort: Sort) -> u64 {
    match sort {
        Sort::Outstanding => site.shown_bytes,
        Sort::Allocated => site.totals.allocated_bytes,
        Sort::Count => site.shown_count,
        // Every path has been watched for the same time.
        Sort::Rate => growth_bytes(site).max(0) as u64,
    }
}

/// What a path's outstanding bytes grew by since it is watched.
fn growth_bytes(site: &SiteSnapshot) -> i64 {
    site.totals.outstanding_bytes() as i64 - site.totals.inherited_bytes as i64
}

fn quality(state: &State, counters: &Counters) -> Quality {
    let counts = state.pipeline.counts();
    let stacks = state.pipeline.stacks();
    let lost = Lost {
        alloc: lost_allocations(counters) + counts.overflowed + state.undecodable,
        free: counters[Counter::LostFree as usize],
        // A stack whose record found no room is sent again at its next use.
        stack: stacks.awaited() + stacks.overflowed() + stacks.conflicting(),
        map: counters[Counter::LostMap as usize]
            + counts.overflowed_mappings
            + counts.unmap_failures_unmatched,
        unmap: counters[Counter::LostUnmap as usize],
        process: counters[Counter::LostProcess as usize] + counts.unannounced_spaces,
    };
    Quality {
        complete: lost.total() == lost.stack,
        lost,
        unknown_frees: counts.unknown_frees,
        unknown_unmaps: counts.unknown_unmaps,
        abandoned_calls: counters[Counter::ExpiredCalls as usize],
        superseded: counts.superseded,
        stacks: StackWays {
            total: stacks.known(),
            by_tables: stacks.by_tables(),
            by_frame_pointer: stacks.by_frame_pointer(),
            by_copy: stacks.by_copy(),
            copies_refused: counters[Counter::RefusedStackCopies as usize] + state.copies.dropped(),
        },
        truncated_stacks: stacks.truncated() + stacks.broken(),
        unwind_errors: stacks.broken(),
        sampling: Sampling::default(),
        overhead: Overhead {
            probe_hits: Some(counters[Counter::ProbeHits as usize]),
            ring_bytes: Some(state.ring_bytes),
            collector_threads: Some(state.threads as u64),
            ..Overhead::default()
        },
        notes: notes::of_code(&state.code),
        ..Quality::default()
    }
}

/// Names the frames of the shown paths, innermost first, and the one to go and fix.
pub fn name(
    sites: &[ShownSite],
    modules: &Modules,
    symbols: &mut Symbols,
    skips: &Skips,
    now: Nanoseconds,
    elapsed_seconds: f64,
) -> Vec<TopAllocator> {
    (1..)
        .zip(sites)
        .map(|(rank, shown)| {
            let ShownSite {
                path,
                judgement,
                joined,
                ..
            } = shown;
            let site = &path.site;
            let frames = symbols.symbolize(modules, &shown.places);
            let guilty = guilty_frame(&frames, skips).map(|index| &frames[index]);
            let stack: Vec<Frame> = frames
                .iter()
                .map(|frame| report_frame(frame, modules))
                .collect();
            let guilty = guilty.map(|frame| report_frame(frame, modules));
            let guilty = guilty.unwrap_or_default();
            let totals = &site.totals;
            let allocator = TopAllocator {
                rank,
                pid: site.pid.map_or(0, |pid| pid.0),
                processes: path.processes(),
                group: path.group.clone(),
                stack_id: HexStackId(site.stack.map_or(0, |stack| stack.0)),
                kind: match site.mapping {
                    None => AllocatorKind::Malloc,
                    Some(_) => AllocatorKind::Mmap,
                },
                mapping: site.mapping,
                outstanding_bytes: totals.outstanding_bytes(),
                outstanding_count: totals.outstanding_count(),
                outstanding_bytes_ci95: site.uncertainty.interval95(totals.outstanding_bytes()),
                shown_bytes: site.shown_bytes,
                shown_count: site.shown_count,
                allocated_bytes: totals.allocated_bytes,
                allocated_count: totals.allocated_count,
                freed_bytes: totals.freed_bytes,
                freed_count: totals.freed_count,
                oldest_age_seconds: site.oldest_birth.map(|birth| seconds_since(birth, now)),
                verdict: judgement
                    .as_ref()
                    .map_or(Verdict::InsufficientData, |one| one.verdict),
                confidence: judgement.as_ref().and_then(|one| one.confidence),
                rate_bytes_per_second: judgement.as_ref().and_then(|one| one.rate).or_else(|| {
                    (elapsed_seconds > 0.0).then(|| growth_bytes(site) as f64 / elapsed_seconds)
                }),
                rate_ci95_bytes_per_second: judgement.as_ref().and_then(|one| one.rate_ci95),
                left_bytes: judgement.as_ref().and_then(|one| one.left),
                severity: judgement.as_ref().and_then(|one| one.severity),
                function: guilty.function,
                file: guilty.file,
                line: guilty.line,
                directory: guilty.directory,
                module: guilty.module,
                stack,
                touched_bytes: None,
                untouched_bytes: None,
                kept_free_bytes: None,
                first_touched_by: Vec::new(),
            };
            match joined {
                Some(joined) => joined::add_to(allocator, joined, modules, symbols, skips),
                None => allocator,
            }
        })
        .collect()
}

pub(super) fn report_frame(frame: &NamedFrame, modules: &Modules) -> Frame {
    let build_id = frame
        .module
        .and_then(|module| modules.get(module))
        .and_then(|module| module.build_id())
        .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    let (function, unknown) = match &frame.function {
        Ok(function) => (Some(function), None),
        Err(reason) => (None, Some(reason.to_string())),
    };
    let source = function.and_then(|function| function.file.as_deref());
    let (directory, file) = match source.map(|path| path.rsplit_once('/').unwrap_or(("", path))) {
        Some((directory, file)) => (Some(directory), Some(file)),
        None => (None, None),
    };
    let owned = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Frame {
        function: function.map(|function| function.name.to_string()),
        file: file.and_then(owned),
        line: function.and_then(|function| function.line),
        directory: directory.and_then(owned),
        module: frame.module_path.as_deref().map(str::to_owned),
        address: Some(HexAddress(frame.pc)),
        offset: frame.file_offset.map(HexAddress),
        elf_address: frame.elf_address.map(HexAddress),
        build_id,
        inlined: function.is_some_and(|function| function.inlined),
        unknown,
    }
}

/// Counts the distinct frames of the shown paths, and those without a name.
pub fn count_frames(allocators: &[TopAllocator], touchers: &[TopToucher], quality: &mut Quality) {
    let frames = || {
        let of_allocators = allocators.iter().flat_map(|one| &one.stack);
        of_allocators.chain(touchers.iter().flat_map(|one| &one.stack))
    };
    let addresses: HashSet<_> = frames().map(|frame| frame.address).collect();
    let unnamed: HashSet<_> = frames()
        .filter(|frame| frame.function.is_none())
        .map(|frame| frame.address)
        .collect();
    quality.frames_total = addresses.len() as u64;
    quality.frames_unsymbolized = unnamed.len() as u64;
}

/// What of the perf maps is missing, in one sentence: whether they were not read to their end,
/// functions and processes for which there was no room.
pub fn perf_map_limits(all_read: bool, functions: u64, processes: u64) -> Option<String> {
    let mut limits = Vec::new();
    if functions > 0 {
        limits.push(format!("{functions} functions found no room"));
    }
    if processes > 0 {
        limits.push(format!("those of {processes} processes were not read"));
    }
    if !all_read {
        limits.push("not all was read in time".to_owned());
    }
    let limits = limits.join(", ");
    (!limits.is_empty())
        .then(|| format!("perf maps: {limits}; code that was made at run time may lack its name"))
}

/// The followed processes, as the report lists them.
pub fn processes(followed: &[Followed]) -> Vec<Process> {
    followed
        .iter()
        .map(|process| Process {
            pid: process.facts.pid.0,
            comm: process.facts.comm.clone(),
            exe: process
                .facts
                .exe
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            cmdline: process.facts.cmdline.clone(),
            ..Process::default()
        })
        .collect()
}

/// What is probed, as the report lists it.
pub fn coverage(probed: &crate::probes::attach::Probed) -> Vec<Coverage> {
    probed
        .coverage()
        .into_iter()
        .map(|one| Coverage {
            module: one.module.clone(),
            allocator: one.allocator.clone(),
            attached: one.attached.clone(),
            missing: one.missing.clone(),
        })
        .collect()
}
