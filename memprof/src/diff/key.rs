//! What makes two call paths of two runs the same one: the same functions of the same files, one
//! calling the other. Addresses, offsets, lines and directories don't count, so that a rebuild
//! compares. A frame without a function's name is known by its offset where both runs had the same
//! build of its file, else by its file alone.

use std::collections::{HashMap, HashSet};

use super::symbol;
use crate::report::{Frame, HexAddress, Report, TopAllocator};

/// One frame of a call path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FrameKey<'a> {
    function: Option<&'a str>,
    module: Option<&'a str>,
    offset: Option<HexAddress>,
}

/// A call path, innermost frame first.
pub(super) type StackKey<'a> = Vec<FrameKey<'a>>;

/// The files of which two runs had the same build, by name.
pub(super) struct SameBuilds<'a>(HashSet<&'a str>);

type Builds<'a> = HashMap<&'a str, HashSet<&'a str>>;

impl<'a> SameBuilds<'a> {
    pub(super) fn of(before: &'a Report, after: &'a Report) -> Self {
        let before = builds(before);
        let after = builds(after);
        // Several builds under one name: an offset would not say of which.
        let same = before.into_iter().filter(|(module, ids)| {
            ids.len() == 1 && after.get(module).is_some_and(|others| others == ids)
        });
        Self(same.map(|(module, _)| module).collect())
    }

    /// What a call path is known by.
    pub(super) fn key(&self, row: &'a TopAllocator) -> StackKey<'a> {
        row.stack.iter().map(|frame| self.frame(frame)).collect()
    }

    fn frame(&self, frame: &'a Frame) -> FrameKey<'a> {
        let function = frame.function.as_deref().map(symbol::function);
        let module = frame.module.as_deref().map(symbol::module);
        let is_placed = function.is_none() && module.is_some_and(|module| self.0.contains(module));
        FrameKey {
            function,
            module,
            offset: frame.elf_address.or(frame.offset).filter(|_| is_placed),
        }
    }
}

fn builds(report: &Report) -> Builds<'_> {
    let mut builds = Builds::new();
    for frame in report.top_allocators.iter().flat_map(|row| &row.stack) {
        if let (Some(module), Some(id)) = (&frame.module, &frame.build_id) {
            builds
                .entry(symbol::module(module))
                .or_default()
                .insert(id.as_str());
        }
    }
    builds
}
