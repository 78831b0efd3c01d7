//! USDT probes that tell of blocks: a pool that nothing else tells of, probes behind semaphores, and
//! blocks of malloc's that probes tell of again.

use crate::harness::{Report, Stage, Trace, Truth, start_waiting, wait_attached};

const WATCHED: [&str; 2] = ["--usdt", "watched"];

/// Every block is seen, and once.
fn assert_exact(report: &Report, truth: &Truth, said: &str) {
    report.assert_nothing_lost();
    let seen = report.sites();
    for (site, expected) in &truth.sites {
        assert_eq!(seen.get(site), Some(expected), "{site}: {said}");
    }
    assert_eq!(report.summary(), truth.total());
    assert!(truth.total().outstanding_count > 2_000);
    assert_eq!(report.number("/quality/unknown_frees"), 0);
    // The semaphores were held all the time.
    assert_eq!(truth.fact("unwatched"), 0);
}

/// What is covered of the program itself.
fn coverage(report: &Report) -> (String, Vec<String>) {
    let all = report.at("/quality/coverage").as_array();
    let mut all = all.expect("a list").iter();
    let one = all
        .find(|one| {
            let allocator = one["allocator"].as_str();
            allocator.is_some_and(|name| name.contains("usdt"))
        })
        .expect("the program's probes are covered");
    let attached = one["attached"].as_array().expect("a list").iter();
    let names = attached.map(|name| name.as_str().expect("a name").to_owned());
    let allocator = one["allocator"].as_str().expect("a name");
    (allocator.to_owned(), names.collect())
}

#[test]
fn blocks_that_probes_tell_of_are_exact_in_a_running_program() {
    let Some(stage) = Stage::with_bpf("usdt_attached") else {
        return;
    };
    let mut target = start_waiting(&stage, "usdt", &[]);
    let options = ["-v", WATCHED[0], WATCHED[1]];
    let mut trace = Trace::attach(&stage, &[target.pid()], &options);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    let truth = Truth::read(&stage.path("usdt.truth"));
    let said = trace.process.stderr();
    assert_exact(&report, &truth, &said);
    let (allocator, attached) = coverage(&report);
    assert_eq!(allocator, "usdt otel_memory and usdt watched");
    let names = [
        "otel_memory:alloc",
        "otel_memory:free",
        "watched:alloc",
        "watched:free",
    ];
    assert_eq!(attached, names);
    assert!(said.contains("by its semaphore"), "{said}");
}

#[test]
fn blocks_that_probes_tell_of_are_exact_from_the_start_of_a_program() {
    let Some(stage) = Stage::with_bpf("usdt_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "usdt", &[], &WATCHED);
    let report = trace.finish();
    assert_exact(&report, &trace.truth(), &trace.process.stderr());
}

#[test]
fn a_provider_that_nobody_named_is_left_alone() {
    let Some(stage) = Stage::with_bpf("usdt_unnamed") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "usdt", &[], &[]);
    let report = trace.finish();
    let truth = trace.truth();
    let (_, attached) = coverage(&report);
    assert_eq!(attached, ["otel_memory:alloc", "otel_memory:free"]);
    assert_eq!(report.sites().get("from_watched"), None);
    let watched = truth.sites["from_watched"];
    let told = watched.allocated_count + watched.freed_count;
    assert_eq!(truth.fact("unwatched"), told);
}

#[test]
fn a_provider_that_no_file_has_is_refused() {
    let Some(stage) = Stage::with_bpf("usdt_missing") else {
        return;
    };
    let mut target = start_waiting(&stage, "usdt", &[]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &["--usdt", "nobodys"]);
    trace.process.must_exit(2);
    let said = trace.process.stderr();
    assert!(said.contains("nobodys:alloc"), "{said}");
    target.go();
    target.must_exit(0);
}
