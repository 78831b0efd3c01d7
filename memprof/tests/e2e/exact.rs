//! Programs of one behaviour each: what memprof says of every call site is what they say.

use std::process::Stdio;

use memprof::probes::rings::{cpus, first_ring_bytes};
use nix::sys::signal::Signal;

use crate::harness::{
    Counts, Report, ShimTotals, Stage, Trace, Truth, program, start_waiting, wait_attached,
};

/// What glibc's cache of one thread holds at the most: 64 sizes, 7 blocks of each.
const THREAD_CACHE_BLOCKS: u64 = 64 * 7;

/// Compares everything that the program knows about itself.
fn assert_exact(report: &Report, truth: &Truth) {
    report.assert_sites(truth);
    // A thread that ends has glibc free its cache of blocks that were freed before, by calls of
    // `free` inside the library that no interposed function sees (`tcache_thread_shutdown`).
    let unknown_frees = report.number("/quality/unknown_frees");
    let ended_threads = truth.optional_fact("ended_threads").unwrap_or(0);
    let most = truth.unknown_frees + ended_threads * THREAD_CACHE_BLOCKS;
    assert!(
        (truth.unknown_frees..=most).contains(&unknown_frees),
        "{unknown_frees} unknown frees, not {} to {most}",
        truth.unknown_frees
    );
    let (summary, total) = (report.summary(), truth.total());
    match truth.other_allocations {
        Some(0) => assert_eq!(summary, total, "the summary"),
        Some(others) => assert_eq!(
            summary.allocated_count,
            total.allocated_count + others,
            "allocations in all"
        ),
        None => assert!(summary.allocated_count >= total.allocated_count),
    }
    let rows = report
        .sites()
        .values()
        .fold(Counts::default(), |sum, &row| sum.and(row));
    assert_eq!(rows, summary, "the rows' sum is the summary");
}

/// Launches the program under memprof; its exit status must be `status`.
fn launched_exactly(test: &str, name: &str, arguments: &[&str], status: u64) -> Option<Report> {
    let stage = Stage::with_bpf(test)?;
    let mut trace = Trace::launch(&stage, name, arguments, &[]);
    let report = trace.finish();
    assert_exact(&report, &trace.truth());
    assert_eq!(
        report.number("/target/processes/0/exit_status"),
        status,
        "the target's own exit status"
    );
    Some(report)
}

/// Attaches to the program before it does anything that counts, and follows it to its end.
fn attached_exactly(test: &str, name: &str, arguments: &[&str], status: i32) -> Option<Report> {
    let stage = Stage::with_bpf(test)?;
    let mut target = start_waiting(&stage, name, arguments);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(status);
    let report = trace.finish();
    let truth = Truth::read(&stage.path(&format!("{name}.truth")));
    assert_exact(&report, &truth);
    Some(report)
}

#[test]
fn every_function_of_the_family_counts_exactly_when_launched() {
    launched_exactly("sites_launched", "sites", &[], 7);
}

#[test]
fn every_function_of_the_family_counts_exactly_when_attached_to() {
    attached_exactly("sites_attached", "sites", &[], 7);
}

#[test]
fn frees_by_other_threads_count_exactly_when_launched() {
    launched_exactly("threads_launched", "threads", &[], 0);
}

#[test]
fn frees_by_other_threads_count_exactly_when_attached_to() {
    attached_exactly("threads_attached", "threads", &[], 0);
}

#[test]
fn realloc_chains_count_exactly_when_launched() {
    launched_exactly("realloc_chain_launched", "realloc_chain", &[], 0);
}

#[test]
fn realloc_chains_count_exactly_when_attached_to() {
    attached_exactly("realloc_chain_attached", "realloc_chain", &[], 0);
}

#[test]
fn a_realloc_that_fails_leaves_its_block() {
    launched_exactly("realloc_fail", "realloc_fail", &[], 0);
}

#[test]
fn allocations_that_fail_count_nowhere() {
    launched_exactly("calloc_overflow", "calloc_overflow", &[], 0);
}

#[test]
fn blocks_from_before_the_attach_are_unknown_frees() {
    attached_exactly("midlife", "midlife", &[], 0);
}

/// Each call that never returned made a block that nobody got: lost, and said to be.
#[test]
fn a_call_left_by_longjmp_is_counted_and_does_not_silence_its_thread() {
    let Some(stage) = Stage::with_bpf("longjmp") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "longjmp", &[], &[]);
    let report = trace.finish();
    let truth = trace.truth();
    report.assert_nothing_lost();
    assert_eq!(report.sites(), truth.sites);
    assert_eq!(report.summary(), truth.total());
    assert_eq!(
        report.number("/quality/abandoned_calls"),
        truth.fact("jumps")
    );
}

#[test]
fn a_million_events_of_four_threads_lose_nothing() {
    launched_exactly("churn", "churn", &["4", "130000"], 0);
}

#[test]
fn a_deep_stack_is_whole() {
    let Some(report) = launched_exactly("deep", "deep", &["40"], 0) else {
        return;
    };
    let row = report
        .rows()
        .iter()
        .find(|row| row["function"] == "at_the_bottom")
        .expect("the call site has a row");
    let names: Vec<_> = row["stack"]
        .as_array()
        .expect("a stack is a list")
        .iter()
        .map(|frame| frame["function"].as_str().unwrap_or("?"))
        .collect();
    let position = names
        .iter()
        .position(|&name| name == "at_the_bottom")
        .expect("the call site is in its own stack");
    let descents = names[position + 1..]
        .iter()
        .take_while(|&&name| name == "descend")
        .count();
    assert_eq!(descents, 40, "{names:?}");
    assert_eq!(names.get(position + 41), Some(&"main"), "{names:?}");
    assert_eq!(
        row["file"].as_str().map(|file| file.ends_with("deep.c")),
        Some(true)
    );
    assert!(row["line"].is_u64(), "{row}");
}

#[test]
fn a_stack_deeper_than_the_limit_still_counts() {
    let Some(stage) = Stage::with_bpf("too_deep") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "deep", &["2000"], &[]);
    let report = trace.finish();
    let truth = trace.truth();
    assert_exact(&report, &truth);
    assert!(report.number("/quality/truncated_stacks") > 0);
}

/// The C++ library allocates as well (exceptions, its emergency pool), so the shim tells how much.
#[test]
fn exceptions_pass_and_bad_alloc_is_still_caught() {
    let Some(stage) = Stage::with_bpf("bad_alloc") else {
        return;
    };
    let mut trace = Trace::launch_with(&stage, &[], &[program("bad_alloc")], |command| {
        command
            .stdin(Stdio::null())
            .envs(ShimTotals::environment(&stage));
    });
    let report = trace.finish();
    let truth = trace.truth();
    assert_eq!(truth.fact("caught"), 300);
    assert_eq!(truth.fact("passed"), 300);
    report.assert_nothing_lost();
    let shim = ShimTotals::of_program(&stage, "bad_alloc");
    assert_eq!(
        report.summary(),
        shim.counts,
        "left memprof, right the shim"
    );
    assert_each_site_of_operator_new(&report, &truth);
}

/// The frame between these sites and `malloc` is `operator new`, which keeps no frame pointer.
fn assert_each_site_of_operator_new(report: &Report, truth: &Truth) {
    let seen = report.sites();
    for (site, told) in &truth.sites {
        assert_eq!(seen.get(site), Some(told), "{site}");
    }
}

#[test]
fn exceptions_pass_when_attached_to() {
    let Some(stage) = Stage::with_bpf("bad_alloc_attached") else {
        return;
    };
    let mut target = start_waiting(&stage, "bad_alloc", &[]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    let truth = Truth::read(&stage.path("bad_alloc.truth"));
    assert_eq!(truth.fact("caught"), 300);
    assert_eq!(truth.fact("passed"), 300);
    report.assert_nothing_lost();
    // The emergency pool is older than the attach, and exceptions are freed when caught.
    let (summary, told) = (report.summary(), truth.total());
    assert_eq!(summary.outstanding_bytes, told.outstanding_bytes);
    assert_eq!(summary.outstanding_count, told.outstanding_count);
    assert_each_site_of_operator_new(&report, &truth);
}

/// Memprof is kept from reading for as long as the target works. One ring has room for all of it, but
/// it is more than one thread takes on by itself.
#[test]
fn a_backlog_is_applied_exactly_and_by_several_threads() {
    let Some(stage) = Stage::with_bpf("backlog") else {
        return;
    };
    let cpus = cpus().expect("there are CPUs").len() as u32;
    // An allocation takes 40 bytes of a ring, a free 32, and a third of the blocks is kept.
    let pairs = first_ring_bytes(cpus) * 3 / 4 / (40 + 32 * 2 / 3);
    let mut target = start_waiting(&stage, "pairs", &[&pairs.to_string(), "3"]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    trace.process.signal(Signal::SIGSTOP);
    target.go();
    target.must_exit(0);
    trace.process.signal(Signal::SIGCONT);
    let report = trace.finish();
    assert_exact(&report, &Truth::read(&stage.path("pairs.truth")));
    let threads = report.number("/quality/overhead/collector_threads");
    // What one look takes in of one ring is left to one thread, and so is all on one CPU.
    let is_left_behind = pairs * 5 / 3 > 64 << 10;
    assert_eq!(threads > 1, is_left_behind && cpus > 1, "{threads} threads");
}
