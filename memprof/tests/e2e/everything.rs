//! Programs of five languages and three allocators at one time, under `--all`: each one's holder is named.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{
    MEMPROF, PATIENCE, Process, Report, Stage, Trace, build_with, missing, wait_until,
};
use crate::names::installed;

/// What each keeps: far more than anything else on the machine does on one path.
const COUNT: u64 = 6000;
const SIZE: u64 = 5000;

/// A program that keeps `COUNT` blocks of `SIZE` bytes when it is told to.
struct Keeper {
    process: Process,
    name: &'static str,
    /// What of the function's name matters; V8 moves functions into one another.
    function: &'static str,
    allocator: &'static str,
}

impl Keeper {
    fn start(
        stage: &Stage,
        name: &'static str,
        words: &[&str],
        (function, allocator): (&'static str, &'static str),
    ) -> Self {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args([COUNT.to_string(), SIZE.to_string()])
            .stdin(Stdio::piped())
            // V8 leaves a log where it runs.
            .current_dir(stage.path(""))
            // Else small blocks come out of pools of Python's own.
            .env("PYTHONMALLOC", "malloc");
        let mut process = Process::start(stage, name, &mut command);
        wait_until(name, PATIENCE, || {
            assert!(process.is_running(), "{name}: {}", process.stderr());
            process.stdout().contains("ready")
        });
        Self {
            process,
            name,
            function,
            allocator,
        }
    }

    fn keep(&mut self) {
        self.process.tell("go");
        wait_until(self.name, PATIENCE, || {
            self.process.stdout().contains("kept")
        });
    }

    fn assert_named(&self, report: &Report) {
        // Code that V8 makes anew is without a name until it is listed.
        let least = if self.name == "node" { 2 } else { 1 };
        assert_holder(
            report,
            self.process.pid(),
            self.function,
            COUNT * SIZE / least,
        );
        assert_covered(report, self.process.pid(), self.allocator);
    }
}

/// The function holds most in this process, by however many paths (a compiler may make it anew).
fn assert_holder(report: &Report, pid: u32, function: &str, least: u64) {
    let rows = report.rows().iter().filter(|row| row["pid"] == pid);
    let bytes = |row: &Value| row["outstanding_bytes"].as_u64().unwrap_or(0);
    let name = |row: &Value| row["function"].as_str().unwrap_or("(none)").to_owned();
    let most = rows.clone().max_by_key(|row| bytes(row));
    let named = most.map(name).unwrap_or_default();
    assert!(named.contains(function), "{named} is not {function}");
    let held: u64 = rows
        .filter(|row| name(row).contains(function))
        .map(bytes)
        .sum();
    assert!(held >= least, "{function} holds {held}");
}

fn assert_covered(report: &Report, pid: u32, allocator: &str) {
    let rows = report.at("/processes").as_array().expect("processes");
    let row = rows.iter().find(|row| row["pid"] == pid);
    let row = row.unwrap_or_else(|| panic!("{pid} is not listed"));
    let coverage = row["coverage"].as_array().expect("it was looked at");
    let mut names = coverage.iter().map(|one| &one["allocator"]);
    assert!(names.any(|name| name == allocator), "{row}");
    assert!(row["rss_bytes"].as_u64() > Some(1 << 20), "{row}");
    assert!(row["pss_bytes"].as_u64() <= row["rss_bytes"].as_u64());
    assert!(row["pss_bytes"].as_u64() > Some(1 << 20), "{row}");
    assert_ne!(row["verdict"], Value::Null);
}

#[test]
fn the_holder_in_each_of_five_programs_is_named() {
    const NEEDED: [&str; 4] = [
        "/usr/bin/python3",
        "/usr/bin/redis-server",
        "/usr/bin/redis-benchmark",
        "/usr/bin/redis-cli",
    ];
    for program in NEEDED {
        if !Path::new(program).exists() {
            return missing("everything", &format!("{program} is not installed"));
        }
    }
    let Some(node) = installed("node").or_else(|| installed("nodejs")) else {
        return missing("everything", "node is not installed");
    };
    let Some(stage) = Stage::with_bpf("everything") else {
        return;
    };
    let source = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        path.join(name).to_str().expect("UTF-8").to_owned()
    };
    let flags = ["-g", "-O2", "-std=c++17"];
    let in_cpp = build_with(&["keeper.cc"], "keeper", &flags);
    let flags = ["-C", "opt-level=2", "-g", "--edition=2024"];
    let in_rust = build_with(&["keeper_rust.rs"], "keeper_rust", &flags);
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let mut keepers = [
        Keeper::start(
            &stage,
            "cpp",
            &[&path(&in_cpp)],
            ("orders::Book::add", "glibc"),
        ),
        Keeper::start(
            &stage,
            "rust",
            &[&path(&in_rust)],
            ("Ledger::enter", "glibc"),
        ),
        Keeper::start(
            &stage,
            "python",
            &["/usr/bin/python3", &source("keeper.py")],
            ("PyByteArray_Resize", "glibc"),
        ),
        Keeper::start(
            &stage,
            "node",
            &[&path(&node), "--perf-basic-prof", &source("keeper.js")],
            ("keeper.js", "glibc"),
        ),
    ];
    let socket = path(&stage.path("redis.sock"));
    let mut redis = Process::start(
        &stage,
        "redis",
        Command::new("/usr/bin/redis-server").args([
            "--port",
            "0",
            "--unixsocket",
            &socket,
            "--save",
            "",
            "--appendonly",
            "no",
        ]),
    );
    wait_until("redis listens", PATIENCE, || {
        assert!(redis.is_running(), "{}", redis.stdout());
        Path::new(&socket).exists()
    });
    let mut trace = Trace::of_scope(&stage, &["--all", "--skip", "*/node*"]);
    for keeper in &mut keepers {
        keeper.keep();
    }
    // One list of so many elements.
    let mut load = Process::start(
        &stage,
        "load",
        Command::new("/usr/bin/redis-benchmark").args([
            "-s", &socket, "-q", "-t", "lpush", "-n", "6000", "-c", "4", "-d", "5000",
        ]),
    );
    assert!(load.wait(PATIENCE * 3).success(), "{}", load.stderr());
    let report = trace.stop();
    report.assert_nothing_lost();
    for keeper in &keepers {
        keeper.assert_named(&report);
    }
    // Elements of a list are packed, in pieces that grow.
    assert_holder(&report, redis.pid(), "lp", COUNT * SIZE / 2);
    assert_covered(&report, redis.pid(), "jemalloc");
    assert!(!trace.process.stderr().contains("panicked"), "{MEMPROF}");
}
