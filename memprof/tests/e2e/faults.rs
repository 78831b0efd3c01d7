//! Page faults: which call path touched how many pages first, in every kind of memory and program, and what
//! of it was given back.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{
    Counts, PATIENCE, Process, Report, Stage, Trace, Truth, program, start_waiting, wait_until,
};
use crate::names::installed;

const FAULTS: [&str; 2] = ["--events", "faults"];
const PAGE: u64 = 4096;

/// The rows of `top_touchers` that lead through `function`, of one process if it is given.
fn touchers<'a>(
    report: &'a Report,
    pid: Option<u32>,
    function: &'a str,
) -> impl Iterator<Item = &'a Value> {
    let rows = report.at("/top_touchers").as_array().expect("a list");
    rows.iter().filter(move |row| {
        let frames = row["stack"].as_array().expect("a stack");
        pid.is_none_or(|pid| row["pid"] == pid)
            && frames.iter().any(|frame| frame["function"] == function)
    })
}

/// The sum of a figure over the rows of memory of the process's own: each function's code is a file's, which
/// is touched too.
fn sum(report: &Report, pid: Option<u32>, function: &str, field: &str) -> u64 {
    touchers(report, pid, function)
        .filter(|row| row["file_bytes"] == 0)
        .map(|row| row[field].as_u64().expect("a count"))
        .sum()
}

/// The books of anonymous and shared memory, which is touched page by page.
fn books(report: &Report, pid: Option<u32>, function: &str) -> Counts {
    let sum = |field| sum(report, pid, function, field);
    Counts {
        allocated_bytes: sum("touched_bytes"),
        freed_bytes: sum("given_back_bytes"),
        outstanding_bytes: sum("resident_bytes"),
        ..Counts::default()
    }
}

/// What the program says, in the same words.
fn told(counts: Counts) -> Counts {
    Counts {
        allocated_count: 0,
        freed_count: 0,
        outstanding_count: 0,
        ..counts
    }
}

fn assert_every_page(report: &Report, truth: &Truth) {
    assert_eq!(report.at("/events"), &serde_json::json!(["faults"]));
    assert_eq!(report.rows().len(), 0, "no block is followed");
    for (site, counts) in &truth.sites {
        if site != "read_file" {
            assert_eq!(books(report, None, site), told(*counts), "{site}");
        }
    }
    assert_eq!(touchers(report, None, "look_at_nothing").count(), 0);
    // The file's pages came around two of them, or more if the mapping began elsewhere.
    let file = truth.sites["read_file"];
    let rows = touchers(report, None, "read_file");
    let touched: u64 = rows
        .map(|row| row["touched_bytes"].as_u64().expect("a count"))
        .sum();
    assert!(touched >= file.allocated_bytes, "{touched}");
    let by_kernel = sum(report, None, "read_into", "by_kernel_bytes");
    assert_eq!(by_kernel, truth.sites["read_into"].allocated_bytes);
    let shared = sum(report, None, "touch_shared", "shared_bytes");
    assert_eq!(shared, truth.sites["touch_shared"].allocated_bytes);
    // As many huge pages as there were faults less than pages.
    let huge = 1024 * PAGE / (2 << 20) >= truth.fact("huge_faults");
    let huge_bytes = sum(report, None, "touch_huge", "huge_bytes");
    assert_eq!(huge_bytes, if huge { 1024 * PAGE } else { 0 });
    let quality = report.at("/quality/faults");
    assert_eq!(
        quality["unplaced_bytes"],
        truth.sites["map_populated"].allocated_bytes
    );
    assert_eq!(
        quality["populated_bytes"],
        truth.sites["populate"].allocated_bytes
    );
    assert_eq!(quality["pages_not_followed"], 0);
    assert_eq!(quality["lost_changes"], 0);
    for pointer in ["/summary/touched_bytes", "/summary/touched_resident_bytes"] {
        assert!(report.number(pointer) > 0);
    }
    let leak = report.at("/leak_detection");
    assert_ne!(leak["verdict"], "leak", "faults don't say who holds memory");
}

#[test]
fn every_page_is_its_first_touchers_when_launched() {
    let Some(stage) = Stage::with_bpf("touches_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "touches", &[], &FAULTS);
    let report = trace.finish();
    assert_every_page(&report, &trace.truth());
}

/// Attaches, and waits until faults are followed.
fn attach(stage: &Stage, pid: u32, more: &[&str]) -> Trace {
    let mut trace = Trace::attach(stage, &[pid], &[&FAULTS, more].concat());
    trace.wait_for_gate();
    trace
}

#[test]
fn every_page_is_its_first_touchers_when_attached_to_and_no_probe_is_needed() {
    let Some(stage) = Stage::with_bpf("touches_attached") else {
        return;
    };
    let mut target = start_waiting(&stage, "touches", &[]);
    let mut trace = attach(&stage, target.pid(), &[]);
    // The kernel maps a page of its own where a breakpoint was met.
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("it lives");
    assert!(!maps.contains("[uprobes]"), "{maps}");
    assert!(trace.process.stderr().contains("with 0 probes"));
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    let truth = Truth::read(&stage.path("touches.truth"));
    assert_every_page(&report, &truth);
}

#[test]
fn a_childs_pages_are_its_parents_until_it_writes_to_them() {
    let Some(stage) = Stage::with_bpf("touches_and_forks") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "touches_and_forks", &[], &FAULTS);
    let report = trace.finish();
    let truths = trace.truths();
    let [child, parent] = &truths[..] else {
        panic!("two processes tell their truths");
    };
    let of_child = |function, field| sum(&report, Some(child.pid), function, field);
    let of_parent = |function, field| sum(&report, Some(parent.pid), function, field);
    let before = parent.sites["touch_before"].allocated_bytes;
    let written = child.sites["write_in_child"].allocated_bytes;
    assert_eq!(of_parent("touch_before", "resident_bytes"), before);
    assert_eq!(of_child("touch_before", "inherited_bytes"), before);
    assert_eq!(of_child("touch_before", "resident_bytes"), before - written);
    assert_eq!(of_child("write_in_child", "copied_bytes"), written);
    assert_eq!(of_child("write_in_child", "resident_bytes"), written);
    let own = books(&report, Some(child.pid), "touch_in_child");
    assert_eq!(own, told(child.sites["touch_in_child"]));
    let after = books(&report, Some(parent.pid), "touch_after");
    assert_eq!(after, told(parent.sites["touch_after"]));
}

/// Starts a program that says `ready`, touches memory once told to, says `kept`, and lives until its input
/// ends.
fn keeper(stage: &Stage, name: &str, command: &mut Command) -> Process {
    let process = Process::start(stage, name, command.stdin(Stdio::piped()));
    wait_until("it is ready", PATIENCE, || {
        process.stdout().contains("ready")
    });
    process
}

fn watch_keeper(stage: &Stage, mut keeper: Process) -> Report {
    let mut trace = attach(stage, keeper.pid(), &[]);
    keeper.tell("go\n");
    wait_until("it has touched its memory", PATIENCE, || {
        keeper.stdout().contains("kept")
    });
    trace.stop()
}

#[test]
fn a_static_program_that_maps_for_itself_is_followed_as_any_other() {
    let Some(stage) = Stage::with_bpf("faults_static") else {
        return;
    };
    let keeper = keeper(
        &stage,
        "static_arena",
        &mut Command::new(program("static_arena")),
    );
    let report = watch_keeper(&stage, keeper);
    let resident = |function| sum(&report, None, function, "resident_bytes");
    assert_eq!(resident("grow_arena"), 300 * PAGE);
    assert_eq!(resident("fill_span"), 200 * PAGE);
}

/// Buffers of an interpreter's, which it zeroes or fills by itself: nearly all of them are new pages.
fn assert_kept(report: &Report, bytes: u64) {
    let touched = report.number("/summary/touched_anonymous_bytes");
    assert!(
        touched as f64 >= 0.95 * bytes as f64,
        "{touched} of {bytes}"
    );
    let rows = report.at("/top_touchers").as_array().expect("a list");
    let most = rows[0]["resident_bytes"].as_u64().expect("a count");
    assert!(
        most as f64 >= 0.5 * bytes as f64,
        "one path: {most} of {bytes}"
    );
}

#[test]
fn what_python_touches_is_followed() {
    let Some(stage) = Stage::with_bpf("faults_python") else {
        return;
    };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/keeper.py");
    let mut command = Command::new(installed("python3").expect("python3 is installed"));
    let keeper = keeper(&stage, "python3", command.args([source, "64", "1048576"]));
    assert_kept(&watch_keeper(&stage, keeper), 64 << 20);
}

#[test]
fn what_node_touches_is_followed() {
    let Some(stage) = Stage::with_bpf("faults_node") else {
        return;
    };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/keeper.js");
    let mut command = Command::new(installed("node").expect("node is installed"));
    let keeper = keeper(
        &stage,
        "node",
        command.args([source, "64", "1048576", "fill"]),
    );
    assert_kept(&watch_keeper(&stage, keeper), 64 << 20);
}

#[test]
fn all_processes_are_followed_by_one_tracepoint() {
    let Some(stage) = Stage::with_bpf("faults_all") else {
        return;
    };
    // What each says goes to a file by its name.
    let start = |name| keeper(&stage, name, &mut Command::new(program("static_arena")));
    let mut keepers = ["first", "second", "third"].map(start);
    let mut trace = Trace::of_scope(&stage, &["--comm", "static_arena", "--events", "faults"]);
    for keeper in &mut keepers {
        keeper.tell("go\n");
    }
    for keeper in &mut keepers {
        wait_until("it has touched its memory", PATIENCE, || {
            keeper.stdout().contains("kept")
        });
    }
    let report = trace.stop();
    let rows = report.at("/processes").as_array().expect("a list");
    let by_process: BTreeMap<u64, u64> = rows
        .iter()
        .map(|row| {
            let number = |field: &str| row[field].as_u64().expect("a count");
            (number("pid"), number("touched_anonymous_bytes"))
        })
        .collect();
    for keeper in &keepers {
        let pid = Some(keeper.pid());
        assert_eq!(
            sum(&report, pid, "grow_arena", "resident_bytes"),
            300 * PAGE
        );
        assert_eq!(sum(&report, pid, "fill_span", "resident_bytes"), 200 * PAGE);
        let touched = by_process[&u64::from(keeper.pid())];
        assert!(touched >= 500 * PAGE, "{touched}");
    }
}
