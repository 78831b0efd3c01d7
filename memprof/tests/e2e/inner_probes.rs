//! One trap an allocation: where it is to be had, that it is one, and that nothing depends on it.

use std::fs;

use crate::harness::{Report, Stage, Trace, Truth, assert_no_probe_left, missing};

const PAIRS: u64 = 50_000;

/// Whether the C library is the one whose functions are known to be covered.
fn is_debian_12() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.contains("\nID=debian\n") && release.contains("\nVERSION_ID=\"12\"\n")
}

/// Traces a thread that allocates and frees; the report, and what `-v` says of `malloc` and
/// `calloc`.
fn trace(stage: &Stage, more: &[&str]) -> (Report, String) {
    let options: Vec<&str> = ["-v"].iter().chain(more).copied().collect();
    let mut trace = Trace::launch(stage, "churn", &["1", &PAIRS.to_string()], &options);
    let report = trace.finish();
    report.assert_nothing_lost();
    let truth: Truth = trace.truth();
    for (site, expected) in &truth.sites {
        assert_eq!(report.sites().get(site), Some(expected), "{site}");
    }
    let said = trace.process.stderr();
    let places = said.lines().filter(|line| {
        line.starts_with("memprof:   malloc: ") || line.starts_with("memprof:   calloc: ")
    });
    (report, places.collect::<Vec<_>>().join("\n"))
}

#[test]
fn malloc_and_calloc_of_debian_12_take_one_trap() {
    let test = "one_trap";
    let Some(stage) = Stage::with_bpf(test) else {
        return;
    };
    if !is_debian_12() {
        return missing(test, "this is not Debian 12");
    }
    // The kernel may still be taking out the probes of an earlier test.
    assert_no_probe_left(std::process::id());
    let (report, places) = trace(&stage, &[]);
    if places.contains("a probe of another tool is in it") {
        return missing(test, "somebody else traces this C library");
    }
    assert!(places.contains("malloc: one trap: `j"), "{places}");
    assert!(places.contains("calloc: one trap: `j"), "{places}");
    // A block's trap and its free's; the few that are no small ones take another for their size.
    let hits = report.number("/quality/overhead/probe_hits");
    assert!(
        (2 * PAIRS..2 * PAIRS + PAIRS / 10).contains(&hits),
        "{hits}"
    );
}

#[test]
fn entries_and_returns_do_where_inner_probes_are_not_wanted() {
    let Some(stage) = Stage::with_bpf("entry_probes") else {
        return;
    };
    let (report, places) = trace(&stage, &["--entry-probes"]);
    assert!(!places.contains("one trap"), "{places}");
    let hits = report.number("/quality/overhead/probe_hits");
    assert!(hits >= 3 * PAIRS - 100, "{hits}");
}
