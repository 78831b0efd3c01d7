//! The instructions of a function and the ways between them.

use std::collections::HashMap;

use iced_x86::{ConditionCode, FlowControl, Instruction};

use super::{
    Function, Known, Library,
    returns::{self, FirstArgument},
};
use crate::probes::placement::{MAX_INSTRUCTION_BYTES, decode};

/// Instructions of one function; a larger one is refused. The largest that has ever been covered
/// has 500.
pub const MAX_NODES: usize = 2_048;
/// Instructions before a call in which its argument is looked for.
const MAX_LOOK_BACK: usize = 16;
/// Bytes of code that are searched for jumps into a function; a larger file is refused.
pub const MAX_SEARCHED_BYTES: u64 = 16 << 20;

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

    /// Bytes from the function's start to an instruction.
    pub(super) fn offset(&self, node: usize) -> u64 {
        self.nodes[node].instruction.ip() - self.function.start
    }

    /// Looks through all of the file's code for jumps and calls into the function, past its start:
    /// whoever came by such a one would be counted for a call that was never made.
    pub(super) fn require_no_jumps_from_elsewhere(
        &self,
        library: &dyn Library,
    ) -> Result<(), String> {
        let (start, end) = (self.function.start, self.end());
        let ranges = library.code_ranges();
        let bytes = ranges
            .iter()
            .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        if bytes > MAX_SEARCHED_BYTES {
            return Err("its file has too much code to search".to_owned());
        }
        for (first, bytes) in ranges {
            let mut address = first;
            while address.wrapping_sub(first) < bytes {
                if (start..end).contains(&address) {
                    address = end;
                    continue;
                }
                let Some((instruction, _)) = decode(library, address) else {
                    address = address.wrapping_add(1);
                    continue;
                };
                let target = instruction.near_branch_target();
                if target > start && target < end {
                    return Err(format!(
                        "code at {address:#x} jumps to its +{:#x}",
                        target - start
                    ));
                }
                address = instruction.next_ip();
            }
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        self.function.start.saturating_add(self.function.size)
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
                if instruction.is_call_near()
                    && instruction.near_branch_target() == self.function.start
                {
                    return Err("it calls itself".to_owned());
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

    fn returns_first_argument(&self, target: u64) -> bool {
        let known = self
            .library
            .known(target)
            .or_else(|| returns::known_behind_plt(self.library, target));
        known == Some(Known::ReturnsFirstArgument)
    }
}

/// All ways in the function that there could be, before it is known which calls return.
struct Sketch {
    /// How many ways lead to each instruction.
    ways_to: HashMap<u64, usize>,
    /// The instruction that goes on to each.
    before: HashMap<u64, u64>,
}

impl Sketch {
    fn of(library: &dyn Library, function: Function) -> Self {
        let mut sketch = Self {
            ways_to: HashMap::from([(function.start, 1)]),
            before: HashMap::new(),
        };
        let mut waiting = vec![function.start];
        while let Some(address) = waiting.pop() {
            let Some((instruction, _)) = decode(library, address) else {
                continue;
            };
            let flow = instruction.flow_control();
            let next = instruction.next_ip();
            if flow == FlowControl::Next {
                sketch.before.insert(next, address);
            }
            let jumps = instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near();
            let goes_on = !matches!(
                flow,
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Exception
            );
            let ways = [
                jumps.then(|| instruction.near_branch_target()),
                goes_on.then_some(next),
            ];
            for way in ways.into_iter().flatten() {
                if way.wrapping_sub(function.start) >= function.size {
                    continue;
                }
                let known = sketch.ways_to.entry(way).or_insert(0);
                *known += 1;
                if *known == 1 {
                    waiting.push(way);
                }
            }
        }
        sketch
    }

    /// The constant that is put into `edi` on the only way to the call at `address`: the error
    /// functions of C libraries take as an argument whether to abort.
    fn constant_before(&self, library: &dyn Library, mut address: u64) -> Option<u64> {
        for _ in 0..MAX_LOOK_BACK {
            if self.ways_to.get(&address) != Some(&1) {
                return None;
            }
            address = *self.before.get(&address)?;
            let (instruction, _) = decode(library, address)?;
            match returns::first_argument_after(&instruction) {
                FirstArgument::Constant(value) => return Some(value),
                FirstArgument::Unknown => return None,
                FirstArgument::Kept => {}
            }
        }
        None
    }
}
