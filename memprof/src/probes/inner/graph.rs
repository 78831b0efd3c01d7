//! The instructions of a function and the ways between them.

use std::collections::HashMap;

use iced_x86::{ConditionCode, FlowControl, Instruction};

use super::{Function, Known, Library, returns, sketch::Sketch};
use crate::probes::placement::{MAX_INSTRUCTION_BYTES, decode};

/// Instructions of one function; a larger one is refused. The largest that has ever been covered
/// has 500.
pub const MAX_NODES: usize = 2_048;

/// One instruction.
pub(super) struct Node {
    pub(super) instruction: Instruction,
    pub(super) bytes: [u8; MAX_INSTRUCTION_BYTES],
    pub(super) successors: Vec<Edge>,
    pub(super) exit: Option<Exit>,
}

/// A way to the next instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) to: usize,
    /// Whether the zero flag is known to be set or clear on it.
    pub(super) zero: Option<bool>,
}

/// How the function gives its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// By `ret`: it is in `rax`.
    Return,
    /// By a jump to a function that returns its first argument: it is in `rdi`.
    ReturnFirstArgument,
}

/// A function. Node 0 is its first instruction.
pub(super) struct Graph {
    pub(super) function: Function,
    pub(super) nodes: Vec<Node>,
    pub(super) predecessors: Vec<Vec<usize>>,
}

impl Graph {
    /// Follows all ways from the function's start.
    ///
    /// Errors: a way that leads out of it or can't be followed.
    pub(super) fn of(library: &dyn Library, function: Function) -> Result<Self, String> {
        if function.size == 0 {
            return Err("its size is unknown".to_owned());
        }
        let mut builder = Builder {
            library,
            function,
            sketch: Sketch::of(library, function),
            numbers: HashMap::new(),
            addresses: Vec::new(),
        };
        builder.number(function.start)?;
        let mut nodes = Vec::new();
        while let Some(&address) = builder.addresses.get(nodes.len()) {
            nodes.push(builder.node(address)?);
        }
        let mut predecessors = vec![Vec::new(); nodes.len()];
        for (number, node) in nodes.iter().enumerate() {
            for edge in &node.successors {
                predecessors[edge.to].push(number);
            }
        }
        Ok(Self {
            function,
            nodes,
            predecessors,
        })
    }

    /// Makes sure that the function does not go to one of these.
    pub(super) fn require_no_calls_of(&self, siblings: &[u64]) -> Result<(), String> {
        let goes = |node: &&Node| siblings.contains(&node.instruction.near_branch_target());
        match self.nodes.iter().find(goes) {
            Some(_) => Err("it calls another allocation function".to_owned()),
            None => Ok(()),
        }
    }

    /// Bytes from the function's start to an instruction.
    pub(super) fn offset(&self, node: usize) -> u64 {
        self.nodes[node].instruction.ip() - self.function.start
    }
}

/// A graph in the making: instructions get their numbers when a way to them is found.
struct Builder<'a> {
    library: &'a dyn Library,
    function: Function,
    sketch: Sketch,
    numbers: HashMap<u64, usize>,
    addresses: Vec<u64>,
}

impl Builder<'_> {
    /// The number of the instruction at `address`, which must be inside the function.
    fn number(&mut self, address: u64) -> Result<usize, String> {
        let offset = address.wrapping_sub(self.function.start);
        if offset >= self.function.size {
            return Err("it goes on outside of itself".to_owned());
        }
        if let Some(number) = self.numbers.get(&address) {
            return Ok(*number);
        }
        let number = self.addresses.len();
        if number >= MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} instructions"));
        }
        self.numbers.insert(address, number);
        self.addresses.push(address);
        Ok(number)
    }

    fn edge(&mut self, address: u64, zero: Option<bool>) -> Result<Edge, String> {
        let to = self.number(address)?;
        if to == 0 {
            return Err("it jumps back to its start".to_owned());
        }
        Ok(Edge { to, zero })
    }

    fn node(&mut self, address: u64) -> Result<Node, String> {
        let offset = address.wrapping_sub(self.function.start);
        let (instruction, bytes) = decode(self.library, address)
            .ok_or_else(|| format!("no instruction at +{offset:#x}"))?;
        let mut node = Node {
            instruction,
            bytes,
            successors: Vec::new(),
            exit: None,
        };
        match instruction.flow_control() {
            FlowControl::Next => {
                node.successors
                    .push(self.edge(instruction.next_ip(), None)?);
            }
            FlowControl::Call if self.is_last_word(&instruction) => {}
            FlowControl::Call => {
                if instruction.is_call_near() {
                    self.require_no_trouble(instruction.near_branch_target())?;
                }
                node.successors
                    .push(self.edge(instruction.next_ip(), None)?);
            }
            FlowControl::ConditionalBranch if instruction.is_jcc_short_or_near() => {
                let zero = match instruction.condition_code() {
                    ConditionCode::e => Some(true),
                    ConditionCode::ne => Some(false),
                    _ => None,
                };
                let target = instruction.near_branch_target();
                node.successors.push(self.edge(target, zero)?);
                let next = instruction.next_ip();
                node.successors
                    .push(self.edge(next, zero.map(|zero| !zero))?);
            }
            FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
                let target = instruction.near_branch_target();
                if target.wrapping_sub(self.function.start) < self.function.size {
                    node.successors.push(self.edge(target, None)?);
                } else if self.returns_first_argument(target) {
                    node.exit = Some(Exit::ReturnFirstArgument);
                } else {
                    return Err(format!("it ends in another function at +{offset:#x}"));
                }
            }
            FlowControl::Return => node.exit = Some(Exit::Return),
            // `ud2`, `int3`: the end of the process.
            FlowControl::Exception | FlowControl::Interrupt => {}
            _ => return Err(format!("it goes somewhere unknown from +{offset:#x}")),
        }
        Ok(node)
    }

    /// Whether a call does not come back.
    fn is_last_word(&self, call: &Instruction) -> bool {
        call.is_call_near() && {
            let argument = self.sketch.constant_before(self.library, call.ip());
            !returns::may_return(self.library, call.near_branch_target(), argument)
        }
    }

    /// Makes sure that what is called gives no blocks that are seen already: what another file does
    /// is not known.
    fn require_no_trouble(&self, target: u64) -> Result<(), String> {
        if target == self.function.start {
            return Err("it calls itself".to_owned());
        }
        match returns::slot_behind_plt(self.library, target) {
            Some(slot) if self.library.known_by_slot(slot).is_none() => {
                Err("it calls a function of another file".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn returns_first_argument(&self, target: u64) -> bool {
        let known = self
            .library
            .known(target)
            .or_else(|| returns::known_behind_plt(self.library, target));
        known == Some(Known::ReturnsFirstArgument)
    }
}
