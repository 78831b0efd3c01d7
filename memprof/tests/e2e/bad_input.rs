//! What can't be done is said in one clear line, with the contract's exit code: 2 for what the
//! user got wrong, 1 for what memprof was not let do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{MEMPROF, Process, Stage, is_root, missing, program, wait_until};

/// Runs memprof, which must refuse: with `code`, one line on standard error that contains all of
/// `words` (in any case), nothing on standard output.
fn refuses(stage: &Stage, arguments: &[&str], code: i32, words: &[&str]) {
    let mut command = Command::new(MEMPROF);
    command.args(arguments).stdin(Stdio::null());
    refuses_as(stage, &mut command, code, words);
}

fn refuses_as(stage: &Stage, command: &mut Command, code: i32, words: &[&str]) {
    let mut process = Process::start(stage, "memprof", command);
    process.must_exit(code);
    let said = process.stderr();
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
    assert!(said.ends_with('\n'), "a whole line: {said}");
    assert_eq!(process.stdout(), "", "standard output is for the report");
    for word in words {
        assert!(
            said.to_lowercase().contains(&word.to_lowercase()),
            "`{word}` is not in: {said}"
        );
    }
}

/// A process that does nothing for as long as the test needs it.
fn bystander(stage: &Stage) -> Process {
    let mut command = Command::new("/bin/sleep");
    Process::start(stage, "sleep", command.arg("60").stdin(Stdio::null()))
}

#[test]
fn a_pid_that_no_process_has() {
    let stage = Stage::new("no_such_pid");
    let mut gone = Command::new("/bin/true");
    let mut gone = Process::start(&stage, "true", gone.stdin(Stdio::null()));
    gone.must_exit(0);
    let pid = gone.pid().to_string();
    refuses(&stage, &["trace", "--pid", &pid], 2, &[&pid, "no"]);
}

#[test]
fn a_hunt_for_what_can_t_be_watched() {
    let stage = Stage::new("hunt_bad_input");
    let command = ["hunt", "--", "/bin/true"];
    refuses(&stage, &command, 2, &["memprof trace -- COMMAND"]);
    let none = ["hunt", "--pid", "4294967295"];
    refuses(&stage, &none, 2, &["no process 4294967295"]);
    let format = ["hunt", "--format", "folded"];
    refuses(&stage, &format, 2, &["text, json or jsonl"]);
    let nowhere = ["hunt", "--output", "/no/such/directory/hunt.json"];
    refuses(&stage, &nowhere, 2, &["--output"]);
}

#[test]
fn pids_that_are_no_pids() {
    let stage = Stage::new("nonsense_pid");
    for nonsense in ["0", "-1", "self", "99999999999999999999", ""] {
        refuses(
            &stage,
            &["trace", &format!("--pid={nonsense}")],
            2,
            &["pid"],
        );
    }
}

#[test]
fn a_kernel_thread() {
    let name = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name.trim() != "kthreadd" {
        eprintln!("SKIPPED a_kernel_thread: none is to be seen from here");
        return;
    }
    let stage = Stage::new("kernel_thread");
    refuses(&stage, &["trace", "--pid", "2"], 2, &["kernel thread"]);
}

#[test]
fn a_zombie() {
    let stage = Stage::new("zombie");
    let mut command = Command::new("/bin/true");
    // Not waited for until the end of the test.
    let dead = Process::start(&stage, "true", command.stdin(Stdio::null()));
    let pid = dead.pid().to_string();
    wait_until("it is dead", Duration::from_secs(5), || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z"))
    });
    refuses(&stage, &["trace", "--pid", &pid], 2, &[&pid, "ended"]);
}

/// Copies memprof to where any user can run it.
fn for_everyone() -> PathBuf {
    let copy = std::env::temp_dir().join(format!("memprof-e2e-{}", std::process::id()));
    fs::copy(MEMPROF, &copy).expect("memprof can be copied");
    copy
}

#[test]
fn no_privileges() {
    let test = "no_privileges";
    let setpriv = Path::new("/usr/bin/setpriv");
    if !is_root() || !setpriv.exists() {
        missing(test, "needs root and setpriv, to be someone else");
        return;
    }
    let stage = Stage::new(test);
    let memprof = for_everyone();
    let as_nobody = || {
        let mut command = Command::new(setpriv);
        command
            .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
            .current_dir("/")
            .stdin(Stdio::null());
        command
    };
    let mut theirs = as_nobody();
    let theirs = Process::start(&stage, "sleep", theirs.args(["/bin/sleep", "60"]));
    wait_until("it is theirs", Duration::from_secs(5), || {
        fs::read_to_string(format!("/proc/{}/comm", theirs.pid()))
            .is_ok_and(|comm| comm == "sleep\n")
    });
    let mut attach = as_nobody();
    attach
        .arg(&memprof)
        .args(["trace", "--pid", &theirs.pid().to_string()]);
    refuses_as(&stage, &mut attach, 1, &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
    let mut launch = as_nobody();
    launch.arg(&memprof).args(["trace", "--", "/bin/true"]);
    refuses_as(&stage, &mut launch, 1, &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
    fs::remove_file(memprof).expect("the copy can be removed");
}

#[test]
fn an_output_path_that_cannot_be_written() {
    let stage = Stage::new("unwritable_output");
    let target = bystander(&stage);
    let pid = target.pid().to_string();
    for path in [
        "/nonexistent/directory/report.json",
        "/",
        "/proc/report.json",
    ] {
        refuses(
            &stage,
            &["trace", "--pid", &pid, "--output", path],
            2,
            &[path],
        );
    }
}

#[test]
fn an_output_path_that_cannot_be_written_is_said_before_a_command_runs() {
    let stage = Stage::new("unwritable_output_launch");
    let witness = stage.path("it-ran");
    let witness_text = witness.to_str().expect("a path in UTF-8");
    refuses(
        &stage,
        &[
            "trace",
            "--output",
            "/nonexistent/report.json",
            "--",
            "/bin/touch",
            witness_text,
        ],
        2,
        &["/nonexistent/report.json"],
    );
    assert!(!witness.exists(), "the command ran");
}

#[test]
fn a_command_that_does_not_exist() {
    let Some(stage) = Stage::with_bpf("no_such_command") else {
        return;
    };
    for command in ["/nonexistent/program", "no-such-program-anywhere"] {
        refuses(&stage, &["trace", "--", command], 2, &[command]);
    }
}

#[test]
fn a_command_that_is_no_program() {
    let Some(stage) = Stage::with_bpf("no_program") else {
        return;
    };
    refuses(&stage, &["trace", "--", "/etc/passwd"], 2, &["/etc/passwd"]);
    refuses(&stage, &["trace", "--", "/etc"], 2, &["/etc"]);
}

#[test]
fn nonsense_durations_and_sizes() {
    let stage = Stage::new("nonsense_numbers");
    let target = bystander(&stage);
    let pid = target.pid().to_string();
    for (option, value) in [
        ("--duration", "soon"),
        ("--duration", "5parsecs"),
        ("--duration", ""),
        ("--duration", "99999999999999999999999999d"),
        ("--interval", "0s"),
        ("--interval", "1e400s"),
        ("--min-age", "old"),
        ("--min-size", "many"),
        ("--min-size", "12XB"),
        ("--max-size", "-5"),
        ("--max-size", "99999999999999999TiB"),
        ("--top", "all"),
    ] {
        let setting = format!("{option}={value}");
        refuses(&stage, &["trace", "--pid", &pid, &setting], 2, &[option]);
    }
}

#[test]
fn two_kinds_of_target_at_once() {
    let stage = Stage::new("two_kinds");
    let target = bystander(&stage);
    let pid = target.pid().to_string();
    refuses(
        &stage,
        &["trace", "--pid", &pid, "--", "/bin/true"],
        2,
        &["--pid"],
    );
}

#[test]
fn no_target_at_all() {
    let stage = Stage::new("no_target");
    refuses(&stage, &["trace"], 2, &["--pid"]);
}

#[test]
fn an_unknown_format_lists_those_that_exist() {
    let stage = Stage::new("unknown_format");
    let target = bystander(&stage);
    let pid = target.pid().to_string();
    refuses(
        &stage,
        &["trace", "--pid", &pid, "--format", "xml"],
        2,
        &["xml", "text", "json", "jsonl", "folded"],
    );
}

#[test]
fn an_unknown_user() {
    let Some(stage) = Stage::with_bpf("unknown_user") else {
        return;
    };
    let name = "no-such-user-anywhere";
    refuses(
        &stage,
        &["trace", "--user", name, "--", "/bin/true"],
        2,
        &[name],
    );
}

#[test]
fn a_target_without_an_allocator_that_anyone_knows() {
    let Some(stage) = Stage::with_bpf("no_allocator") else {
        return;
    };
    let path = program("static_nolibc");
    let mut command = Command::new(&path);
    let target = Process::start(&stage, "static", command.stdin(Stdio::null()));
    let pid = target.pid().to_string();
    refuses(&stage, &["trace", "--pid", &pid], 2, &["allocator"]);
    let path = path.to_str().expect("a path in UTF-8");
    refuses(&stage, &["trace", "--", path], 2, &["allocator"]);
}

#[test]
fn a_kernel_without_btf() {
    let Some(stage) = Stage::with_bpf("no_btf") else {
        return;
    };
    let target = bystander(&stage);
    // In a mount namespace of its own, where an empty directory hides the kernel's BTF.
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args(["--mount", "/bin/sh", "-c"])
        .arg("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" trace --pid \"$1\"")
        .arg(MEMPROF)
        .arg(target.pid().to_string())
        .stdin(Stdio::null());
    refuses_as(&stage, &mut command, 1, &["BTF"]);
}

#[test]
fn an_allocator_that_the_target_has_not() {
    let Some(stage) = Stage::with_bpf("no_such_allocator") else {
        return;
    };
    let sleeper = bystander(&stage);
    let pid = sleeper.pid().to_string();
    for (options, words) in [
        (
            ["--probe", "alloc=pool_gett,free=free"],
            ["pool_gett", "nm"],
        ),
        (["--allocator-prefix", "pool_"], ["pool_malloc", "nm"]),
    ] {
        let arguments = ["trace", options[0], options[1], "--pid", &pid];
        refuses(&stage, &arguments, 2, &words);
    }
}
