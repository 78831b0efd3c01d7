//! Each exporter's output, whole, as a person looked at it and found it good.

use insta::assert_snapshot;
use memprof::export::Style;

use super::{export, plain, sample};

#[test]
fn text_at_width_100() {
    let (earlier, last) = (sample::earlier(), sample::report());
    assert_snapshot!(export("text", plain(100), &[&earlier, &last], &last));
}

#[test]
fn text_at_width_60() {
    let (earlier, last) = (sample::earlier(), sample::report());
    assert_snapshot!(export("text", plain(60), &[&earlier, &last], &last));
}

#[test]
fn intervals_on_a_wide_page() {
    let (earlier, last) = (sample::earlier(), sample::report());
    let text = export("text", plain(140), &[&earlier, &last], &last);
    let (intervals, _) = text.split_once("memprof 0.1.0").unwrap();
    assert_snapshot!(intervals);
}

#[test]
fn text_with_mappings() {
    let report = sample::mapped();
    assert_snapshot!(export("text", plain(100), &[&report], &report));
}

#[test]
fn text_of_page_faults() {
    let last = sample::faulted();
    let mut earlier = last.clone();
    earlier.duration_seconds = 55.0;
    earlier.summary.touched_resident_bytes = Some(9_437_184);
    earlier.top_touchers[0].resident_bytes = 8_388_608;
    assert_snapshot!(export("text", plain(100), &[&earlier, &last], &last));
}

#[test]
fn text_of_page_faults_beside_blocks() {
    let report = sample::with_faults(sample::troubled());
    assert_snapshot!(export("text", plain(80), &[&report], &report));
}

#[test]
fn folded_page_faults_say_what_they_are() {
    let faulted = sample::faulted();
    assert_snapshot!(export("folded", plain(80), &[], &faulted));
    let beside_blocks = sample::with_faults(sample::report());
    assert_eq!(
        export("folded", plain(80), &[], &beside_blocks),
        export("folded", plain(80), &[], &sample::report())
    );
}

#[test]
fn text_of_a_troubled_run() {
    assert_snapshot!(export("text", plain(80), &[], &sample::troubled()));
}

#[test]
fn text_of_groups() {
    let text = export("text", plain(100), &[], &sample::grouped());
    let (head, rest) = text.split_once("Top allocators").unwrap();
    let first: Vec<&str> = rest.lines().take(4).collect();
    assert_snapshot!(format!("{head}Top allocators{}", first.join("\n")));
}

#[test]
fn text_of_cycles() {
    let text = export("text", plain(80), &[], &sample::cycled());
    let (_, cycles) = text.split_once("Left per cycle").unwrap();
    assert_snapshot!(cycles);
}

#[test]
fn the_number_of_threads_is_told_where_one_was_not_enough() {
    let mut report = sample::report();
    let told = "3 threads for the events";
    assert!(!export("text", plain(140), &[], &report).contains("threads for"));
    report.quality.overhead.collector_threads = Some(3);
    assert!(export("text", plain(140), &[], &report).contains(told));
}

#[test]
fn text_of_a_run_that_saw_nothing() {
    let mut report = sample::report();
    report.summary = Default::default();
    report.top_allocators.clear();
    report.quality = Default::default();
    report.target.processes.clear();
    assert_snapshot!(export("text", plain(80), &[&report], &report));
}

#[test]
fn text_in_colour_is_the_plain_text_and_escape_sequences() {
    let report = sample::report();
    let style = Style {
        color: true,
        ..plain(80)
    };
    let colored = export("text", style, &[&report], &report);
    let headline = colored.lines().find(|line| line.contains("1.  ")).unwrap();
    assert_snapshot!(headline.replace('\u{1b}', "ESC"));

    let mut stripped = String::new();
    for piece in colored.split('\u{1b}') {
        match piece
            .strip_prefix('[')
            .and_then(|rest| rest.split_once('m'))
        {
            Some((_, text)) => stripped.push_str(text),
            None => stripped.push_str(piece),
        }
    }
    assert_eq!(stripped, export("text", plain(80), &[&report], &report));
}

#[test]
fn text_without_unicode_is_ascii() {
    let report = sample::troubled();
    let style = Style {
        unicode: false,
        ..plain(70)
    };
    let text = export("text", style, &[&report], &report);
    assert!(text.is_ascii());
    assert!(text.contains("start -> request 7"));
}

#[test]
fn folded() {
    assert_snapshot!(export(
        "folded",
        plain(80),
        &[&sample::earlier()],
        &sample::report()
    ));
}

#[test]
fn json_of_a_troubled_run() {
    assert_snapshot!(export("json", plain(80), &[], &sample::troubled()));
}

#[test]
fn json_lines_has_one_line_per_interval_and_one_at_the_end() {
    let (earlier, last) = (sample::earlier(), sample::report());
    let written = export("jsonl", plain(80), &[&earlier, &last], &last);
    let reports: Vec<memprof::report::Report> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(reports, [earlier, last.clone(), last]);
}
