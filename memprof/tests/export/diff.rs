//! What changed between two reports: what is matched with what, what it is called, and what is
//! said where one of them does not list everything.

use insta::assert_snapshot;
use memprof::diff::{By, Change, Diff, StackChange, compare};
use memprof::export::write_diff;
use memprof::report::{Frame, Report, Verdict};

use super::{export, plain, sample};

/// A report that lists all that is outstanding.
fn whole() -> Report {
    let mut report = sample::report();
    sum_up(&mut report);
    report
}

fn sum_up(report: &mut Report) {
    let rows = &report.top_allocators;
    report.summary.outstanding_bytes = rows.iter().map(|row| row.outstanding_bytes).sum();
    report.summary.outstanding_count = rows.iter().map(|row| row.outstanding_count).sum();
}

fn compared<'a>(before: &'a Report, after: &'a Report) -> Diff<'a> {
    compare(
        ("before.json", before),
        ("after.json", after),
        By::OutstandingBytes,
        100,
    )
}

fn of<'a>(diff: &'a Diff<'a>, function: &str) -> Option<&'a StackChange<'a>> {
    let mut stacks = diff.stacks.iter();
    stacks.find(|one| one.function == Some(function))
}

fn written(diff: &Diff<'_>, format: &str) -> String {
    let mut written = Vec::new();
    let format = format.parse().unwrap();
    write_diff(diff, format, plain(100), &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

/// The same program, built and installed anew: nothing but the names has stayed.
fn rebuild(report: &mut Report) {
    for (at, frame) in report
        .top_allocators
        .iter_mut()
        .flat_map(|row| &mut row.stack)
        .enumerate()
    {
        frame.address = None;
        frame.offset = frame
            .offset
            .map(|offset| memprof::report::HexAddress(offset.0 + 64 * at as u64));
        frame.elf_address = frame.offset;
        frame.line = frame.line.map(|line| line + 7);
        frame.build_id = frame.build_id.as_ref().map(|_| "00ff".to_owned());
        frame.directory = frame.directory.as_ref().map(|_| "/build/2".to_owned());
        frame.module = frame.module.as_ref().map(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            format!("/opt/new/{name}")
        });
        if let Some(function) = &mut frame.function
            && function == "handle_request"
        {
            function.push_str(".constprop.0");
        }
    }
}

#[test]
fn a_report_and_itself_differ_in_nothing() {
    let report = whole();
    let diff = compared(&report, &report);
    assert!(diff.stacks.is_empty());
    assert!(diff.notes.is_empty(), "{:?}", diff.notes);
    assert_eq!(diff.counts.unchanged, report.top_allocators.len() as u64);
    assert_eq!(diff.outstanding_bytes_change, 0);
    assert!(written(&diff, "text").contains("No stack changed"));
}

#[test]
fn a_rebuilt_program_compares_with_itself() {
    let before = whole();
    let mut after = whole();
    rebuild(&mut after);
    let named = |report: &Report| {
        let rows = report.top_allocators.iter();
        let named = |frame: &Frame| frame.function.is_some();
        rows.filter(|row| row.stack.iter().all(named)).count() as u64
    };
    let diff = compared(&before, &after);
    assert!(named(&before) > 0);
    assert!(diff.counts.unchanged >= named(&before), "{:?}", diff.counts);
    assert_eq!(
        of(&diff, "order_book_add"),
        None,
        "it has a stripped frame, and is the same"
    );
}

#[test]
fn frames_without_a_name_are_told_apart_by_offset_within_one_build_only() {
    let mut before = whole();
    before.top_allocators.truncate(1);
    sum_up(&mut before);
    let mut after = before.clone();
    let frame = &mut after.top_allocators[0].stack[5];
    assert_eq!(frame.function, None);
    frame.offset = Some(memprof::report::HexAddress(0x99));
    frame.elf_address = frame.offset;
    let diff = compared(&before, &after);
    assert_eq!((diff.counts.new, diff.counts.gone), (1, 1));
    for frame in &mut after.top_allocators[0].stack {
        frame.build_id = Some("another".to_owned());
    }
    let diff = compared(&before, &after);
    assert_eq!((diff.counts.unchanged, diff.counts.new), (1, 0));
}

#[test]
fn what_is_new_gone_grown_and_shrunk_is_called_so() {
    let before = whole();
    let mut after = whole();
    let rows = &mut after.top_allocators;
    assert!(rows.len() >= 3);
    let names: Vec<String> = rows.iter().filter_map(|row| row.function.clone()).collect();
    rows[0].outstanding_bytes += 1000;
    rows[0].verdict = Verdict::Leak;
    rows[1].outstanding_count -= 1;
    let mut fresh = rows[0].clone();
    fresh.function = Some("fresh".to_owned());
    fresh.stack[2].function = Some("fresh".to_owned());
    fresh.outstanding_bytes = 5000;
    let gone = rows.remove(2);
    rows.push(fresh);
    sum_up(&mut after);
    let diff = compared(&before, &after);
    let change = |name: &str| of(&diff, name).map(|one| one.change);
    assert_eq!(change(&names[0]), Some(Change::Grown));
    let grown = of(&diff, &names[0]).unwrap();
    assert_eq!(grown.outstanding_bytes_change, Some(1000));
    assert!(grown.verdict_changed);
    assert_eq!(diff.counts.verdict_changed, 1);
    assert_eq!(change(&names[1]), Some(Change::Shrunk));
    assert_eq!(change("fresh"), Some(Change::New));
    assert_eq!(
        of(&diff, "fresh").unwrap().outstanding_bytes_change,
        Some(5000)
    );
    let lost = diff.stacks.iter().find(|one| one.change == Change::Gone);
    let change = -(gone.outstanding_bytes.cast_signed());
    assert_eq!(lost.unwrap().outstanding_bytes_change, Some(change));
    assert_snapshot!(written(&diff, "text"));
}

#[test]
fn what_a_report_does_not_list_is_not_called_new_or_gone() {
    let before = whole();
    let mut cut = whole();
    cut.top_allocators.truncate(1);
    let diff = compared(&cut, &before);
    assert!(!diff.before.lists_every_stack && diff.after.lists_every_stack);
    assert_eq!((diff.counts.new, diff.counts.gone), (0, 0));
    assert!(diff.counts.not_listed_before > 0);
    assert_eq!(diff.stacks[0].change, Change::NotListedBefore);
    assert_eq!(diff.stacks[0].outstanding_bytes_change, None);
    assert!(diff.notes[0].contains("--top"), "{:?}", diff.notes);
    let diff = compared(&before, &cut);
    assert_eq!(diff.stacks[0].change, Change::NotListedAfter);
}

#[test]
fn the_stacks_of_several_processes_are_one_and_its_worst_verdict_stands() {
    let mut before = whole();
    before.top_allocators.truncate(1);
    sum_up(&mut before);
    let mut after = before.clone();
    let mut other = after.top_allocators[0].clone();
    other.pid += 1;
    other.verdict = Verdict::Leak;
    other.confidence = Some(0.9);
    after.top_allocators.push(other);
    sum_up(&mut after);
    let diff = compared(&before, &after);
    assert_eq!(diff.stacks.len(), 1);
    let sum = diff.stacks[0].after.unwrap();
    assert_eq!(sum.outstanding_bytes, after.summary.outstanding_bytes);
    assert_eq!((sum.verdict, sum.confidence), (Verdict::Leak, Some(0.9)));
}

#[test]
fn the_order_is_that_of_the_largest_change_in_what_was_asked_for() {
    let before = whole();
    let mut after = whole();
    after.top_allocators[0].outstanding_bytes += 10;
    after.top_allocators[1].outstanding_count += 100;
    after.top_allocators[1].outstanding_bytes += 1;
    sum_up(&mut after);
    let first = |by| {
        let diff = compare(("a", &before), ("b", &after), by, 1);
        assert_eq!(diff.stacks.len(), 1);
        assert_eq!(diff.counts.grown, 2);
        diff.stacks[0].function.map(str::to_owned)
    };
    assert_eq!(
        first(By::OutstandingBytes),
        before.top_allocators[0].function
    );
    assert_eq!(
        first(By::OutstandingCount),
        before.top_allocators[1].function
    );
}

#[test]
fn runs_of_other_lengths_and_lost_events_are_noted() {
    let before = whole();
    let mut after = whole();
    after.duration_seconds *= 2.0;
    after.quality.complete = false;
    let notes = compared(&before, &after).notes.join("\n");
    assert!(notes.contains("lasted"), "{notes}");
    assert!(notes.contains("second report lost events"), "{notes}");
}

#[test]
fn the_json_has_the_fields_of_the_contract_in_its_order() {
    let before = whole();
    let mut after = whole();
    after.top_allocators[0].outstanding_bytes += 1000;
    after.top_allocators.truncate(1);
    after.top_allocators[0].stack.truncate(1);
    sum_up(&mut after);
    let mut before = before;
    before.top_allocators.truncate(1);
    before.top_allocators[0].stack.truncate(1);
    sum_up(&mut before);
    assert_snapshot!(written(&compared(&before, &after), "json"));
}

/// The largest and smallest numbers that a file can hold.
fn absurd(report: &mut Report, huge: f64) {
    report.duration_seconds = huge;
    report.summary.outstanding_bytes = u64::MAX;
    report.summary.outstanding_count = u64::MAX;
    report.summary.allocated_bytes = u64::MAX;
    report.summary.peak_at_seconds = Some(huge);
    report.summary.unattributed_bytes = Some(i64::MIN);
    report.leak_detection.rate_bytes_per_second = Some(huge);
    report.leak_detection.projected_oom_seconds = Some(huge);
    report.leak_detection.limit_bytes = Some(u64::MAX);
    for row in &mut report.top_allocators {
        row.rank = u32::MAX;
        row.outstanding_bytes = u64::MAX;
        row.outstanding_count = u64::MAX;
        row.shown_bytes = u64::MAX;
        row.allocated_bytes = u64::MAX;
        row.freed_count = u64::MAX;
        row.oldest_age_seconds = Some(huge);
        row.rate_bytes_per_second = Some(huge);
        row.confidence = Some(huge);
    }
    report.windows = sample::troubled().windows;
    for window in &mut report.windows {
        window.left_bytes = u64::MAX;
    }
    let mut cycles = sample::cycled().cycles.unwrap();
    cycles.warm_up = u32::MAX;
    cycles.left_bytes_per_cycle = Some(huge);
    cycles.left_count_per_cycle = Some(huge);
    cycles.growth_bytes_per_cycle = Some(huge);
    cycles.growth_bytes_per_cycle_ci95 = Some([huge, huge]);
    for path in &mut cycles.top_allocators {
        path.left_bytes_per_cycle = huge;
        path.left_count_per_cycle = huge;
    }
    report.cycles = Some(cycles);
    report.quality.lost.free = u64::MAX;
    report.quality.overhead.estimated_target_seconds = Some(huge);
    report.quality.overhead.estimated_target_seconds_error = Some(huge);
}

#[test]
fn numbers_from_a_file_that_no_run_has_do_no_harm() {
    for huge in [f64::MAX, -f64::MAX, f64::MIN_POSITIVE, -0.0] {
        let mut one = sample::report();
        absurd(&mut one, huge);
        let other = whole();
        for format in ["text", "json", "folded"] {
            export(format, plain(80), &[], &one);
        }
        for (before, after) in [(&one, &other), (&other, &one), (&one, &one)] {
            written(&compared(before, after), "text");
            written(&compared(before, after), "json");
        }
    }
}

#[test]
fn names_from_a_file_cannot_reach_the_terminal() {
    let before = whole();
    let mut after = whole();
    for row in &mut after.top_allocators {
        row.outstanding_bytes += 1;
        row.function = Some("a\u{1b}[2J\nb\u{202e}".to_owned());
    }
    after.started_at = "\u{1b}]0;x\u{7}".to_owned();
    sum_up(&mut after);
    for format in ["text", "json"] {
        let text = written(&compared(&before, &after), format);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text}");
    }
}
