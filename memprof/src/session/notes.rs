//! What limits the stacks of a run beside what is counted stack by stack: a sentence each.

use memprof_common::unwind::MAX_MAPPINGS;

use super::code_maps::CodeMaps;
use crate::unwind::loader::{LoaderStats, MAX_FILE_BYTES};

const BY_FRAME_POINTER: &str = "there callers are found by frame pointer";
const CUT_SHORT: &str = "stacks through it are finished from a copy, or cut short";

/// The sentences about what was not known of the targets' code.
pub fn of_code(code: &CodeMaps) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = code.deafness() {
        notes.push(format!(
            "the kernel refused to tell of new code ({why}): stacks of the first milliseconds of \
             a loaded library or a started program may be cut short"
        ));
    }
    if code.lost() > 0 {
        notes.push(format!(
            "{} of new code lost: it was found by reading all mappings again, and stacks of that \
             moment may be cut short or name the wrong file",
            count(code.lost(), "record")
        ));
    }
    notes.extend(of_tables(&code.tables().stats()));
    if !code.tables().is_alive() {
        notes.push(
            "memprof's thread that loads unwind tables has died: what was mapped since then \
                    has none"
                .to_owned(),
        );
    }
    notes
}

fn of_tables(stats: &LoaderStats) -> impl Iterator<Item = String> {
    let megabytes = MAX_FILE_BYTES >> 20;
    let all = [
        (
            stats.without,
            "file",
            format!("without unwind information: {BY_FRAME_POINTER}"),
        ),
        (
            stats.unreadable,
            "file",
            format!("with unreadable unwind information: {BY_FRAME_POINTER}"),
        ),
        (
            stats.too_large,
            "file",
            format!("with over {megabytes} MiB of unwind tables: {BY_FRAME_POINTER}"),
        ),
        (
            stats.no_room,
            "file",
            format!("whose unwind tables found no room beside the others: {BY_FRAME_POINTER}"),
        ),
        (
            stats.no_time,
            "file",
            format!(
                "whose unwind tables were not made because others took too long: \
                     {BY_FRAME_POINTER}"
            ),
        ),
        (
            stats.functions_over_limit,
            "function",
            format!("past the limits of one file's unwind information: {CUT_SHORT}"),
        ),
        (
            stats.dense_rows,
            "unwind rule",
            format!("more than a page of code has room for: {CUT_SHORT}"),
        ),
        (
            stats.pages_over_limit,
            "page",
            format!("of code past the limit of one file: {CUT_SHORT}"),
        ),
        (
            stats.mappings_left_out,
            "executable mapping",
            format!("of a process past the {MAX_MAPPINGS} that have room: {CUT_SHORT}"),
        ),
        (
            stats.refused,
            "time",
            "the kernel refused to take what a process has mapped: its stacks are finished from copies, \
             or cut short"
                .to_owned(),
        ),
    ];
    let happened = all.into_iter().filter(|(number, ..)| *number > 0);
    happened.map(|(number, kind, what)| format!("{} {what}", count(number, kind)))
}

fn count(number: u64, kind: &str) -> String {
    format!("{number} {kind}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_is_not_mentioned() {
        let stats = LoaderStats {
            executables: 7,
            rows: 1_000_000,
            shared: 3,
            ..LoaderStats::default()
        };
        assert_eq!(of_tables(&stats).count(), 0);
    }

    #[test]
    fn each_limit_that_was_met_has_its_sentence() {
        let stats = LoaderStats {
            without: 1,
            unreadable: 2,
            too_large: 3,
            no_room: 4,
            functions_over_limit: 5,
            dense_rows: 6,
            pages_over_limit: 7,
            mappings_left_out: 8,
            refused: 9,
            no_time: 10,
            ..LoaderStats::default()
        };
        let mut notes: Vec<String> = of_tables(&stats).collect();
        assert!(notes.remove(4).starts_with("10 files whose"));
        assert_eq!(notes.len(), 9);
        for (note, number) in notes.iter().zip(1..) {
            assert!(note.starts_with(&format!("{number} ")), "{note}");
        }
        assert!(notes[0].starts_with("1 file without"));
        assert!(notes[7].starts_with("8 executable mappings of a process past the 256 "));
    }
}
