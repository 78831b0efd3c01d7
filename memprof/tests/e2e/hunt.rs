//! `memprof hunt`: the one that leaks is found among many, and nobody else has a probe.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    MEMPROF, PATIENCE, Process, Stage, assert_no_probe_left, patched_bytes, program, wait_probed,
    wait_until,
};

/// How long a hunt may take for what leaks as fast as the programs here.
const A_MINUTE: Duration = Duration::from_secs(60);

/// A process of `tests/programs/hunted.c` that does as `how` says.
fn started(stage: &Stage, program: &Path, how: &str, number: usize) -> Process {
    let mut command = Command::new(program);
    command
        .arg(how)
        .env("WAIT_FOR_GO", "1")
        .stdin(Stdio::piped());
    let mut process = Process::start(stage, &format!("{how}-{number}"), &mut command);
    process.wait_ready();
    process.go();
    process
}

fn hunt(stage: &Stage, pids: &[u32], more: &[&str]) -> Process {
    let mut command = Command::new(MEMPROF);
    command.arg("hunt").args(more).stdin(Stdio::null());
    for pid in pids {
        command.args(["--pid", &pid.to_string()]);
    }
    Process::start(stage, "memprof", &mut command)
}

/// The same with a report in JSON, which is written to the path that is given back.
fn hunt_for_json(stage: &Stage, pids: &[u32], more: &[&str]) -> (Process, std::path::PathBuf) {
    let path = stage.path("hunt.json");
    let output = path.to_str().expect("a path in plain letters");
    let more = [&["--format", "json", "--output", output], more].concat();
    (hunt(stage, pids, &more), path)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("the report was written");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Whether the kernel has made room for instructions that are stepped past probes in a process: it does
/// when one is hit.
fn has_been_probed(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"));
    maps.expect("it lives").contains("[uprobes]")
}

fn wait_for_a_look(hunt: &mut Process, pid: u32) {
    wait_until("the process is looked at", A_MINUTE, || {
        assert!(hunt.is_running(), "memprof is gone: {}", hunt.stderr());
        hunt.stderr().contains("probing it alone")
    });
    wait_probed(pid);
}

#[test]
fn the_one_that_leaks_is_found_among_ten_and_its_function_and_nobody_else_is_probed() {
    let Some(stage) = Stage::shared("hunt_ten") else {
        return;
    };
    // One file that all ten have mapped: what keeps nine of them free of probes is the scope alone.
    let file = program("hunted_static");
    let hows = [
        "idle", "churn", "churn", "early", "early", "leak", "cache", "cache", "sawtooth",
        "sawtooth",
    ];
    let mut all: Vec<Process> = hows
        .iter()
        .enumerate()
        .map(|(number, how)| started(&stage, &file, how, number))
        .collect();
    let pids: Vec<u32> = all.iter().map(Process::pid).collect();
    let leaker = pids[5];
    let innocents: Vec<u32> = pids.iter().copied().filter(|pid| *pid != leaker).collect();

    let begun = Instant::now();
    let (mut hunt, path) = hunt_for_json(&stage, &pids, &["--finds", "1"]);
    let mut leaker_was_probed = false;
    while hunt.is_running() {
        assert!(begun.elapsed() < A_MINUTE, "too late: {}", hunt.stderr());
        leaker_was_probed |= patched_bytes(leaker) > 0;
        for pid in &innocents {
            assert_eq!(patched_bytes(*pid), 0, "a probe in {pid}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    hunt.must_exit(0);
    println!("found after {:?}: {}", begun.elapsed(), hunt.stderr());
    assert!(leaker_was_probed, "this test can't see probes");
    for process in &mut all {
        assert!(process.is_running(), "unharmed: {}", process.stderr());
    }
    assert!(
        has_been_probed(leaker),
        "this test can't see what probes leave"
    );
    assert!(!innocents.iter().any(|pid| has_been_probed(*pid)));
    assert_no_probe_left(leaker);

    let report = read(&path);
    assert_eq!(report["schema"], "memprof/hunt/v1");
    assert_eq!(report["processes_watched"], 10);
    assert_eq!(report["looks"], 1, "{}", report["growing"]);
    let finds = report["finds"].as_array().expect("a list");
    assert_eq!(finds.len(), 1);
    let find = &finds[0];
    assert_eq!(
        (&find["pid"], &find["kind"]),
        (&leaker.into(), &"leak".into())
    );
    assert_eq!(find["function"], "forget_orders");
    assert_eq!(find["file"], "hunted.c");
    assert!(find["confidence"].as_f64() >= Some(0.4), "{find}");
    // 1.5 MB a second, some less on a busy machine, as the watch and the exact look have it.
    let interval = &find["watched"]["rate_ci95_bytes_per_second"];
    let leak = &find["report"]["leak_detection"];
    for rate in [
        &find["watched"]["rate_bytes_per_second"],
        &leak["rate_bytes_per_second"],
    ] {
        let rate = rate.as_f64().expect("a rate");
        assert!((500_000.0..2_000_000.0).contains(&rate), "{find}");
    }
    assert!(interval[0].as_f64() <= interval[1].as_f64(), "{interval}");
    let processes = &find["report"]["target"]["processes"];
    assert_eq!(processes.as_array().map(Vec::len), Some(1), "{processes}");
    assert_eq!(find["report"]["quality"]["complete"], true);
    let growing = report["growing"].as_array().expect("a list");
    assert_eq!(growing.len(), 1, "{growing:?}");
    assert!(growing[0]["last_bytes"].as_u64() > growing[0]["first_bytes"].as_u64());
    assert!(report["overhead"]["probe_hits"].as_u64() > Some(0));
    let watch = report["overhead"]["watch_cpu_seconds"].as_f64();
    assert!(watch > Some(0.0) && watch < Some(2.0), "{watch:?}");
}

#[test]
fn ctrl_c_in_an_exact_look_ends_it_and_the_hunt_with_a_report() {
    let Some(stage) = Stage::shared("hunt_ctrl_c") else {
        return;
    };
    let mut leaker = started(&stage, &program("hunted"), "leak", 0);
    let pid = leaker.pid();
    // So sure it never gets.
    let (mut hunt, path) = hunt_for_json(&stage, &[pid], &["--min-confidence", "1"]);
    wait_for_a_look(&mut hunt, pid);
    hunt.signal(Signal::SIGINT);
    hunt.must_exit(0);
    assert_no_probe_left(pid);
    assert!(leaker.is_running(), "{}", leaker.stderr());
    let report = read(&path);
    assert_eq!(report["growing"][0]["pid"], pid);
    let find = &report["finds"][0];
    assert_eq!(
        (&find["pid"], &find["kind"]),
        (&pid.into(), &"undecided".into())
    );
    assert!(find["report"]["summary"]["outstanding_bytes"].is_u64());
}

#[test]
fn a_leaker_that_ends_in_its_exact_look_is_reported_with_what_is_known() {
    let Some(stage) = Stage::shared("hunt_ends") else {
        return;
    };
    let mut leaker = started(&stage, &program("hunted"), "leak", 0);
    let pid = leaker.pid();
    let (mut hunt, path) = hunt_for_json(&stage, &[pid], &[]);
    wait_for_a_look(&mut hunt, pid);
    leaker.signal(Signal::SIGKILL);
    leaker.wait(PATIENCE);
    // Nobody is left to watch.
    hunt.must_exit(0);
    let report = read(&path);
    let find = &report["finds"][0];
    assert_eq!(find["pid"], pid);
    let why = find["why"].as_str().expect("a sentence");
    assert!(why.contains("ended while it was looked at"), "{why}");
    assert!(find["report"]["summary"]["allocated_count"].is_u64());
    assert_eq!(report["growing"][0]["has_ended"], true);
}

#[test]
fn growth_that_is_not_in_blocks_or_can_t_be_probed_is_said_once_in_lines_of_json() {
    let Some(stage) = Stage::shared("hunt_elsewhere") else {
        return;
    };
    let stripped = started(&stage, &program("hunted_stripped"), "leak", 0);
    let mapped = started(&stage, &program("hunted"), "mapped", 1);
    let pids = [stripped.pid(), mapped.pid()];
    let mut hunt = hunt(&stage, &pids, &["--format", "jsonl", "--interval", "1s"]);
    wait_until("both are found", 2 * A_MINUTE, || {
        assert!(hunt.is_running(), "memprof is gone: {}", hunt.stderr());
        hunt.stdout().lines().count() >= 2
    });
    // That they still grow is told, and nothing done about it.
    let told = hunt.stderr().matches("2 grow").count();
    wait_until("more news", PATIENCE, || {
        hunt.stderr().matches("2 grow").count() > told + 1
    });
    hunt.signal(Signal::SIGINT);
    hunt.must_exit(0);
    let lines: Vec<Value> = hunt
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", hunt.stdout());
    assert_eq!(lines[0]["schema"], "memprof/find/v1");
    let find = |kind: &str| lines.iter().find(|line| line["kind"] == kind);
    let unprobed = find("unprobed").expect("one that can't be probed");
    assert_eq!(unprobed["pid"], stripped.pid());
    // By page faults alone.
    let report = &unprobed["report"];
    assert_eq!(report["events"], serde_json::json!(["faults"]));
    assert!(report["top_touchers"][0]["touched_bytes"].as_u64() > Some(1 << 20));
    let why = unprobed["why"].as_str().expect("a sentence");
    assert!(
        why.contains("malloc") && why.contains("first touched by"),
        "{why}"
    );
    let elsewhere = find("elsewhere").expect("one that maps");
    assert_eq!(elsewhere["pid"], mapped.pid());
    let why = elsewhere["why"].as_str().expect("a sentence");
    assert!(why.contains("first touched by"), "{why}");
    let function = &elsewhere["report"]["top_touchers"][0]["function"];
    assert!(why.contains(function.as_str().expect("a name")), "{why}");
    let whole = &lines[2];
    assert_eq!(whole["schema"], "memprof/hunt/v1");
    assert_eq!(whole["finds"].as_array().map(Vec::len), Some(2));
    assert_eq!(whole["looks"], 2);
}

#[test]
fn a_process_that_comes_later_is_watched_too_and_its_leak_told_in_text() {
    let Some(stage) = Stage::shared("hunt_newcomer") else {
        return;
    };
    // A name that no process of another test has.
    let file = stage.path("hunt_newcomer");
    fs::copy(program("hunted"), &file).expect("the program can be copied");
    let mut hunt = hunt(
        &stage,
        &[],
        &["--comm", "hunt_newcomer", "--duration", "2m"],
    );
    wait_until("it watches", PATIENCE, || {
        hunt.stderr()
            .contains("watching 0 processes called hunt_newcomer")
    });
    let leaker = started(&stage, &file, "leak", 0);
    wait_until("it is found", A_MINUTE, || {
        assert!(hunt.is_running(), "memprof is gone: {}", hunt.stderr());
        hunt.stdout().contains("_start")
    });
    assert_no_probe_left(leaker.pid());
    hunt.signal(Signal::SIGTERM);
    hunt.must_exit(0);
    let text = hunt.stdout();
    let title = format!("Find 1: a leak  hunt_newcomer (pid {})", leaker.pid());
    assert!(text.starts_with(&title), "{text}");
    assert!(text.contains("▶ forget_orders"), "{text}");
    assert!(text.contains("Processes that grew"), "{text}");
    assert!(text.contains("1 leak found; 1 process watched"), "{text}");
}
