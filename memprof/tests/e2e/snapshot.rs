//! One look at a process: every figure beside what the process holds, who may look at whom, and what two
//! looks differ in. Without BPF.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{MEMPROF, PATIENCE, Process, Stage, is_root, missing, program, wait_until};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// What the C library and the loader touch beside what a program does, generously.
const SOME_PAGES: u64 = 64 * KIB;

/// The program `holdings`, ready to be looked at.
fn holdings(stage: &Stage, file: &Path, more: &[&str]) -> Process {
    let mut command = Command::new(program("holdings"));
    command
        .arg(file)
        .args(more)
        .env("WAIT_FOR_GO", "1")
        .stdin(Stdio::piped());
    let mut process = Process::start(stage, "holdings", &mut command);
    process.wait_ready();
    settled(&process, 1);
    process
}

/// Waits until it waits for a line for the `times`th time, its threads asleep.
fn settled(process: &Process, times: usize) {
    wait_until("it waits", PATIENCE, || {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).expect("its threads");
        process.stdout().matches("ready ").count() == times
            && tasks.flatten().all(|task| {
                let stat = fs::read(task.path().join("stat")).unwrap_or_default();
                let stat = String::from_utf8_lossy(&stat);
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('S'))
            })
    });
}

fn memprof(stage: &Stage, arguments: &[&OsStr], code: i32) -> Process {
    let mut command = Command::new(MEMPROF);
    run(stage, command.args(arguments), code)
}

fn run(stage: &Stage, command: &mut Command, code: i32) -> Process {
    let mut process = Process::start(stage, "memprof", command.stdin(Stdio::null()));
    process.must_exit(code);
    process
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// A look as JSON, kept under this name.
fn look(stage: &Stage, pid: u32, name: &str, more: &[&str]) -> (PathBuf, Value) {
    let path = stage.path(name);
    let pid = pid.to_string();
    let mut arguments = words(&["snapshot", "--pid", &pid, "--format", "json", "-o"]);
    arguments.push(path.as_os_str());
    arguments.extend(words(more));
    let said = memprof(stage, &arguments, 0);
    assert_eq!(
        (said.stdout(), said.stderr()),
        (String::new(), String::new())
    );
    let text = fs::read_to_string(&path).expect("the snapshot");
    (path, serde_json::from_str(&text).expect("JSON"))
}

fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{path} is a number: {value:#}"))
}

/// A group of mappings by its name; one of zeros if there is none.
fn group<'a>(snapshot: &'a Value, by: &str, name: &str) -> Option<&'a Value> {
    let groups = snapshot["mappings"][by].as_array().expect("groups");
    groups.iter().find(|group| group["name"] == name)
}

fn field(snapshot: &Value, by: &str, name: &str, field: &str) -> u64 {
    let group = group(snapshot, by, name);
    let group = group.unwrap_or_else(|| panic!("{name} is among {by}: {snapshot:#}"));
    number(group, &format!("/{field}"))
}

fn assert_within(found: u64, from: u64, to: u64, what: &str) {
    assert!(
        (from..=to).contains(&found),
        "{what}: {found}, not {from} to {to}"
    );
}

#[test]
fn every_kind_of_memory_is_seen_as_large_as_it_is() {
    let stage = Stage::new("snapshot_kinds");
    let file = stage.path("mapped.data");
    let holdings = holdings(&stage, &file, &[]);
    let truth: Value = serde_json::from_str(holdings.stdout().lines().next().unwrap_or_default())
        .expect("its truth");
    let arguments = ["--label", "at rest", "--top", "100"];
    let (_, seen) = look(&stage, holdings.pid(), "seen.json", &arguments);
    assert_eq!(seen["schema"], "memprof/snapshot/v1");
    assert_eq!(seen["label"], "at rest");
    assert_eq!(seen["process"]["pid"], holdings.pid());
    assert_eq!(seen["process"]["comm"], "holdings");
    assert_eq!(seen["process"]["state"], "S");
    assert_eq!(seen["memory"]["source"], "smaps");
    assert_eq!(seen["notes"], Value::Array(Vec::new()));

    // Private memory: what is touched is resident, and nobody else's.
    let address = format!("0x{:x}", number(&truth, "/private_address"));
    let largest = seen["mappings"]["largest"].as_array().expect("mappings");
    let private = largest
        .iter()
        .find(|one| one["address"] == address.as_str());
    let private = private.unwrap_or_else(|| panic!("{address} is there: {largest:#?}"));
    assert_eq!(private["kind"], "anonymous");
    assert_eq!(private["permissions"], "rw-p");
    assert_eq!(number(private, "/size_bytes"), 24 * MIB);
    for of in ["rss_bytes", "pss_bytes", "uss_bytes"] {
        assert_eq!(number(private, &format!("/{of}")), 16 * MIB, "{of}");
    }
    assert_eq!(largest[0]["address"], address.as_str(), "the largest first");

    // Shared memory and files, by name and by kind.
    let zero = "/dev/zero (deleted)";
    let pool = "/memfd:holdings_pool (deleted)";
    let path = file.to_str().expect("UTF-8");
    for (name, size, rss) in [
        (zero, 6 * MIB, 6 * MIB),
        (pool, 3 * MIB, 2 * MIB),
        (path, MIB, MIB),
    ] {
        assert_eq!(field(&seen, "by_file", name, "size_bytes"), size, "{name}");
        assert_eq!(field(&seen, "by_file", name, "rss_bytes"), rss, "{name}");
        assert_eq!(field(&seen, "by_file", name, "mappings"), 1, "{name}");
    }
    assert_eq!(field(&seen, "by_kind", "shared", "rss_bytes"), 8 * MIB);
    assert_eq!(field(&seen, "by_kind", "shared", "size_bytes"), 9 * MIB);
    assert_eq!(field(&seen, "by_permissions", "rw-s", "rss_bytes"), 8 * MIB);
    assert!(field(&seen, "by_kind", "code", "rss_bytes") > 0);
    assert!(group(&seen, "by_kind", "kernel").is_some());

    // The heap: the blocks and what malloc needs to keep them.
    let blocks = number(&truth, "/heap_bytes");
    let heap = field(&seen, "by_kind", "heap", "rss_bytes");
    assert_within(heap, blocks, blocks + blocks / 32 + SOME_PAGES, "heap");

    // Three threads, asleep: their stack pointers tell their stacks, their arenas' shape those.
    assert_eq!(number(&seen, "/threads/count"), 4);
    assert_eq!(number(&seen, "/threads/stack_pointers_read"), 4);
    assert_eq!(number(&seen, "/threads/stacks_known"), 3);
    assert_eq!(number(&seen, "/threads/stacks_guessed"), 0);
    assert_eq!(
        field(&seen, "by_kind", "thread_stack", "mappings"),
        6,
        "with guards"
    );
    let stacks = field(&seen, "by_kind", "thread_stack", "size_bytes");
    assert_within(stacks, 3 * 256 * KIB, 3 * 260 * KIB, "stacks' size");
    let stacks = field(&seen, "by_kind", "thread_stack", "rss_bytes");
    assert_within(stacks, 3 * 100 * KIB, 3 * 124 * KIB, "stacks");
    assert_eq!(number(&seen, "/mappings/arena_count"), 3);
    assert_within(
        field(&seen, "by_kind", "arena", "size_bytes"),
        3 * 64 * MIB,
        3 * 64 * MIB,
        "arenas' size",
    );

    // All together.
    let rss = number(&seen, "/memory/rss_bytes");
    for by in ["by_kind", "by_file", "by_permissions"] {
        let groups = seen["mappings"][by].as_array().expect("groups");
        let sum: u64 = groups.iter().map(|one| number(one, "/rss_bytes")).sum();
        assert_eq!(sum, rss, "{by}");
    }
    assert!(rss > 27 * MIB && number(&seen, "/memory/peak_rss_bytes") >= rss);
    let uss = number(&seen, "/memory/uss_bytes");
    let pss = number(&seen, "/memory/pss_bytes");
    assert!(
        uss <= pss && pss <= rss && uss > 26 * MIB,
        "{uss} {pss} {rss}"
    );
    let sizes: u64 = seen["mappings"]["by_kind"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|one| number(one, "/size_bytes"))
        .sum();
    // The page of old system calls counts in the list alone.
    let virtually = number(&seen, "/memory/virtual_bytes");
    assert_within(sizes, virtually, virtually + 4 * KIB, "virtual");

    let files = &seen["open_files"];
    // Its output and errors, /dev/null, the mapped file; its input and two ends of a pipe.
    for (kind, count) in [
        ("count", 11),
        ("files", 4),
        ("pipes", 3),
        ("sockets", 2),
        ("memory", 1),
        ("other", 1),
        ("deleted", 0),
    ] {
        assert_eq!(files[kind], count, "{kind}: {files:#}");
    }
    assert!(number(&seen, "/system/total_bytes") > 27 * MIB);
    if fs::metadata("/proc/pressure/memory").is_ok() {
        assert!(seen["system"]["pressure"]["some"]["percent_10s"].is_number());
    }

    let pid = holdings.pid().to_string();
    let text = memprof(
        &stage,
        &words(&["snapshot", "--pid", &pid, "--top", "3"]),
        0,
    )
    .stdout();
    for word in [
        "RSS",
        "By kind",
        "thread stack",
        "3 stacks known",
        "3 malloc arenas",
        "16.0 MiB",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn two_looks_differ_by_what_was_mapped_between_them() {
    let stage = Stage::new("snapshot_diff");
    let mut holdings = holdings(&stage, &stage.path("mapped.data"), &[]);
    let (before, _) = look(
        &stage,
        holdings.pid(),
        "before.json",
        &["--label", "before"],
    );
    holdings.tell("");
    settled(&holdings, 2);
    let (after, _) = look(&stage, holdings.pid(), "after.json", &[]);
    let mut arguments = vec![OsStr::new("diff"), before.as_os_str(), after.as_os_str()];
    let text = memprof(&stage, &arguments, 0).stdout();
    assert!(text.contains("+8.0 MiB"), "{text}");
    arguments.extend(words(&["--format", "json"]));
    let json = memprof(&stage, &arguments, 0).stdout();
    let diff: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(diff["schema"], "memprof/snapshot-diff/v1");
    assert_eq!(diff["same_process"], true);
    assert_eq!(diff["before"]["label"], "before");
    assert_eq!(diff["notes"], Value::Array(Vec::new()));

    let kind = &diff["by_kind"][0];
    assert_eq!(
        kind["name"], "anonymous",
        "the largest change first: {diff:#}"
    );
    assert_eq!(kind["change"], "grown");
    let grown = kind["rss_bytes_change"].as_u64().expect("a number");
    assert_within(grown, 8 * MIB, 8 * MIB + SOME_PAGES, "anonymous");
    let figure = |name: &str| {
        let figures = diff["figures"].as_array().expect("figures");
        let found = figures.iter().find(|one| one["name"] == name);
        found.and_then(|one| one["change"].as_i64())
    };
    let change = |name: &str| {
        let change = figure(name).and_then(|change| u64::try_from(change).ok());
        change.unwrap_or_else(|| panic!("{name} is more: {diff:#}"))
    };
    let rss = change("rss_bytes");
    assert_within(rss, 8 * MIB, 8 * MIB + SOME_PAGES, "RSS");
    // Others that map the C library come and go.
    for name in ["pss_bytes", "uss_bytes"] {
        assert_within(change(name), 7 * MIB, 9 * MIB, name);
    }
    assert_eq!(figure("virtual_bytes"), Some(12 * MIB.cast_signed()));
    assert_eq!(figure("open_files"), Some(1));
    assert_eq!(figure("threads"), Some(0));
    let same = memprof(
        &stage,
        &[OsStr::new("diff"), before.as_os_str(), before.as_os_str()],
        0,
    );
    assert!(
        same.stdout().contains("none of the figures changed"),
        "{}",
        same.stdout()
    );

    // What is of another kind is told in one line.
    let none = stage.path("none.json");
    fs::write(&none, r#"{"schema": "memprof/snapshot-diff/v1"}"#).expect("a file");
    for (one, other) in [(&before, &none), (&none, &before)] {
        let said = memprof(
            &stage,
            &[OsStr::new("diff"), one.as_os_str(), other.as_os_str()],
            2,
        );
        assert_eq!(said.stderr().lines().count(), 1, "{}", said.stderr());
    }
    let mut sorted = vec![OsStr::new("diff"), before.as_os_str(), after.as_os_str()];
    sorted.extend(words(&["--sort", "rate"]));
    assert!(memprof(&stage, &sorted, 2).stderr().contains("--sort"));
}

#[test]
fn a_quick_look_reads_no_mappings() {
    let stage = Stage::new("snapshot_quick");
    let holdings = holdings(&stage, &stage.path("mapped.data"), &[]);
    let (_, seen) = look(&stage, holdings.pid(), "quick.json", &["--quick"]);
    assert_eq!(seen["mappings"], Value::Null);
    assert_eq!(seen["memory"]["pss_bytes"], Value::Null);
    assert_eq!(seen["memory"]["source"], "status");
    assert!(number(&seen, "/memory/rss_bytes") > 26 * MIB);
    assert_eq!(number(&seen, "/threads/count"), 4);
    assert_eq!(seen["threads"]["stacks_known"], Value::Null);
    assert_eq!(seen["open_files"]["count"], 11);
}

#[test]
fn hostile_names_are_shown_and_written_as_text() {
    let stage = Stage::new("snapshot_hostile");
    let file = stage
        .path("")
        .join(OsStr::from_bytes(b"x\x1b[31m\n\xff \xe2\x80\xae(deleted)"));
    let holdings = holdings(&stage, &file, &["hostile"]);
    let (before, seen) = look(&stage, holdings.pid(), "seen.json", &[]);
    assert_eq!(seen["process"]["comm"], "\u{fffd}\u{1b}[2J:\n)x");
    let files = seen["mappings"]["by_file"].as_array().expect("files");
    let expected = "/x\u{1b}[31m\n\u{fffd} \u{202e}(deleted)";
    assert!(
        files.iter().any(|one| one["name"]
            .as_str()
            .is_some_and(|name| name.ends_with(expected))),
        "{files:#?}"
    );
    let pid = holdings.pid().to_string();
    let text = memprof(
        &stage,
        &words(&["snapshot", "--pid", &pid, "--top", "50"]),
        0,
    )
    .stdout();
    let diff = memprof(
        &stage,
        &[OsStr::new("diff"), before.as_os_str(), before.as_os_str()],
        0,
    );
    for text in [
        text,
        diff.stdout(),
        fs::read_to_string(&before).expect("JSON"),
    ] {
        let disturbs = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.chars().any(disturbs), "{text}");
    }
}

/// memprof and a command as somebody without rights.
fn as_nobody() -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

#[test]
fn ones_own_processes_need_no_root_and_of_others_the_rest_is_null() {
    let test = "snapshot_nobody";
    if !is_root() || !Path::new("/usr/bin/setpriv").exists() {
        missing(test, "needs root and setpriv, to be someone else");
        return;
    }
    let stage = Stage::new(test);
    let memprof = std::env::temp_dir().join(format!("memprof-snapshot-{}", std::process::id()));
    fs::copy(MEMPROF, &memprof).expect("memprof can be copied");
    let theirs = Process::start(&stage, "theirs", as_nobody().args(["/bin/sleep", "60"]));
    let mut ours = Command::new("/bin/sleep");
    let ours = Process::start(&stage, "ours", ours.arg("60").stdin(Stdio::null()));
    for process in [&theirs, &ours] {
        wait_until("it sleeps", PATIENCE, || {
            fs::read_to_string(format!("/proc/{}/comm", process.pid()))
                .is_ok_and(|comm| comm == "sleep\n")
        });
    }
    let look = |pid: u32| {
        let mut command = as_nobody();
        command
            .arg(&memprof)
            .args(["snapshot", "--format", "json", "--pid", &pid.to_string()]);
        let said = run(&stage, &mut command, 0).stdout();
        serde_json::from_str::<Value>(&said).expect("JSON")
    };
    let own = look(theirs.pid());
    assert!(number(&own, "/memory/pss_bytes") > 0);
    assert!(field(&own, "by_kind", "stack", "rss_bytes") > 0);
    assert_eq!(own["notes"], Value::Array(Vec::new()));
    // Beside what the tests were started with.
    assert!(number(&own, "/open_files/files") >= 3, "{own:#}");

    let other = look(ours.pid());
    assert!(number(&other, "/memory/rss_bytes") > 0);
    assert!(number(&other, "/memory/virtual_bytes") > 0);
    assert_eq!(number(&other, "/threads/count"), 1);
    for unknown in [
        "/mappings",
        "/open_files",
        "/memory/pss_bytes",
        "/memory/uss_bytes",
    ] {
        assert_eq!(other.pointer(unknown), Some(&Value::Null), "{unknown}");
    }
    let notes = other["notes"].to_string();
    assert!(notes.contains("run memprof as root"), "{notes}");
    fs::remove_file(memprof).expect("the copy can be removed");
}

#[test]
fn a_process_that_is_gone_is_told_in_one_line_and_leaves_no_file() {
    let stage = Stage::new("snapshot_gone");
    let mut gone = Process::start(
        &stage,
        "gone",
        Command::new("/bin/true").stdin(Stdio::null()),
    );
    gone.must_exit(0);
    let pid = gone.pid().to_string();
    let kept = stage.path("kept.json");
    fs::write(&kept, "as before").expect("a file");
    let new = stage.path("new.json");
    for output in [&kept, &new] {
        let mut arguments = words(&["snapshot", "--pid", &pid, "-o"]);
        arguments.push(output.as_os_str());
        let said = memprof(&stage, &arguments, 2).stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("no process"), "{said}");
    }
    assert_eq!(fs::read_to_string(&kept).expect("it is there"), "as before");
    let left: Vec<_> = fs::read_dir(stage.path(""))
        .expect("the stage")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name == "new.json" || name.starts_with(".memprof"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let stage = Stage::new("snapshot_refusals");
    for (arguments, word) in [
        (&["--pid", "0"][..], "--pid"),
        (&["--pid", "x"], "--pid"),
        (&["--pid", "-5"], "--pid"),
        (&[], "--pid"),
        (&["--pid", "1", "--format", "folded"], "text or json"),
        (&["--pid", "1", "--top", "0"], "--top"),
        (&["--pid", "1", "--label", "a\nb"], "--label"),
        (&["--pid", "1", "-o", "/no/such/file"], "--output"),
    ] {
        let mut all = words(&["snapshot"]);
        all.extend(words(arguments));
        let said = memprof(&stage, &all, 2).stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(word), "{said}");
    }
}
