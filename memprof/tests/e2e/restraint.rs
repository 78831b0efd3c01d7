//! Sampling, and the governor that holds down what tracing takes.

use crate::harness::{Report, Stage, Trace};

/// What the program holds, and where the report says that it is.
fn truth_and_interval(trace: &Trace, report: &Report) -> (u64, [u64; 2]) {
    let truth = trace.truth().total();
    let bounds = report.at("/summary/outstanding_bytes_ci95");
    let bound = |index: usize| bounds[index].as_u64().expect("a bound");
    let held = truth.allocated_bytes - truth.freed_bytes;
    (held, [bound(0), bound(1)])
}

#[test]
fn sampled_totals_are_estimates_whose_interval_holds_the_truth() {
    let Some(stage) = Stage::with_bpf("sampled") else {
        return;
    };
    let mut trace = Trace::launch(
        &stage,
        "pairs",
        &["300000", "10"],
        &["--sample-bytes", "4KiB", "--no-children"],
    );
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(report.at("/quality/sampling/mode"), "poisson");
    assert_eq!(report.number("/quality/sampling/mean_bytes"), 4096);
    assert_eq!(report.number("/quality/unknown_frees"), 0);
    let (held, [low, high]) = truth_and_interval(&trace, &report);
    let estimate = report.number("/summary/outstanding_bytes");
    println!("{held} bytes held, {estimate} ({low} to {high}) estimated");
    // One in twenty runs is outside of the interval, none in thousands is as far again.
    let room = high - low;
    assert!((low - room..high + room).contains(&held));
    assert!(estimate > low && estimate < high);
    assert!(room > held / 50, "some 730 blocks are taken of 30,000");
    let row = report.rows().iter().find(|row| row["function"] == "pair");
    let row = row.expect("the site has a row");
    assert!(row["outstanding_bytes_ci95"].is_array(), "{row}");
}

#[test]
fn samples_as_close_as_bytes_are_all_blocks() {
    let Some(stage) = Stage::with_bpf("sampled_all") else {
        return;
    };
    let arguments = ["20000", "10"];
    let mut trace = Trace::launch(&stage, "pairs", &arguments, &["--sample-bytes", "1"]);
    let report = trace.finish();
    report.assert_nothing_lost();
    let truth = trace.truth();
    assert_eq!(report.sites().get("pair"), truth.sites.get("pair"));
}

#[test]
fn tracing_that_takes_too_much_is_sampled_and_then_withdrawn() {
    let Some(stage) = Stage::with_bpf("governed") else {
        return;
    };
    let mut trace = Trace::launch(
        &stage,
        "pairs",
        &["6000000"],
        &["--max-overhead", "1%", "--no-children"],
    );
    let report = trace.finish();
    let steps = report.at("/quality/governor").as_array().expect("steps");
    let actions: Vec<_> = steps.iter().map(|step| &step["action"]).collect();
    assert_eq!(actions, ["sample", "detach"], "{steps:?}");
    for step in steps {
        assert!(step["share"].as_f64().expect("a share") > 0.01, "{step}");
    }
    let (first, last) = (&steps[0]["at_seconds"], &steps[1]["at_seconds"]);
    assert!(first.as_f64() < last.as_f64());
    assert_eq!(report.at("/quality/complete"), false);
    assert_eq!(report.at("/quality/sampling/mode"), "poisson");
    // What comes after is not seen.
    let hits = report.number("/quality/overhead/probe_hits");
    assert!(hits > 10_000 && hits < 12_000_000, "{hits}");
    assert_eq!(report.at("/target/processes/0/exit_status"), 0);
}

#[test]
fn tracing_that_takes_little_is_left_alone() {
    let Some(stage) = Stage::with_bpf("ungoverned") else {
        return;
    };
    let arguments = ["1000000", "10"];
    let mut trace = Trace::launch(&stage, "pairs", &arguments, &["--max-overhead", "100%"]);
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(report.at("/quality/governor"), &serde_json::json!([]));
    assert_eq!(report.at("/quality/sampling/mode"), "all");
    let truth = trace.truth();
    assert_eq!(report.sites().get("pair"), truth.sites.get("pair"));
}
