//! What `memprof check` writes, whole, and that names from the target do no harm in it.

use insta::assert_snapshot;
use memprof::report::{Check, Outcome, Report};
use unicode_width::UnicodeWidthStr as _;

use super::{export_check, plain, sample};

const FORMATS: [&str; 4] = ["text", "json", "junit", "github"];

#[test]
fn text_of_a_check_that_failed() {
    assert_snapshot!(export_check("text", plain(100), &sample::checked()));
}

#[test]
fn junit_of_a_check_that_failed() {
    assert_snapshot!(export_check("junit", plain(100), &sample::checked()));
}

#[test]
fn junit_of_a_check_that_passed() {
    assert_snapshot!(export_check("junit", plain(100), &sample::passed()));
}

#[test]
fn github_of_a_check_that_failed() {
    assert_snapshot!(export_check("github", plain(100), &sample::checked()));
}

#[test]
fn a_check_that_passed_says_so_in_one_line_of_github() {
    let written = export_check("github", plain(100), &sample::passed());
    assert_eq!(written, "memprof check: passed (exit code 0)\n");
}

#[test]
fn the_decision_stands_in_the_json_and_reads_back() {
    let report = sample::checked();
    let written = export_check("json", plain(100), &report);
    let read: Report = serde_json::from_str(&written).unwrap();
    assert_eq!(read, report);
    let value: serde_json::Value = serde_json::from_str(&written).unwrap();
    let check = &value["check"];
    assert_eq!(check["outcome"], "failed");
    assert_eq!(check["exit_code"], 3);
    assert_eq!(check["failures"][0]["criterion"], "leak");
    assert_eq!(
        check["failures"][0]["allocator"]["function"],
        "order_book_add"
    );
    assert_eq!(check["failures"][1]["allocator"], serde_json::Value::Null);
    assert_eq!(check["suppressed"][0]["because"], "fills once, see #412");
    assert_eq!(check["criteria"]["fail_on"], "growing");
    let fields: Vec<&str> = check
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "criteria",
        "exit_code",
        "failures",
        "in_baseline",
        "judged_seconds",
        "not_judged",
        "outcome",
        "suppressed",
        "unused_suppressions",
    ];
    assert_eq!(fields, expected);
    let plain_report = serde_json::to_value(sample::report()).unwrap();
    assert!(plain_report.get("check").is_none());
}

fn with_check(change: impl FnOnce(&mut Check)) -> Report {
    let mut report = sample::checked();
    change(report.check.as_mut().unwrap());
    report
}

#[test]
fn what_could_not_be_judged_is_an_error_for_a_pipeline() {
    let report = with_check(|check| {
        check.failures.clear();
        check.outcome = Outcome::Undecided;
        check.exit_code = 4;
    });
    let junit = export_check("junit", plain(100), &report);
    assert!(junit.contains(r#"errors="5""#), "{junit}");
    let github = export_check("github", plain(100), &report);
    assert!(github.contains("::error title=memprof%3A not judged::--max-growth: how"));
    assert!(export_check("text", plain(100), &report).contains("NOT DECIDED"));
}

#[test]
fn of_many_failures_github_gets_as_many_as_it_shows_and_text_a_page() {
    let report = with_check(|check| {
        let one = check.failures[0].clone();
        check.failures = vec![one; 40];
    });
    let github = export_check("github", plain(100), &report);
    assert_eq!(github.matches("::error ").count(), 10);
    assert!(github.contains("::and 31 more failures\n"));
    assert!(export_check("text", plain(100), &report).contains("and 20 more"));
    let junit = export_check("junit", plain(100), &report);
    assert!(junit.contains(r#"failures="40""#));
}

/// Ends a line and a command, begins others, opens and closes XML.
const HOSTILE: &str = "a\u{1b}[2J\n::error::x\r\n::stop-commands::y,file=/etc/passwd%0A]]>\"'<failure/>&lt;\u{202e}\0";

#[test]
fn names_from_the_target_stay_names() {
    let report = with_check(|check| {
        for failure in &mut check.failures {
            failure.reason.push_str(HOSTILE);
            if let Some(allocator) = &mut failure.allocator {
                allocator.function = Some(HOSTILE.to_owned());
                allocator.file = Some(HOSTILE.to_owned());
                allocator.directory = Some(HOSTILE.to_owned());
                allocator.stack[2].function = Some(HOSTILE.to_owned());
            }
        }
        check.not_judged.push(HOSTILE.to_owned());
        check.unused_suppressions.push(HOSTILE.to_owned());
    });
    let kinds = sample::checked();
    for format in FORMATS {
        let written = export_check(format, plain(100), &report);
        let odd = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!written.contains(odd), "{format}: {written}");
    }
    let github = export_check("github", plain(100), &report);
    let commands = |text: &str| text.lines().filter(|line| line.starts_with("::")).count();
    let before = export_check("github", plain(100), &kinds);
    assert_eq!(commands(&github), commands(&before) + 2);
    let properties = github.lines().next().unwrap();
    let properties = properties
        .trim_start_matches("::")
        .split("::")
        .next()
        .unwrap();
    // Title, file and line: no comma is the target's.
    assert_eq!(properties.matches(',').count(), 2, "{properties}");
    let junit = export_check("junit", plain(100), &report);
    assert_eq!(junit.matches("<failure ").count(), 2);
    assert!(!junit.contains("<failure/>"));
}

#[test]
fn no_line_of_text_is_longer_than_the_width() {
    for width in [40, 60, 99, 200] {
        for line in export_check("text", plain(width), &sample::checked()).lines() {
            assert!(line.width() <= width, "{width}: {line:?}");
        }
    }
}
