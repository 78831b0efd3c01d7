//! The same run in every format: each names the call site that holds the most.

use std::process::Command;

use crate::harness::{MEMPROF, Process, Report, Stage, program};

/// Traces `sites` with the report on standard output.
fn traced_as(stage: &Stage, format: &str) -> Process {
    let mut command = Command::new(MEMPROF);
    command
        .args(["trace", "--format", format, "--"])
        .arg(program("sites"))
        .env("TRUTH_FILE", stage.path("truth"));
    let mut process = Process::start(stage, format, &mut command);
    process.must_exit(0);
    process
}

#[test]
fn text_names_function_file_and_line() {
    let Some(stage) = Stage::with_bpf("format_text") else {
        return;
    };
    let text = traced_as(&stage, "text").stdout();
    assert!(text.contains("site_large_mapped"), "{text}");
    assert!(text.contains("sites.c:"), "{text}");
    assert!(!text.contains('\x1b'), "no colours into a file: {text}");
}

#[test]
fn json_alone_is_on_standard_output() {
    let Some(stage) = Stage::with_bpf("format_json") else {
        return;
    };
    let report = Report::parse(&traced_as(&stage, "json").stdout());
    assert!(report.sites().contains_key("site_large_mapped"));
}

#[test]
fn each_line_of_jsonl_is_a_report() {
    let Some(stage) = Stage::with_bpf("format_jsonl") else {
        return;
    };
    let lines = traced_as(&stage, "jsonl").stdout();
    let last = lines.lines().map(Report::parse).next_back();
    let last = last.expect("at least the final report");
    assert!(last.sites().contains_key("site_large_mapped"));
}

#[test]
fn folded_stacks_run_from_main_to_the_call_site() {
    let Some(stage) = Stage::with_bpf("format_folded") else {
        return;
    };
    let folded = traced_as(&stage, "folded").stdout();
    let line = folded
        .lines()
        .find(|line| line.contains("site_large_mapped"))
        .unwrap_or_else(|| panic!("the call site has a line: {folded}"));
    let (stack, value) = line.rsplit_once(' ').expect("a stack and a number");
    assert_eq!(
        value.parse(),
        Ok(183_000_000_u64),
        "outstanding bytes: {line}"
    );
    let main = stack.find("main").expect("main is in the stack");
    assert!(
        main < stack.find("site_large_mapped").unwrap_or(0),
        "{line}"
    );
}
