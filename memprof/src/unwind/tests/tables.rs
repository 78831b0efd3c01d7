//! Lookups in the tables give what the rows say, however dense or sparse they are.

use memprof_common::unwind::{
    CHUNK_ROWS, NO_RULE, PAGE_CHUNKS, RuleKind, Unsupported, pack_frame, pack_unsupported,
};
use proptest::prelude::*;

use super::*;
use crate::unwind::tables::{MAX_PAGE_ROWS, MAX_PAGES, Tables};

fn rule(number: u32) -> u32 {
    pack_frame(RuleKind::Rsp, i64::from(number % 1000) * 8, 0).unwrap()
}

fn rows(pcs: impl IntoIterator<Item = u32>) -> Rows {
    let rows = pcs.into_iter().enumerate().map(|(index, pc)| Row {
        pc,
        rule: rule(index as u32),
    });
    let mut rows: Vec<Row> = rows.collect();
    if let Some(last) = rows.last_mut() {
        last.rule = NO_RULE;
    }
    Rows {
        rows,
        ..Rows::default()
    }
}

fn assert_lookups_are_plain(rows: &Rows, more: &[u32]) {
    let tables = Tables::new(&rows.rows);
    assert_eq!(tables.dense_rows + tables.pages_over_limit, 0);
    let edges = rows
        .rows
        .iter()
        .flat_map(|row| [row.pc.saturating_sub(1), row.pc, row.pc.saturating_add(1)]);
    for pc in edges.chain(more.iter().copied()).chain([0, u32::MAX]) {
        assert_eq!(
            tables.rule_at(pc).unwrap_or(NO_RULE),
            plain_rule(rows, pc),
            "{pc:#x}"
        );
    }
}

#[test]
fn a_row_is_in_force_across_pages_without_rows() {
    let rows = rows([0x1_0008, 0x9_fff0, 0xa_0000, 0xff_0000]);
    assert_lookups_are_plain(&rows, &[0x5_1234, 0xb_0000, 0xfe_ffff, 0x100_0000]);
    let tables = Tables::new(&rows.rows);
    assert!(tables.rule_at(0).is_none() && tables.rule_at(0x100_0000).is_none());
}

#[test]
fn no_rows_make_no_tables() {
    assert_eq!(Tables::new(&[]), Tables::default());
}

#[test]
fn the_densest_page_that_fits_keeps_every_row() {
    for before in [0, 1, 510, 511, 512, 513] {
        let pcs = (0..before).chain((0..MAX_PAGE_ROWS as u32).map(|i| 0x1_0000 + i));
        let rows = rows(pcs.chain([0x3_0000]));
        assert_lookups_are_plain(&rows, &[]);
    }
}

#[test]
fn a_page_with_a_row_per_byte_keeps_its_first_rows_and_says_so_of_the_others() {
    let rows = rows((0..0x3_0000).map(|i| 0x1_0000 + i));
    let tables = Tables::new(&rows.rows);
    let dropped = 0x1_0000 - MAX_PAGE_ROWS as u64 + 1;
    assert_eq!(tables.dense_rows, 3 * dropped);
    for (number, page) in &tables.pages {
        assert!(page.chunks as usize <= PAGE_CHUNKS, "{number:#x}");
    }
    let dense = pack_unsupported(Unsupported::Dense);
    for page in [0x1_0000, 0x2_0000, 0x3_0000] {
        for pc in (0..0x1_0000).map(|i| page + i) {
            let kept = pc - page < MAX_PAGE_ROWS as u32 - 2 || pc - page == 0xffff;
            let expected = if kept { plain_rule(&rows, pc) } else { dense };
            assert_eq!(tables.rule_at(pc), Some(expected), "{pc:#x}");
        }
    }
}

#[test]
fn an_image_of_four_gigabytes_is_cut_at_the_limit_of_pages() {
    let tables = Tables::new(&rows([0x1000, 0xffff_0000]).rows);
    assert_eq!(tables.pages.len(), MAX_PAGES);
    assert_eq!(tables.pages_over_limit, 0xffff - MAX_PAGES as u64);
    assert_eq!(tables.rule_at(0x1000), Some(rule(0)));
}

proptest! {
    #[test]
    fn lookups_give_what_the_rows_say(
        gaps in prop::collection::vec(prop_oneof![
            8 => 1u32..40,
            2 => 40u32..5_000,
            1 => 60_000u32..200_000,
        ], 1..3 * CHUNK_ROWS),
        more in prop::collection::vec(any::<u32>(), 20),
    ) {
        let pcs = gaps.iter().scan(0, |pc, gap| {
            *pc += gap;
            Some(*pc)
        });
        assert_lookups_are_plain(&rows(pcs), &more);
    }
}
