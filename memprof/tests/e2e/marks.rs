//! Marks in a running trace and what is left between them; the same done again and again.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    MEMPROF, PATIENCE, Process, Report, Stage, Trace, program, wait_attached, wait_until,
};

/// Longer than the 16.8 ms to which births are known.
const PEACE: Duration = Duration::from_millis(60);

/// The program `requests`, waiting for its first.
fn server(stage: &Stage, how: &str) -> Process {
    let mut command = Command::new(program("requests"));
    let mut server = Process::start(stage, "requests", command.arg(how).stdin(Stdio::null()));
    server.wait_ready();
    server
}

/// So many requests, one after the other, with peace behind them.
fn request(server: &Process, times: usize) {
    for _ in 0..times {
        let done = || server.stdout().matches("done").count();
        let before = done();
        server.signal(Signal::SIGUSR2);
        wait_until("the request is served", PATIENCE, || done() > before);
    }
    sleep(PEACE);
}

fn socket(trace: &Trace) -> PathBuf {
    PathBuf::from(format!("/run/memprof/{}.sock", trace.process.pid()))
}

/// `memprof mark`, which must end with this code; what it said.
fn mark(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(MEMPROF);
    command.arg("mark").args(arguments).stdin(Stdio::null());
    let mut process = Process::start(stage, "mark", &mut command);
    process.must_exit(code);
    sleep(PEACE);
    process.stderr()
}

fn follows(stage: &Stage, server: &Process, more: &[&str]) -> Trace {
    let mut trace = Trace::attach(stage, &[server.pid()], more);
    wait_attached(&mut trace, server.pid());
    let socket = socket(&trace);
    wait_until("the control socket is there", PATIENCE, || socket.exists());
    sleep(PEACE);
    trace
}

/// What a window left at a function.
fn left(window: &Value, function: &str) -> (u64, u64) {
    let rows = window["top_allocators"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["function"] == function);
    row.map_or((0, 0), |row| {
        let number = |field: &str| row[field].as_u64().expect("a count");
        (number("shown_bytes"), number("shown_count"))
    })
}

#[test]
fn what_each_window_left_behind_is_told_by_call_path() {
    let Some(stage) = Stage::with_bpf("marks_windows") else {
        return;
    };
    let server = server(&stage, "leak");
    let mut trace = follows(&stage, &server, &[]);
    let pid = trace.process.pid().to_string();
    request(&server, 2);
    mark(&stage, &["warm", "--pid", &pid], 0);
    request(&server, 3);
    // A line on the socket, as any program can write it.
    let mut control = UnixStream::connect(socket(&trace)).expect("root may connect");
    writeln!(control, "mark after 3").expect("written");
    let mut answer = String::new();
    let mut answers = BufReader::new(control.try_clone().expect("a clone"));
    answers.read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("ok 2 "), "{answer}");
    writeln!(control, "nonsense").expect("written");
    answer.clear();
    answers.read_line(&mut answer).expect("an answer");
    assert!(answer.starts_with("error "), "{answer}");
    sleep(PEACE);
    request(&server, 5);
    trace.process.signal(Signal::SIGUSR1);
    wait_until("the signal is heard", PATIENCE, || {
        trace.process.stderr().contains("mark 3 at ")
    });
    sleep(PEACE);
    trace.process.signal(Signal::SIGINT);
    let report = trace.finish();
    report.assert_nothing_lost();

    let marks = report.at("/marks").as_array().expect("marks").clone();
    let labels: Vec<_> = marks
        .iter()
        .filter_map(|mark| mark["label"].as_str())
        .collect();
    assert_eq!(labels, ["warm", "after 3", "mark 3"]);
    let times: Vec<f64> = marks
        .iter()
        .filter_map(|mark| mark["at_seconds"].as_f64())
        .collect();
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    let windows = report.at("/windows").as_array().expect("windows").clone();
    let ends: Vec<_> = windows
        .iter()
        .map(|window| (window["from"].as_str(), window["to"].as_str()))
        .collect();
    assert_eq!(
        ends,
        [
            (Some("start"), Some("warm")),
            (Some("warm"), Some("after 3")),
            (Some("after 3"), Some("mark 3")),
            (Some("mark 3"), Some("end")),
        ]
    );
    let leaked: Vec<_> = windows.iter().map(|one| left(one, "leak_one")).collect();
    assert_eq!(leaked, [(1024, 2), (1536, 3), (2560, 5), (0, 0)]);
    // What was replaced by the end was not left behind.
    let newest: Vec<_> = windows
        .iter()
        .map(|one| left(one, "replace_newest"))
        .collect();
    assert_eq!(newest, [(0, 0), (0, 0), (4000, 1), (0, 0)]);
    assert_eq!(left(&windows[0], "warm_up"), (64_000, 1000));
    let sum: u64 = windows
        .iter()
        .filter_map(|one| one["left_bytes"].as_u64())
        .sum();
    assert_eq!(sum, report.number("/summary/outstanding_bytes"));
}

#[test]
fn the_socket_is_roots_alone_and_goes_with_the_trace() {
    let Some(stage) = Stage::with_bpf("marks_socket") else {
        return;
    };
    let server = server(&stage, "none");
    let orphan = Path::new("/run/memprof/4194399.sock");
    let mut trace = follows(&stage, &server, &[]);
    let path = socket(&trace);
    let about = fs::metadata(&path).expect("the socket is there");
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let directory = fs::metadata("/run/memprof").expect("its directory is there");
    assert_eq!(directory.permissions().mode() & 0o777, 0o755);
    // The target is no memprof, and its pid no trace's.
    let said = mark(&stage, &["x", "--pid", &server.pid().to_string()], 2);
    assert!(said.contains("is no memprof"), "{said}");
    trace.process.signal(Signal::SIGTERM);
    trace.finish();
    assert!(!path.exists(), "gone after SIGTERM");

    // Killed, it can't take its socket away; the next trace does.
    fs::write(orphan, "").expect("a file of a process that is not there");
    let mut trace = follows(&stage, &server, &[]);
    assert!(!orphan.exists(), "removed by the next trace");
    let path = socket(&trace);
    trace.process.signal(Signal::SIGINT);
    trace.process.signal(Signal::SIGTERM);
    trace.process.wait(PATIENCE);
    assert!(!path.exists(), "gone when told twice");
}

#[test]
fn with_several_traces_a_mark_has_to_say_whose() {
    let Some(stage) = Stage::with_bpf("marks_several") else {
        return;
    };
    let server = server(&stage, "none");
    let mut one = follows(&stage, &server, &[]);
    let second = stage.path("second.json");
    let mut command = Command::new(MEMPROF);
    command
        .args([
            "trace",
            "--format",
            "json",
            "--pid",
            &server.pid().to_string(),
            "-o",
        ])
        .arg(&second)
        .stdin(Stdio::null());
    let mut other = Process::start(&stage, "second", &mut command);
    let path = PathBuf::from(format!("/run/memprof/{}.sock", other.pid()));
    wait_until("the second trace runs", PATIENCE, || path.exists());
    let said = mark(&stage, &["x"], 2);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("give --pid"), "{said}");
    assert!(said.contains(&other.pid().to_string()), "{said}");
    let escape = "a\u{1b}[2J";
    mark(&stage, &[escape, "--pid", &other.pid().to_string()], 0);
    let too_long = "x".repeat(129);
    for bad in ["", " ", "a\nb", &too_long] {
        let said = mark(&stage, &[bad, "--pid", "1"], 2);
        assert!(said.contains("label"), "{said}");
    }
    other.signal(Signal::SIGINT);
    other.must_exit(0);
    assert!(
        !other.stderr().contains('\u{1b}'),
        "escaped: {}",
        other.stderr()
    );
    let report = Report::read(&second);
    assert_eq!(report.at("/marks/0/label"), escape);
    one.process.signal(Signal::SIGINT);
    assert_eq!(one.finish().at("/marks"), &Value::Array(Vec::new()));
}

/// Twelve requests by an action, while the server is traced.
fn twelve_cycles(stage: &Stage, how: &str) -> Report {
    let server = server(stage, how);
    let action = format!("kill -USR2 {}", server.pid());
    let pid = server.pid().to_string();
    let more = ["--pid", &pid, "--cycles", "12", "--cycles-warm-up", "3"];
    let mut trace = Trace::launch_with(stage, &more, &["sh", "-c", &action], |command| {
        command.stdin(Stdio::null());
    });
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(server.stdout().matches("done").count(), 12);
    report
}

fn path<'a>(report: &'a Report, function: &str) -> Option<&'a Value> {
    let paths = report.at("/cycles/top_allocators").as_array();
    let mut paths = paths.expect("paths").iter();
    paths.find(|path| path["allocator"]["function"] == function)
}

#[test]
fn an_action_that_leaks_a_little_each_time_is_found_by_cycles() {
    let Some(stage) = Stage::with_bpf("cycles_leak") else {
        return;
    };
    let report = twelve_cycles(&stage, "leak");
    assert_eq!(report.at("/cycles/kind"), "action");
    assert_eq!(report.number("/cycles/completed"), 12);
    assert_eq!(report.number("/cycles/failed"), 0);
    assert_eq!(report.at("/cycles/left_bytes_per_cycle"), 512.0);
    assert_eq!(report.at("/cycles/left_count_per_cycle"), 1.0);
    assert_eq!(report.at("/cycles/growth_bytes_per_cycle"), 512.0);
    assert_eq!(report.at("/cycles/leaks"), true);
    let leak = path(&report, "leak_one").expect("the leak");
    assert_eq!(leak["left_bytes_per_cycle"], 512.0);
    assert_eq!(leak["cycles"], 9, "all after the warm-up");
    assert_eq!(leak["leaks"], true);
    assert_eq!(
        report.at("/cycles/top_allocators/0/allocator/function"),
        "leak_one"
    );
    let newest = path(&report, "replace_newest").expect("what the last cycle holds");
    assert_eq!(newest["leaks"], false);
    assert_eq!(path(&report, "warm_up"), None, "it was the warm-up's");
    let first = report.at("/cycles/cycles/0");
    assert_eq!(first["left_bytes"], 32_000 + 512, "{first}");
}

#[test]
fn a_check_fails_by_what_nearly_every_cycle_leaves() {
    let Some(stage) = Stage::with_bpf("cycles_check") else {
        return;
    };
    for (how, code) in [("leak", 3), ("none", 0)] {
        let server = server(&stage, how);
        let action = format!("kill -USR2 {}", server.pid());
        let mut command = Command::new(MEMPROF);
        command
            .args([
                "check",
                "--pid",
                &server.pid().to_string(),
                "--cycles",
                "20",
            ])
            .args(["--confidence", "1", "--", "sh", "-c", &action])
            .stdin(Stdio::null());
        let mut check = Process::start(&stage, "check", &mut command);
        check.must_exit(code);
        let said = check.stdout();
        let names_it = said.contains("cycles") && said.contains("leak_one");
        assert_eq!(names_it, how == "leak", "{said}");
    }
}

#[test]
fn an_action_that_leaves_nothing_is_not_called_a_leak() {
    let Some(stage) = Stage::with_bpf("cycles_none") else {
        return;
    };
    let report = twelve_cycles(&stage, "none");
    assert_eq!(report.at("/cycles/leaks"), false);
    assert_eq!(report.at("/cycles/left_bytes_per_cycle"), 0.0);
    assert_eq!(report.at("/cycles/growth_bytes_per_cycle"), 0.0);
}

#[test]
fn a_launched_program_is_run_again_and_again_and_each_run_is_told_apart() {
    let Some(stage) = Stage::with_bpf("cycles_launch") else {
        return;
    };
    let more = ["--cycles", "5"];
    let mut trace = Trace::launch(&stage, "grows", &["leak", "1"], &more);
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(report.at("/cycles/kind"), "launch");
    assert_eq!(report.number("/cycles/completed"), 5);
    assert_eq!(report.at("/cycles/leaks"), &Value::Null);
    for cycle in report.at("/cycles/cycles").as_array().expect("cycles") {
        assert_eq!(cycle["left_count"], 25, "{cycle}");
        assert_eq!(cycle["left_bytes"], 25 * 512, "{cycle}");
        assert_eq!(cycle["exit_status"], 0, "{cycle}");
    }
    assert_eq!(report.number("/summary/outstanding_count"), 125);
    // One call path, though each run had an address space of its own.
    let leak = path(&report, "leak_one").expect("what each run held");
    assert_eq!(leak["left_count_per_cycle"], 25.0);
    assert_eq!(leak["cycles"], 4);
    assert_eq!(leak["allocator"]["outstanding_count"], 100);
}

#[test]
fn cycles_that_make_no_sense_are_refused() {
    let stage = Stage::new("cycles_refusals");
    for (arguments, word) in [
        (&["--cycles", "3", "--", "true"][..], "from 5"),
        (&["--cycles", "9", "--pid", "1"], "-- COMMAND"),
        (
            &["--cycles", "9", "--cycles-warm-up", "6", "--", "true"],
            "from 0 to 5",
        ),
        (&["--cycles-warm-up", "1", "--", "true"], "--cycles"),
        (
            &["--cycles", "9", "--no-children", "--", "true"],
            "leave it out",
        ),
    ] {
        let mut command = Command::new(MEMPROF);
        command.arg("trace").args(arguments).stdin(Stdio::null());
        let mut process = Process::start(&stage, "memprof", &mut command);
        process.must_exit(2);
        let said = process.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(word), "{said}");
    }
}
