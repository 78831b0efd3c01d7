//! What was left between marks, and by each cycle: from the pipeline's windows to what a report
//! shows, copied out of the lock before it is named.

use std::collections::{HashMap, hash_map::Entry};

use super::{
    assemble::{Choice, ShownSite},
    collector::State,
    paths::PathKey,
};
use crate::{
    cycles::{self, PathPerCycle, PerCycle},
    identity::Nanoseconds,
    pipeline::{Cell, SiteSnapshot, Snapshot},
    stacks::weight::Amount,
};

/// Call paths of all windows together; of each at least one.
const MAX_ROWS: usize = 4096;

/// What is to be shown; `S` is what a call path has come to so far.
pub struct Left<S = ShownSite> {
    /// Between marks; empty without any.
    pub windows: Vec<LeftInWindow<S>>,
    /// By cycles, if there were any.
    pub cycles: Option<LeftByCycles<S>>,
    /// What limits it, in plain sentences.
    pub notes: Vec<String>,
}

/// What was left between two marks.
pub struct LeftInWindow<S> {
    /// The mark where it begins, or `start`.
    pub from: String,
    /// The mark where it ends, or `end`.
    pub to: String,
    /// How much.
    pub left: Amount,
    /// By which call paths, the most first.
    pub sites: Vec<S>,
}

/// What the cycles left.
pub struct LeftByCycles<S> {
    /// One by one.
    pub left: Vec<Amount>,
    /// All together.
    pub all: PerCycle,
    /// By which call paths, those that leak first.
    pub paths: Vec<(PathPerCycle, S)>,
    /// Whether one of them leaks; `None` for too few cycles.
    pub leaks: Option<bool>,
}

/// Divides what is outstanding at the moment of the snapshot.
pub fn between(state: &State, snapshot: &Snapshot, choice: Choice<'_>) -> Left<SiteSnapshot> {
    let mut left = Left {
        windows: Vec::new(),
        cycles: None,
        notes: state.marks.limit().into_iter().collect(),
    };
    let marks = state.marks.all();
    if !choice.windows || marks.is_empty() {
        return left;
    }
    let times: Vec<Nanoseconds> = marks.iter().map(|mark| mark.at).collect();
    let windows = state.pipeline.windows(&times, snapshot);
    let rows = choice.top.min((MAX_ROWS / windows.totals.len()).max(1));
    let mut cells = windows.cells.as_slice();
    for (at, total) in windows.totals.iter().enumerate() {
        let (own, rest) = cells.split_at(cells.partition_point(|cell| cell.window <= at));
        cells = rest;
        let label = |index: usize| marks[index].label.clone();
        left.windows.push(LeftInWindow {
            from: if at == 0 {
                "start".into()
            } else {
                label(at - 1)
            },
            to: if at == marks.len() {
                "end".into()
            } else {
                label(at)
            },
            left: *total,
            sites: own
                .iter()
                .take(rows)
                .filter_map(|cell| {
                    let site = snapshot.find(cell.space, cell.site)?;
                    Some(showing(site, cell.left))
                })
                .collect(),
        });
    }
    if windows.unlisted > 0 {
        left.notes.push(format!(
            "what {} blocks left between marks is in the totals of the windows alone: there were \
             too many call paths",
            windows.unlisted
        ));
    }
    let retired = state.pipeline.counts().retired_spaces;
    if retired > 0 {
        left.notes.push(format!(
            "what {retired} ended processes left is in no window: there were too many"
        ));
    }
    left.cycles = by_cycles(state, snapshot, choice);
    left
}

fn by_cycles(
    state: &State,
    snapshot: &Snapshot,
    choice: Choice<'_>,
) -> Option<LeftByCycles<SiteSnapshot>> {
    let run = choice.cycles?;
    let done = run.done();
    let warm_up = run.config().warm_up as usize;
    let mut times = vec![run.first_begin()];
    times.extend(done.iter().map(|cycle| cycle.end));
    let windows = state.pipeline.windows(&times, snapshot);
    // Before the first and behind the last is no cycle.
    let left: Vec<Amount> = windows.totals[1..=done.len()].to_vec();
    let all: Vec<cycles::Cycle> = left
        .iter()
        .zip(done)
        .map(|(left, done)| cycles::Cycle {
            left: *left,
            outstanding_bytes: done.outstanding.bytes,
        })
        .collect();

    let steady = done.len().saturating_sub(warm_up);
    let mut cells: Vec<&Cell> = windows
        .cells
        .iter()
        .filter(|cell| (warm_up + 1..=done.len()).contains(&cell.window))
        .collect();
    cells.sort_by_key(|cell| (cell.space, cell.site));
    // Each cycle may have had processes of its own: the same call path in all is one.
    let mut paths: HashMap<PathKey, (Vec<Amount>, SiteSnapshot)> = HashMap::new();
    for cells in cells.chunk_by(|one, other| (one.space, one.site) == (other.space, other.site)) {
        let Some(site) = cells
            .first()
            .and_then(|cell| snapshot.find(cell.space, cell.site))
        else {
            continue;
        };
        let amounts = match paths.entry(PathKey::of(state, site)) {
            Entry::Vacant(place) => &mut place.insert((vec![Amount::default(); steady], *site)).0,
            Entry::Occupied(there) => {
                let (amounts, sum) = there.into_mut();
                sum.add(site);
                amounts
            }
        };
        for cell in cells {
            let amount = &mut amounts[cell.window - 1 - warm_up];
            amount.bytes = amount.bytes.saturating_add(cell.left.bytes);
            amount.count = amount.count.saturating_add(cell.left.count);
        }
    }
    let mut paths: Vec<(PathPerCycle, SiteSnapshot)> = paths
        .into_values()
        .map(|(amounts, site)| {
            let path = cycles::per_path(&amounts);
            (path, showing(&site, path.total))
        })
        .collect();
    paths.sort_by_key(|(path, site)| {
        let leaks = path.leaks == Some(true);
        let most = std::cmp::Reverse((leaks, path.total.bytes, path.total.count));
        (most, site.space, site.site)
    });
    let leaks = (steady >= cycles::MIN_STEADY)
        .then(|| paths.iter().any(|(path, _)| path.leaks == Some(true)));
    paths.truncate(choice.top.min(MAX_ROWS));
    Some(LeftByCycles {
        left,
        all: cycles::per_cycle(&all, warm_up),
        paths,
        leaks,
    })
}

/// The site, which shows what was left there.
fn showing(site: &SiteSnapshot, left: Amount) -> SiteSnapshot {
    SiteSnapshot {
        shown_bytes: left.bytes,
        shown_count: left.count,
        ..*site
    }
}

impl Left<SiteSnapshot> {
    /// The same with the call paths as they are to be shown.
    pub fn shown(self, show: &impl Fn(SiteSnapshot) -> ShownSite) -> Left {
        let windows = self.windows.into_iter().map(|window| LeftInWindow {
            from: window.from,
            to: window.to,
            left: window.left,
            sites: window.sites.into_iter().map(show).collect(),
        });
        Left {
            windows: windows.collect(),
            cycles: self.cycles.map(|cycles| LeftByCycles {
                left: cycles.left,
                all: cycles.all,
                paths: cycles
                    .paths
                    .into_iter()
                    .map(|(path, site)| (path, show(site)))
                    .collect(),
                leaks: cycles.leaks,
            }),
            notes: self.notes,
        }
    }
}
