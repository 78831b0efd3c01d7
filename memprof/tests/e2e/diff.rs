//! Saved reports of real runs: written again in another format, and compared across a rebuild.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{MEMPROF, Process, Stage, Trace, build_with, program};

/// The program `grows` at a place of its own, under the same name.
fn installed(stage: &Stage, directory: &str, from: &Path) -> PathBuf {
    let directory = stage.path(directory);
    fs::create_dir_all(&directory).expect("a directory");
    let place = directory.join("grows");
    fs::copy(from, &place).expect("a copy");
    place
}

/// Traces it for so many seconds of leaking; the path of the report.
fn saved(stage: &Stage, grows: &Path, seconds: &str, name: &str) -> PathBuf {
    let target = [grows.as_os_str(), "leak".as_ref(), seconds.as_ref()];
    let mut trace = Trace::launch_with(stage, &["--no-children"], &target, |command| {
        command.stdin(Stdio::null());
    });
    trace.finish().assert_nothing_lost();
    let place = stage.path(name);
    fs::rename(trace.report_path(), &place).expect("the report can be moved");
    place
}

fn memprof(stage: &Stage, arguments: &[&str], code: i32) -> Process {
    let mut command = Command::new(MEMPROF);
    command.args(arguments).stdin(Stdio::null());
    let mut process = Process::start(stage, "offline", &mut command);
    process.must_exit(code);
    process
}

#[test]
fn a_leak_that_grew_is_found_in_a_rebuilt_program() {
    let Some(stage) = Stage::with_bpf("diff_rebuilt") else {
        return;
    };
    let flags = [
        "-g",
        "-O1",
        "-fno-builtin",
        "-fno-optimize-sibling-calls",
        "-DREBUILT=1",
    ];
    let first = installed(&stage, "one", &program("grows"));
    let second = installed(
        &stage,
        "two",
        &build_with(&["grows.c"], "grows_rebuilt", &flags),
    );
    let before = saved(&stage, &first, "1", "before.json");
    let after = saved(&stage, &second, "3", "after.json");
    let (before, after) = (before.to_str().unwrap_or(""), after.to_str().unwrap_or(""));

    let json = memprof(&stage, &["diff", before, after, "--format", "json"], 0).stdout();
    let diff: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(diff["schema"], "memprof/diff/v1");
    let stacks = diff["stacks"].as_array().expect("stacks");
    let leak = stacks
        .iter()
        .find(|one| one["function"] == "leak_one")
        .unwrap_or_else(|| panic!("the leak is among the changes: {diff:#}"));
    // 500 requests a second, every twentieth leaks 512 bytes.
    assert_eq!(leak["change"], "grown", "{leak:#}");
    assert_eq!(leak["outstanding_count_change"], 50);
    assert_eq!(leak["outstanding_bytes_change"], 50 * 512);
    assert_eq!(leak["before"]["outstanding_count"], 25);
    assert_eq!(diff["counts"]["new"], 0, "{diff:#}");
    assert_eq!(diff["counts"]["gone"], 0, "{diff:#}");

    let text = memprof(&stage, &["diff", before, after], 0).stdout();
    assert!(text.contains("grown"), "{text}");
    assert!(text.contains("leak_one"), "{text}");

    // The same report again, and in another format.
    let again = memprof(&stage, &["report", before, "--format", "json"], 0).stdout();
    assert_eq!(again, fs::read_to_string(before).expect("the report"));
    let folded = memprof(&stage, &["report", before, "--format", "folded"], 0).stdout();
    let line = folded.lines().find(|line| line.contains("leak_one"));
    let line = line.expect("a line for the leak");
    assert!(line.ends_with(&format!(" {}", 25 * 512)), "{line}");
    let text = memprof(
        &stage,
        &["report", before, "--top", "1", "--sort", "outstanding"],
        0,
    )
    .stdout();
    assert!(text.contains("leak_one"), "{text}");
}

#[test]
fn what_is_no_report_is_refused_in_one_line() {
    let stage = Stage::new("diff_refusals");
    let path = |name: &str| stage.path(name).to_string_lossy().into_owned();
    fs::write(path("empty"), "").expect("a file");
    fs::write(path("text"), "hello\n").expect("a file");
    fs::write(path("other"), r#"{"schema": "memprof/report/v9"}"#).expect("a file");
    for (name, word) in [
        ("absent", "can't be read"),
        ("empty", "empty"),
        ("text", "no report"),
        ("other", "memprof/report/v9"),
        (".", "directory"),
    ] {
        let file = path(name);
        for arguments in [&["report", &file][..], &["diff", &file, &file]] {
            let said = memprof(&stage, arguments, 2).stderr();
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains(word), "{said}");
        }
    }
    let file = path("empty");
    let said = memprof(&stage, &["diff", &file, &file, "--format", "folded"], 2).stderr();
    assert!(said.contains("text or json"), "{said}");
}
