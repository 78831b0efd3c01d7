//! One function's call frame instructions → rules.
//!
//! An interpreter of DWARF's call frame instructions (DWARF 5, 6.4.2) that keeps only what a rule
//! is made of: the CFA, rbp and the return address. That makes it several times faster than
//! evaluating all registers, and its time is the number of instructions, which is limited.

use gimli::{BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, EhFrame, Register};

use super::rule::{Cfa, Cie, Fault, Fde, Reader, Rules, Saved, State, register};

/// The instructions of one function, those of its CIE included; the largest functions in use
/// (interpreters, parsers) have some thousands.
pub const MAX_INSTRUCTIONS: usize = 1 << 16;
/// Remembered states at a time; compilers nest one, hand-written assembly a few.
pub const MAX_REMEMBERED_STATES: usize = 64;

/// Runs the instructions of the functions of one section.
pub(super) struct Interpreter<'a, 'data> {
    pub(super) section: &'a EhFrame<Reader<'data>>,
    pub(super) bases: &'a BaseAddresses,
    /// Instructions left for all functions together.
    pub(super) work_left: u64,
    remembered: Vec<State>,
}

/// What the instructions of a CIE or a function act on.
struct Run<'a> {
    cie: &'a Cie<'a>,
    initial: Option<&'a State>,
    state: State,
    pc: u64,
    instructions: usize,
}

impl<'a, 'data> Interpreter<'a, 'data> {
    pub(super) fn new(
        section: &'a EhFrame<Reader<'data>>,
        bases: &'a BaseAddresses,
        work: u64,
    ) -> Self {
        Self {
            section,
            bases,
            work_left: work,
            remembered: Vec::new(),
        }
    }

    pub(super) fn spend(&mut self, work: u64) -> Result<(), Fault> {
        self.work_left = self.work_left.checked_sub(work).ok_or(Fault::Exhausted)?;
        Ok(())
    }

    /// The state that the functions of a CIE start with.
    pub(super) fn initial_state(&mut self, cie: &Cie<'data>) -> Result<State, Fault> {
        let mut run = Run {
            cie,
            initial: None,
            state: State::EMPTY,
            pc: 0,
            instructions: 0,
        };
        self.remembered.clear();
        let mut instructions = cie.instructions(self.section, self.bases);
        while let Some(instruction) = self.next(&mut instructions, &mut run)? {
            // A CIE describes no location: advances in it mean nothing.
            self.apply(instruction, &mut run)?;
        }
        Ok(run.state)
    }

    /// Calls `row(pc, rule)` for the runs of equal rules of a function from its first address up
    /// to `end`, in order.
    pub(super) fn function(
        &mut self,
        fde: &Fde<'data>,
        initial: &State,
        end: u64,
        mut row: impl FnMut(u64, u32),
    ) -> Result<(), Fault> {
        let mut run = Run {
            cie: fde.cie(),
            initial: Some(initial),
            state: *initial,
            pc: fde.initial_address(),
            instructions: 0,
        };
        self.remembered.clear();
        let mut instructions = fde.instructions(self.section, self.bases);
        let mut row_start = run.pc;
        let mut row_state: Option<State> = None;
        loop {
            let next = self.next(&mut instructions, &mut run)?;
            let before = run.state;
            let last = next.is_none();
            if let Some(instruction) = next {
                self.apply(instruction, &mut run)?;
                if run.pc == row_start {
                    continue;
                }
            }
            if row_state != Some(before) {
                row(row_start, Rules(self.section).rule(&before, run.cie)?);
                row_state = Some(before);
            }
            if last || run.pc >= end {
                return Ok(());
            }
            row_start = run.pc;
        }
    }

    fn next(
        &mut self,
        instructions: &mut CallFrameInstructionIter<'_, Reader<'data>>,
        run: &mut Run<'_>,
    ) -> Result<Option<CallFrameInstruction<usize>>, Fault> {
        run.instructions += 1;
        if run.instructions > MAX_INSTRUCTIONS {
            return Err(Fault::Broken);
        }
        self.spend(1)?;
        Ok(instructions.next()?)
    }

    fn apply(
        &mut self,
        instruction: CallFrameInstruction<usize>,
        run: &mut Run<'_>,
    ) -> Result<(), Fault> {
        use CallFrameInstruction as I;
        let data = run.cie.data_alignment_factor();
        let signed = |offset: i64| offset.wrapping_mul(data);
        let unsigned = |offset: u64| offset.cast_signed().wrapping_mul(data);
        match instruction {
            I::AdvanceLoc { delta } => {
                let bytes = u64::from(delta).wrapping_mul(run.cie.code_alignment_factor());
                run.pc = run.pc.checked_add(bytes).ok_or(Fault::Broken)?;
            }
            I::SetLoc { address } => {
                if address < run.pc {
                    return Err(Fault::Broken);
                }
                run.pc = address;
            }
            I::DefCfa { register, offset } => {
                run.state.cfa = Cfa::RegisterOffset(register, offset.cast_signed());
            }
            I::DefCfaSf {
                register,
                factored_offset,
            } => run.state.cfa = Cfa::RegisterOffset(register, signed(factored_offset)),
            I::DefCfaRegister { register } => *run.cfa()?.0 = register,
            I::DefCfaOffset { offset } => *run.cfa()?.1 = offset.cast_signed(),
            I::DefCfaOffsetSf { factored_offset } => *run.cfa()?.1 = signed(factored_offset),
            I::DefCfaExpression { expression } => run.state.cfa = Cfa::Expression(expression),
            I::Undefined { register } => run.save(register, Saved::Undefined),
            I::SameValue { register } => run.save(register, Saved::Same),
            I::Offset {
                register,
                factored_offset,
            } => run.save(register, Saved::At(unsigned(factored_offset))),
            I::OffsetExtendedSf {
                register,
                factored_offset,
            } => run.save(register, Saved::At(signed(factored_offset))),
            I::Expression {
                register,
                expression,
            } => run.save(register, Saved::AtExpression(expression)),
            I::ValOffset { register, .. }
            | I::ValOffsetSf { register, .. }
            | I::ValExpression { register, .. }
            | I::Register {
                dest_register: register,
                ..
            } => run.save(register, Saved::Elsewhere),
            I::Restore { register } => {
                let initial = run.initial.ok_or(Fault::Broken)?;
                if register == register::RBP {
                    run.state.rbp = initial.rbp;
                } else if register == run.cie.return_address_register() {
                    run.state.return_address = initial.return_address;
                }
            }
            I::RememberState => {
                if self.remembered.len() >= MAX_REMEMBERED_STATES {
                    return Err(Fault::Broken);
                }
                self.remembered.push(run.state);
            }
            I::RestoreState => run.state = self.remembered.pop().ok_or(Fault::Broken)?,
            I::ArgsSize { .. } | I::Nop => {}
            // Pointer authentication of another architecture, and what a later gimli knows.
            _ => return Err(Fault::Broken),
        }
        Ok(())
    }
}

impl Run<'_> {
    /// The register and the offset of the CFA, to be changed one at a time.
    fn cfa(&mut self) -> Result<(&mut Register, &mut i64), Fault> {
        match &mut self.state.cfa {
            Cfa::RegisterOffset(register, offset) => Ok((register, offset)),
            Cfa::Expression(_) => Err(Fault::Broken),
        }
    }

    fn save(&mut self, register: Register, saved: Saved) {
        if register == register::RBP {
            self.state.rbp = saved;
        } else if register == self.cie.return_address_register() {
            self.state.return_address = saved;
        }
    }
}
