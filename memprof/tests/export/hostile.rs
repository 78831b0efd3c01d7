//! Names that the target chose to harm whoever reads the report.

use memprof::report::{Frame, Report};

use super::{export, plain, sample};

/// Clears the screen, sets the title, starts lines, reverses the reading direction.
const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7}\u{1b}]0;title\u{7}\nb;c 99\r\n\u{202e}evil\u{2066}\u{2028}\u{85}\u{200b}z\0";

fn hostile_report() -> Report {
    let mut report = sample::troubled();
    let text = || HOSTILE.to_owned();
    report.host.kernel = text();
    report.host.arch = text();
    report.started_at = text();
    report.memprof.version = text();
    for process in &mut report.target.processes {
        process.comm = Some(text());
        process.exe = Some(text());
    }
    report.target.processes[0].cmdline = Some(vec![text(), text()]);
    for process in &mut report.processes {
        process.comm = Some(text());
    }
    report.leak_detection.reasons = vec![text()];
    for one in &mut report.top_allocators {
        one.function = Some(text());
        one.file = Some(text());
        one.module = Some(text());
        one.stack = vec![
            Frame {
                function: Some(text()),
                file: Some(text()),
                module: Some(text()),
                ..Frame::default()
            },
            Frame {
                module: Some(text()),
                unknown: Some(text()),
                ..Frame::default()
            },
        ];
    }
    report.windows[0].from = text();
    report.windows[0].top_allocators = report.top_allocators.clone();
    report.marks[0].label = text();
    let mut cycles = sample::cycled().cycles.unwrap();
    cycles.command = vec![text()];
    cycles.reasons = vec![text()];
    for path in &mut cycles.top_allocators {
        path.allocator = report.top_allocators[0].clone();
    }
    report.cycles = Some(cycles);
    for coverage in &mut report.quality.coverage {
        coverage.module = text();
        coverage.allocator = text();
        coverage.missing = vec![text()];
    }
    report.quality.notes = vec![text()];
    report
}

fn assert_harmless(format: &str, written: &str) {
    for c in written.chars().filter(|c| *c != '\n') {
        let bidi_or_separator = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}');
        assert!(
            !c.is_control() && !bidi_or_separator,
            "{format} let {c:?} through"
        );
    }
}

#[test]
fn no_format_lets_hostile_names_reach_the_terminal() {
    let report = hostile_report();
    for width in [40, 100, 1000] {
        let written = export("text", plain(width), &[&report], &report);
        assert_harmless("text", &written);
    }
    // With cycles, windows have no section.
    let windows = Report {
        cycles: None,
        reconciliation: None,
        reconciliation_unknown: None,
        ..report.clone()
    };
    assert_harmless("text", &export("text", plain(100), &[], &windows));
    for format in ["folded", "json", "jsonl"] {
        let intervals: &[&Report] = if format == "jsonl" { &[&report] } else { &[] };
        assert_harmless(format, &export(format, plain(80), intervals, &report));
    }
}

#[test]
fn a_name_cannot_forge_a_line_or_a_frame_of_the_folded_output() {
    let mut report = hostile_report();
    report.top_allocators[0].shown_bytes = 77;
    let written = export("folded", plain(80), &[], &report);
    let lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.len(), 1, "{written}");
    let (stack, bytes) = lines[0].rsplit_once(' ').unwrap();
    assert_eq!(bytes, "77");
    assert_eq!(
        stack.split(';').count(),
        3,
        "process and two frames: {stack}"
    );
}

#[test]
fn a_name_cannot_forge_a_line_of_the_text() {
    let mut report = hostile_report();
    let forged = "x\nTrust: exact: no event lost".to_owned();
    report.top_allocators[0].function = Some(forged.clone());
    report.target.processes[0].comm = Some(forged);
    let written = export("text", plain(200), &[], &report);
    assert_eq!(
        written
            .lines()
            .filter(|line| line.starts_with("Trust:"))
            .count(),
        1
    );
}

#[test]
fn hostile_names_survive_the_json_unchanged() {
    let report = hostile_report();
    let written = export("jsonl", plain(80), &[], &report);
    assert_eq!(written.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Report>(&written).unwrap(), report);
}
