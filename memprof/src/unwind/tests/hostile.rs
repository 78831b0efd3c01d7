//! What hand-written, broken and malicious sections do: cost their function, and little time.

use memprof_common::unwind::{
    END_RULE, NO_RULE, RuleKind, Unsupported, pack_deref, pack_frame, pack_unsupported,
};
use proptest::prelude::*;

use super::reference::{self, gimli_evaluates};
use super::*;
use crate::unwind::rows::{Limits, compile_within};
use crate::unwind::tables::Tables;
use crate::unwind::{MAX_INSTRUCTIONS, MAX_REMEMBERED_STATES};

const IMAGE: u64 = 0x40_0000;
const ADVANCE_1: u8 = 0x41;
const REMEMBER: u8 = 0x0a;
const RESTORE: u8 = 0x0b;
const DEF_CFA_OFFSET: u8 = 0x0e;
/// Reserved by DWARF and used by nobody.
const NONSENSE: u8 = 0x3c;
/// CFA = rsp + 8, return address at CFA - 8.
const START: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

/// Writes a section: absolute addresses of 8 bytes, code alignment 1, data alignment -8.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn entry(&mut self, id: u32, body: &[&[u8]]) {
        let length = 4 + body.iter().map(|part| part.len()).sum::<usize>();
        self.bytes.extend((length as u32).to_le_bytes());
        self.bytes.extend(id.to_le_bytes());
        for part in body {
            self.bytes.extend_from_slice(part);
        }
    }

    /// A CIE; its offset.
    fn cie(&mut self, augmentation: &[u8], instructions: &[u8]) -> usize {
        let offset = self.bytes.len();
        let head: &[u8] = &[0, 1, 0x78, 16];
        self.entry(0, &[&[1], augmentation, head, instructions]);
        offset
    }

    fn function(&mut self, cie: usize, pc: u64, length: u64, instructions: &[u8]) {
        let back = (self.bytes.len() + 4 - cie) as u32;
        let address = IMAGE.wrapping_add(pc).to_le_bytes();
        self.entry(back, &[&address, &length.to_le_bytes(), instructions]);
    }

    fn section(&self) -> UnwindSection<'_> {
        UnwindSection {
            bytes: &self.bytes,
            address: IMAGE + 0x1000_0000,
            image_address: IMAGE,
            code: std::iter::once(IMAGE..u64::MAX).collect(),
            exact: true,
            ..UnwindSection::default()
        }
    }

    fn compile(&self) -> Rows {
        self.compile_within(Limits::DEFAULT)
    }

    fn compile_within(&self, limits: Limits) -> Rows {
        let rows = compile_within(&self.section(), limits);
        assert_well_formed(&rows.rows);
        rows
    }
}

/// A writer with the usual CIE at offset 0.
fn usual() -> Writer {
    let mut writer = Writer::default();
    writer.cie(b"", &START);
    writer
}

fn rsp(cfa: i64) -> u32 {
    pack_frame(RuleKind::Rsp, cfa, 0).unwrap()
}

fn unsupported(reason: Unsupported) -> u32 {
    pack_unsupported(reason)
}

fn pairs(rows: &Rows) -> Vec<(u32, u32)> {
    rows.rows.iter().map(|row| (row.pc, row.rule)).collect()
}

#[test]
fn a_broken_function_costs_itself_and_no_other() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x40, &[ADVANCE_1, DEF_CFA_OFFSET, 16]);
    writer.function(
        0,
        0x140,
        0x40,
        &[ADVANCE_1, DEF_CFA_OFFSET, 16, ADVANCE_1, NONSENSE],
    );
    writer.function(0, 0x180, 0x40, &[ADVANCE_1, RESTORE]);
    writer.function(0, 0x1c0, 0x40, &[]);
    let rows = writer.compile();
    let broken = unsupported(Unsupported::Broken);
    let expected = [
        (0x100, rsp(8)),
        (0x101, rsp(16)),
        (0x140, broken),
        (0x1c0, rsp(8)),
        (0x200, NO_RULE),
    ];
    assert_eq!(pairs(&rows), expected);
    assert_eq!((rows.stats.functions, rows.stats.broken), (4, 2));
}

#[test]
fn a_broken_cie_costs_its_functions_only() {
    let mut writer = usual();
    let nonsense = writer.cie(b"", &[NONSENSE]);
    let unknown = writer.cie(b"?", &START);
    writer.function(nonsense, 0x100, 0x40, &[]);
    writer.function(unknown, 0x140, 0x40, &[]);
    writer.function(writer.bytes.len() + 4, 0x180, 0x40, &[]);
    writer.function(0, 0x1c0, 0x40, &[]);
    let rows = writer.compile();
    let expected = [
        (0x100, unsupported(Unsupported::Broken)),
        (0x140, NO_RULE),
        (0x1c0, rsp(8)),
        (0x200, NO_RULE),
    ];
    assert_eq!(pairs(&rows), expected);
    // The entry whose CIE pointer is 0 counts as a CIE.
    assert_eq!((rows.stats.broken, rows.stats.unreadable), (1, 1));
}

#[test]
fn an_entry_longer_than_the_section_leaves_those_before_it() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x40, &[]);
    let complete = pairs(&writer.compile());
    writer.bytes.extend([0xf0, 0xff, 0, 0, 1, 2, 3]);
    assert_eq!(pairs(&writer.compile()), complete);
    writer.bytes.truncate(writer.bytes.len() - 4);
    assert_eq!(writer.compile().stats.unreadable, 1);
}

#[test]
fn a_terminator_ends_only_a_section_of_unknown_size() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x40, &[]);
    writer.bytes.extend([0; 4]);
    writer.function(0, 0x200, 0x40, &[]);
    assert_eq!(writer.compile().stats.functions, 2);
    let mut section = writer.section();
    section.exact = false;
    assert_eq!(compile(&section).stats.functions, 1);
}

#[test]
fn what_is_between_functions_has_no_rule() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x31, &[]);
    writer.function(0, 0x140, 0x30, &[ADVANCE_1, DEF_CFA_OFFSET, 16]);
    writer.function(0, 0x170, 0x10, &[]);
    let expected = [
        (0x100, rsp(8)),
        (0x131, NO_RULE),
        (0x140, rsp(8)),
        (0x141, rsp(16)),
        (0x170, rsp(8)),
        (0x180, NO_RULE),
    ];
    assert_eq!(pairs(&writer.compile()), expected);
}

#[test]
fn of_overlapping_functions_each_lasts_until_the_next_starts() {
    let mut writer = usual();
    writer.function(0, 0x200, 0x100, &[DEF_CFA_OFFSET, 32]);
    writer.function(0, 0x100, 0x400, &[DEF_CFA_OFFSET, 16]);
    writer.function(0, 0x200, 0x20, &[DEF_CFA_OFFSET, 64]);
    let rows = writer.compile();
    let expected = [(0x100, rsp(16)), (0x200, rsp(32)), (0x300, NO_RULE)];
    assert_eq!(pairs(&rows), expected);
    assert_eq!((rows.stats.duplicate, rows.stats.cut), (1, 1));
}

#[test]
fn functions_outside_the_code_are_refused_one_by_one() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x40, &[]);
    writer.function(0, 1 << 32, 0x40, &[]);
    writer.function(0, 0xffff_fff0, 0x40, &[]);
    writer.function(0, u64::MAX - IMAGE - 8, u64::MAX, &[]);
    writer.function(0, IMAGE.wrapping_neg(), 0x40, &[]);
    writer.function(0, 0x800, 0, &[]);
    let rows = writer.compile();
    assert_eq!(pairs(&rows), [(0x100, rsp(8)), (0x140, NO_RULE)]);
    assert_eq!((rows.stats.outside, rows.stats.discarded), (3, 2));

    let mut section = writer.section();
    section.code = std::iter::once(IMAGE..IMAGE + 0x120).collect();
    let rows = compile(&section);
    assert_eq!(pairs(&rows), [(0x100, rsp(8)), (0x120, NO_RULE)]);
}

#[test]
fn the_outermost_function_ends_the_stack_wherever_it_is_marked() {
    let mut writer = usual();
    let outermost = writer.cie(b"", &[0x0c, 7, 8, 0x07, 16]);
    writer.function(outermost, 0x100, 0x40, &[]);
    writer.function(0, 0x140, 0x40, &[0x07, 16]);
    assert_eq!(
        pairs(&writer.compile()),
        [(0x100, END_RULE), (0x180, NO_RULE)]
    );
}

#[test]
fn what_no_rule_expresses_says_why() {
    let cases: [(&[u8], Unsupported); 8] = [
        (&[0x0d, 10], Unsupported::CfaRegister),
        (&[0x0f, 1, 0x9c], Unsupported::CfaExpression),
        (&[0x90, 2], Unsupported::ReturnAddress),
        (&[0x09, 6, 3], Unsupported::FramePointer),
        (&[0x10, 6, 2, 0x76, 0], Unsupported::FramePointer),
        (&[DEF_CFA_OFFSET, 12], Unsupported::Offset),
        (&[DEF_CFA_OFFSET, 0x80, 0x80, 0x80, 1], Unsupported::Offset),
        (&[0x86, 0], Unsupported::Offset),
    ];
    for (instructions, reason) in cases {
        let mut writer = usual();
        writer.function(0, 0x100, 0x40, instructions);
        let rows = writer.compile();
        let expected = [(0x100, unsupported(reason)), (0x140, NO_RULE)];
        assert_eq!(pairs(&rows), expected, "{reason:?}");
        assert_eq!(rows.stats.unsupported[reason as usize - 1], 1);
    }
}

#[test]
fn a_signal_frame_that_is_not_the_kernels_is_not_taken_for_it() {
    let mut writer = Writer::default();
    writer.cie(b"zS", &[]);
    // The augmentation's length follows the return address register.
    writer.bytes.push(0);
    writer.bytes.extend(START);
    let length = writer.bytes.len() - 4;
    writer.bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    writer.function(0, 0x100, 0x40, &[0]);
    let expected = [
        (0x100, unsupported(Unsupported::SignalFrame)),
        (0x140, NO_RULE),
    ];
    assert_eq!(pairs(&writer.compile()), expected);
}

#[test]
fn a_frame_that_gcc_aligned_reads_its_cfa_from_its_slot() {
    let mut writer = usual();
    // CFA = *(rbp - 8), rbp at *(rbp): as `lea 8(%rsp),%r10; and $-32,%rsp; ...; push %r10` has it.
    writer.function(
        0,
        0x100,
        0x40,
        &[0x10, 6, 2, 0x76, 0, 0x0f, 3, 0x76, 0x78, 6],
    );
    let rule = pack_deref(RuleKind::DerefRbp, -8, 0, true).unwrap();
    assert_eq!(pairs(&writer.compile()), [(0x100, rule), (0x140, NO_RULE)]);
}

#[test]
fn too_many_instructions_break_a_function_and_as_many_as_allowed_do_not() {
    let changes = |count: usize| {
        let mut code = Vec::new();
        for index in 0..count {
            code.extend([ADVANCE_1, DEF_CFA_OFFSET, 8 * (1 + index as u8 % 2)]);
        }
        code
    };
    let mut writer = usual();
    let allowed = (MAX_INSTRUCTIONS - 2) / 2;
    writer.function(0, 0x100, 0x10_0000, &changes(allowed));
    writer.function(0, 0x20_0000, 0x10_0000, &changes(allowed + 2));
    let rows = writer.compile();
    assert_eq!(rows.stats.broken, 1);
    assert!(rows.rows.len() > allowed - 2);
}

#[test]
fn remembered_states_are_limited() {
    let mut writer = usual();
    writer.function(0, 0x100, 0x40, &[REMEMBER; MAX_REMEMBERED_STATES]);
    writer.function(0, 0x200, 0x40, &[REMEMBER; MAX_REMEMBERED_STATES + 1]);
    assert_eq!(writer.compile().stats.broken, 1);
}

#[test]
fn floods_of_instructions_end_at_the_limit_of_work() {
    // Every function below the limit for one, all together above that of the file, which is a
    // small one here: what the real one costs in time is for a release build to measure.
    let limits = Limits {
        work: 4 * MAX_INSTRUCTIONS as u64,
        ..Limits::DEFAULT
    };
    let mut code = vec![ADVANCE_1; MAX_INSTRUCTIONS - 8];
    for bomb in [ADVANCE_1, REMEMBER] {
        if bomb == REMEMBER {
            code = [REMEMBER, RESTORE].repeat(MAX_INSTRUCTIONS / 2 - 4);
        }
        let mut writer = usual();
        for index in 0..8 {
            writer.function(0, 0x1000 + index * 0x10_0000, 0x10_0000, &code);
        }
        let stats = writer.compile_within(limits).stats;
        assert_eq!((stats.functions, stats.over_limit), (3, 5));
    }
}

#[test]
fn a_long_cie_that_every_function_runs_anew_ends_at_the_limit_of_work() {
    // More CIEs than are kept, in turn.
    let mut writer = Writer::default();
    let mut instructions = START.to_vec();
    instructions.extend([0; 500]);
    let cies: Vec<usize> = (0..1100).map(|_| writer.cie(b"", &instructions)).collect();
    for index in 0..3_000 {
        let cie = cies[index % cies.len()];
        writer.function(cie, 0x1000 + index as u64 * 64, 64, &[]);
    }
    let limits = Limits {
        work: 1_000_000,
        ..Limits::DEFAULT
    };
    let stats = writer.compile_within(limits).stats;
    assert!(stats.over_limit > 0 && stats.functions < 2000, "{stats:?}");
}

#[test]
fn functions_by_the_thousand_at_one_place_are_one() {
    let mut writer = usual();
    for index in 0..20_000 {
        writer.function(0, 0x1000, 0x1000_0000 + index, &[]);
        writer.function(0, 0x2000 + index, 0x1000_0000, &[]);
    }
    let rows = writer.compile();
    assert_eq!(rows.stats.duplicate, 19_999);
    assert_eq!(rows.rows.len(), 2);
    assert!(Tables::new(&rows.rows).pages.len() < 5000);
}

#[test]
fn more_functions_or_rows_than_the_limit_are_cut_there() {
    let mut writer = usual();
    for index in 0..100 {
        writer.function(0, 0x1000 + 64 * index, 32, &[ADVANCE_1, DEF_CFA_OFFSET, 16]);
    }
    let rows = writer.compile_within(Limits {
        functions: 70,
        ..Limits::DEFAULT
    });
    assert_eq!((rows.stats.functions, rows.stats.over_limit), (70, 1));
    let rows = writer.compile_within(Limits {
        rows: 30,
        ..Limits::DEFAULT
    });
    assert_eq!((rows.stats.functions, rows.stats.over_limit), (10, 90));
    assert_eq!(rows.rows.len(), 30);
}

/// The bytes of a small real section: the loader's first kilobytes.
fn real_bytes() -> Vec<u8> {
    let loader = Path::new("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    with_section(loader, |section| section.bytes[..6000].to_vec())
}

fn compile_anything(bytes: &[u8], exact: bool) {
    let section = UnwindSection {
        bytes,
        address: 0x1000_0000,
        text_address: Some(0x1000),
        got_address: None,
        image_address: 0,
        code: std::iter::once(0..u64::MAX).collect(),
        exact,
    };
    let rows = compile(&section);
    assert_well_formed(&rows.rows);
    let tables = Tables::new(&rows.rows);
    if tables.dense_rows + tables.pages_over_limit == 0 {
        for row in &rows.rows {
            assert_eq!(tables.rule_at(row.pc).unwrap_or(NO_RULE), row.rule);
        }
    }
}

/// Instructions as compilers and people write them, and a few that hardly anybody does.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let register = prop::sample::select(vec![0u8, 3, 6, 7, 10, 16]);
    prop_oneof![
        4 => (1..40u8).prop_map(|delta| vec![0x40 | delta]),
        1 => (0..80u8).prop_map(|delta| vec![0x02, delta]),
        2 => (register.clone(), 0..9u8).prop_map(|(to, offset)| vec![0x0c, to, offset * 8]),
        1 => register.clone().prop_map(|to| vec![0x0d, to]),
        2 => (0..64u8).prop_map(|offset| vec![DEF_CFA_OFFSET, offset]),
        1 => (0..64u8).prop_map(|offset| vec![0x13, offset]),
        2 => (register.clone(), 0..9u8).prop_map(|(saved, at)| vec![0x80 | saved, at]),
        1 => (register.clone(), 0..64u8).prop_map(|(saved, at)| vec![0x11, saved, at]),
        1 => register.clone().prop_map(|saved| vec![0xc0 | saved]),
        1 => (0x07..0x09u8, register.clone()).prop_map(|(how, saved)| vec![how, saved]),
        1 => (register.clone(), register).prop_map(|(saved, from)| vec![0x09, saved, from]),
        2 => Just(vec![REMEMBER]),
        2 => Just(vec![RESTORE]),
        1 => (0..128u8).prop_map(|offset| vec![0x0f, 3, 0x76, offset, 6]),
        1 => (0..128u8, 0..32u8).prop_map(|(at, added)| vec![0x0f, 5, 0x77, at, 6, 0x23, added]),
        1 => (0..8u8).prop_map(|offset| vec![0x10, 6, 2, 0x76, offset]),
        1 => (0x30..0x50u8).prop_map(|literal| {
            vec![0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, literal, 0x2a, 0x33, 0x24, 0x22]
        }),
        1 => Just(vec![0x2e, 16]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_function_means_what_gimli_evaluates(
        rbp_saved_at_start: bool,
        instructions in prop::collection::vec(instruction(), 0..40),
    ) {
        let mut start = START.to_vec();
        if rbp_saved_at_start {
            start.extend([0x86, 2]);
        }
        let mut writer = Writer::default();
        writer.cie(b"", &start);
        writer.function(0, 0x100, 0x200, &instructions.concat());
        let section = writer.section();
        match gimli_evaluates(&section) {
            Ok(()) => {
                reference::compare(&section);
                prop_assert_eq!(compile(&section).stats.broken, 0);
            }
            // gimli remembers three states, not more.
            Err(gimli::Error::StackFull) => {}
            Err(_) => prop_assert_eq!(compile(&section).stats.broken, 1),
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600), exact: bool) {
        compile_anything(&bytes, exact);
    }

    #[test]
    fn flipped_and_truncated_real_bytes_are_survived(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..40),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = real_bytes();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        compile_anything(&bytes, true);
    }

    #[test]
    fn random_instructions_cost_their_function_only(
        instructions in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut writer = usual();
        writer.function(0, 0x100, 0x40, &[]);
        writer.function(0, 0x140, 0x1000, &instructions);
        writer.function(0, 0x1140, 0x40, &[]);
        let rows = writer.compile();
        prop_assert_eq!(plain_rule(&rows, 0x13f), rsp(8));
        prop_assert_eq!(plain_rule(&rows, 0x1140), rsp(8));
        prop_assert_eq!(plain_rule(&rows, 0x1180), NO_RULE);
    }
}
