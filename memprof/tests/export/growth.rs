//! The growth in the text is that since an earlier report, over a time that means something.

use memprof::report::Report;

use super::{export, plain, sample};

/// The report of a moment at which the first stack holds so much.
fn moment(seconds: f64, bytes: u64) -> Report {
    let mut report = sample::report();
    report.duration_seconds = seconds;
    report.top_allocators.truncate(1);
    report.top_allocators[0].outstanding_bytes = bytes;
    report
}

fn final_growth(intervals: &[&Report], last: &Report) -> Option<String> {
    let text = export("text", plain(100), intervals, last);
    let line = text.lines().find(|line| line.contains("in the last"))?;
    line.split(", ")
        .find(|fact| fact.contains("in the last"))
        .map(str::to_owned)
}

#[test]
fn growth_is_measured_over_at_least_half_an_interval() {
    let (older, last) = (moment(5.0, 1 << 20), moment(10.0, 2 << 20));
    for (end, growth) in [
        (10.0, "+3.0 MiB in the last 5s"),
        (10.5, "+3.0 MiB in the last 5.5s"),
        (14.0, "+2.0 MiB in the last 4s"),
    ] {
        let found = final_growth(&[&older, &last], &moment(end, 4 << 20));
        assert_eq!(found.as_deref(), Some(growth));
    }
}

#[test]
fn growth_that_is_not_known_is_not_shown() {
    let end = moment(5.0, 4 << 20);
    assert_eq!(final_growth(&[], &end), None);
    assert_eq!(final_growth(&[&end], &end), None);
    let mut other_stack = moment(2.0, 1 << 20);
    other_stack.top_allocators[0].pid += 1;
    assert_eq!(final_growth(&[&other_stack], &end), None);
}

#[test]
fn a_known_rate_takes_the_place_of_the_growth() {
    let mut end = moment(5.0, 4 << 20);
    end.top_allocators[0].rate_bytes_per_second = Some(-2048.0);
    let before = moment(2.0, 1 << 20);
    assert_eq!(final_growth(&[&before], &end), None);
    assert!(export("text", plain(100), &[], &end).contains("-2.0 KiB/s"));
}
