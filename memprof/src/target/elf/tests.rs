//! Against real files of this machine and of gcc, and hostile ones.

use super::debug_sections::debug_link;
use super::*;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::events::event::Pid;
use crate::target::mappings::{Mappings, open_mapped_file};

fn gcc(folder: &Path, source: &str, flags: &[&str]) -> File {
    let input = folder.join("source.c");
    std::fs::write(&input, source).unwrap();
    let output = folder.join("output");
    let status = Command::new("gcc")
        .args(flags)
        .arg("-o")
        .args([&output, &input])
        .status()
        .unwrap();
    assert!(status.success());
    File::open(output).unwrap()
}

/// The C library that this test runs with.
fn own_libc() -> (File, u64) {
    let pid = Pid(std::process::id());
    let malloc = libc::malloc as *const () as usize as u64;
    let mappings = Mappings::read(pid).unwrap();
    let mapping = mappings.find(malloc).unwrap();
    let file = open_mapped_file(pid, mapping).unwrap();
    (file, mapping.file_offset_of(malloc).unwrap())
}

fn names(symbols: &[ElfSymbol]) -> Vec<&str> {
    let mut names: Vec<&str> = symbols.iter().map(|s| &*s.name).collect();
    names.sort_unstable();
    names
}

#[test]
fn libc_symbols_are_where_the_running_libc_has_them() {
    let (file, malloc_offset) = own_libc();
    let reader = ElfReader::new(&file);
    let symbols = reader.symbols(&["malloc", "free", "memalign", "no_such_function"]);
    let symbols = symbols.unwrap();
    assert_eq!(names(&symbols), ["free", "malloc", "memalign"]);
    let malloc = symbols.iter().find(|s| s.name == "malloc").unwrap();
    assert_eq!(malloc.file_offset, malloc_offset);
    assert_eq!(malloc.kind, SymbolKind::Function);
    assert!(malloc.size > 16 && malloc.global);
    let facts = reader.facts().unwrap();
    assert_eq!(facts.file_offset_of(malloc.address), Some(malloc_offset));
    assert_eq!(facts.address_of(malloc_offset), Some(malloc.address));
    assert_eq!(facts.build_id.map(|id| id.len()), Some(20));
    assert!(!facts.go);
}

#[test]
fn ifuncs_are_told_from_functions() {
    let (file, _) = own_libc();
    let symbols = ElfReader::new(&file).symbols(&["strlen"]).unwrap();
    assert_eq!(symbols.len(), 1, "{symbols:?}");
    assert_eq!(symbols[0].kind, SymbolKind::Ifunc);
}

#[test]
fn the_default_version_wins() {
    let folder = tempfile::tempdir().unwrap();
    let versions = "V1 { global: old; }; V2 { global: f; new; local: *; } V1;";
    std::fs::write(folder.path().join("map"), versions).unwrap();
    let script = format!("-Wl,--version-script={}/map", folder.path().display());
    let source = "__asm__(\".symver old,f@V1\"); __asm__(\".symver new,f@@V2\");\n\
        int old(void) { return 1; } int new(void) { return 2; }";
    let file = gcc(folder.path(), source, &["-shared", "-fPIC", "-s", &script]);
    let symbols = ElfReader::new(&file).symbols(&["f", "old", "new"]).unwrap();
    let address_of = |name: &str| -> Vec<u64> {
        let bearers = symbols.iter().filter(|s| s.name == name);
        bearers.map(|s| s.address).collect()
    };
    assert_eq!(address_of("new").len(), 1);
    assert_ne!(address_of("old"), address_of("new"));
    assert_eq!(address_of("f"), address_of("new"));
}

#[test]
fn imports_are_not_definitions_and_local_symbols_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdlib.h>\n\
        static __attribute__((noinline)) void *xmalloc(size_t n) { return malloc(n); }\n\
        int main(int c, char **v) { (void)v; free(xmalloc(c)); return 0; }";
    let file = gcc(folder.path(), source, &["-O1"]);
    let reader = ElfReader::new(&file);
    let symbols = reader.symbols(&["malloc", "xmalloc", "main"]).unwrap();
    assert_eq!(names(&symbols), ["main", "xmalloc"]);
    for symbol in &symbols {
        assert_eq!(symbol.global, symbol.name == "main");
    }
    let facts = reader.facts().unwrap();
    assert!(facts.interpreter.unwrap().contains("ld-linux"));
    assert!(facts.debug.symtab && !facts.debug.inside);
}

#[test]
fn a_static_stripped_program_has_no_interpreter_and_no_symtab() {
    let folder = tempfile::tempdir().unwrap();
    let file = gcc(
        folder.path(),
        "int main(void) { return 0; }",
        &["-static", "-s"],
    );
    let facts = ElfReader::new(&file).facts().unwrap();
    assert_eq!(facts.interpreter, None);
    assert!(!facts.debug.symtab && !facts.segments.is_empty());
}

#[test]
fn go_is_known_by_its_section() {
    let folder = tempfile::tempdir().unwrap();
    let source = "__attribute__((section(\".go.buildinfo\"), used)) static char info[16] = \
        \"Go\"; int main(void) { return 0; }";
    let file = gcc(folder.path(), source, &[]);
    assert!(ElfReader::new(&file).facts().unwrap().go);
}

#[test]
fn a_debug_link_with_directories_is_not_followed() {
    let link = debug_link(b"a.debug\0\x01\x02\x03\x04").unwrap();
    assert_eq!((&*link.name, link.checksum), ("a.debug", 0x0403_0201));
    let link = debug_link(b"ab.debug\0\0\0\0\x01\0\0\0").unwrap();
    assert_eq!((&*link.name, link.checksum), ("ab.debug", 1));
    for name in [
        &b"../../dev/mem\0\0\0\0\0\0\0"[..],
        b"/etc/shadow\0\0\0\0\0",
        b"..\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
        b"nochecksum\0\0\0",
        b"endless",
    ] {
        assert_eq!(debug_link(name), None);
    }
}

#[test]
fn truncated_and_scrambled_files_give_errors_not_panics() {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }";
    gcc(folder.path(), source, &["-g"]);
    let good = std::fs::read(folder.path().join("output")).unwrap();
    let probe = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let reader = ElfReader::new(&file);
        (reader.facts(), reader.symbols(&["main"]))
    };
    assert_eq!(probe(b"#!/bin/sh\n").0, Err(ElfError::NotElf));
    assert_eq!(probe(b"").0, Err(ElfError::NotElf));
    for length in (0..good.len()).step_by(97) {
        let (_, symbols) = probe(&good[..length]);
        assert!(symbols.is_err() || symbols == Ok(Vec::new()), "{length}");
    }
    // xorshift64 (Marsaglia 2003): headers and tables full of random bytes.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..400 {
        let mut bad = good.clone();
        for _ in 0..24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let near_start = state & 1 == 0;
            let span = if near_start { 1024 } else { bad.len() };
            let place = usize::try_from(state >> 16).unwrap() % span;
            bad[place] = (state >> 8) as u8;
        }
        let (facts, _) = probe(&bad);
        if let Ok(facts) = facts {
            assert!(facts.segments.len() < 1 << 16);
        }
    }
}

#[test]
fn reading_stops_at_the_budget() {
    let (file, _) = own_libc();
    let reader = ElfReader::new(&file);
    reader.budget.set(1000);
    assert!(reader.symbols(&["malloc"]).is_err());
}

#[test]
fn a_sparse_giant_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = gcc(folder.path(), "int main(void) { return 0; }", &[]);
    drop(file);
    let path = folder.path().join("output");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let reader = ElfReader::new(&file);
    let sections = {
        let (header, _) = reader.header().unwrap();
        (
            header.e_shoff.get(ENDIAN),
            u64::from(header.e_shnum.get(ENDIAN)),
        )
    };
    // Every section claims a TiB, and the file is long enough for it.
    for index in 0..sections.1 {
        let size_field = sections.0 + index * 64 + 32;
        file.write_all_at(&(1_u64 << 40).to_le_bytes(), size_field)
            .unwrap();
    }
    file.set_len(2 << 40).unwrap();
    assert!(ElfReader::new(&file).symbols(&["main"]).is_err());
}
