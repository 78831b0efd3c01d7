//! A row of the unwind table → the rule that the kernel side follows, or why there is none.

use gimli::{
    CommonInformationEntry, EhFrame, EndianSlice, FrameDescriptionEntry, LittleEndian, Operation,
    Register, UnwindExpression,
};
use memprof_common::unwind::{
    END_RULE, RuleKind, SIGNAL_RBP_OFFSET, SIGNAL_RIP_OFFSET, SIGNAL_RSP_OFFSET, SIGNAL_RULE,
    Unsupported, pack_deref, pack_frame, pack_plt, pack_unsupported,
};

pub(super) type Reader<'data> = EndianSlice<'data, LittleEndian>;
pub(super) type Cie<'data> = CommonInformationEntry<Reader<'data>>;
pub(super) type Fde<'data> = FrameDescriptionEntry<Reader<'data>>;

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

/// DWARF register numbers (System V ABI, x86-64 supplement, figure 3.36).
pub(super) mod register {
    use gimli::Register;

    pub(in crate::unwind) const RBP: Register = Register(6);
    pub(in crate::unwind) const RSP: Register = Register(7);
}

type Expression = UnwindExpression<usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cfa {
    RegisterOffset(Register, i64),
    Expression(Expression),
}

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
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
    pub(super) cfa: Cfa,
    pub(super) rbp: Saved,
    pub(super) return_address: Saved,
}

impl State {
    pub(super) const EMPTY: Self = Self {
        cfa: Cfa::RegisterOffset(Register(0), 0),
        rbp: Saved::Unspecified,
        return_address: Saved::Unspecified,
    };
}

/// Makes rules of the rows of one section, which has their expressions.
pub(super) struct Rules<'a, 'data>(pub(super) &'a EhFrame<Reader<'data>>);

impl<'data> Rules<'_, 'data> {
    /// The rule of a row.
    pub(super) fn rule(&self, state: &State, cie: &Cie<'data>) -> Result<u32, Fault> {
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
        if let Some(threshold) = plt_threshold(expression.get(self.0)?.0.slice()) {
            let unchanged = matches!(
                state.rbp,
                Saved::Unspecified | Saved::Undefined | Saved::Same
            );
            // No byte of an entry is beyond 15: a higher threshold is never reached.
            return Ok(match pack_plt(threshold.min(16)) {
                Some(rule) if unchanged => Ok(rule),
                Some(_) => Err(Unsupported::FramePointer),
                None => Err(Unsupported::CfaExpression),
            });
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
        let mut operations = expression.get(self.0)?.operations(cie.encoding());
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
