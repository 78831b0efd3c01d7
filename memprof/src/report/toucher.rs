//! One call path that touched memory first, with what of it is still resident.

use serde::{Deserialize, Serialize};

use super::{Frame, HexStackId};

/// What one stack of one process touched first. Who touched memory first is not who holds it, so there is
/// no verdict here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopToucher {
    /// 1 for the first in the chosen order.
    pub rank: u32,
    /// The process.
    pub pid: u32,
    /// The stack's name, the same in all reports of one run.
    pub stack_id: HexStackId,
    /// Bytes first touched here that are resident as far as is known: `touched_bytes`,
    /// `inherited_bytes` and `copied_bytes` without `given_back_bytes`.
    pub resident_bytes: u64,
    /// All bytes that became resident by a touch here.
    pub touched_bytes: u64,
    /// Bytes of those that are gone: given back, found to be gone, or copied by another path.
    pub given_back_bytes: u64,
    /// Of the resident bytes, the process's own memory.
    pub anonymous_bytes: u64,
    /// Of the resident bytes, files' contents.
    pub file_bytes: u64,
    /// Of the resident bytes, shared memory.
    pub shared_bytes: u64,
    /// Of the resident bytes, those in huge pages.
    pub huge_bytes: u64,
    /// Of the resident bytes, those that the kernel touched in a system call that was made here.
    pub by_kernel_bytes: u64,
    /// Bytes that were shared with another process since a fork, and copied as they were written to here.
    pub copied_bytes: u64,
    /// Bytes that a fork left to this process, touched here by its parent.
    pub inherited_bytes: u64,
    /// The function that touched: the first frame outside allocators, their shims, standard containers and
    /// functions such as `memset`.
    pub function: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// The line in `file`.
    pub line: Option<u32>,
    /// The directory of `file`, as the compiler knew it.
    #[serde(default)]
    pub directory: Option<String>,
    /// The path of the mapped file that holds it.
    pub module: Option<String>,
    /// All frames, innermost first.
    pub stack: Vec<Frame>,
}

/// Who touched memory first that another call path holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstToucher {
    /// The stack's name, as in `top_touchers`.
    pub stack_id: HexStackId,
    /// How much of it.
    pub bytes: u64,
    /// The function that touched, chosen as in `top_touchers`.
    pub function: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// The line in `file`.
    pub line: Option<u32>,
}

/// What limits the figures of pages, beside what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultQuality {
    /// Changes whose record found no room on its way: what they touched is missing, or what they gave back
    /// looks resident.
    #[serde(default)]
    pub lost_changes: u64,
    /// Changes of resident memory by system calls that don't say where.
    #[serde(default)]
    pub placeless_changes: u64,
    /// Pages of touches of which the kernel did not tell how many pages became resident.
    pub guessed_pages: u64,
    /// Pages that became resident around one that was touched, the kernel does not tell which: the next
    /// ones were taken.
    pub around_pages: u64,
    /// Bytes that system calls (`mlock`, `MAP_POPULATE`, …) were to make resident: at most those are.
    pub populated_bytes: u64,
    /// Bytes that became resident nobody knows where: nothing gives them back by address.
    pub unplaced_bytes: u64,
    /// Pages that were touched first again: that they were given back was not seen.
    pub superseded_pages: u64,
    /// Pages that were found to be gone, though it was not seen that they were given back.
    pub found_gone_pages: u64,
    /// Pages that found no room here: they are in no figure.
    pub pages_not_followed: u64,
    /// Touches whose call path found no room: they are counted as one without a stack.
    pub stacks_not_followed: u64,
}
