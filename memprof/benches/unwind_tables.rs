//! What it takes to compile the unwind tables of real files, and of hostile sections at the limits.

use std::fs::File;
use std::path::Path;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use memprof::target::elf::{ElfReader, UnwindSection};
use memprof::unwind::rows::compile;
use memprof::unwind::tables::Tables;

const FILES: &[&str] = &[
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/bin/python3",
    "/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1",
    "/usr/lib/llvm-22/lib/libLLVM.so",
];
/// Bytes of a hostile section.
const HOSTILE_BYTES: usize = 64 << 20;

fn main() {
    for path in FILES {
        if let Ok(file) = File::open(path) {
            let reader = ElfReader::new(&file);
            if let Ok(Some(section)) = reader.unwind_section() {
                report(path, &section);
            }
        }
    }
    for name in HOSTILE {
        report(name, &section_of(&hostile(name)));
    }
    divan::main();
}

fn report(name: &str, section: &UnwindSection<'_>) {
    let rows = compile(section);
    let tables = Tables::new(&rows.rows);
    println!(
        "{name}: {} bytes of .eh_frame, {} bytes of tables, {} pages\n  {:?}",
        section.bytes.len(),
        tables.bytes(),
        tables.pages.len(),
        rows.stats
    );
}

fn existing() -> impl Iterator<Item = &'static str> {
    FILES
        .iter()
        .copied()
        .filter(|file| Path::new(file).exists())
}

#[divan::bench(args = existing(), sample_count = 20, sample_size = 1)]
fn eh_frame_to_tables(bencher: Bencher, path: &str) {
    let file = File::open(path).expect("it exists");
    let reader = ElfReader::new(&file);
    let section = reader.unwind_section().expect("an ELF file");
    let section = section.expect("it has unwind information");
    bencher
        .counter(BytesCount::new(section.bytes.len()))
        .bench_local(|| black_box(Tables::new(&compile(&section).rows)));
}

#[divan::bench(args = existing(), sample_count = 20, sample_size = 1)]
fn file_to_section(bencher: Bencher, path: &str) {
    let file = File::open(path).expect("it exists");
    bencher.bench_local(|| {
        let reader = ElfReader::new(&file);
        black_box(reader.unwind_section().map(|section| section.is_some()))
    });
}

const HOSTILE: &[&str] = &[
    "advances",
    "rows",
    "remembered states",
    "functions",
    "overlapping functions",
    "a CIE per function",
    "expressions",
    "terminators",
    "one function of 4 GiB",
];

#[divan::bench(args = HOSTILE, sample_count = 3, sample_size = 1)]
fn hostile_sections(bencher: Bencher, name: &str) {
    let bytes = hostile(name);
    let section = section_of(&bytes);
    bencher.bench_local(|| black_box(Tables::new(&compile(&section).rows)));
}

fn section_of(bytes: &[u8]) -> UnwindSection<'_> {
    UnwindSection {
        bytes,
        code: std::iter::once(0..u64::MAX).collect(),
        exact: true,
        ..UnwindSection::default()
    }
}

fn hostile(name: &str) -> Vec<u8> {
    let advance = |instructions: &[u8]| instructions.repeat(60_000 / instructions.len());
    match name {
        "advances" => functions(&advance(&[0x41]), 0x1_0000, 0x1_0000),
        "rows" => functions(
            &advance(&[0x41, 0x0e, 16, 0x41, 0x0e, 8]),
            0x1_0000,
            0x1_0000,
        ),
        "remembered states" => functions(&advance(&[0x0a, 0x0b]), 0x1_0000, 0x1_0000),
        "functions" => functions(&[], 32, 16),
        "overlapping functions" => functions(&[], 1, 0x1_0000),
        "a CIE per function" => {
            let mut bytes = Vec::new();
            for index in 0.. {
                if bytes.len() > HOSTILE_BYTES {
                    break;
                }
                let cie = bytes.len();
                write_cie(&mut bytes, &[0; 1000]);
                write_function(&mut bytes, cie, 0x1000 + 64 * index, 32, &[]);
            }
            bytes
        }
        "expressions" => functions(
            &advance(&[0x0f, 3, 0x76, 0x78, 6, 0x41, 0x0f, 3, 0x76, 0x70, 6, 0x41]),
            0x1_0000,
            0x1_0000,
        ),
        "terminators" => vec![0; HOSTILE_BYTES],
        _ => {
            let mut bytes = Vec::new();
            write_cie(&mut bytes, &[]);
            write_function(&mut bytes, 0, 0x1000, 0xffff_0000, &[]);
            bytes
        }
    }
}

fn functions(instructions: &[u8], distance: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_cie(&mut bytes, &[]);
    let mut pc = 0x1000;
    while bytes.len() < HOSTILE_BYTES && pc < 0xf000_0000 {
        write_function(&mut bytes, 0, pc, length, instructions);
        pc += distance;
    }
    bytes
}

fn write_cie(bytes: &mut Vec<u8>, instructions: &[u8]) {
    let start = [1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1];
    write_entry(bytes, 0, &[&start, instructions]);
}

fn write_function(bytes: &mut Vec<u8>, cie: usize, pc: u64, length: u64, instructions: &[u8]) {
    let id = (bytes.len() + 4 - cie) as u32;
    let head = [pc.to_le_bytes(), length.to_le_bytes()].concat();
    write_entry(bytes, id, &[&head, instructions]);
}

fn write_entry(bytes: &mut Vec<u8>, id: u32, body: &[&[u8]]) {
    let length = 4 + body.iter().map(|part| part.len()).sum::<usize>();
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend(id.to_le_bytes());
    body.iter().for_each(|part| bytes.extend_from_slice(part));
}
