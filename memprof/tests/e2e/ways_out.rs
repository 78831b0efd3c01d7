//! However a trace ends: the probes are out, the target goes on unharmed, and the report is
//! written wherever there is someone to write it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Counts, MEMPROF, PATIENCE, Process, Report, Stage, Trace, assert_no_probe_left, patched_bytes,
    program, start_waiting, wait_attached, wait_until,
};

/// A steady program, running and followed.
fn followed(stage: &Stage, options: &[&str]) -> (Process, Trace) {
    let mut target = start_waiting(stage, "steady", &[]);
    let mut trace = Trace::attach(stage, &[target.pid()], options);
    wait_attached(&mut trace, target.pid());
    start_steady(&mut target);
    (target, trace)
}

/// Lets it begin, and do some work.
fn start_steady(target: &mut Process) {
    target.go();
    std::thread::sleep(Duration::from_millis(300));
}

/// Stops the steady program, which must say that nothing disturbed it.
fn assert_unharmed(target: &mut Process) {
    assert!(
        target.is_running(),
        "the target is gone: {}",
        target.stderr()
    );
    assert_no_probe_left(target.pid());
    // Its own books and its blocks' contents are checked on the way out.
    target.signal(Signal::SIGTERM);
    target.must_exit(0);
}

fn assert_reports_the_leak(report: &Report) {
    report.assert_nothing_lost();
    let sites = report.sites();
    let leak = sites.get("steady_leak").copied().unwrap_or_default();
    assert!(leak.outstanding_count > 0, "{sites:?}");
    assert_eq!(leak.outstanding_bytes, leak.outstanding_count * 1000);
    assert_eq!(leak.freed_count, 0);
}

#[test]
fn ctrl_c_once_reports_and_detaches() {
    let Some(stage) = Stage::with_bpf("ctrl_c") else {
        return;
    };
    let (mut target, mut trace) = followed(&stage, &[]);
    trace.process.signal(Signal::SIGINT);
    assert_reports_the_leak(&trace.finish());
    assert_unharmed(&mut target);
}

#[test]
fn sigterm_reports_and_detaches() {
    let Some(stage) = Stage::with_bpf("sigterm") else {
        return;
    };
    let (mut target, mut trace) = followed(&stage, &[]);
    trace.process.signal(Signal::SIGTERM);
    assert_reports_the_leak(&trace.finish());
    assert_unharmed(&mut target);
}

#[test]
fn ctrl_c_twice_leaves_at_once() {
    let Some(stage) = Stage::with_bpf("ctrl_c_twice") else {
        return;
    };
    let (mut target, mut trace) = followed(&stage, &[]);
    trace.process.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(20));
    if trace.process.is_running() {
        trace.process.signal(Signal::SIGINT);
    }
    // The kernel takes the probes out while the process dies, so even "at once" has its price.
    trace.process.wait(Duration::from_secs(5));
    assert_unharmed(&mut target);
}

#[test]
fn killed_memprof_leaves_the_target_unharmed() {
    let Some(stage) = Stage::with_bpf("memprof_killed") else {
        return;
    };
    let (mut target, mut trace) = followed(&stage, &[]);
    trace.process.signal(Signal::SIGKILL);
    trace.process.wait(PATIENCE);
    assert_unharmed(&mut target);
}

#[test]
fn a_killed_target_ends_the_trace_with_a_report() {
    let Some(stage) = Stage::with_bpf("target_killed") else {
        return;
    };
    let (mut target, mut trace) = followed(&stage, &[]);
    target.signal(Signal::SIGKILL);
    target.wait(PATIENCE);
    assert_reports_the_leak(&trace.finish());
}

#[test]
fn a_killed_launched_target_ends_the_trace_with_a_report() {
    let Some(stage) = Stage::with_bpf("launched_killed") else {
        return;
    };
    let (mut trace, pid) = launched(&stage, &[]);
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("the target is there");
    assert_reports_the_leak(&trace.finish());
}

/// A steady program launched by memprof, its pid; running for some time already.
fn launched(stage: &Stage, options: &[&str]) -> (Trace, u32) {
    let mut trace = Trace::launch_with(stage, options, &[program("steady")], |command| {
        command.env("WAIT_FOR_GO", "1").stdin(Stdio::piped());
    });
    let pid = trace.process.wait_ready();
    trace.process.go();
    std::thread::sleep(Duration::from_millis(300));
    (trace, pid)
}

#[test]
fn ctrl_c_at_the_terminal_reaches_a_launched_target_too() {
    let Some(stage) = Stage::with_bpf("ctrl_c_launched") else {
        return;
    };
    let (mut trace, pid) = launched(&stage, &[]);
    trace.process.signal_group(Signal::SIGINT);
    let report = trace.finish();
    assert_reports_the_leak(&report);
    assert_eq!(report.number("/target/processes/0/pid"), u64::from(pid));
    wait_until("the target is gone", PATIENCE, || !alive(pid));
}

#[test]
fn a_launched_target_goes_on_when_the_duration_is_over() {
    let Some(stage) = Stage::with_bpf("duration") else {
        return;
    };
    let (mut trace, pid) = launched(&stage, &["--duration", "2s"]);
    let report = trace.finish();
    assert_reports_the_leak(&report);
    assert!(alive(pid), "the target ended with the trace");
    assert_no_probe_left(pid);
    assert!(alive(pid));
    let duration = report.at("/duration_seconds").as_f64().unwrap_or_default();
    assert!((1.5..4.0).contains(&duration), "{duration}");
}

#[test]
fn a_launched_target_survives_the_death_of_memprof() {
    let Some(stage) = Stage::with_bpf("memprof_killed_launched") else {
        return;
    };
    let (mut trace, pid) = launched(&stage, &[]);
    trace.process.signal(Signal::SIGKILL);
    trace.process.wait(PATIENCE);
    assert!(alive(pid), "the target died with memprof");
    assert_no_probe_left(pid);
    assert!(alive(pid));
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

#[test]
fn the_targets_own_status_is_memprofs_if_asked_for() {
    let Some(stage) = Stage::with_bpf("exit_status_child") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "sites", &[], &["--exit-status", "child"]);
    trace.process.must_exit(7);
    Report::read(trace.report_path()).assert_nothing_lost();
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let Some(stage) = Stage::with_bpf("closed_pipe") else {
        return;
    };
    let mut target = start_waiting(&stage, "steady", &[]);
    // `true` closes the reading end long before there is a report; the shell's own status is
    // that of `true`, so memprof's goes to a file.
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg("{ \"$0\" trace --duration 2s --format text --pid \"$1\"; echo $? >\"$2\"; } | true")
        .arg(MEMPROF)
        .arg(target.pid().to_string())
        .arg(stage.path("status"));
    let mut shell = Process::start(&stage, "shell", &mut shell);
    wait_until("memprof attaches", PATIENCE, || {
        patched_bytes(target.pid()) > 0
    });
    start_steady(&mut target);
    shell.must_exit(0);
    let errors = shell.stderr().to_lowercase();
    assert!(
        !errors.contains("panic") && !errors.contains("broken pipe"),
        "{errors}"
    );
    assert_unharmed(&mut target);
}

#[test]
fn a_target_that_ends_while_memprof_attaches_is_no_failure_of_memprof() {
    let Some(stage) = Stage::with_bpf("short_target") else {
        return;
    };
    let mut trace = Trace::launch_with(&stage, &[], &["/bin/true"], |command| {
        command.stdin(Stdio::null());
    });
    let report = trace.finish();
    assert_eq!(report.number("/target/processes/0/exit_status"), 0);
    report.assert_nothing_lost();
}

#[test]
fn attaching_twice_one_after_the_other_counts_each_time_anew() {
    let Some(stage) = Stage::with_bpf("twice") else {
        return;
    };
    let (mut target, mut first) = followed(&stage, &[]);
    first.process.signal(Signal::SIGINT);
    assert_reports_the_leak(&first.finish());
    assert_no_probe_left(target.pid());
    let mut second = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut second, target.pid());
    std::thread::sleep(Duration::from_millis(300));
    second.process.signal(Signal::SIGINT);
    let report = second.finish();
    assert_reports_the_leak(&report);
    // The blocks of the first time that are freed now: all that were live, and no more.
    assert!(report.number("/quality/unknown_frees") <= 100);
    assert_ne!(report.summary(), Counts::default());
    assert_unharmed(&mut target);
}

#[test]
fn a_launched_command_runs_as_the_user_asked_for() {
    let Some(stage) = Stage::with_bpf("user") else {
        return;
    };
    let mut trace = Trace::launch_with(
        &stage,
        &["--user", "nobody"],
        &["/usr/bin/id", "-u", "-n"],
        |command| {
            command.stdin(Stdio::null());
        },
    );
    trace.finish();
    assert_eq!(trace.process.stdout().trim(), "nobody");
}
