//! The stack matrix for programs that nobody wrote for this.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Case;
use crate::harness::{Stage, missing};

/// A stage, if the program is installed as well.
fn stage_with(case: &str, program: Option<&Path>) -> Option<Stage> {
    if program.is_none_or(|program| !program.exists()) {
        missing(case, "the program is not installed");
        return None;
    }
    Stage::with_bpf(case)
}

#[test]
fn sqlite_that_fills_a_table_has_whole_stacks() {
    let program = "/usr/bin/sqlite3";
    let Some(stage) = stage_with("stack_sqlite", Some(Path::new(program))) else {
        return;
    };
    let script = stage.path("script.sql");
    fs::write(
        &script,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);\n\
         CREATE INDEX by_name ON t(name);\n\
         BEGIN;\n\
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)\n\
         INSERT INTO t SELECT i, 'name ' || (i * 7919 % 20011), i * 0.5 FROM n;\n\
         COMMIT;\n\
         SELECT count(*), group_concat(substr(name, 6, 2)) FROM t WHERE name LIKE 'name 1%';\n\
         UPDATE t SET name = upper(name) WHERE id % 3 = 0;\n\
         SELECT a.name, count(*) FROM t a JOIN t b ON a.name = b.name GROUP BY 1 LIMIT 10;\n",
    )
    .expect("the script can be written");
    let target = [OsStr::new(program), OsStr::new(":memory:")];
    Case::new("sqlite3", 10).launch(&stage, &target, |command| {
        command.stdin(File::open(&script).expect("the script is there"));
    });
}

#[test]
fn python_that_imports_extensions_has_whole_stacks() {
    let program = "/usr/bin/python3";
    let Some(stage) = stage_with("stack_python", Some(Path::new(program))) else {
        return;
    };
    let code = "import json, decimal, sqlite3, ctypes, array, bisect, zlib, bz2, lzma, mmap, ssl\n\
        table = sqlite3.connect(':memory:')\n\
        table.execute('CREATE TABLE t(a, b)')\n\
        table.executemany('INSERT INTO t VALUES (?, ?)', [(i, 'n' * i) for i in range(200)])\n\
        rows = table.execute('SELECT b, a FROM t ORDER BY b DESC').fetchall()\n\
        text = json.dumps([str(decimal.Decimal(a) / 7) + b for b, a in rows])\n\
        packed = [bz2.compress(text.encode()), lzma.compress(text.encode())]\n\
        numbers = ctypes.cast((ctypes.c_int * 3000)(*range(3000)), ctypes.POINTER(ctypes.c_int))\n\
        print('worked', len(json.loads(text)), len(packed), numbers[2999])\n";
    let target = [program, "-S", "-c", code];
    Case::new("python3", 40).launch(&stage, &target, |_| {});
}

/// The compiler of LLVM that is installed: its library has 100 MB and more.
fn llc() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let of_versions = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|entry| entry.path().join("bin/llc"));
    of_versions.filter(|path| path.exists()).max()
}

#[test]
fn a_program_of_a_hundred_megabytes_has_whole_stacks() {
    let program = llc();
    let Some(stage) = stage_with("stack_llc", program.as_deref()) else {
        return;
    };
    let source = stage.path("sum.ll");
    fs::write(
        &source,
        "define i64 @sum(i64 %n) {\n\
         entry:\n  br label %loop\n\
         loop:\n  %i = phi i64 [ 0, %entry ], [ %next, %loop ]\n\
         \x20 %s = phi i64 [ 0, %entry ], [ %sum, %loop ]\n\
         \x20 %m = mul i64 %s, %i\n  %sum = add i64 %m, %n\n\
         \x20 %next = add i64 %i, 1\n  %c = icmp ult i64 %next, %n\n\
         \x20 br i1 %c, label %loop, label %done\n\
         done:\n  ret i64 %sum\n}\n",
    )
    .expect("the source can be written");
    let program = program.expect("it is there");
    let target = [
        program.as_os_str(),
        OsStr::new("-O2"),
        OsStr::new("-o"),
        OsStr::new("/dev/null"),
        source.as_os_str(),
    ];
    // libLLVM 22 has functions whose entry in the search table of its unwind information is an
    // empty twin's at the same address, which is all that libgcc finds.
    let case = Case {
        most_further: 1.0,
        ..Case::new("llc", 20)
    };
    case.launch(&stage, &target, |_| {});
}
