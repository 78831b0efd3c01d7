//! `.eh_frame` → rows: a rule for each run of instructions of an executable, sorted by pc.
//!
//! Each function stands alone: one whose unwind information is broken or not expressible has a
//! rule that says so, and the others are as they would be without it. What the section says is
//! the target's word: entries, instructions and rows are limited, and the time is in proportion to
//! the section's bytes.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, EhFrame, EhFrameOffset, LittleEndian, UnwindOffset, UnwindSection as _,
};
use memprof_common::unwind::{
    NO_RULE, PC_PADDING, RuleKind, UNSUPPORTED_REASONS, Unsupported, pack_unsupported, rule_kind,
    unsupported_reason,
};

use super::cfi::Interpreter;
use super::entries::{Entry, EntryKind};
use super::rule::{Cie, Fault, Fde, Reader, State};
use crate::target::elf::UnwindSection;

/// Functions of one file. Browsers have about a million.
pub const MAX_FUNCTIONS: usize = 1 << 21;
/// Rows of one file, 64 MiB. libLLVM has 1.1 million, browsers a few million.
pub const MAX_ROWS: usize = 1 << 23;
/// What one file may cost, in units of an instruction, some 20 ns each. libLLVM needs 4 million.
pub const MAX_WORK: u64 = 1 << 25;

/// CIEs that are kept at a time; linkers merge equal ones, a file has tens.
const MAX_KEPT_CIES: usize = 1024;
/// Work of reading an entry's head, against that of an instruction.
const ENTRY_WORK: u64 = 4;
/// Bytes of a CIE that are searched (for the end of a string) in the time of an instruction.
const CIE_BYTES_PER_WORK: u64 = 16;

/// What one file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Functions.
    pub functions: usize,
    /// Rows.
    pub rows: usize,
    /// Units of work.
    pub work: u64,
}

impl Limits {
    /// The limits that [`compile`] keeps to.
    pub const DEFAULT: Self = Self {
        functions: MAX_FUNCTIONS,
        rows: MAX_ROWS,
        work: MAX_WORK,
    };
}

/// From `pc` to the next row, `rule` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Relative to the image's lowest address.
    pub pc: u32,
    /// A rule of `memprof_common::unwind`.
    pub rule: u32,
}

/// What became of a file's unwind information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Functions that have rules, those of kind `Unsupported` included.
    pub functions: u64,
    /// Entries that are no function of this file: empty, or left over by the linker at address 0.
    pub discarded: u64,
    /// Functions outside the executable segments or beyond 32 bits.
    pub outside: u64,
    /// Functions that start where an earlier entry's function starts; the earlier entry counts.
    pub duplicate: u64,
    /// Functions that were cut where the next one starts.
    pub cut: u64,
    /// Entries of which not even the function's address could be read. An entry whose length is
    /// wrong takes the rest of the section with it.
    pub unreadable: u64,
    /// Functions whose instructions are broken or too many; included in `functions`.
    pub broken: u64,
    /// Functions left out because a limit of the file was reached; the rest of a section that was
    /// not even read counts as one.
    pub over_limit: u64,
    /// Rows of the result.
    pub rows: u64,
    /// Rows of kind `Unsupported`, by reason - 1.
    pub unsupported: [u64; UNSUPPORTED_REASONS],
}

/// The rows of a file, sorted by pc, no two neighbours with the same rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Before the first one and after the last one there is no rule.
    pub rows: Vec<Row>,
    /// What became of the file's unwind information.
    pub stats: Stats,
}

/// Where a function is, relative to the image, and its entry's offset in the section.
struct Function {
    start: u32,
    end: u32,
    entry: u32,
}

/// Compiles a section. Never fails: what can't be understood is counted.
pub fn compile(section: &UnwindSection<'_>) -> Rows {
    compile_within(section, Limits::DEFAULT)
}

/// Compiles a section within limits of the caller's.
pub fn compile_within(section: &UnwindSection<'_>, limits: Limits) -> Rows {
    let bases = section.bases();
    let mut eh_frame = EhFrame::new(section.bytes, LittleEndian);
    eh_frame.set_address_size(8);
    let mut compiler = Compiler {
        limits,
        section,
        eh_frame: &eh_frame,
        bases: &bases,
        interpreter: Interpreter::new(&eh_frame, &bases, limits.work),
        cies: HashMap::new(),
        functions: Vec::new(),
        rows: Vec::new(),
        stats: Stats::default(),
    };
    compiler.find_functions();
    compiler.order_functions();
    compiler.compile_functions();
    compiler.finish()
}

struct Compiler<'a, 'data> {
    limits: Limits,
    section: &'a UnwindSection<'data>,
    eh_frame: &'a EhFrame<Reader<'data>>,
    bases: &'a BaseAddresses,
    interpreter: Interpreter<'a, 'data>,
    /// By offset: the entry, and the state that its functions start with.
    cies: HashMap<usize, KnownCie<'data>>,
    functions: Vec<Function>,
    rows: Vec<Row>,
    stats: Stats,
}

type KnownCie<'data> = Result<(Cie<'data>, Result<State, Fault>), gimli::Error>;

impl<'data> Compiler<'_, 'data> {
    /// Walks the entries by their lengths alone, so that a broken one does not hide the next.
    fn find_functions(&mut self) {
        let bytes = self.section.bytes;
        let mut offset = 0;
        while let Some(entry) = Entry::at(bytes, offset) {
            if self.interpreter.spend(ENTRY_WORK).is_err()
                || self.functions.len() == self.limits.functions
            {
                self.stats.over_limit += 1;
                return;
            }
            match entry.kind {
                EntryKind::Terminator if !self.section.exact => return,
                EntryKind::Terminator | EntryKind::Cie => {}
                EntryKind::Function => self.find_function(offset),
                EntryKind::Overlong => {
                    self.stats.unreadable += 1;
                    return;
                }
            }
            offset = entry.end;
        }
    }

    fn find_function(&mut self, offset: usize) {
        let Ok((fde, _)) = self.read_function(offset) else {
            self.stats.unreadable += 1;
            return;
        };
        if fde.len() == 0 || fde.initial_address() == 0 {
            self.stats.discarded += 1;
            return;
        }
        match self.place(&fde, offset) {
            Some(function) => self.functions.push(function),
            None => self.stats.outside += 1,
        }
    }

    fn place(&self, fde: &Fde<'_>, offset: usize) -> Option<Function> {
        let start = fde.initial_address();
        let code = self
            .section
            .code
            .iter()
            .find(|code| code.contains(&start))?;
        let end = start.saturating_add(fde.len()).min(code.end);
        let relative = |address: u64| {
            let relative = address.checked_sub(self.section.image_address)?;
            u32::try_from(relative).ok().filter(|&pc| pc < PC_PADDING)
        };
        Some(Function {
            start: relative(start)?,
            end: relative(end)?,
            entry: u32::try_from(offset).ok()?,
        })
    }

    /// A function's entry and the offset of its CIE, which is in `cies` then.
    fn read_function(&mut self, offset: usize) -> Result<(Fde<'data>, usize), gimli::Error> {
        let eh_frame = self.eh_frame;
        let partial = eh_frame.partial_fde_from_offset(self.bases, EhFrameOffset(offset))?;
        let cie_offset = UnwindOffset::into(partial.cie_offset());
        if !self.cies.contains_key(&cie_offset) {
            let cie = self.read_cie(cie_offset);
            if self.cies.len() >= MAX_KEPT_CIES {
                self.cies.clear();
            }
            self.cies.insert(cie_offset, cie);
        }
        let fde = partial.parse(|_, _, _| match self.cies.get(&cie_offset) {
            Some(Ok((cie, _))) => Ok(cie.clone()),
            Some(Err(error)) => Err(*error),
            None => Err(gimli::Error::NotCieId(cie_offset as u64)),
        })?;
        Ok((fde, cie_offset))
    }

    fn read_cie(&mut self, offset: usize) -> KnownCie<'data> {
        let bytes = Entry::at(self.section.bytes, offset).map_or(0, |entry| entry.end - offset);
        // Too much work for this CIE: the walk finds the same at its next step.
        let _ = self.interpreter.spend(bytes as u64 / CIE_BYTES_PER_WORK);
        let cie = self
            .eh_frame
            .cie_from_offset(self.bases, EhFrameOffset(offset))?;
        let initial = self.interpreter.initial_state(&cie);
        Ok((cie, initial))
    }

    /// Sorts the functions and makes them disjoint: a function lasts until the next one starts,
    /// and of those that start together the first in the section counts. That is what a search in
    /// `.eh_frame_hdr`, as exception handling does it, finds.
    fn order_functions(&mut self) {
        self.functions
            .sort_unstable_by_key(|function| (function.start, function.entry));
        let before = self.functions.len();
        self.functions.dedup_by_key(|function| function.start);
        self.stats.duplicate = (before - self.functions.len()) as u64;
        for next in (1..self.functions.len()).rev() {
            let limit = self.functions[next].start;
            let function = &mut self.functions[next - 1];
            if function.end > limit {
                function.end = limit;
                self.stats.cut += 1;
            }
        }
    }

    fn compile_functions(&mut self) {
        let functions = std::mem::take(&mut self.functions);
        let mut scratch = Vec::new();
        let mut end_of_last = None;
        for (index, function) in functions.iter().enumerate() {
            if let Some(end) = end_of_last
                && function.start > end
            {
                // Padding too: a return address behind it was made by no call, but begins the
                // function, as that of a coroutine's outermost frame does.
                self.push(Row {
                    pc: end,
                    rule: NO_RULE,
                });
            }
            scratch.clear();
            let outcome = self.compile_function(function, &mut scratch);
            if outcome == Err(Fault::Broken) {
                self.stats.broken += 1;
                scratch.clear();
                scratch.push(Row {
                    pc: function.start,
                    rule: pack_unsupported(Unsupported::Broken),
                });
            }
            // One more for the end.
            let full = self.rows.len() + scratch.len() >= self.limits.rows;
            if full || outcome == Err(Fault::Exhausted) {
                self.stats.over_limit += (functions.len() - index) as u64;
                break;
            }
            self.stats.functions += 1;
            for &row in &scratch {
                self.push(row);
            }
            end_of_last = Some(function.end);
        }
        if let Some(pc) = end_of_last {
            self.push(Row { pc, rule: NO_RULE });
        }
    }

    fn compile_function(&mut self, function: &Function, rows: &mut Vec<Row>) -> Result<(), Fault> {
        self.interpreter.spend(ENTRY_WORK)?;
        let (fde, cie_offset) = self.read_function(function.entry as usize)?;
        let initial = match self.cies.get(&cie_offset) {
            Some(Ok((_, initial))) => (*initial)?,
            _ => return Err(Fault::Broken),
        };
        let image = self.section.image_address;
        let end = image + u64::from(function.end);
        self.interpreter.function(&fde, &initial, end, |pc, rule| {
            rows.push(Row {
                // Between the function's start and its end, which fit.
                pc: (pc - image) as u32,
                rule,
            });
        })
    }

    fn push(&mut self, row: Row) {
        if self.rows.last().map_or(NO_RULE, |last| last.rule) == row.rule {
            return;
        }
        if self.rows.last().is_some_and(|last| last.pc == row.pc) {
            self.rows.pop();
            self.push(row);
            return;
        }
        self.rows.push(row);
    }

    fn finish(mut self) -> Rows {
        self.stats.rows = self.rows.len() as u64;
        for row in &self.rows {
            if rule_kind(row.rule) == RuleKind::Unsupported {
                let reason = unsupported_reason(row.rule) as usize;
                if let Some(count) = self.stats.unsupported.get_mut(reason.wrapping_sub(1)) {
                    *count += 1;
                }
            }
        }
        Rows {
            rows: self.rows,
            stats: self.stats,
        }
    }
}
