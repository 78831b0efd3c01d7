//! Each compiled rule says what gimli's evaluation of the same address says.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, Operation, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection as _, UnwindTableRow, X86_64,
};
use memprof_common::unwind::{
    RuleKind, Unsupported, added_offset, cfa_offset, plt_cfa_offset, rbp_at_rbp, rbp_offset,
    rule_kind, slot_offset, unsupported_reason,
};

use super::*;
use crate::target::elf::unwind_section_of_image;
use crate::unwind::tables::Tables;

type Section<'a> = EhFrame<EndianSlice<'a, LittleEndian>>;

/// A machine in which every register and every word of memory holds a different number.
struct Machine {
    pc: u64,
    rsp: u64,
    rbp: u64,
}

impl Machine {
    fn word(address: u64) -> u64 {
        address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17 << 3
    }

    /// Evaluates an expression, on a stack as DWARF defines it.
    fn evaluate(&self, section: &Section<'_>, expression: UnwindExpression<usize>) -> Option<u64> {
        let encoding = gimli::Encoding {
            address_size: 8,
            format: gimli::Format::Dwarf32,
            version: 1,
        };
        let mut operations = expression.get(section).unwrap().operations(encoding);
        let mut stack = Vec::new();
        while let Some(operation) = operations.next().unwrap() {
            let value = match operation {
                Operation::RegisterOffset {
                    register, offset, ..
                } => {
                    let base = match register {
                        X86_64::RSP => self.rsp,
                        X86_64::RBP => self.rbp,
                        X86_64::RA => self.pc,
                        _ => return None,
                    };
                    base.wrapping_add_signed(offset)
                }
                Operation::UnsignedConstant { value } => value,
                Operation::Deref { .. } => Self::word(stack.pop()?),
                Operation::PlusConstant { value } => u64::wrapping_add(stack.pop()?, value),
                binary => {
                    let (b, a): (u64, u64) = (stack.pop()?, stack.pop()?);
                    match binary {
                        Operation::And => a & b,
                        Operation::Ge => u64::from(a >= b),
                        Operation::Shl => a << b,
                        Operation::Plus => a.wrapping_add(b),
                        _ => return None,
                    }
                }
            };
            stack.push(value);
        }
        stack.pop()
    }

    /// The caller's (rsp, rbp, rip), by gimli's row; `None` if it has none.
    fn by_row(
        &self,
        section: &Section<'_>,
        row: &UnwindTableRow<usize>,
        signal: bool,
    ) -> Option<[u64; 3]> {
        let cfa = match *row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                let base = match register {
                    X86_64::RSP => self.rsp,
                    X86_64::RBP => self.rbp,
                    _ => return None,
                };
                base.wrapping_add_signed(offset)
            }
            CfaRule::Expression(expression) => self.evaluate(section, expression)?,
        };
        let saved = |register, unchanged| match row.register(register) {
            None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => Some(unchanged),
            Some(RegisterRule::Offset(offset)) => Some(Self::word(cfa.wrapping_add_signed(offset))),
            Some(RegisterRule::Expression(at)) => Some(Self::word(self.evaluate(section, at)?)),
            _ => None,
        };
        let rip = saved(X86_64::RA, self.pc)?;
        let at_cfa = matches!(row.register(X86_64::RA), Some(RegisterRule::Offset(-8)));
        if !at_cfa && !signal {
            return None;
        }
        Some([cfa, saved(X86_64::RBP, self.rbp)?, rip])
    }

    /// The caller's (rsp, rbp, rip), by a rule as the kernel side follows it.
    fn by_rule(&self, rule: u32) -> Option<[u64; 3]> {
        let deref = |base: u64| {
            let cfa = Self::word(base.wrapping_add_signed(slot_offset(rule))) + added_offset(rule);
            let rbp = if rbp_at_rbp(rule) {
                Self::word(self.rbp)
            } else {
                self.rbp
            };
            (cfa, rbp)
        };
        let frame = |base: u64| {
            let cfa = base + cfa_offset(rule);
            let rbp = match rbp_offset(rule) {
                0 => self.rbp,
                offset => Self::word(cfa.wrapping_add_signed(offset)),
            };
            (cfa, rbp)
        };
        let (cfa, rbp) = match rule_kind(rule) {
            RuleKind::Rsp => frame(self.rsp),
            RuleKind::Rbp => frame(self.rbp),
            RuleKind::Plt => (self.rsp + plt_cfa_offset(rule, self.pc), self.rbp),
            RuleKind::DerefRsp => deref(self.rsp),
            RuleKind::DerefRbp => deref(self.rbp),
            RuleKind::Signal => {
                let [rbp, rsp, rip] = [120, 160, 168].map(|at| Self::word(self.rsp + at));
                return Some([rsp, rbp, rip]);
            }
            _ => return None,
        };
        Some([cfa, rbp, Self::word(cfa - 8)])
    }
}

#[derive(Debug, Default)]
pub(super) struct Compared {
    agreed: usize,
    ends: usize,
    unsupported: usize,
    by_kind: [usize; 16],
}

/// Compares the rules at the first and the last byte of each of gimli's rows.
pub(super) fn compare(section: &UnwindSection<'_>) -> Compared {
    let rows = compile(section);
    let tables = Tables::new(&rows.rows);
    let mut eh_frame = EhFrame::new(section.bytes, LittleEndian);
    eh_frame.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut context = UnwindContext::new();
    let mut compared = Compared::default();
    let mut entries = eh_frame.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let gimli::CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(EhFrame::cie_from_offset).unwrap();
        let signal = fde.is_signal_trampoline();
        let mut table = fde.rows(&eh_frame, &bases, &mut context).unwrap();
        while let Some(row) = table.next_row().unwrap() {
            let end = row.end_address().min(fde.end_address());
            if row.start_address() >= end {
                continue;
            }
            for address in [row.start_address(), end - 1] {
                let pc = (address - section.image_address) as u32;
                let rule = plain_rule(&rows, pc);
                assert_eq!(tables.rule_at(pc).unwrap_or(0), rule, "{pc:#x}");
                check(&eh_frame, row, signal, address, rule, &mut compared);
            }
        }
    }
    compared
}

/// Whether gimli evaluates the only function of a section without an error.
pub(super) fn gimli_evaluates(section: &UnwindSection<'_>) -> Result<(), gimli::Error> {
    let mut eh_frame = EhFrame::new(section.bytes, LittleEndian);
    eh_frame.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut context = UnwindContext::new();
    let mut entries = eh_frame.entries(&bases);
    while let Some(entry) = entries.next()? {
        if let gimli::CieOrFde::Fde(partial) = entry {
            let fde = partial.parse(EhFrame::cie_from_offset)?;
            let mut table = fde.rows(&eh_frame, &bases, &mut context)?;
            while let Some(row) = table.next_row()? {
                if row.start_address() >= fde.end_address() {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn check(
    section: &Section<'_>,
    row: &UnwindTableRow<usize>,
    signal: bool,
    pc: u64,
    rule: u32,
    compared: &mut Compared,
) {
    compared.by_kind[(rule & 15) as usize] += 1;
    let undefined = row.register(X86_64::RA) == Some(RegisterRule::Undefined);
    assert_eq!(rule_kind(rule) == RuleKind::End, undefined, "{pc:#x}");
    if undefined {
        compared.ends += 1;
        return;
    }
    let machine = Machine {
        pc,
        rsp: 0x7ffd_1234_5678,
        rbp: 0x7ffe_8765_4320,
    };
    let expected = machine.by_row(section, row, signal);
    if rule_kind(rule) == RuleKind::Unsupported {
        compared.unsupported += 1;
        // What the reference can evaluate and a rule has no room for.
        let reason = unsupported_reason(rule);
        let no_room = reason == Unsupported::Offset as u32
            || reason == Unsupported::FramePointer as u32
                && match row.register(X86_64::RBP) {
                    Some(RegisterRule::Expression(_)) => true,
                    Some(RegisterRule::Offset(_)) => matches!(row.cfa(), CfaRule::Expression(_)),
                    _ => false,
                };
        assert!(expected.is_none() || no_room, "{pc:#x} {rule:#x} {row:?}");
        return;
    }
    assert_eq!(machine.by_rule(rule), expected, "{pc:#x} {rule:#x} {row:?}");
    compared.agreed += 1;
}

#[test]
fn every_rule_of_the_files_of_this_machine_is_what_gimli_evaluates() {
    for file in files() {
        let compared = with_section(&file, compare);
        println!("{}: {compared:?}", file.display());
        assert!(compared.agreed > 1000, "{compared:?}");
        assert!(compared.unsupported * 100 < compared.agreed, "{compared:?}");
    }
}

#[test]
fn libc_has_the_end_of_the_stack_the_signal_trampoline_and_plt_entries() {
    let compared = with_section(Path::new("/lib/x86_64-linux-gnu/libc.so.6"), compare);
    for kind in [RuleKind::End, RuleKind::Signal, RuleKind::Plt] {
        assert!(compared.by_kind[kind as usize] > 0, "{kind:?}");
    }
}

/// The vdso as the kernel maps it.
fn vdso() -> Vec<u8> {
    use std::os::unix::fs::FileExt;

    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let range = line.split_whitespace().next().unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let mut image = vec![0; (end - start) as usize];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut image, start).unwrap();
    image
}

#[test]
fn the_vdso_has_rules_too() {
    let image = vdso();
    let section = unwind_section_of_image(&image).unwrap().unwrap();
    assert!(compare(&section).agreed > 20);
}

proptest::proptest! {
    #[test]
    fn broken_headers_are_survived(
        flips in proptest::collection::vec((0..1024usize, 0..8u32), 1..20),
        keep in 0..8192usize,
    ) {
        let mut image = vdso();
        for (at, bit) in flips {
            image[at] ^= 1 << bit;
        }
        image.truncate(keep);
        if let Ok(Some(section)) = unwind_section_of_image(&image) {
            assert_well_formed(&compile(&section).rows);
        }
    }
}

#[test]
fn a_file_without_unwind_information_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("a.c"), folder.path().join("a"));
    std::fs::write(&source, "void _start(void) { for (;;) ; }").unwrap();
    let flags = [
        "-nostdlib",
        "-static",
        "-fno-asynchronous-unwind-tables",
        "-o",
    ];
    let status = std::process::Command::new("gcc")
        .args(flags)
        .args([&output, &source])
        .status();
    assert!(status.unwrap().success());
    let file = File::open(output).unwrap();
    assert_eq!(ElfReader::new(&file).unwind_section(), Ok(None));
}

/// Blanks the section headers of a file.
fn without_section_headers(file: &Path) -> File {
    use std::io::Write;
    let mut bytes = std::fs::read(file).unwrap();
    bytes[0x28..0x30].fill(0);
    bytes[0x3c..0x40].fill(0);
    let mut stripped = tempfile::tempfile().unwrap();
    stripped.write_all(&bytes).unwrap();
    stripped
}

#[test]
fn without_section_headers_the_rows_are_the_same() {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let expected = with_section(libc, compile);
    let stripped = without_section_headers(libc);
    let reader = ElfReader::new(&stripped);
    let section = reader.unwind_section().unwrap().unwrap();
    assert!(!section.exact);
    assert_eq!(compile(&section), expected);
}
