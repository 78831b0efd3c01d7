//! Rows → the chunks and pages that the kernel side searches.
//!
//! The rows of a file are cut into chunks of equal size; a page names the chunks with the rows in
//! force in its 64 KiB of code. A page can name [`PAGE_CHUNKS`] chunks, one row per eight bytes of
//! code and eight times what compilers make. Where there are more, the page keeps its first
//! [`MAX_PAGE_ROWS`] rows, and the rest of it gets a rule that says why there is none.

use memprof_common::unwind::{
    CHUNK_ROWS, Chunk, NO_RULE, PAGE_CHUNKS, PAGE_SHIFT, PC_PADDING, Page, Unsupported,
    last_at_or_below, pack_unsupported,
};

use super::rows::Row;

/// Rows that start in one page and surely lie in [`PAGE_CHUNKS`] chunks, together with the row in
/// force at the page's first byte.
pub const MAX_PAGE_ROWS: usize = (PAGE_CHUNKS - 1) * CHUNK_ROWS;
/// Pages of one file: 1 GiB of code. What is beyond has no rules.
pub const MAX_PAGES: usize = 1 << 14;

/// The tables of one file. Chunk numbers start at 0: the loader adds the number of the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// All rows, full chunks but for the last.
    pub chunks: Vec<Chunk>,
    /// Pages by number (pc >> [`PAGE_SHIFT`]), ascending; those without rules are left out.
    pub pages: Vec<(u32, Page)>,
    /// Rows that were left out of pages with too many.
    pub dense_rows: u64,
    /// Pages that were left out of a file with too many.
    pub pages_over_limit: u64,
}

impl Tables {
    /// Lays out rows as [`compile`](super::rows::compile) makes them: sorted by pc, all pcs below
    /// [`PC_PADDING`].
    pub fn new(rows: &[Row]) -> Self {
        let mut tables = Self::default();
        let Some(first) = rows.first() else {
            return tables;
        };
        // The search takes a chunk's first row for what is below it too: there must be one.
        let mut kept = Vec::with_capacity(rows.len() + 1);
        if first.pc > 0 {
            kept.push(Row {
                pc: 0,
                rule: NO_RULE,
            });
        }
        for page in rows.chunk_by(|a, b| page_of(a.pc) == page_of(b.pc)) {
            tables.keep_page(page, &mut kept);
        }
        tables.chunks = kept.chunks(CHUNK_ROWS).map(chunk).collect();
        tables.make_pages(&kept);
        tables
    }

    /// The rule at a pc, found as the kernel side finds it; `None` where it finds no page.
    pub fn rule_at(&self, pc: u32) -> Option<u32> {
        let index = self
            .pages
            .binary_search_by_key(&page_of(pc), |(number, _)| *number)
            .ok()?;
        let page = &self.pages[index].1;
        let split = last_at_or_below(&page.split, u64::from(pc));
        if split >= page.chunks as usize {
            return None;
        }
        let chunk = self.chunks.get(page.first_chunk as usize + split)?;
        Some(chunk.rule[last_at_or_below(&chunk.pc, u64::from(pc))])
    }

    /// Bytes that the tables take in the kernel, without the overhead of its hash map.
    pub fn bytes(&self) -> usize {
        size_of_val(self.chunks.as_slice()) + self.pages.len() * size_of::<Page>()
    }

    /// Too many rows for a page: its first ones stay, and its last one, which is in force in the
    /// next page too.
    fn keep_page(&mut self, page: &[Row], kept: &mut Vec<Row>) {
        if page.len() <= MAX_PAGE_ROWS {
            kept.extend_from_slice(page);
            return;
        }
        let (first, rest) = page.split_at(MAX_PAGE_ROWS - 2);
        kept.extend_from_slice(first);
        if let [dense, .., last] = rest {
            kept.push(Row {
                pc: dense.pc,
                rule: pack_unsupported(Unsupported::Dense),
            });
            kept.push(*last);
            self.dense_rows += rest.len() as u64 - 1;
        }
    }

    /// `rows` start at pc 0.
    fn make_pages(&mut self, rows: &[Row]) {
        let Some(last) = rows.last() else { return };
        let mut in_force = 0;
        for number in 0..=page_of(last.pc) {
            let start = number << PAGE_SHIFT;
            in_force += rows_while(&rows[in_force + 1..], |row| row.pc <= start);
            let end =
                in_force + 1 + rows_while(&rows[in_force + 1..], |row| page_of(row.pc) <= number);
            if rows[in_force..end].iter().all(|row| row.rule == NO_RULE) {
                continue;
            }
            if self.pages.len() == MAX_PAGES {
                self.pages_over_limit += 1;
                continue;
            }
            self.pages.push((number, page(rows, in_force, end)));
            in_force = end - 1;
        }
    }
}

fn page_of(pc: u32) -> u32 {
    pc >> PAGE_SHIFT
}

fn rows_while(rows: &[Row], condition: impl FnMut(&&Row) -> bool) -> usize {
    rows.iter().take_while(condition).count()
}

fn chunk(rows: &[Row]) -> Chunk {
    let mut chunk = Chunk {
        pc: [PC_PADDING; CHUNK_ROWS],
        rule: [NO_RULE; CHUNK_ROWS],
    };
    for (index, row) in rows.iter().enumerate() {
        chunk.pc[index] = row.pc;
        chunk.rule[index] = row.rule;
    }
    chunk
}

/// The page that has `rows[start..end]`, at most [`MAX_PAGE_ROWS`] and one.
fn page(rows: &[Row], start: usize, end: usize) -> Page {
    let first = start / CHUNK_ROWS;
    let chunks = (end - 1) / CHUNK_ROWS - first + 1;
    let mut split = [PC_PADDING; PAGE_CHUNKS];
    for (index, pc) in split.iter_mut().take(chunks).enumerate() {
        *pc = rows[(first + index) * CHUNK_ROWS].pc;
    }
    Page {
        // Below 2^14: MAX_ROWS / CHUNK_ROWS.
        first_chunk: first as u32,
        chunks: chunks as u32,
        split,
    }
}
