//! What leads back to the start of a function: a walk through all of its code that can be reached
//! by direct jumps, its split-off parts and tail calls included.

use std::collections::HashSet;

use iced_x86::{FlowControl, Instruction, Mnemonic};

use super::{Code, Function, decode};

/// Instructions that are followed; the largest allocator functions known, with all that they
/// jump to, take 4,000. Beyond it the function is probed at its start.
pub const MAX_FOLLOWED: usize = 16_384;

/// Jumps to the first instructions of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Jumps {
    /// The first instruction of the way, but for its start, that other code leads to.
    pub(super) into_step: Option<usize>,
    /// Whether one leads to the function's start.
    pub(super) to_start: bool,
}

/// Follows the code from the function's start; `None` if there is too much of it.
pub(super) fn survey(code: &dyn Code, function: Function, way: &[u64]) -> Option<Jumps> {
    let mut jumps = Jumps::default();
    let mut seen = HashSet::new();
    let mut waiting = vec![function.start];
    while let Some(address) = waiting.pop() {
        if !seen.insert(address) {
            continue;
        }
        if seen.len() > MAX_FOLLOWED {
            return None;
        }
        // Where there is no code, nothing leads back.
        let Some((instruction, _)) = decode(code, address) else {
            continue;
        };
        let jump = jump_target(&instruction);
        let next = next(code, function, &instruction);
        jumps.to_start |= jump == Some(function.start);
        for target in [jump, next].into_iter().flatten() {
            match way.iter().position(|step| *step == target) {
                Some(0) => continue,
                Some(step) if way[step - 1] != address => {
                    let first = jumps.into_step.unwrap_or(step);
                    jumps.into_step = Some(first.min(step));
                }
                _ => {}
            }
            waiting.push(target);
        }
    }
    Some(jumps)
}

/// Where an instruction jumps to, if that is a fixed place.
fn jump_target(instruction: &Instruction) -> Option<u64> {
    let jumps = matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::XbeginXabortXend
    );
    let target = instruction.near_branch_target();
    (jumps && target != 0).then_some(target)
}

/// The instruction after this one, if it is ever reached from it.
fn next(code: &dyn Code, function: Function, instruction: &Instruction) -> Option<u64> {
    let next = instruction.next_ip();
    let goes_on = match instruction.flow_control() {
        FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => true,
        // What follows a call that never returns is padding, or another function.
        FlowControl::Call | FlowControl::IndirectCall => !is_padding(code, next),
        _ => false,
    };
    let end = function.start.wrapping_add(function.size);
    (goes_on && !(function.size != 0 && next == end)).then_some(next)
}

fn is_padding(code: &dyn Code, address: u64) -> bool {
    decode(code, address).is_none_or(|(instruction, _)| {
        matches!(
            instruction.mnemonic(),
            Mnemonic::Nop | Mnemonic::Int3 | Mnemonic::Endbr64
        )
    })
}
