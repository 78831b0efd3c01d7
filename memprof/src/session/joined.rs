//! Blocks joined with pages, for a report: what of each call path's memory was touched, and by whom first.
//!
//! Before that, pages that are on record though the kernel has them no more (reclaimed, swapped out, moved)
//! are dropped. That is done once nothing more is told of the targets: earlier, a page that was given
//! back and touched again meanwhile would be taken for one that has gone.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use procfs::process::Process as Proc;

use super::{
    assemble::report_frame,
    collector::{Shared, State},
    reconcile::{MAX_PROCESSES, Reconciler, Target, largest_first, living},
};
use crate::{
    identity::{Pid, SpaceId},
    pipeline::{FirstTouched, JoinedSite, MAX_JOINED_BLOCKS, NotJoined, Snapshot},
    report::{FirstToucher, HexStackId, Summary, TopAllocator},
    symbols::{
        Symbols,
        guilty::{Skips, guilty_frame},
    },
    target::{
        modules::{FrameAddress, Modules},
        pagemap::Pagemap,
        resident_pages::{CHUNK_BYTES, PAGE_BYTES, ResidentPages},
    },
    units::format_count,
};

/// Those that touched most of a call path's memory are named.
const NAMED_TOUCHERS: usize = 3;
/// How long it may take to ask which pages are still there.
const ASKING_TIME: Duration = Duration::from_secs(1);

/// What is known of a site's memory, or of that of several.
#[derive(Clone, Debug, Default)]
struct Known {
    joined: JoinedSite,
    /// It was followed from its program's start.
    is_whole: bool,
}

/// What is known of all.
#[derive(Debug, Default)]
pub struct AllJoined {
    sites: HashMap<(SpaceId, u32), Known>,
    /// `None` if of some process nothing is known.
    sum: Option<Known>,
    /// Why nothing is known.
    pub note: Option<String>,
}

/// What is known of a call path that is shown.
pub struct ShownJoined {
    known: Known,
    touchers: Vec<(FirstTouched, Box<[FrameAddress]>)>,
}

/// Joins what is in the state, for the sites of a snapshot of it.
pub fn join(state: &State, snapshot: &Snapshot, reconciler: &Reconciler) -> AllJoined {
    let spaces = match state.pipeline.joined() {
        Ok(spaces) => spaces,
        Err(why) => {
            return AllJoined {
                note: Some(sentence(why)),
                ..AllJoined::default()
            };
        }
    };
    let mut all = AllJoined::default();
    let mut sum = Some(Known {
        is_whole: true,
        ..Known::default()
    });
    for space in spaces {
        let process = state.processes.of_space(space.space);
        let is_whole = process.is_some_and(|process| reconciler.saw_all_of(process));
        let Some(sites) = space.sites else {
            sum = None;
            continue;
        };
        for (site, joined) in sites {
            if let Some(sum) = &mut sum {
                // Who touched all together is in a list of its own.
                sum.joined.add(&JoinedSite {
                    first_touched: Default::default(),
                    ..joined
                });
                sum.is_whole &= is_whole;
            }
            let site = snapshot.representative(space.space, site);
            let known = all.sites.entry((space.space, site)).or_default();
            known.joined.add(&joined);
            known.is_whole = is_whole;
        }
    }
    all.sum = sum;
    all
}

fn sentence(why: NotJoined) -> String {
    let why = match why {
        NotJoined::Sampled => "not every block was taken".to_owned(),
        NotJoined::TooMany(blocks) => format!(
            "there are {} blocks, and more than {} take too long",
            format_count(blocks as u64),
            format_count(MAX_JOINED_BLOCKS as u64)
        ),
        NotJoined::TooLarge => "their pages are too many".to_owned(),
    };
    format!("what of the blocks was touched is not known: {why}")
}

impl AllJoined {
    /// What is known of a call path, by its members; `None` if not of all of them.
    pub fn of(&self, state: &State, members: &[(SpaceId, u32)]) -> Option<ShownJoined> {
        self.sum.as_ref()?;
        let mut known = Known {
            is_whole: true,
            ..Known::default()
        };
        for member in members {
            // A site that holds nothing is not among them.
            if let Some(site) = self.sites.get(member) {
                known.joined.add(&site.joined);
                known.is_whole &= site.is_whole;
            }
        }
        let mut touchers: Vec<_> = known.joined.first_touched.values().copied().collect();
        touchers.sort_by_key(|one| (std::cmp::Reverse(one.bytes), one.stack));
        touchers.truncate(NAMED_TOUCHERS);
        let places = |one: FirstTouched| {
            let places = state.places.get(&one.stack).cloned();
            (one, places.unwrap_or_default())
        };
        Some(ShownJoined {
            touchers: touchers.into_iter().map(places).collect(),
            known,
        })
    }

    /// The totals of a run, with what is known of all that is held.
    pub fn add_to(&self, summary: Summary) -> Summary {
        let Some(sum) = &self.sum else {
            return summary;
        };
        Summary {
            held_touched_bytes: Some(sum.joined.touched_bytes),
            held_untouched_bytes: sum.untouched_bytes(),
            kept_free_bytes: sum.kept_free_bytes(),
            ..summary
        }
    }
}

impl Known {
    /// What was there before is not known to be touched, nor to be free.
    fn untouched_bytes(&self) -> Option<u64> {
        let joined = &self.joined;
        let untouched = joined.held_bytes.saturating_sub(joined.touched_bytes);
        self.is_whole.then_some(untouched)
    }

    fn kept_free_bytes(&self) -> Option<u64> {
        self.is_whole
            .then_some(self.joined.kept_free_bytes.round() as u64)
    }
}

/// Adds what is known of a call path's memory to its entry.
pub fn add_to(
    allocator: TopAllocator,
    shown: &ShownJoined,
    modules: &Modules,
    symbols: &mut Symbols,
    skips: &Skips,
) -> TopAllocator {
    let touchers = shown.touchers.iter().map(|(touched, places)| {
        let frames = symbols.symbolize(modules, places);
        let guilty = guilty_frame(&frames, skips);
        let guilty = guilty.map(|index| report_frame(&frames[index], modules));
        let guilty = guilty.unwrap_or_default();
        FirstToucher {
            stack_id: HexStackId(touched.stack.0),
            bytes: touched.bytes,
            function: guilty.function,
            file: guilty.file,
            line: guilty.line,
        }
    });
    TopAllocator {
        touched_bytes: Some(shown.known.joined.touched_bytes),
        untouched_bytes: shown.known.untouched_bytes(),
        kept_free_bytes: shown.known.kept_free_bytes(),
        first_touched_by: touchers.collect(),
        ..allocator
    }
}

/// Drops the pages that the kernel has no more. Nothing may be told of the targets any longer.
pub fn drop_gone_pages(shared: &Shared) {
    let begun = Instant::now();
    let targets = largest_first(living(shared));
    for target in targets.into_iter().take(MAX_PROCESSES) {
        if begun.elapsed() >= ASKING_TIME {
            return;
        }
        let runs = shared.lock().pipeline.placed_runs(target.space);
        let Some(resident) = still_there(&target, &runs) else {
            continue;
        };
        let gone = gone(&runs, &resident);
        // All of them: the process runs another program by now.
        if gone == runs {
            continue;
        }
        let mut gone = gone.into_iter().peekable();
        let is_resident = |number: u64| {
            while gone.next_if(|range| range.end <= number).is_some() {}
            gone.peek().is_none_or(|range| number < range.start)
        };
        let mut state = shared.lock();
        state.pipeline.drop_gone_pages(target.space, is_resident);
    }
}

/// Which of the pages of these runs are in memory; `None` if it can't be told.
fn still_there(target: &Target, runs: &[Range<u64>]) -> Option<ResidentPages> {
    if runs.is_empty() {
        return None;
    }
    let Pid(pid) = target.pid;
    let lives = || {
        let process = Proc::new(i32::try_from(pid).ok()?).ok()?;
        let stat = process.stat().ok()?;
        (stat.starttime == target.start_ticks).then_some(())
    };
    lives()?;
    let ranges = neighbourhoods(runs);
    let resident = Pagemap::open(target.pid).ok()?.resident(ranges).ok()?;
    lives()?;
    Some(resident)
}

/// Ranges of addresses that hold runs of pages, few of them: what is near another is asked for with it.
fn neighbourhoods(runs: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for run in runs {
        let (start, end) = (run.start * PAGE_BYTES, run.end * PAGE_BYTES);
        match ranges.last_mut() {
            Some(last) if start - last.end <= CHUNK_BYTES => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// The pages of these runs, by number, that are not among the resident ones, in runs.
fn gone(runs: &[Range<u64>], resident: &ResidentPages) -> Vec<Range<u64>> {
    let known = resident.end().map_or(u64::MAX, |end| end / PAGE_BYTES);
    let mut gone = Vec::new();
    for run in runs {
        let (mut next, end) = (run.start, run.end.min(known));
        if next >= end {
            continue;
        }
        let there = resident.runs_in(run.start * PAGE_BYTES..end * PAGE_BYTES);
        for there in there {
            let (first, behind) = (there.start / PAGE_BYTES, there.end / PAGE_BYTES);
            if next < first {
                gone.push(next..first);
            }
            next = behind;
        }
        if next < end {
            gone.push(next..end);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(numbers: &[Range<u64>]) -> ResidentPages {
        let mut pages = ResidentPages::default();
        for range in numbers {
            assert!(pages.insert(range.start * PAGE_BYTES..range.end * PAGE_BYTES));
        }
        pages
    }

    #[test]
    fn pages_on_record_that_are_not_there_have_gone() {
        let runs = [10..20, 30..40, 5000..5001];
        let there = resident(&[8..12, 15..16, 19..35]);
        assert_eq!(gone(&runs, &there), [12..15, 16..19, 35..40, 5000..5001]);
        assert_eq!(gone(&runs, &resident(&[])), runs);
        assert!(gone(&runs, &resident(&[0..10, 10..6000])).is_empty());
    }

    #[test]
    fn of_pages_behind_the_end_of_what_could_be_asked_nothing_is_said() {
        let mut there = resident(&[10..11, 1000..1001]);
        there.cut(512 * PAGE_BYTES);
        assert_eq!(gone(&[10..14, 511..600], &there), [11..14, 511..512]);
    }

    #[test]
    fn runs_near_one_another_are_asked_for_together() {
        let runs = [1..3, 10..12, 600..601, 5000..5001];
        let ranges = neighbourhoods(&runs);
        let pages: Vec<_> = ranges
            .iter()
            .map(|range| range.start / PAGE_BYTES..range.end / PAGE_BYTES)
            .collect();
        assert_eq!(pages, [1..12, 600..601, 5000..5001]);
    }
}
