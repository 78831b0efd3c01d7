//! One function's call frame instructions → rules.
//!
//! An interpreter of DWARF's call frame instructions (DWARF 5, 6.4.2) that keeps only what a rule
//! is made of: the CFA, rbp and the return address. That makes it several times faster than
//! evaluating all registers, and its time is the number of instructions, which is limited.

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, CommonInformationEntry, EhFrame,
    EndianSlice, FrameDescriptionEntry, LittleEndian, Operation, Register, UnwindExpression,
};
use memprof_common::unwind::{
    END_RULE, RuleKind, SIGNAL_RBP_OFFSET, SIGNAL_RIP_OFFSET, SIGNAL_RSP_OFFSET, SIGNAL_RULE,
    Unsupported, pack_deref, pack_frame, pack_plt, pack_unsupported,
};

/// The instructions of one function, those of its CIE included; the largest functions in use
/// (interpreters, parsers) have some thousands.
pub const MAX_INSTRUCTIONS: usize = 1 << 16;
/// Remembered states at a time; compilers nest one, hand-written assembly a few.
pub const MAX_REMEMBERED_STATES: usize = 64;

/// DWARF register numbers (System V ABI, x86-64 supplement, figure 3.36).
mod register {
    use gimli::Register;

    pub(super) const RBP: Register = Register(6);
    pub(super) const RSP: Register = Register(7);
}

pub(super) type Reader<'data> = EndianSlice<'data, LittleEndian>;
pub(super) type Cie<'data> = CommonInformationEntry<Reader<'data>>;
pub(super) type Fde<'data> = FrameDescriptionEntry<Reader<'data>>;
type Expression = UnwindExpression<usize>;

/// Why a function has no rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Instructions that can't be read or make no sense, or more of them than the limits.
    Broken,
    /// The work that all functions together may make is used up.
    Exhausted,
}

impl From<gimli::Error> for Fault {
    fn from(_: gimli::Error) -> Self {
        Self::Broken
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cfa {
    RegisterOffset(Register, i64),
    Expression(Expression),
}

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    Unspecified,
    Undefined,
    Same,
    /// At an offset from the CFA.
    At(i64),
    /// At the address that an expression gives.
    AtExpression(Expression),
    Elsewhere,
}

/// A row of the unwind table, cut down to what rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    cfa: Cfa,
    rbp: Saved,
    return_address: Saved,
}

impl State {
    const EMPTY: Self = Self {
        cfa: Cfa::RegisterOffset(Register(0), 0),
        rbp: Saved::Unspecified,
        return_address: Saved::Unspecified,
    };
}

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
                row(row_start, self.rule(&before, run.cie)?);
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

    /// The rule of a row.
    fn rule(&self, state: &State, cie: &Cie<'data>) -> Result<u32, Fault> {
        Ok(match self.supported_rule(state, cie)? {
            Ok(rule) => rule,
            Err(reason) => pack_unsupported(reason),
        })
    }

    fn supported_rule(
        &self,
        state: &State,
        cie: &Cie<'data>,
    ) -> Result<Result<u32, Unsupported>, Fault> {
        if state.return_address == Saved::Undefined {
            return Ok(Ok(END_RULE));
        }
        if cie.is_signal_trampoline() {
            let kernels = self.is_kernel_signal_frame(state, cie)?;
            return Ok(kernels
                .then_some(SIGNAL_RULE)
                .ok_or(Unsupported::SignalFrame));
        }
        if state.return_address != Saved::At(-8) {
            return Ok(Err(Unsupported::ReturnAddress));
        }
        match state.cfa {
            Cfa::RegisterOffset(register, offset) => {
                let Some(kind) = frame_kind(register, RuleKind::Rsp, RuleKind::Rbp) else {
                    return Ok(Err(Unsupported::CfaRegister));
                };
                let rbp = match state.rbp {
                    // An undefined rbp is one that no caller will ask for.
                    Saved::Unspecified | Saved::Undefined | Saved::Same => 0,
                    // 0 stands for unchanged; the word at the CFA is the caller's own.
                    Saved::At(0) => return Ok(Err(Unsupported::Offset)),
                    Saved::At(offset) => offset,
                    Saved::AtExpression(_) | Saved::Elsewhere => {
                        return Ok(Err(Unsupported::FramePointer));
                    }
                };
                Ok(pack_frame(kind, offset, rbp).ok_or(Unsupported::Offset))
            }
            Cfa::Expression(expression) => self.expression_rule(expression, state, cie),
        }
    }

    fn expression_rule(
        &self,
        expression: Expression,
        state: &State,
        cie: &Cie<'data>,
    ) -> Result<Result<u32, Unsupported>, Fault> {
        if let Some(threshold) = plt_threshold(expression.get(self.section)?.0.slice()) {
            return Ok(pack_plt(threshold).ok_or(Unsupported::CfaExpression));
        }
        let Some((register, slot, Some(added))) = self.address(expression, cie)? else {
            return Ok(Err(Unsupported::CfaExpression));
        };
        let Some(kind) = frame_kind(register, RuleKind::DerefRsp, RuleKind::DerefRbp) else {
            return Ok(Err(Unsupported::CfaRegister));
        };
        let rbp_at_rbp = match state.rbp {
            Saved::Unspecified | Saved::Undefined | Saved::Same => false,
            Saved::AtExpression(at) if self.address(at, cie)? == Some((register::RBP, 0, None)) => {
                true
            }
            _ => return Ok(Err(Unsupported::FramePointer)),
        };
        Ok(pack_deref(kind, slot, added, rbp_at_rbp).ok_or(Unsupported::Offset))
    }

    /// Whether the registers are where the kernel's signal frame has them, as glibc describes it
    /// (sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c).
    fn is_kernel_signal_frame(&self, state: &State, cie: &Cie<'data>) -> Result<bool, Fault> {
        let Cfa::Expression(cfa) = state.cfa else {
            return Ok(false);
        };
        let (Saved::AtExpression(rbp), Saved::AtExpression(rip)) =
            (state.rbp, state.return_address)
        else {
            return Ok(false);
        };
        let at = |offset: u64, read| Some((register::RSP, offset.cast_signed(), read));
        Ok(self.address(cfa, cie)? == at(SIGNAL_RSP_OFFSET, Some(0))
            && self.address(rbp, cie)? == at(SIGNAL_RBP_OFFSET, None)
            && self.address(rip, cie)? == at(SIGNAL_RIP_OFFSET, None))
    }

    /// An expression of the form register + offset, `(register, offset, None)`, or of the form
    /// *(register + offset) + added, `(register, offset, Some(added))`.
    fn address(
        &self,
        expression: Expression,
        cie: &Cie<'data>,
    ) -> Result<Option<(Register, i64, Option<i64>)>, Fault> {
        let mut operations = expression.get(self.section)?.operations(cie.encoding());
        let Some(Operation::RegisterOffset {
            register, offset, ..
        }) = operations.next()?
        else {
            return Ok(None);
        };
        match operations.next()? {
            None => return Ok(Some((register, offset, None))),
            Some(Operation::Deref {
                size: 8,
                space: false,
                ..
            }) => {}
            Some(_) => return Ok(None),
        }
        let added = match operations.next()? {
            None => 0,
            Some(Operation::PlusConstant { value }) if operations.next()?.is_none() => value,
            Some(_) => return Ok(None),
        };
        Ok(Some((register, offset, Some(added.cast_signed()))))
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

fn frame_kind(register: Register, rsp: RuleKind, rbp: RuleKind) -> Option<RuleKind> {
    match register {
        register::RSP => Some(rsp),
        register::RBP => Some(rbp),
        _ => None,
    }
}

/// The N of the expression with which linkers describe the procedure linkage table:
/// `breg7 8; breg16 0; lit15; and; litN; ge; lit3; shl; plus`, the CFA being 8 bytes further up
/// from N bytes into an entry on (`elf_x86_64_eh_frame_plt` in binutils' bfd/elf64-x86-64.c).
fn plt_threshold(expression: &[u8]) -> Option<u32> {
    match *expression {
        [
            0x77,
            8,
            0x80,
            0,
            0x3f,
            0x1a,
            literal @ 0x30..=0x4f,
            0x2a,
            0x33,
            0x24,
            0x22,
        ] => Some(u32::from(literal - 0x30)),
        _ => None,
    }
}
