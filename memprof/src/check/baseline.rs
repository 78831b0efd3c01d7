//! What grew before: an earlier report, its call paths matched by their functions, so that two
//! builds of one program compare.

use std::collections::HashMap;

use crate::report::{Frame, Report, TopAllocator, Verdict};
use crate::units::format_rate;

/// A rate is worse than the baseline's if their intervals are apart and it is so many times as
/// large: two runs on one machine differ by its load.
const CLEARLY: f64 = 1.2;

/// A call path by its functions, innermost first; of a frame without a name its file's name and
/// the offset there.
type Key = Vec<String>;

/// What an earlier report says of growth.
#[derive(Clone, Debug)]
pub struct Baseline {
    whole: Option<Pace>,
    paths: HashMap<Key, Pace>,
}

/// How fast something grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Bytes per second.
    rate: f64,
    /// Below and above it, the ends of its 95 % interval.
    margins: [f64; 2],
}

impl Pace {
    pub(super) fn new(rate: Option<f64>, ci95: Option<[f64; 2]>) -> Option<Self> {
        let rate = rate?;
        let [low, high] = ci95.unwrap_or([rate; 2]);
        Some(Self {
            rate,
            margins: [rate - low, high - rate],
        })
    }

    /// Of two that are independent (Zou and Donner 2008, Statistics in Medicine 27, 1693–1702).
    fn and(self, other: Self) -> Self {
        let [below, above] = [0, 1].map(|end| self.margins[end].hypot(other.margins[end]));
        Self {
            rate: self.rate + other.rate,
            margins: [below, above],
        }
    }

    fn is_worse_than(self, before: Self) -> bool {
        self.rate - self.margins[0] > before.rate + before.margins[1]
            && self.rate > CLEARLY * before.rate
    }
}

impl Baseline {
    /// What `report` says.
    pub fn of(report: &Report) -> Self {
        let whole = &report.leak_detection;
        let grew = |verdict| matches!(verdict, Verdict::Leak | Verdict::Growing);
        Self {
            whole: Pace::new(
                whole.rate_bytes_per_second,
                whole.rate_ci95_bytes_per_second,
            )
            .filter(|_| grew(whole.verdict)),
            paths: paces(report.top_allocators.iter().filter(|one| grew(one.verdict))),
        }
    }

    /// Why each of these call paths is no news; `None` for those that are. Several processes may
    /// have the same.
    pub(super) fn known(&self, now: &[&TopAllocator]) -> Vec<Option<String>> {
        let together = paces(now.iter().copied());
        let known = |one: &&TopAllocator| {
            let key = key(one);
            no_worse(*together.get(&key)?, *self.paths.get(&key)?)
        };
        now.iter().map(known).collect()
    }

    /// Why the growth of the whole is no news.
    pub(super) fn known_whole(&self, now: Option<Pace>) -> Option<String> {
        no_worse(now?, self.whole?)
    }
}

fn no_worse(now: Pace, before: Pace) -> Option<String> {
    (!now.is_worse_than(before)).then(|| {
        format!(
            "the baseline grew by {}, which {} is not clearly above",
            format_rate(before.rate),
            format_rate(now.rate)
        )
    })
}

fn paces<'a>(all: impl Iterator<Item = &'a TopAllocator>) -> HashMap<Key, Pace> {
    let mut paces: HashMap<Key, Pace> = HashMap::new();
    for one in all {
        let ci95 = one.rate_ci95_bytes_per_second;
        let Some(pace) = Pace::new(one.rate_bytes_per_second, ci95) else {
            continue;
        };
        paces
            .entry(key(one))
            .and_modify(|sum| *sum = sum.and(pace))
            .or_insert(pace);
    }
    paces
}

fn key(allocator: &TopAllocator) -> Key {
    allocator.stack.iter().map(label).collect()
}

fn label(frame: &Frame) -> String {
    if let Some(function) = &frame.function {
        return function.clone();
    }
    let module = frame.module.as_deref().unwrap_or_default();
    let module = module.rsplit('/').next().unwrap_or_default();
    match frame.offset {
        Some(offset) => format!("[{module}+{offset}]"),
        None => format!("[{module}]"),
    }
}
