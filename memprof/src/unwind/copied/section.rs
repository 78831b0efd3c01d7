//! The functions of one `.eh_frame` or `.debug_frame`, found by address.
//!
//! The index is our own for both kinds: `.eh_frame_hdr` is missing or wrong in some files, and
//! `.debug_frame` has none.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, DebugFrame, EhFrame, LittleEndian, UnwindOffset, UnwindSection as GimliSection,
};

use super::frame::{Evaluator, Frame, MAX_ENTRY_BYTES, Step};
use crate::unwind::entries::{Entry, EntryKind};
use crate::unwind::rows::{MAX_FUNCTIONS, MAX_WORK};
use crate::unwind::rule::{Cie, Reader};

/// A section larger than this is not used. libLLVM's `.eh_frame` has 10 MiB, browsers' 20 MiB.
pub const MAX_SECTION_BYTES: usize = 64 << 20;

/// Shared entries that are kept at a time while a section is indexed.
const MAX_KEPT_CIES: usize = 1024;
/// Bytes of an entry that are read in the time of a unit of work.
const BYTES_PER_WORK: usize = 16;

/// Which of the two it is: they differ in how entries name each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    EhFrame,
    DebugFrame,
}

/// A section and the index of its functions.
#[derive(Debug)]
pub(super) struct Section {
    kind: Kind,
    bytes: Vec<u8>,
    bases: BaseAddresses,
    /// First address and the entry's offset, sorted.
    functions: Vec<(u64, u32)>,
}

impl Section {
    /// Indexes a section; `None` if it has no function or is too large. `exact`: the bytes end
    /// where the section ends; else its terminator tells.
    pub(super) fn new(kind: Kind, bytes: &[u8], bases: BaseAddresses, exact: bool) -> Option<Self> {
        if bytes.len() > MAX_SECTION_BYTES {
            return None;
        }
        let mut section = Self {
            kind,
            bytes: bytes.to_vec(),
            bases,
            functions: Vec::new(),
        };
        let mut functions = match kind {
            Kind::EhFrame => index(&section.eh_frame(), bytes, &section.bases, kind, exact),
            Kind::DebugFrame => index(&section.debug_frame(), bytes, &section.bases, kind, exact),
        };
        // Of those that start together the first in the section counts, as in the kernel's tables.
        functions.sort_unstable();
        functions.dedup_by_key(|function| function.0);
        functions.shrink_to_fit();
        section.functions = functions;
        (!section.functions.is_empty()).then_some(section)
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.functions.len() * size_of::<(u64, u32)>()
    }

    /// What it says of a frame; `None` if it knows no function there.
    pub(super) fn find_caller(&self, frame: Frame<'_>, evaluator: &mut Evaluator) -> Option<Step> {
        let after = self
            .functions
            .partition_point(|&(start, _)| start <= frame.address);
        let (_, offset) = *self.functions.get(after.checked_sub(1)?)?;
        let (offset, bases) = (offset as usize, &self.bases);
        match self.kind {
            Kind::EhFrame => evaluator.find_caller(&self.eh_frame(), bases, offset, frame),
            Kind::DebugFrame => evaluator.find_caller(&self.debug_frame(), bases, offset, frame),
        }
    }

    fn eh_frame(&self) -> EhFrame<Reader<'_>> {
        let mut section = EhFrame::new(&self.bytes, LittleEndian);
        section.set_address_size(8);
        section
    }

    fn debug_frame(&self) -> DebugFrame<Reader<'_>> {
        let mut section = DebugFrame::new(&self.bytes, LittleEndian);
        section.set_address_size(8);
        section
    }
}

/// The functions of a section, in its order. Walks the entries by their lengths alone, so that a
/// broken one does not hide the next.
fn index<'data, S: GimliSection<Reader<'data>>>(
    section: &S,
    bytes: &[u8],
    bases: &BaseAddresses,
    kind: Kind,
    exact: bool,
) -> Vec<(u64, u32)> {
    let mut functions = Vec::new();
    let mut cies: HashMap<usize, Option<Cie<'data>>> = HashMap::new();
    let mut work = MAX_WORK as usize;
    let mut offset = 0;
    while let Some(entry) = Entry::at(bytes, offset) {
        let cost = 1 + (entry.end - offset).min(MAX_ENTRY_BYTES) / BYTES_PER_WORK;
        let Some(left) = work.checked_sub(cost) else {
            break;
        };
        work = left;
        match entry.kind {
            EntryKind::Overlong => break,
            EntryKind::Terminator if kind == Kind::EhFrame && !exact => break,
            EntryKind::Terminator => {}
            EntryKind::Cie if kind == Kind::EhFrame => {}
            // In `.debug_frame` the first of the shared entries has the number 0.
            EntryKind::Cie | EntryKind::Function => {
                let start = first_address(section, bytes, bases, offset, &mut cies, &mut work);
                if let (Some(start), Ok(offset)) = (start, u32::try_from(offset)) {
                    functions.push((start, offset));
                }
            }
        }
        if functions.len() == MAX_FUNCTIONS {
            break;
        }
        offset = entry.end;
    }
    functions
}

/// The first address of the function of an entry; `None` for one that is no function of the file:
/// unreadable, empty, or left over by the linker at address 0.
fn first_address<'data, S: GimliSection<Reader<'data>>>(
    section: &S,
    bytes: &[u8],
    bases: &BaseAddresses,
    offset: usize,
    cies: &mut HashMap<usize, Option<Cie<'data>>>,
    work: &mut usize,
) -> Option<u64> {
    let partial = section.partial_fde_from_offset(bases, offset.into()).ok()?;
    let cie_offset = UnwindOffset::into(partial.cie_offset());
    if !cies.contains_key(&cie_offset) {
        let length = Entry::at(bytes, cie_offset).map_or(0, |entry| entry.end - cie_offset);
        *work = work.saturating_sub(length / BYTES_PER_WORK);
        if cies.len() == MAX_KEPT_CIES {
            cies.clear();
        }
        let cie = (length <= MAX_ENTRY_BYTES)
            .then(|| section.cie_from_offset(bases, cie_offset.into()).ok())
            .flatten();
        cies.insert(cie_offset, cie);
    }
    let cie = cies.get(&cie_offset)?.as_ref()?;
    let fde = partial.parse(|_, _, _| Ok(cie.clone())).ok()?;
    (fde.initial_address() != 0 && fde.len() != 0).then(|| fde.initial_address())
}
