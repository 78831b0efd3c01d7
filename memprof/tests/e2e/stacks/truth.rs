//! The stacks that a program's own unwinder saw (`tests/programs/unwind_shim.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::harness::{Stage, build_with};

/// Call stacks, from the function that called the allocator outwards, and how many allocations
/// came from each.
pub(crate) type Stacks = BTreeMap<Vec<u64>, u64>;

/// Slots of the file; `MOST_STACKS` there.
const SLOTS: usize = 1 << 17;
/// Words of a slot: hash, allocations, first word, frames.
const SLOT_WORDS: usize = 4;
/// Words before the first slot.
const HEAD_WORDS: usize = 3;

/// In the number of frames: `UNFINISHED` there.
const UNFINISHED: u64 = 1 << 63;

/// The file name of the shim as a library.
pub(crate) const LIBRARY: &str = "libunwind_shim.so";

/// The environment that preloads the shim into `program` and has it write onto the stage.
pub(crate) fn environment(stage: &Stage, program: &Path) -> [(&'static str, PathBuf); 3] {
    let flags = [
        "-g",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        "-shared",
        "-fPIC",
        // Its unwinder is its own: it loads nothing and shares nothing with the program's.
        "-static-libgcc",
    ];
    let library = build_with(&["unwind_shim.c"], LIBRARY, &flags);
    let program = fs::canonicalize(program).expect("the program is there");
    [
        ("LD_PRELOAD", library),
        ("UNWIND_SHIM_PROGRAM", program),
        ("UNWIND_SHIM_OUT", stage.path("stacks")),
    ]
}

/// What the shim recorded of one process.
pub(crate) struct Truth {
    pub(crate) stacks: Stacks,
    /// Those of them that may have more frames: its unwinder stopped for want of information.
    pub(crate) unfinished: BTreeSet<Vec<u64>>,
    /// Allocations that it saw without a stack: before its unwinder worked, or made by it.
    pub(crate) untaken: u64,
}

impl Truth {
    pub(crate) fn read(stage: &Stage, pid: u64) -> Self {
        let path = stage.path(&format!("stacks.{pid}"));
        let file = File::open(&path).expect("the shim recorded the process");
        let [untaken, dropped, used] = words(&file, 0, HEAD_WORDS)[..] else {
            unreachable!("as many as were asked for")
        };
        assert_eq!(dropped, 0, "allocations without room for their stacks");
        let slots = words(&file, HEAD_WORDS, SLOTS * SLOT_WORDS);
        let used = usize::try_from(used).expect("a count");
        let pcs = words(&file, HEAD_WORDS + SLOTS * SLOT_WORDS, used);
        let mut stacks = Stacks::new();
        let mut unfinished = BTreeSet::new();
        for slot in slots.chunks_exact(SLOT_WORDS) {
            let [_hash, allocations, first, frames] = slot[..] else {
                unreachable!("a slot has as many")
            };
            if allocations != 0 {
                let (first, count) = (first as usize, (frames & !UNFINISHED) as usize);
                let pcs = pcs[first..first + count].to_vec();
                if frames & UNFINISHED != 0 {
                    unfinished.insert(pcs.clone());
                }
                *stacks.entry(pcs).or_default() += allocations;
            }
        }
        Self {
            stacks,
            unfinished,
            untaken,
        }
    }
}

fn words(file: &File, first: usize, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, first as u64 * 8)
        .expect("the records are whole");
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    bytes.chunks_exact(8).map(word).collect()
}
