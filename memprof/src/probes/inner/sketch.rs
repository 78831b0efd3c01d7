//! A first look at a function, before it is known which of its calls return: what is put into a
//! call's first argument on the only way to it.

use std::collections::HashMap;

use iced_x86::FlowControl;

use super::{
    Function, Library,
    returns::{self, FirstArgument},
};
use crate::probes::placement::decode;

/// Instructions before a call in which its argument is looked for.
const MAX_LOOK_BACK: usize = 16;

/// All ways in the function that there could be, before it is known which calls return.
pub(super) struct Sketch {
    /// How many ways lead to each instruction.
    ways_to: HashMap<u64, usize>,
    /// The instruction that goes on to each.
    before: HashMap<u64, u64>,
}

impl Sketch {
    pub(super) fn of(library: &dyn Library, function: Function) -> Self {
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
    pub(super) fn constant_before(&self, library: &dyn Library, mut address: u64) -> Option<u64> {
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
