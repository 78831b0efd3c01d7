//! Many processes, at one time and after one another, and ids that come back.

use crate::harness::{Stage, Trace};

#[test]
fn lives_of_one_process_id_are_told_apart() {
    let Some(stage) = Stage::with_bpf("same_pid") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "same_pid", &[], &[]);
    let report = trace.finish();
    report.assert_nothing_lost();
    let truths = trace.truths();
    assert_eq!(truths[0].pid, truths[2].pid, "the id came back");
    let rows = report.at("/processes").as_array().expect("a list");
    let mut held: Vec<u64> = rows
        .iter()
        .filter(|row| row["pid"] == truths[0].pid)
        .map(|row| row["outstanding_count"].as_u64().expect("a count"))
        .collect();
    held.sort_unstable();
    // Each has a copy of its parent's block.
    assert_eq!(held, [2, 3, 4], "{rows:?}");
    assert!(rows.iter().all(|row| row["comm"] == "same_pid"));
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn five_hundred_processes_and_thousands_of_short_lives_are_all_counted() {
    const LIVING: u64 = 500;
    const PASSING: u64 = 20_000;
    let Some(stage) = Stage::with_bpf("crowd") else {
        return;
    };
    let numbers = [LIVING, PASSING].map(|number| number.to_string());
    let mut trace = Trace::launch(&stage, "crowd", &[&numbers[0], &numbers[1]], &[]);
    trace.process.wait(std::time::Duration::from_secs(120));
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(report.number("/target/processes_met"), 1 + LIVING + PASSING);
    // Of those that ended the latest are told one by one; the others are in the totals.
    let rows = report.at("/processes").as_array().expect("a list").len() as u64;
    assert!((LIVING..LIVING + PASSING / 2).contains(&rows), "{rows}");
    let unlisted = report.number("/quality/unlisted_processes");
    assert_eq!(rows + unlisted, 1 + LIVING + PASSING);
    let whole = report.summary();
    assert_eq!(whole.allocated_count, LIVING + 2 * PASSING);
    assert_eq!(whole.allocated_bytes, 200 * LIVING + 600 * PASSING);
    assert!(report.number("/quality/overhead/collector_rss_bytes") < 300 << 20);
}
