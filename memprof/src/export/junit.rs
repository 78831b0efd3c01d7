//! JUnit's XML, which most pipelines show as test results: each criterion is a test case, and each
//! call path that fails one of its own.

use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Exporter;
use super::escape::escape;
use super::label::{allocator_label, frame_lines};
use crate::report::{Check, Criteria, Criterion, FailOn, Failure, Report};

const CLASS: &str = "memprof check";

/// Writes one suite at the end.
pub(super) struct JUnit;

impl Exporter for JUnit {
    fn finish(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let Some(check) = &report.check else {
            return Ok(());
        };
        let mut suite = TestSuite::new(CLASS);
        suite.set_time(Duration::try_from_secs_f64(report.duration_seconds).unwrap_or_default());
        for failure in &check.failures {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(failure.criterion.name());
            suite.add_test_case(case(failure, &failure.reason, status));
        }
        for one in check.suppressed.iter().chain(&check.in_baseline) {
            let message = format!("{}; let pass: {}", one.failure.reason, one.because);
            let status = TestCaseStatus::skipped();
            suite.add_test_case(case(&one.failure, &message, status));
        }
        let by_cycles = report.cycles.as_ref().map(|_| Criterion::Cycles);
        for criterion in asked_for(&check.criteria).into_iter().chain(by_cycles) {
            if check.failures.iter().all(|one| one.criterion != criterion) {
                suite.add_test_case(without_failure(check, criterion));
            }
        }
        if !check.unused_suppressions.is_empty() {
            let unused = check.unused_suppressions.join("\n");
            suite.set_system_out(clean(&format!("unused suppressions:\n{unused}")));
        }
        let mut document = quick_junit::Report::new("memprof");
        document.add_test_suite(suite);
        document.serialize(out).map_err(io::Error::other)
    }
}

fn case(failure: &Failure, message: &str, mut status: TestCaseStatus) -> TestCase {
    let name = failure.criterion.name();
    status.set_message(clean(message));
    let name = match &failure.allocator {
        Some(allocator) => {
            let frames = frame_lines(allocator, usize::MAX);
            status.set_description(clean(&frames.join("\n")));
            format!("{name}: {}", allocator_label(allocator))
        }
        None => name.to_owned(),
    };
    new_case(&name, status)
}

/// A criterion by which nothing failed: it passed, or could not be judged.
fn without_failure(check: &Check, criterion: Criterion) -> TestCase {
    let mut status = TestCaseStatus::success();
    if !check.not_judged.is_empty() {
        status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("not_judged");
        status.set_message(clean(&check.not_judged.join("; ")));
    }
    new_case(criterion.name(), status)
}

fn new_case(name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(clean(name), status);
    case.set_classname(CLASS);
    case
}

fn asked_for(criteria: &Criteria) -> Vec<Criterion> {
    let mut all = vec![Criterion::Leak];
    let given = [
        (criteria.fail_on == FailOn::Growing, Criterion::Growing),
        (
            criteria.max_growth_bytes_per_second.is_some(),
            Criterion::MaxGrowth,
        ),
        (
            criteria.max_outstanding_bytes.is_some(),
            Criterion::MaxOutstanding,
        ),
        (criteria.max_rss_bytes.is_some(), Criterion::MaxRss),
    ];
    all.extend(given.into_iter().filter(|one| one.0).map(|one| one.1));
    all
}

/// Line by line, as text for people.
fn clean(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| escape(line, true)).collect();
    lines.join("\n")
}
