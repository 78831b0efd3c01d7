//! One trap a call: instructions inside an allocation function at which block and size are both
//! at hand. Pure.
//!
//! A call that is probed at its entry and its return costs its caller two traps. Some functions
//! have instructions, emulated ones, that lie between the moment when the block is known and the
//! return. A set of them serves in place of both probes if every call that gives a block passes
//! exactly one of them and a call that fails passes none. That is a statement about all paths
//! through the function, and is proved here on its machine code: the graph of its instructions
//! (`graph`), what every register and stack slot holds at each (`values`), where the value that
//! the function is going to return already is (`results`), and a set of instructions that cuts
//! all those paths once (`cover`). What can't be proved is refused, with the reason in words, and
//! the function is probed at entry and return.
//!
//! The methods are those of compilers: value numbering and data flow to a fixed point (Muchnick,
//! "Advanced Compiler Design and Implementation", chapters 8 and 12). What they take for granted
//! is that the code keeps the System V calling convention and that nothing writes into a frame
//! whose address was never taken.

mod cover;
mod effects;
mod graph;
mod jumps;
mod results;
mod returns;
mod sketch;
#[cfg(test)]
pub(super) mod tests;
mod values;

use memprof_common::placement::{InnerPlace, SizeAt};

pub(super) use self::returns::is_write;
use self::{cover::Cover, graph::Graph, results::Results, values::Values};
pub use self::{
    graph::MAX_NODES,
    jumps::{Jumps, MAX_SEARCHED_BYTES},
};
use super::{
    emulation::Emulated,
    placement::{Code, Function},
};

/// What is known of a function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It never returns.
    NeverReturns,
    /// It returns its first argument.
    ReturnsFirstArgument,
}

/// What is known of the C library's functions, by name.
pub const KNOWN_FUNCTIONS: [(&str, Known); 4] = [
    ("abort", Known::NeverReturns),
    ("__assert_fail", Known::NeverReturns),
    ("__stack_chk_fail", Known::NeverReturns),
    ("memset", Known::ReturnsFirstArgument),
];

/// A file's code by virtual address (before relocation), and what is known of its functions.
pub trait Library: Code {
    /// What is known of the function that begins at `address`.
    fn known(&self, address: u64) -> Option<Known>;
    /// What is known of the function whose address the loader puts into the word at `address`.
    fn known_by_slot(&self, address: u64) -> Option<Known>;
    /// Where there is code: first address and bytes.
    fn code_ranges(&self) -> Vec<(u64, u64)>;
}

/// What a probe inside a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Reports the block.
    Give,
    /// Notes the size for a site at which it is lost.
    NoteSize,
}

/// A probe inside a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerSite {
    /// What it does.
    pub task: Task,
    /// Where it is, and where the values are there.
    pub place: InnerPlace,
    /// The instruction in words.
    pub text: String,
}

/// Finds probes that see every block that `function` gives, once. `jumps` are all those of its
/// file, `siblings` the starts of the allocator's other functions: what they give is seen already.
///
/// # Errors
/// What could not be proved.
pub fn find(
    library: &dyn Library,
    jumps: &Jumps,
    siblings: &[u64],
    function: Function,
    emulated: Emulated,
) -> Result<Vec<InnerSite>, String> {
    if emulated == Emulated::NONE {
        return Err("no instruction is known to be emulated".to_owned());
    }
    jumps.require_none_into(function)?;
    let graph = Graph::of(library, function)?;
    graph.require_no_calls_of(siblings)?;
    let values = Values::of(&graph)?;
    let results = Results::of(&graph, &values)?;
    Cover {
        graph: &graph,
        values: &values,
        results: &results,
        shape: function.shape,
        emulated,
    }
    .find()
}

/// The sites in words, for `-v`.
pub fn describe(sites: &[InnerSite]) -> String {
    let words: Vec<String> = sites
        .iter()
        .map(|site| {
            let what = match (site.task, site.place.size) {
                (Task::NoteSize, _) => ", for the size",
                (Task::Give, SizeAt::Noted) => ", size noted before",
                (Task::Give, _) => "",
            };
            format!("`{}` at +{:#x}{what}", site.text, site.place.offset)
        })
        .collect();
    words.join(", ")
}
