//! Programs that nobody wrote for this, under load, with the counting shim in the same run: both
//! must have seen the same.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{
    Counts, PATIENCE, Process, Report, ShimTotals, Stage, Trace, missing, wait_until,
};

/// Real programs take longer than the small ones.
const LONG: Duration = Duration::from_secs(90);

/// A stage, if the programs are installed as well.
fn stage_with(test: &str, programs: &[&str]) -> Option<Stage> {
    for program in programs {
        if !Path::new(program).exists() {
            missing(test, &format!("{program} is not installed"));
            return None;
        }
    }
    Stage::with_bpf(test)
}

/// Whether what happens at what moment is the same for both observers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Threads {
    One,
    Several,
}

fn assert_same_as_the_shim(stage: &Stage, report: &Report, program: &str, threads: Threads) {
    let shim = ShimTotals::of_program(stage, program);
    report.assert_nothing_lost();
    assert!(
        shim.counts.allocated_count > 10_000,
        "too little to prove anything: {shim:?}"
    );
    assert_eq!(
        report.summary(),
        shim.counts,
        "left memprof, right the shim"
    );
    assert_eq!(
        report.number("/quality/unknown_frees"),
        shim.unknown_frees,
        "unknown frees"
    );
    assert_eq!(
        report.number("/target/processes/0/pid"),
        u64::from(shim.pid)
    );
    if threads == Threads::One {
        assert_eq!(
            report.number("/summary/peak_outstanding_bytes"),
            shim.peak_outstanding_bytes,
            "the peak"
        );
    }
}

#[test]
fn sqlite_builds_a_table_with_indices() {
    let Some(stage) = stage_with("sqlite", &["/usr/bin/sqlite3"]) else {
        return;
    };
    let script = stage.path("script.sql");
    fs::write(
        &script,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);\n\
         BEGIN;\n\
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)\n\
         INSERT INTO t SELECT i, 'name ' || (i * 7919 % 20011), i * 0.5 FROM n;\n\
         COMMIT;\n\
         CREATE INDEX by_name ON t(name);\n\
         CREATE INDEX by_value ON t(value, name);\n\
         SELECT count(*), group_concat(substr(name, 6, 2)) FROM t WHERE name LIKE 'name 1%';\n\
         SELECT a.name, count(*) FROM t a JOIN t b ON a.name = b.name GROUP BY 1 LIMIT 10;\n\
         UPDATE t SET name = upper(name) WHERE id % 3 = 0;\n\
         DELETE FROM t WHERE id % 5 = 0;\n\
         SELECT json_group_array(json_object('id', id, 'name', name)) FROM t WHERE id < 2000;\n",
    )
    .expect("the script can be written");
    let database = stage.path("test.db");
    let target = ["/usr/bin/sqlite3".as_ref(), database.as_os_str()];
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command
            .stdin(File::open(&script).expect("the script is there"))
            .envs(ShimTotals::environment(&stage));
    });
    trace.process.wait(LONG);
    let report = trace.finish();
    assert!(trace.process.stdout().contains("NAME 3"), "it worked");
    assert_same_as_the_shim(&stage, &report, "sqlite3", Threads::One);
}

#[test]
fn python_makes_and_parses_json() {
    let Some(stage) = stage_with("python", &["/usr/bin/python3"]) else {
        return;
    };
    let program = "import json\n\
        kept = []\n\
        for turn in range(25):\n\
        \x20   data = [{'id': i, 'name': 'n%d' % i, 'tags': ['a', str(i)]} for i in range(200)]\n\
        \x20   text = json.dumps(data)\n\
        \x20   back = json.loads(text)\n\
        \x20   assert back == data\n\
        \x20   kept.append(text[:100])\n\
        print('worked', len(kept))\n";
    let target = ["/usr/bin/python3", "-S", "-c", program];
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command
            .stdin(Stdio::null())
            .env("PYTHONMALLOC", "malloc")
            .envs(ShimTotals::environment(&stage));
    });
    trace.process.wait(LONG);
    let report = trace.finish();
    assert!(trace.process.stdout().contains("worked 25"));
    assert_same_as_the_shim(&stage, &report, "python3", Threads::One);
}

/// Its allocator is jemalloc, in a library of its own.
#[test]
fn redis_serves_under_load() {
    let server = "/usr/bin/redis-server";
    let Some(stage) = stage_with(
        "redis",
        &[server, "/usr/bin/redis-benchmark", "/usr/bin/redis-cli"],
    ) else {
        return;
    };
    let socket = stage.path("redis.sock");
    let socket = socket.to_str().expect("a path in UTF-8");
    let target = [
        server,
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
    ];
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command
            .stdin(Stdio::null())
            .envs(ShimTotals::environment(&stage));
    });
    wait_until("redis listens", PATIENCE, || {
        assert!(trace.process.is_running(), "{}", trace.process.stderr());
        Path::new(socket).exists()
    });
    let mut benchmark = Command::new("/usr/bin/redis-benchmark");
    benchmark.args([
        "-s", socket, "-q", "-n", "3000", "-c", "8", "-r", "2000", "-d", "200",
    ]);
    benchmark.args([
        "-t",
        "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset",
    ]);
    let mut load = Process::start(&stage, "benchmark", &mut benchmark);
    assert!(load.wait(LONG).success(), "{}", load.stderr());
    let mut stop = Command::new("/usr/bin/redis-cli");
    stop.args(["-s", socket, "shutdown", "nosave"]);
    Process::start(&stage, "stop", &mut stop).wait(PATIENCE);
    let report = trace.finish();
    assert_same_as_the_shim(&stage, &report, "redis-server", Threads::Several);
    let allocators: Vec<_> = report
        .at("/quality/coverage")
        .as_array()
        .expect("coverage is a list")
        .iter()
        .filter_map(|module| module["module"].as_str())
        .collect();
    assert!(
        allocators
            .iter()
            .any(|module| module.contains("libjemalloc")),
        "jemalloc is probed: {allocators:?}"
    );
}

/// A compiler: a driver that spawns the compiler proper, the assembler and the linker.
#[test]
fn gcc_and_all_that_it_starts() {
    let Some(stage) = stage_with("gcc", &["/usr/bin/gcc"]) else {
        return;
    };
    let source = stage.path("hello.c");
    let object = stage.path("hello.o");
    fs::write(
        &source,
        "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(\"hello\"); return 0; }\n",
    )
    .expect("the source can be written");
    let target = [
        "/usr/bin/gcc".as_ref(),
        "-c".as_ref(),
        "-o".as_ref(),
        object.as_os_str(),
        source.as_os_str(),
    ];
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command
            .stdin(Stdio::null())
            .envs(ShimTotals::environment(&stage));
    });
    trace.process.wait(LONG);
    let report = trace.finish();
    assert!(object.exists(), "gcc worked: {}", trace.process.stderr());
    report.assert_nothing_lost();
    // Each is a process of its own; the driver's children are made with vfork and exec.
    for program in ["cc1", "as"] {
        let shim = ShimTotals::of_program(&stage, program);
        let seen = report
            .sites_of(shim.pid)
            .into_values()
            .reduce(Counts::and)
            .unwrap_or_default();
        assert_eq!(
            (seen.outstanding_bytes, seen.outstanding_count),
            (shim.counts.outstanding_bytes, shim.counts.outstanding_count),
            "{program}"
        );
    }
}
