//! Against gimli's own evaluation of the files of this machine, and hostile sections.

mod hostile;
mod reference;
mod tables;

use std::fs::File;
use std::path::Path;

use super::rows::{Row, Rows, compile};
use crate::target::elf::{ElfReader, UnwindSection};

fn with_section<T>(path: &Path, act: impl FnOnce(&UnwindSection<'_>) -> T) -> T {
    let file = File::open(path).unwrap();
    let reader = ElfReader::new(&file);
    act(&reader.unwind_section().unwrap().unwrap())
}

/// The rule in force at `pc` by a plain search.
fn plain_rule(rows: &Rows, pc: u32) -> u32 {
    let next = rows.rows.partition_point(|row| row.pc <= pc);
    next.checked_sub(1).map_or(0, |index| rows.rows[index].rule)
}

fn assert_well_formed(rows: &[Row]) {
    for pair in rows.windows(2) {
        assert!(pair[0].pc < pair[1].pc, "{pair:?}");
        assert_ne!(pair[0].rule, pair[1].rule);
    }
    assert_eq!(rows.last().map_or(0, |row| row.rule), 0);
}

/// The files that the tests run over: the C and C++ libraries, the loader, this program itself.
fn files() -> Vec<std::path::PathBuf> {
    let folder = Path::new("/lib/x86_64-linux-gnu");
    let mut files: Vec<_> = ["libc.so.6", "ld-linux-x86-64.so.2", "libm.so.6"]
        .iter()
        .map(|name| folder.join(name))
        .collect();
    files.push(Path::new("/usr/lib/x86_64-linux-gnu/libstdc++.so.6").to_owned());
    files.push(std::env::current_exe().unwrap());
    files.retain(|file| file.exists());
    assert!(files.len() >= 3, "{files:?}");
    files
}

#[test]
fn the_files_of_this_machine_have_hardly_a_function_without_rules() {
    for file in files() {
        let rows = with_section(&file, compile);
        assert_well_formed(&rows.rows);
        let stats = rows.stats;
        println!("{}: {stats:?}", file.display());
        assert!(stats.functions > 100);
        assert_eq!(stats.unreadable + stats.broken + stats.over_limit, 0);
        let unsupported: u64 = stats.unsupported.iter().sum();
        assert!(unsupported * 100 < stats.rows, "{stats:?}");
    }
}
