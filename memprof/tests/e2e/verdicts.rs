//! Verdicts on real programs: what leaks is called a leak, and what does not is not.

use std::time::{Duration, Instant};

use memprof::probes::rings::{cpus, first_ring_bytes};
use memprof_common::settings::{COPY_RING_BYTES, RARE_RING_BYTES};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Report, Stage, Trace};

fn judged(test: &str, how: &str, seconds: &str) -> Option<Report> {
    let stage = Stage::shared(test)?;
    let arguments = [how, seconds];
    let report = Trace::launch(&stage, "grows", &arguments, &["--no-children"]).finish();
    report.assert_nothing_lost();
    println!("{how}: {}", report.at("/leak_detection"));
    Some(report)
}

fn row<'a>(report: &'a Report, function: &str) -> &'a Value {
    let row = report.rows().iter().find(|row| row["function"] == function);
    row.expect("the call path has a row")
}

#[test]
fn a_leak_is_called_one_and_its_call_path_is_named() {
    let Some(report) = judged("verdict_leak", "leak", "12") else {
        return;
    };
    let verdict = report.at("/leak_detection");
    assert_eq!(verdict["verdict"], "leak", "{verdict}");
    assert_eq!(verdict["leak_detected"], true);
    // 25 blocks of 512 bytes a second, a little fewer on a busy machine.
    let rate = verdict["rate_bytes_per_second"].as_f64().expect("a rate");
    assert!((6_000.0..15_000.0).contains(&rate), "{verdict}");
    let interval = &verdict["rate_ci95_bytes_per_second"];
    assert!(interval[0].as_f64() < Some(rate) && Some(rate) < interval[1].as_f64());
    assert!(verdict["limit_bytes"].as_u64() > Some(1 << 20), "{verdict}");
    assert!(verdict["projected_oom_seconds"].as_f64() > Some(0.0));
    assert!(
        verdict["reasons"]
            .as_array()
            .is_some_and(|reasons| reasons.len() > 2)
    );
    assert_eq!(row(&report, "leak_one")["verdict"], "leak");
    assert_ne!(row(&report, "work")["verdict"], "leak");
}

#[test]
fn a_leak_by_many_call_paths_is_one_of_the_whole() {
    let Some(report) = judged("verdict_spread", "spread", "12") else {
        return;
    };
    let verdict = report.at("/leak_detection");
    assert_eq!(verdict["verdict"], "leak", "{verdict}");
}

#[test]
fn each_innocent_course_has_its_name() {
    let courses = [
        ("cache", "bounded", "cache_one"),
        ("start", "warm_up", "start_one"),
        ("flush", "sawtooth", "flushed_one"),
        ("steady", "stable", "work"),
    ];
    for (how, verdict, function) in courses {
        let Some(report) = judged(&format!("verdict_name_{how}"), how, "12") else {
            return;
        };
        let whole = report.at("/leak_detection");
        assert_eq!(whole["verdict"], verdict, "{whole}");
        assert_eq!(whole["leak_detected"], false);
        let path = row(&report, function);
        assert_eq!(path["verdict"], verdict, "{path}");
    }
}

#[test]
fn what_was_watched_for_too_short_a_time_to_tell_from_a_store_is_growing() {
    let Some(report) = judged("verdict_growing", "leak", "2") else {
        return;
    };
    let verdict = report.at("/leak_detection");
    assert_eq!(verdict["verdict"], "growing", "{verdict}");
    assert_eq!(row(&report, "leak_one")["verdict"], "growing");
}

#[test]
fn a_run_that_is_too_short_is_not_judged() {
    let Some(stage) = Stage::with_bpf("verdict_short") else {
        return;
    };
    let report = Trace::launch(&stage, "pairs", &["100", "2"], &[]).finish();
    let verdict = report.at("/leak_detection");
    assert_eq!(verdict["verdict"], "insufficient_data", "{verdict}");
    assert_eq!(verdict["severity"], Value::Null);
    assert!(
        verdict["reasons"][0]
            .as_str()
            .is_some_and(|reason| reason.contains("only"))
    );
}

/// What the rings take while none has grown.
fn at_first() -> u64 {
    let cpus = cpus().expect("there are CPUs").len() as u32;
    let rare = RARE_RING_BYTES + COPY_RING_BYTES;
    u64::from(cpus * first_ring_bytes(cpus) + rare)
}

/// Nobody reads the rings for a while: the target goes on, what does not fit is counted, and nothing
/// is judged by what is left.
#[test]
fn a_collector_that_is_stopped_costs_events_and_the_verdict_but_no_time_of_the_target() {
    let Some(stage) = Stage::with_bpf("overload") else {
        return;
    };
    let arguments = ["2000000", "1000"];
    let mut trace = Trace::launch(&stage, "pairs", &arguments, &["--no-children"]);
    std::thread::sleep(Duration::from_millis(1500));
    trace.process.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let target_ended = || {
        let truth = std::fs::read_to_string(stage.path("truth"));
        truth.is_ok_and(|text| !text.is_empty())
    };
    while !target_ended() && stopped.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(target_ended(), "the target waits for memprof");
    trace.process.signal(Signal::SIGCONT);
    let report = trace.finish();
    let lost = report.at("/quality/lost");
    println!("{lost}; {}", report.at("/leak_detection"));
    assert!(
        lost["alloc"].as_u64() > Some(0) && lost["free"].as_u64() > Some(0),
        "{lost}"
    );
    assert_eq!(report.at("/quality/complete"), false);
    assert_eq!(report.at("/leak_detection/verdict"), "insufficient_data");
    assert_ne!(row(&report, "pair")["verdict"], "leak");
    // The rings were full when it went on.
    let rings = report.number("/quality/overhead/ring_bytes");
    assert!(rings > at_first(), "{rings}");
    // What was seen and what was lost is all that there was.
    let allocated = report.number("/summary/allocated_count");
    let truth = trace.truth().total().allocated_count;
    let missing = truth.saturating_sub(allocated);
    assert!(
        missing <= lost["alloc"].as_u64().unwrap_or(0),
        "{missing} of {lost}"
    );
}
