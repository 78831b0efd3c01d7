//! What is at an address of the target: which file, and what unwind information that has.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gimli::BaseAddresses;

use super::frame::{Evaluator, Frame, Step};
use super::section::{Kind, Section};
use crate::target::elf::ElfReader;
use crate::target::modules::{FrameAddress, Module, ModuleIndex, Modules, Place, Region};

/// Bytes of unwind information that are kept at a time. With more, all are let go and read again.
pub const MAX_HELD_BYTES: usize = 128 << 20;

/// Bytes before a return address in which the call is.
const CALL_BYTES: usize = 7;

/// What a process has mapped, at one moment.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    /// Its executable mappings, by address.
    pub regions: &'a [Region],
    /// The files among them.
    pub modules: &'a Modules,
}

impl<'a> Code<'a> {
    /// Where `address` is.
    pub(super) fn place(&self, address: u64) -> Option<Place> {
        let after = self
            .regions
            .partition_point(|region| region.start <= address);
        let region = self.regions.get(after.checked_sub(1)?)?;
        let within = (address < region.end).then(|| address - region.start)?;
        Some(match region.place {
            Place::File {
                module,
                file_offset,
            } => Place::File {
                module,
                file_offset: file_offset.checked_add(within)?,
            },
            other => other,
        })
    }

    /// Whether the call that returns to `pc` is in a mapping that is known.
    pub fn is_known(&self, pc: u64) -> bool {
        self.frame(pc, true).place != Place::NoMapping
    }

    /// A frame at `pc`. A call may be the last instruction of its mapping: where it is counts, not
    /// where it returns to.
    pub(super) fn frame(&self, pc: u64, is_return_address: bool) -> FrameAddress {
        let back = u64::from(is_return_address);
        let place = pc
            .checked_sub(back)
            .and_then(|address| self.place(address))
            .map(|place| match place {
                Place::File {
                    module,
                    file_offset,
                } => Place::File {
                    module,
                    file_offset: file_offset.saturating_add(back),
                },
                other => other,
            });
        FrameAddress {
            pc,
            is_return_address,
            place: place.unwrap_or(Place::NoMapping),
            perf_map: None,
        }
    }

    /// Whether `pc` is code that a call may return to: the bytes before it are a call, where they
    /// can be read.
    pub(super) fn is_return_address(&self, pc: u64) -> bool {
        match pc.checked_sub(1).and_then(|call| self.place(call)) {
            None => false,
            Some(Place::File {
                module,
                file_offset,
            }) => {
                let file = self.modules.get(module).and_then(Module::file);
                let start = (file_offset + 1).checked_sub(CALL_BYTES as u64);
                let mut before = [0; CALL_BYTES];
                file.zip(start)
                    .is_some_and(|(file, start)| file.read_exact_at(&mut before, start).is_ok())
                    && ends_with_call(&before)
            }
            Some(_) => true,
        }
    }
}

/// Whether instructions can end with a call: `e8` and an offset, or `ff /2` with its operand.
fn ends_with_call(before: &[u8; CALL_BYTES]) -> bool {
    let indirect = |length: usize| {
        let at = CALL_BYTES - length;
        before[at] == 0xff && before[at + 1] & 0x38 == 0x10
    };
    before[CALL_BYTES - 5] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

/// The unwind information of the files that were met.
#[derive(Default)]
pub(super) struct Files {
    known: HashMap<ModuleIndex, Vec<Section>>,
    held_bytes: usize,
}

impl Files {
    /// What the unwind information of its file says of a frame in it; `None` if it knows no
    /// function there, or the file has none. The frame's `address` is given as the target has it.
    pub(super) fn find_caller(
        &mut self,
        code: Code<'_>,
        mut frame: Frame<'_>,
        evaluator: &mut Evaluator,
    ) -> Option<Step> {
        let Place::File {
            module,
            file_offset,
        } = code.place(frame.address)?
        else {
            return None;
        };
        let file = code.modules.get(module)?;
        let facts = file.facts()?.as_ref().ok()?;
        frame.address = facts.address_of(file_offset)?;
        if !self.known.contains_key(&module) {
            self.read(module, file);
        }
        let sections = self.known.get(&module)?;
        sections
            .iter()
            .find_map(|section| section.find_caller(frame, evaluator))
    }

    fn read(&mut self, module: ModuleIndex, file: &Module) {
        let sections = match file.file() {
            // What was written over is not what runs.
            Some(open) if !file.is_changed() => read_sections(open),
            _ => Vec::new(),
        };
        let bytes: usize = sections.iter().map(Section::memory_bytes).sum();
        if self.held_bytes + bytes > MAX_HELD_BYTES {
            self.known.clear();
            self.held_bytes = 0;
        }
        self.held_bytes += bytes;
        self.known.insert(module, sections);
    }
}

/// `.eh_frame` and `.debug_frame`, in the order in which they are asked.
fn read_sections(file: &File) -> Vec<Section> {
    let mut sections = Vec::new();
    let reader = ElfReader::new(file);
    if let Ok(Some(found)) = reader.unwind_section() {
        let bases = found.bases();
        sections.extend(Section::new(Kind::EhFrame, found.bytes, bases, found.exact));
    }
    // Another reader: what the first one has read is let go.
    let reader = ElfReader::new(file);
    if let Ok(Some(bytes)) = reader.debug_frame() {
        let bases = BaseAddresses::default();
        sections.extend(Section::new(Kind::DebugFrame, bytes, bases, true));
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_last_bytes() {
        for call in [
            [0, 0, 0xe8, 1, 2, 3, 4],
            [0, 0, 0, 0, 0, 0xff, 0xd0],
            [0, 0, 0, 0, 0xff, 0x50, 8],
            [0, 0, 0, 0xff, 0x54, 0x24, 8],
            [0, 0xff, 0x15, 1, 2, 3, 4],
            [0xff, 0x94, 0x24, 1, 2, 3, 4],
        ] {
            assert!(ends_with_call(&call), "{call:x?}");
        }
        for other in [
            [0; 7],
            [0xe8, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0xff, 0xe0],
            [0, 0xff, 0x25, 1, 2, 3, 4],
        ] {
            assert!(!ends_with_call(&other), "{other:x?}");
        }
    }
}
