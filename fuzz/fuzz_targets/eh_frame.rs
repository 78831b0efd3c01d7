//! Any bytes as `.eh_frame`: rows and tables come out well formed, whatever goes in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memprof::target::elf::UnwindSection;
use memprof::unwind::rows::{Row, compile};
use memprof::unwind::tables::Tables;
use memprof_common::unwind::NO_RULE;

fuzz_target!(|data: &[u8]| {
    let Some((options, bytes)) = data.split_first() else {
        return;
    };
    let section = UnwindSection {
        bytes,
        address: 0x1000_0000,
        text_address: Some(0x40_0000),
        got_address: (options & 1 == 0).then_some(0x2000_0000),
        image_address: if options & 2 == 0 { 0 } else { 0x1000 },
        code: vec![0x1000..0x8000_0000, 0x9000_0000..0x2_0000_0000],
        exact: options & 4 == 0,
    };
    let compiled = compile(&section);
    let rows = &compiled.rows;
    for pair in rows.windows(2) {
        assert!(pair[0].pc < pair[1].pc && pair[0].rule != pair[1].rule);
    }
    assert_eq!(rows.last().map_or(NO_RULE, |row| row.rule), NO_RULE);
    assert_eq!(compiled.stats.rows, rows.len() as u64);

    let tables = Tables::new(rows);
    if tables.dense_rows + tables.pages_over_limit > 0 {
        return;
    }
    for row in rows.iter().take(4096) {
        for pc in [row.pc.saturating_sub(1), row.pc, row.pc.saturating_add(1)] {
            let found = tables.rule_at(pc).unwrap_or(NO_RULE);
            assert_eq!(found, plain_rule(rows, pc));
        }
    }
});

fn plain_rule(rows: &[Row], pc: u32) -> u32 {
    let next = rows.partition_point(|row| row.pc <= pc);
    next.checked_sub(1).map_or(NO_RULE, |index| rows[index].rule)
}
