//! Blocks joined with pages: what of a call path's memory was touched, who was first, and what is free on
//! pages that few survivors keep.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{
    PATIENCE, Process, Report, Stage, Trace, Truth, program, wait_attached, wait_until,
};

const BOTH: [&str; 2] = ["--events", "malloc,faults"];
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// The entry of `top_allocators` that leads through `function`.
fn row<'a>(report: &'a Report, function: &str) -> &'a Value {
    let mut rows = report.rows().iter().filter(|row| {
        let frames = row["stack"].as_array().expect("a stack");
        frames.iter().any(|frame| frame["function"] == function)
    });
    let row = rows
        .next()
        .unwrap_or_else(|| panic!("nothing of {function}"));
    assert!(rows.next().is_none(), "{function} has one call to malloc");
    row
}

fn number(row: &Value, field: &str) -> u64 {
    row[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} is no count: {row}"))
}

/// What of an entry was touched first by a function.
fn first_by(row: &Value, function: &str) -> u64 {
    let touchers = row["first_touched_by"].as_array().expect("a list");
    let touchers = touchers.iter().filter(|one| one["function"] == function);
    touchers.map(|one| number(one, "bytes")).sum()
}

/// What is known of the entries also of a process that had run before.
fn assert_touched(report: &Report) {
    assert_eq!(
        report.at("/events"),
        &serde_json::json!(["malloc", "faults"])
    );
    let touched = |function| number(row(report, function), "touched_bytes");
    // The page with the block's header is touched by malloc.
    let reserve = row(report, "reserve");
    assert_eq!(number(reserve, "outstanding_bytes"), 64 * MIB);
    assert_eq!(touched("reserve"), 4 * MIB + PAGE - 16);
    assert_eq!(first_by(reserve, "fill"), 4 * MIB);
    assert_eq!(first_by(reserve, "reserve"), PAGE - 16);
    let [fill, ..] = &reserve["first_touched_by"].as_array().expect("a list")[..] else {
        panic!("nobody touched it: {reserve}");
    };
    assert_eq!(
        (&fill["file"], &fill["function"]),
        (&"joined.c".into(), &"fill".into())
    );
    assert!(number(fill, "line") > 0);

    assert_eq!(touched("hold_all"), 8 * MIB);
    assert_eq!(first_by(row(report, "hold_all"), "hold_all"), 8 * MIB);

    // Its pages are those that it had before it was moved.
    assert_eq!(touched("grown"), 2 * MIB + PAGE - 16);
    let grown = row(report, "grown");
    assert!(first_by(grown, "fill_early") >= 2 * MIB - PAGE, "{grown}");

    let second = row(report, "second_user");
    assert_eq!(touched("second_user"), 100 << 10);
    assert_eq!(first_by(second, "second_user"), 0);
    // The heap's first page may have been touched when the program began.
    assert!(
        first_by(second, "first_user") >= (100 << 10) - PAGE,
        "{second}"
    );

    let survivors = row(report, "few_survivors");
    assert_eq!(number(survivors, "outstanding_bytes"), 1024 * 200);
    assert_eq!(touched("few_survivors"), 1024 * 200);
}

/// What is known besides of a process that was followed from its start.
fn assert_whole(report: &Report, truth: &Truth) {
    let untouched = |function| number(row(report, function), "untouched_bytes");
    let kept = |function| number(row(report, function), "kept_free_bytes");
    assert_eq!(untouched("reserve"), 60 * MIB - PAGE + 16);
    assert_eq!(untouched("grown"), 14 * MIB - PAGE + 16);
    for function in ["hold_all", "second_user", "few_survivors"] {
        assert_eq!(untouched(function), 0, "{function}");
    }
    let expected = truth.fact("kept_free_bytes");
    assert!(expected > 3 * MIB, "the allocator gave out other memory");
    // At both ends others may be near.
    let found = kept("few_survivors");
    assert!(
        found.abs_diff(expected) <= 2 * PAGE,
        "{found} of {expected}"
    );
    for function in ["reserve", "hold_all", "second_user"] {
        assert!(kept(function) <= PAGE, "{function}: {}", kept(function));
    }
    let all = report.number("/summary/kept_free_bytes");
    assert!(all >= found && all <= found + 8 * PAGE, "{all}");
    let held = report.number("/summary/held_touched_bytes");
    let rest = report.number("/summary/held_untouched_bytes");
    assert_eq!(held + rest, report.number("/summary/outstanding_bytes"));
    assert!(rest >= untouched("reserve"));
}

#[test]
fn a_block_knows_what_of_it_was_touched_and_by_whom_first() {
    let Some(stage) = Stage::with_bpf("joined_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "joined", &[], &BOTH);
    let report = trace.finish();
    assert_touched(&report);
    assert_whole(&report, &trace.truth());
}

#[test]
fn what_was_there_before_attaching_is_not_called_untouched_and_pages_that_went_silently_are_found()
{
    let Some(stage) = Stage::with_bpf("joined_attached") else {
        return;
    };
    let mut command = Command::new(program("joined"));
    let command = command
        .arg("waits")
        .env("TRUTH_FILE", stage.path("joined.truth"))
        .stdin(Stdio::piped());
    let mut target = Process::start(&stage, "joined", command);
    wait_until("it is ready", PATIENCE, || {
        target.stdout().contains("ready")
    });
    let mut trace = Trace::attach(&stage, &[target.pid()], &BOTH);
    wait_attached(&mut trace, target.pid());
    target.tell("");
    wait_until("it holds its memory", PATIENCE, || {
        target.stdout().contains("kept")
    });
    let report = trace.stop();
    assert_touched(&report);
    for function in ["reserve", "hold_all", "second_user", "few_survivors"] {
        let row = row(&report, function);
        assert!(row["untouched_bytes"].is_null(), "{row}");
        assert!(row["kept_free_bytes"].is_null(), "{row}");
    }
    assert!(report.at("/summary/held_untouched_bytes").is_null());
    assert!(report.number("/summary/held_touched_bytes") > 12 * MIB);
    assert_eq!(report.number("/quality/faults/found_gone_pages"), 70);
    target.tell("");
    target.must_exit(0);
    assert!(Path::new(&stage.path("joined.truth")).exists());
}

#[test]
fn of_sampled_blocks_nothing_is_said_to_be_touched() {
    let Some(stage) = Stage::with_bpf("joined_sampled") else {
        return;
    };
    let more = [&BOTH[..], &["--sample-bytes", "64KiB"]].concat();
    let mut trace = Trace::launch(&stage, "joined", &[], &more);
    let report = trace.finish();
    assert!(report.at("/summary/held_touched_bytes").is_null());
    let reserve = row(&report, "reserve");
    assert!(reserve["touched_bytes"].is_null(), "{reserve}");
    let notes = report.at("/quality/notes").to_string();
    assert!(notes.contains("not every block was taken"), "{notes}");
}
