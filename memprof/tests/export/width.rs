//! The text keeps to the width that it was given, whatever the names and figures are.

use memprof::export::Style;
use memprof::report::Report;
use unicode_width::UnicodeWidthStr;

use super::{export, plain, sample};

/// Names and figures that need more room than there is.
fn wide_report() -> Report {
    let mut report = sample::troubled();
    let name = "名前::".repeat(100);
    report.target.processes[0].comm = Some(name.clone());
    report
        .top_allocators
        .extend(sample::report().top_allocators);
    for one in &mut report.top_allocators {
        one.outstanding_bytes = u64::MAX;
        one.outstanding_count = u64::MAX;
        one.oldest_age_seconds = Some(f64::MAX);
        one.rate_bytes_per_second = Some(f64::MIN);
    }
    report.top_allocators[0].function = Some(name.clone());
    report.top_allocators[0].stack[2].function = Some(name);
    report.summary.rss_start_bytes = Some(u64::MAX);
    report.quality.truncated_stacks = u64::MAX;
    report
}

#[test]
fn no_line_is_longer_than_the_width() {
    for (last, earlier) in [
        (sample::report(), sample::earlier()),
        (wide_report(), sample::troubled()),
        (sample::troubled(), wide_report()),
        (sample::reconciled(), sample::earlier()),
    ] {
        for width in (1..130).chain([400]) {
            for unicode in [true, false] {
                let style = Style {
                    unicode,
                    ..plain(width)
                };
                for line in export("text", style, &[&earlier, &last], &last).lines() {
                    assert!(line.width() <= width, "{width}: {line:?}");
                    assert!(!line.ends_with(' '), "{width}: {line:?}");
                }
            }
        }
    }
}

#[test]
fn the_guilty_function_and_its_line_are_readable_even_on_a_narrow_page() {
    let report = sample::report();
    let text = export("text", plain(60), &[], &report);
    let headline = text.lines().find(|line| line.contains(" 1.  ")).unwrap();
    assert!(headline.contains("order_book_add"), "{headline}");
    assert!(headline.contains("order_book.c:145"), "{headline}");
}
