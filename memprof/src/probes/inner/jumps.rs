//! Which code of a file jumps where: a function that other code enters in its middle can't be
//! understood from its start alone.

use super::{Function, Library};
use crate::probes::placement::{MAX_INSTRUCTION_BYTES, decode};

/// Bytes of code that are searched for jumps into a function; a larger file is refused. Glibc has
/// 1.4 MiB, and what is kept of a file's code is 4 MiB (`target::elf::MAX_CODE_PAGES`).
pub const MAX_SEARCHED_BYTES: u64 = 3 << 20;

/// Every direct jump and call of a file, by its target.
pub struct Jumps {
    /// Target and source.
    by_target: Vec<(u64, u64)>,
}

impl Jumps {
    /// Reads all of a file's code, from the first byte to the last.
    ///
    /// # Errors
    /// If there is too much of it, or some can't be read.
    pub fn of(library: &dyn Library) -> Result<Self, String> {
        let ranges = library.code_ranges();
        let bytes = ranges
            .iter()
            .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        if bytes > MAX_SEARCHED_BYTES {
            return Err("its file has too much code to search".to_owned());
        }
        let mut by_target = Vec::new();
        for (first, bytes) in ranges {
            let mut address = first;
            while address.wrapping_sub(first) < bytes {
                let Some((instruction, _)) = decode(library, address) else {
                    if library.fetch(address, &mut [0; MAX_INSTRUCTION_BYTES]) == 0 {
                        return Err("its code can't be read".to_owned());
                    }
                    address = address.wrapping_add(1);
                    continue;
                };
                if instruction.near_branch_target() != 0 {
                    by_target.push((instruction.near_branch_target(), address));
                }
                address = instruction.next_ip();
            }
        }
        by_target.sort_unstable();
        Ok(Self { by_target })
    }

    /// Makes sure that no other code jumps into the function past its start: whoever came by such a
    /// way would be counted for a call that was never made.
    pub(super) fn require_none_into(&self, function: Function) -> Result<(), String> {
        let start = function.start;
        let end = start.saturating_add(function.size);
        let first = self
            .by_target
            .partition_point(|(target, _)| *target <= start);
        let into = self.by_target[first..].iter();
        for (target, from) in into.take_while(|(target, _)| *target < end) {
            if !(start..end).contains(from) {
                return Err(format!(
                    "code at {from:#x} jumps to its +{:#x}",
                    target - start
                ));
            }
        }
        Ok(())
    }
}
