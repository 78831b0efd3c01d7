//! Resident memory taken apart: each part beside what the program says of itself, what is left beside
//! what it is.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    MEMPROF, PATIENCE, Process, Report, Stage, Trace, Truth, build_with, missing, program,
    start_waiting, wait_attached, wait_until,
};
use crate::names::installed;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// What the C library and the loader have beside what a program does, generously.
const SOME_PAGES: u64 = 200 * KIB;
/// What may stay unexplained of a C, C++ or Rust program that memprof launched.
const LITTLE: f64 = 0.05;

/// Launches a program, lets it come to rest, and reports while it lives.
fn weigh(stage: &Stage, words: &[&str], more: &[&str]) -> Report {
    let mut trace = Trace::launch_with(stage, more, words, |command| {
        command.stdin(Stdio::piped()).env("WAIT_FOR_GO", "1");
    });
    wait_for(&mut trace.process, "ready");
    end(&mut trace)
}

fn wait_for(process: &mut Process, word: &str) {
    wait_until(word, PATIENCE, || {
        assert!(process.is_running(), "{}", process.stderr());
        process.stdout().contains(word)
    });
}

/// Ends the trace, not the program.
fn end(trace: &mut Trace) -> Report {
    trace.process.signal(Signal::SIGTERM);
    let report = trace.finish();
    assert_parts_make_the_whole(report.at("/reconciliation"));
    let processes = report.at("/reconciliation/processes").as_array();
    let processes = processes.expect("processes");
    for process in processes {
        assert_parts_make_the_whole(process);
    }
    report
}

fn assert_parts_make_the_whole(of: &Value) {
    let rss = of["rss_bytes"].as_u64().expect("RSS");
    let parts = of["parts"].as_array().expect("parts");
    let sum: u64 = parts.iter().filter_map(|part| part["bytes"].as_u64()).sum();
    assert_eq!(sum, rss, "{of:#}");
    for part in parts {
        let share = part["bytes"]
            .as_u64()
            .map(|bytes| bytes as f64 / rss as f64);
        assert_eq!(part["share"].as_f64(), share, "{part}");
        assert!(part["known_by"].is_string(), "{part}");
    }
    // The kernel's counter lags by some pages, and has none of the kernel's own.
    let counter = of["rss_counter_bytes"].as_u64().expect("a counter");
    assert!(
        rss.abs_diff(counter) <= rss / 50 + SOME_PAGES,
        "{rss} here, {counter} there"
    );
}

fn part<'a>(report: &'a Report, name: &str) -> &'a Value {
    let parts = report.at("/reconciliation/parts").as_array();
    let mut parts = parts.expect("parts").iter();
    let found = parts.find(|part| part["part"] == name);
    found.unwrap_or_else(|| panic!("{name}: {:#}", report.at("/reconciliation")))
}

fn bytes(report: &Report, name: &str) -> u64 {
    let part = part(report, name);
    part["bytes"]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} is unknown: {part}"))
}

fn unexplained(report: &Report) -> f64 {
    let share = report.at("/reconciliation/unexplained_share");
    share.as_f64().expect("a share")
}

fn assert_near(report: &Report, name: &str, truth: u64, more: u64) {
    let found = bytes(report, name);
    let from = truth - truth / 100;
    let to = truth + truth / 100 + more;
    assert!(
        (from..=to).contains(&found),
        "{name}: {found}, not {from} to {to}: {:#}",
        report.at("/reconciliation")
    );
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Prints what is left of it, for who reads the tests' output.
fn tell(name: &str, report: &Report) {
    println!(
        "{name}: {:.1} % of {} bytes not explained",
        unexplained(report) * 100.0,
        report.number("/reconciliation/rss_bytes"),
    );
}

#[test]
fn a_c_programs_memory_is_explained_part_by_part() {
    let Some(stage) = Stage::with_bpf("reconciled_c") else {
        return;
    };
    let file = stage.path("mapped.data");
    let report = weigh(&stage, &[path(&program("weighed")), path(&file)], &[]);
    let truth = Truth::read(&stage.path("truth"));
    tell("C", &report);
    assert!(
        unexplained(&report) <= LITTLE,
        "{:#}",
        report.at("/reconciliation")
    );
    assert_near(&report, "held", truth.fact("held"), 16 * KIB);
    assert_near(&report, "slack_free", truth.fact("slack_free"), 256 * KIB);
    assert_near(&report, "stacks", truth.fact("stacks"), 64 * KIB);
    assert_near(&report, "shared", truth.fact("shared"), 0);
    // Beside the file those that it consists of.
    assert_near(&report, "mapped_files", truth.fact("mapped_files"), 3 * MIB);
    assert_eq!(bytes(&report, "before_attaching"), 0);
    assert_eq!(part(&report, "before_attaching")["known_by"], "launch");
    assert_eq!(part(&report, "mapped_by_program")["bytes"], Value::Null);
    assert_eq!(part(&report, "held")["known_by"], "pages");
    // Headers of 16 bytes a block and rounding to 16.
    let slack = bytes(&report, "slack_with_survivors");
    assert!((8000 * 8..8000 * 24 + 64 * KIB).contains(&slack), "{slack}");
}

#[test]
fn a_cpp_programs_memory_is_explained() {
    let Some(stage) = Stage::with_bpf("reconciled_cpp") else {
        return;
    };
    let report = weigh(&stage, &[path(&program("library"))], &[]);
    let truth = Truth::read(&stage.path("truth"));
    tell("C++", &report);
    assert!(
        unexplained(&report) <= LITTLE,
        "{:#}",
        report.at("/reconciliation")
    );
    // The nodes of the map and the vectors themselves beside what they hold.
    let held = truth.fact("held");
    assert_near(&report, "held", held, 20000 * 96 + 72 * KIB);
}

#[test]
fn a_rust_programs_memory_is_explained() {
    let Some(stage) = Stage::with_bpf("reconciled_rust") else {
        return;
    };
    let flags = ["-C", "opt-level=2", "-g", "--edition=2024"];
    let keeper = build_with(&["keeper_rust.rs"], "keeper_rust", &flags);
    let words = [path(&keeper), "4000", "3000"];
    let mut trace = Trace::launch_with(&stage, &[], &words, |command| {
        command.stdin(Stdio::piped());
    });
    wait_for(&mut trace.process, "ready");
    trace.process.tell("");
    wait_for(&mut trace.process, "kept");
    let report = end(&mut trace);
    tell("Rust", &report);
    assert!(
        unexplained(&report) <= LITTLE,
        "{:#}",
        report.at("/reconciliation")
    );
    assert_near(&report, "held", 4000 * 3000, 400 * KIB);
}

#[test]
fn what_few_blocks_keep_is_told_from_what_is_free() {
    for step in [20, 1000] {
        let Some(stage) = Stage::with_bpf("reconciled_fragments") else {
            return;
        };
        let report = weigh(
            &stage,
            &[path(&program("fragments")), &step.to_string()],
            &[],
        );
        let truth = Truth::read(&stage.path("truth"));
        assert_near(&report, "held", truth.fact("held"), 4 * KIB);
        for name in ["slack_with_survivors", "slack_free"] {
            assert_near(&report, name, truth.fact(name), SOME_PAGES);
        }
        assert!(unexplained(&report) <= LITTLE);
        let survivors = truth.fact("slack_with_survivors");
        let free = truth.fact("slack_free");
        assert_eq!(survivors > free, step == 20, "{survivors} {free}");
    }
}

#[test]
fn what_was_there_before_attaching_is_told_from_what_came() {
    let Some(stage) = Stage::with_bpf("reconciled_before") else {
        return;
    };
    let mut target = start_waiting(&stage, "rich_start", &[]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.tell("");
    wait_until("it holds more", PATIENCE, || {
        target.stdout().matches("ready ").count() == 2
    });
    let report = end(&mut trace);
    tell("attached", &report);
    // 50 MB with headers, of which the later blocks may have taken a part.
    let before = bytes(&report, "before_attaching");
    assert!(
        (40_000_000..=52_000_000).contains(&before),
        "{before}: {:#}",
        report.at("/reconciliation")
    );
    assert_eq!(part(&report, "before_attaching")["known_by"], "pages");
    assert_near(&report, "held", 10_000_000, 16 * KIB);
    assert!(unexplained(&report) <= LITTLE);
}

#[test]
fn memory_that_a_program_maps_itself_is_not_explained_until_mappings_are_followed() {
    let program_alone = |more: &[&str]| {
        let stage = Stage::with_bpf("reconciled_own")?;
        Some(weigh(&stage, &[path(&program("maps_itself"))], more))
    };
    let Some(report) = program_alone(&[]) else {
        return;
    };
    tell("its own mapping", &report);
    assert!(unexplained(&report) > 0.9);
    let reasons = report.at("/reconciliation/reasons").as_array();
    let reasons: Vec<_> = reasons.expect("reasons").iter().collect();
    let says = |text| {
        let mut all = reasons.iter();
        all.any(|one| one.as_str().is_some_and(|one| one.contains(text)))
    };
    assert!(says("64.0 MiB"), "{reasons:?}");
    assert!(says("--events malloc,mmap"), "{reasons:?}");
    assert_near(&report, "held", MIB, 8 * KIB);

    let report = program_alone(&["--events", "malloc,mmap"]).expect("as before");
    tell("its own mapping, followed", &report);
    assert!(
        unexplained(&report) <= LITTLE,
        "{:#}",
        report.at("/reconciliation")
    );
    assert_near(&report, "mapped_by_program", 64 * MIB, SOME_PAGES);
    assert_eq!(part(&report, "mapped_by_program")["known_by"], "events");
    assert_eq!(report.at("/reconciliation/reasons"), &serde_json::json!([]));
}

#[test]
fn of_a_command_that_is_gone_the_last_look_counts() {
    let Some(stage) = Stage::with_bpf("reconciled_gone") else {
        return;
    };
    let output = stage.path("reports.jsonl");
    let mut command = Command::new(MEMPROF);
    command
        .args(["trace", "--format", "jsonl", "--interval", "100ms", "-o"])
        .arg(&output)
        .arg("--")
        .arg(program("weighed"))
        .arg(stage.path("mapped.data"))
        .stdin(Stdio::piped())
        .env("WAIT_FOR_GO", "1")
        .env("TRUTH_FILE", stage.path("truth"));
    let mut memprof = Process::start(&stage, "memprof", &mut command);
    wait_for(&mut memprof, "ready");
    let reports = || -> Vec<Value> {
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        // The last line may not be whole yet.
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let held = |report: &Value| {
        let parts = report["reconciliation"]["parts"].as_array();
        let held = parts.and_then(|parts| parts.iter().find(|part| part["part"] == "held"));
        held.and_then(|part| part["bytes"].as_u64()).unwrap_or(0)
    };
    wait_until("a look at all that it holds", PATIENCE, || {
        reports().last().is_some_and(|last| held(last) > 14_000_000)
    });
    memprof.go();
    memprof.must_exit(0);
    let all = reports();
    let last = all.last().expect("a report");
    assert!(held(last) > 14_000_000, "{:#}", last["reconciliation"]);
    let (at, end) = (
        &last["reconciliation"]["at_seconds"],
        &last["duration_seconds"],
    );
    assert!(at.as_f64() < end.as_f64(), "{at} {end}");
    assert_eq!(last["reconciliation_unknown"], Value::Null);
    // Before the first look there is nothing, and it is said why.
    let first = &all[0];
    if first["reconciliation"].is_null() {
        assert!(first["reconciliation_unknown"].is_string(), "{first}");
    }
}

#[test]
fn of_sampled_blocks_what_they_hold_is_an_estimate() {
    let Some(stage) = Stage::with_bpf("reconciled_sample") else {
        return;
    };
    let file = stage.path("mapped.data");
    let weighed = program("weighed");
    let words = [path(&weighed), path(&file)];
    let report = weigh(&stage, &words, &["--sample-bytes", "16KiB"]);
    let truth = Truth::read(&stage.path("truth"));
    assert_eq!(part(&report, "held")["known_by"], "sample");
    let (held, truth) = (bytes(&report, "held"), truth.fact("held"));
    assert!(held.abs_diff(truth) < truth / 5, "{held} {truth}");
    assert!(bytes(&report, "slack") > 8_000_000);
    let parts = report.at("/reconciliation/parts").as_array();
    let is_there = |name| parts.is_some_and(|all| all.iter().any(|one| one["part"] == name));
    assert!(!is_there("slack_free") && !is_there("slack_with_survivors"));
}

#[test]
fn runtimes_with_memory_of_their_own_are_named() {
    let Some(node) = installed("node").or_else(|| installed("nodejs")) else {
        return missing("reconciled_runtimes", "node is not installed");
    };
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        return missing("reconciled_runtimes", "python3 is not installed");
    }
    let script = "kept = [(str(i), i) for i in range(300000)]\n\
                  print('ready', flush=True)\nimport sys\nsys.stdin.read()";
    let in_node = "const kept = [];\
                   for (let i = 0; i < 2e6; i++) kept.push({i, s: [i]});\
                   console.log('ready'); process.stdin.resume();";
    for (name, words, hint) in [
        ("python", [path(python), "-c", script], "PYTHONMALLOC"),
        ("node", [path(&node), "-e", in_node], "V8"),
    ] {
        let Some(stage) = Stage::with_bpf("reconciled_runtimes") else {
            return;
        };
        let report = weigh(&stage, &words, &[]);
        tell(name, &report);
        assert!(
            unexplained(&report) > 0.5,
            "{:#}",
            report.at("/reconciliation")
        );
        let reasons = report.at("/reconciliation/reasons").to_string();
        assert!(reasons.contains(hint), "{reasons}");
        // What they map is found where it is followed.
        let followed = weigh(&stage, &words, &["--events", "malloc,mmap"]);
        tell(&format!("{name}, mappings followed"), &followed);
        assert!(unexplained(&followed) < unexplained(&report) / 2.0);
    }
}

/// Has the program `holder` do something.
fn have(holder: &mut Process, line: &str, times: usize) {
    holder.tell(line);
    wait_until(line, PATIENCE, || {
        holder.stdout().matches("done").count() == times
    });
}

fn process_part(report: &Report, is_wanted: impl Fn(u64) -> bool, name: &str) -> u64 {
    let processes = report.at("/reconciliation/processes").as_array();
    let mut processes = processes.expect("processes").iter();
    let process = processes.find(|one| one["pid"].as_u64().is_some_and(&is_wanted));
    let parts = process.and_then(|one| one["parts"].as_array());
    let part = parts.and_then(|parts| parts.iter().find(|part| part["part"] == name));
    part.and_then(|part| part["bytes"].as_u64())
        .unwrap_or_else(|| panic!("{name}: {:#}", report.at("/reconciliation")))
}

#[test]
fn a_child_holds_what_its_parent_held_and_each_is_looked_at() {
    let Some(stage) = Stage::with_bpf("reconciled_child") else {
        return;
    };
    let words = [program("holder")];
    let mut trace = Trace::launch_with(&stage, &[], &words, |command| {
        command.stdin(Stdio::piped());
    });
    let pid = u64::from(trace.process.wait_ready());
    have(&mut trace.process, "hold 20000", 1);
    have(&mut trace.process, "fork", 2);
    let report = end(&mut trace);
    let held = |is_wanted: &dyn Fn(u64) -> bool| process_part(&report, is_wanted, "held");
    let (parents, childs) = (held(&|one| one == pid), held(&|one| one != pid));
    assert!((20_000_000..20_100_000).contains(&parents), "{parents}");
    assert_eq!(
        childs,
        parents + 3 * 500,
        "its own blocks beside the copies"
    );
    assert_eq!(bytes(&report, "held"), parents + childs);
    assert_eq!(report.number("/reconciliation/processes_left_out"), 0);
    assert!(unexplained(&report) <= LITTLE);
}

#[test]
fn a_child_has_what_its_parent_had_before_attaching() {
    let Some(stage) = Stage::with_bpf("reconciled_inherited") else {
        return;
    };
    let mut command = Command::new(program("holder"));
    command.stdin(Stdio::piped());
    let mut holder = Process::start(&stage, "holder", &mut command);
    let pid = holder.wait_ready();
    have(&mut holder, "hold 20000", 1);
    let mut trace = Trace::attach(&stage, &[pid], &["--children"]);
    wait_attached(&mut trace, pid);
    have(&mut holder, "fork", 2);
    let report = end(&mut trace);
    for is_parent in [true, false] {
        let is_wanted = |one| (one == u64::from(pid)) == is_parent;
        let before = process_part(&report, is_wanted, "before_attaching");
        assert!((19_000_000..22_000_000).contains(&before), "{before}");
    }
    assert!(unexplained(&report) <= LITTLE);
}
