//! Stacks that the kernel side can't follow to their end: a copy of them is unwound in the
//! collector, and what that can't follow either is cut short and counted.
//!
//! The truth comes from the program, whose functions note their own return addresses.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{Report, Stage, Trace, program};

/// Program counters, innermost first, and how often they were met.
type Stacks = BTreeMap<Vec<u64>, u64>;

/// A traced run: the report, and what the program noted.
struct Run {
    report: Report,
    truth: Stacks,
}

impl Run {
    fn of(test: &str, name: &str, arguments: &[&str]) -> Option<Self> {
        let stage = Stage::with_bpf(test)?;
        let stacks = stage.path("stacks");
        let mut target = vec![program(name).into_os_string()];
        target.extend(arguments.iter().map(Into::into));
        let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
            command
                .stdin(std::process::Stdio::null())
                .env("STACKS_FILE", &stacks);
        });
        let report = trace.finish();
        report.assert_nothing_lost();
        let truth = read_stacks(&fs::read_to_string(stacks).expect("the stacks are written"));
        Some(Self { report, truth })
    }

    /// The stacks of `leaf`, without what is inside of it, up to `main`'s caller, but for the
    /// C library's frames further out; and whether each goes on to the outermost.
    fn seen(&self) -> (Stacks, bool) {
        let mut seen = Stacks::new();
        let mut whole = true;
        for row in self.report.rows() {
            if !leaf_called(row) {
                continue;
            }
            let frames = row["stack"].as_array().expect("a stack is a list");
            let called = frames[2..].iter().filter(|frame| frame["inlined"] == false);
            let pcs = called.map(number).collect();
            let last = frames.last().map(|frame| &frame["function"]);
            whole &= last.is_some_and(|name| name == "_start" || name == "clone3");
            let count = row["allocated_count"].as_u64().expect("a count");
            *seen.entry(pcs).or_default() += count;
        }
        (seen, whole)
    }

    fn ways(&self, name: &str) -> u64 {
        self.report.number(&format!("/quality/stacks/{name}"))
    }
}

/// Whether a row of the report is an allocation of `leaf`.
fn leaf_called(row: &serde_json::Value) -> bool {
    row["stack"][1]["function"] == "leaf"
}

fn number(frame: &serde_json::Value) -> u64 {
    let text = frame["address"].as_str().expect("an address");
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hexadecimal")
}

fn read_stacks(text: &str) -> Stacks {
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let count = words.next().and_then(|count| count.parse().ok());
            let pcs = words
                .map(|pc| u64::from_str_radix(pc.trim_start_matches("0x"), 16).expect("an address"))
                .collect();
            (pcs, count.expect("a count"))
        })
        .collect()
}

/// Compares frame by frame: every stack of the truth, as often as it was met, whole.
fn assert_exact(run: &Run) {
    let (seen, whole) = run.seen();
    let mut cut = Stacks::new();
    for (pcs, count) in &seen {
        // The truth ends with `main`, memprof goes on into the C library.
        let known = run.truth.keys().find(|truth| pcs.starts_with(truth));
        let key = known.unwrap_or(pcs);
        *cut.entry(key.clone()).or_default() += count;
    }
    assert_eq!(hex(&cut), hex(&run.truth), "left memprof, right the truth");
    assert!(whole, "every stack goes on to the outermost frame");
    assert_eq!(run.report.number("/quality/truncated_stacks"), 0);
    assert_eq!(run.ways("copies_refused"), 0);
    println!(
        "{} stacks of {} allocations exact; {} of {} distinct stacks by copy",
        run.truth.len(),
        run.truth.values().sum::<u64>(),
        run.ways("by_copy"),
        run.ways("total"),
    );
}

fn hex(stacks: &Stacks) -> Vec<String> {
    stacks
        .iter()
        .map(|(pcs, count)| format!("{count} {pcs:x?}"))
        .collect()
}

fn exact_through(thunk: &str) {
    let test = format!("copied_{thunk}");
    let Some(run) = Run::of(&test, "copied", &["ways", thunk]) else {
        return;
    };
    assert_eq!(run.truth.values().sum::<u64>(), 1800);
    assert_exact(&run);
    assert!(run.ways("by_copy") >= run.truth.len() as u64);
}

#[test]
fn a_frame_that_is_found_through_rbx_is_passed_exactly() {
    exact_through("cfa_in_rbx");
}

#[test]
fn a_frame_that_takes_an_expression_is_passed_exactly() {
    exact_through("cfa_by_expression");
}

#[test]
fn a_return_address_in_a_register_is_found() {
    exact_through("return_address_in_r13");
}

#[test]
fn a_frame_pointer_in_a_register_is_found() {
    exact_through("rbp_in_r14");
}

#[test]
fn unwind_information_for_debuggers_alone_serves_as_well() {
    let arguments = ["ways", "cfa_in_rbx"];
    let Some(run) = Run::of("copied_debug_frame", "copied_debug_frame", &arguments) else {
        return;
    };
    assert_exact(&run);
}

#[test]
fn a_break_further_up_than_a_copy_reaches_from_the_call_is_passed_too() {
    let Some(run) = Run::of("copied_far", "copied", &["far", "cfa_by_expression"]) else {
        return;
    };
    assert_eq!(run.truth.values().sum::<u64>(), 1000);
    assert_exact(&run);
}

/// Equal ways of eight threads are as deep in each, so most share an id; what is left on the
/// threads' stacks from earlier calls may make some ids more, which the report joins.
#[test]
fn threads_on_the_same_way_share_a_stack() {
    let Some(run) = Run::of("copied_threads", "copied", &["ways", "cfa_in_rbx", "8"]) else {
        return;
    };
    assert_eq!(run.truth.values().sum::<u64>(), 8 * 1800);
    assert_exact(&run);
    let rows = run.report.rows().iter().filter(|row| leaf_called(row));
    assert_eq!(rows.count(), run.truth.len());
    assert!(run.ways("by_copy") < 8 * run.truth.len() as u64);
}

/// `one_way` and `another_way` call the same thunk with frames of one size.
#[test]
fn two_ways_to_one_depth_are_told_apart_by_the_return_addresses_above() {
    let Some(run) = Run::of("copied_fork", "copied", &["fork", "cfa_in_rbx"]) else {
        return;
    };
    assert_eq!(run.truth.len(), 2);
    assert_exact(&run);
}

#[test]
fn what_two_ways_with_one_id_do_not_have_in_common_is_cut_off() {
    let Some(run) = Run::of("copied_far_fork", "copied", &["far_fork", "cfa_in_rbx"]) else {
        return;
    };
    let (seen, _) = run.seen();
    let truth: Vec<_> = run.truth.keys().collect();
    assert_eq!(truth.len(), 2);
    let common: Vec<u64> = truth[0]
        .iter()
        .zip(truth[1])
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| *one)
        .collect();
    assert_eq!(common.len(), 3, "inner, the thunk and broad");
    let all = run.truth.values().sum();
    assert_eq!(hex(&seen), hex(&Stacks::from([(common, all)])));
    assert_eq!(run.report.number("/quality/truncated_stacks"), 1);
}

#[test]
fn what_no_unwind_information_describes_is_cut_short_and_counted() {
    let Some(run) = Run::of("copied_unknown", "copied", &["ways", "unknown"]) else {
        return;
    };
    let (seen, _) = run.seen();
    // All that is known of any of them: `leaf` was called by `inner`, that by the thunk.
    let known = run.truth.keys().next().expect("a stack")[..2].to_vec();
    let all = run.truth.values().sum();
    assert_eq!(hex(&seen), hex(&Stacks::from([(known, all)])));
    let cut = run.report.number("/quality/truncated_stacks");
    assert!(cut >= 2, "depths are told apart: {cut}");
    assert_eq!(run.ways("by_copy"), 0);
}

/// Traces 40,000 calls on 32 stacks and 40,000 on as many: both memprof and the target have to bear it.
fn assert_flood_is_borne(thunk: &str) -> Option<Report> {
    let stage = Stage::with_bpf(&format!("copied_flood_{thunk}"))?;
    let mut trace = Trace::launch(&stage, "copied", &["flood", thunk], &[]);
    let report = trace.finish();
    // New stacks may come faster than a busy machine lets them be read; blocks don't.
    for kind in ["alloc", "free", "process"] {
        assert_eq!(report.number(&format!("/quality/lost/{kind}")), 0);
    }
    let truth = trace.truth();
    assert!(report.number("/summary/allocated_count") >= truth.fact("calls"));
    let (few, many) = (truth.fact("few_ns"), truth.fact("many_ns"));
    let memory = report.number("/quality/overhead/collector_rss_bytes");
    println!(
        "{thunk}: {} ns a call on known stacks, {} on new ones; memprof {} MiB; {}",
        few / 40_000,
        many / 40_000,
        memory >> 20,
        report.at("/quality/stacks")
    );
    assert!(many < 5 * few, "{few} ns on few stacks, {many} on many");
    assert!(memory < 512 << 20, "{memory} bytes");
    Some(report)
}

#[test]
fn a_flood_of_stacks_that_copies_complete_is_limited() {
    let Some(report) = assert_flood_is_borne("cfa_in_rbx") else {
        return;
    };
    // 32 walks at 1,024 depths each, and one stack for what is beyond; the rest is the C library's.
    let total = report.number("/quality/stacks/total");
    assert!((10_000..32 * 1025 + 100).contains(&total), "{total}");
    assert!(report.number("/quality/stacks/copies_refused") > 0);
    assert!(report.number("/quality/stacks/by_copy") > 0);
}

#[test]
fn a_flood_of_stacks_that_no_copy_completes_ends_soon() {
    let Some(report) = assert_flood_is_borne("unknown") else {
        return;
    };
    // Copies say nothing, so the depths are told apart no longer.
    let total = report.number("/quality/stacks/total");
    assert!(total < 10_000, "{total}");
}
