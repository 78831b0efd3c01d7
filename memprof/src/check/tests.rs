//! What passes, what fails, and what can't be told.

use super::*;
use crate::growth::SeverityBounds;
use crate::report::*;

fn frame(function: &str) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        module: Some("/usr/bin/server".to_owned()),
        ..Frame::default()
    }
}

/// A call path that leaks so many bytes a second, give or take a tenth.
fn leak(function: &str, rate: f64, confidence: f64) -> TopAllocator {
    TopAllocator {
        rank: 1,
        pid: 7,
        processes: 1,
        group: None,
        stack_id: HexStackId(1),
        kind: Default::default(),
        mapping: None,
        outstanding_bytes: 60_000,
        outstanding_count: 60,
        outstanding_bytes_ci95: None,
        shown_bytes: 60_000,
        shown_count: 60,
        allocated_bytes: 60_000,
        allocated_count: 60,
        freed_bytes: 0,
        freed_count: 0,
        oldest_age_seconds: Some(60.0),
        verdict: Verdict::Leak,
        confidence: Some(confidence),
        rate_bytes_per_second: Some(rate),
        rate_ci95_bytes_per_second: Some([0.9 * rate, 1.1 * rate]),
        left_bytes: Some((60.0 * rate) as u64),
        severity: Some(SeverityBounds::default().of((60.0 * rate) as u64, rate)),
        function: Some(function.to_owned()),
        file: Some("server.c".to_owned()),
        line: Some(12),
        directory: None,
        module: Some("/usr/bin/server".to_owned()),
        stack: vec![frame("malloc"), frame(function), frame("main")],
        touched_bytes: None,
        untouched_bytes: None,
        kept_free_bytes: None,
        first_touched_by: Vec::new(),
    }
}

fn growing(function: &str) -> TopAllocator {
    TopAllocator {
        verdict: Verdict::Growing,
        ..leak(function, 1000.0, 0.7)
    }
}

/// A minute's report whose whole is a leak if one of its call paths is, else stable.
fn report(paths: &[TopAllocator]) -> Report {
    let sure = paths.iter().filter(|one| one.verdict == Verdict::Leak);
    let sure = sure.filter_map(|one| one.confidence).fold(0.0, f64::max);
    let rate: f64 = paths
        .iter()
        .filter_map(|one| one.rate_bytes_per_second)
        .sum();
    let leaks = sure > 0.0;
    Report {
        schema: Schema::V1,
        memprof: Memprof::this(),
        host: Host {
            kernel: "6.18".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
        },
        target: Target {
            kind: TargetKind::Pid,
            names: Vec::new(),
            cgroups: Vec::new(),
            processes: Vec::new(),
            processes_met: None,
        },
        started_at: "2026-11-20T12:00:00Z".to_owned(),
        duration_seconds: 60.0,
        events: vec![EventKind::Malloc],
        summary: Summary {
            allocated_count: 1000,
            ..Summary::default()
        },
        leak_detection: LeakDetection {
            verdict: if leaks {
                Verdict::Leak
            } else {
                Verdict::Stable
            },
            leak_detected: leaks,
            confidence: Some(if leaks { sure } else { 0.9 }),
            severity: Some(Severity::None),
            rate_bytes_per_second: Some(rate),
            rate_ci95_bytes_per_second: Some([0.9 * rate, 1.1 * rate]),
            ..LeakDetection::not_judged("")
        },
        top_allocators: paths.to_vec(),
        top_touchers: Vec::new(),
        processes: Vec::new(),
        group_by: GroupBy::Process,
        groups: Vec::new(),
        marks: Vec::new(),
        windows: Vec::new(),
        cycles: None,
        reconciliation: None,
        reconciliation_unknown: None,
        timeline: Vec::new(),
        quality: Quality {
            complete: true,
            overhead: Overhead {
                probe_hits: Some(10_000),
                ..Overhead::default()
            },
            ..Quality::default()
        },
        check: None,
    }
}

fn policy() -> Policy {
    Policy {
        criteria: Criteria {
            fail_on: FailOn::Leak,
            confidence: 0.4,
            severity: Severity::None,
            max_growth_bytes_per_second: None,
            max_outstanding_bytes: None,
            max_rss_bytes: None,
            max_lost: 0.001,
        },
        bounds: SeverityBounds::default(),
        suppressions: Suppressions::default(),
        baseline: None,
    }
}

fn minute() -> Watched {
    Watched {
        seconds: Some(60.0),
        peak_outstanding_bytes: 100_000,
        peak_rss_bytes: Some(2_000_000),
    }
}

fn check(report: &Report, change: impl FnOnce(&mut Policy)) -> Check {
    let mut policy = policy();
    change(&mut policy);
    decide(report, &minute(), &policy)
}

fn functions(check: &Check) -> Vec<&str> {
    let allocators = check.failures.iter().map(|one| one.allocator.as_ref());
    allocators
        .map(|one| one.and_then(|one| one.function.as_deref()).unwrap_or("-"))
        .collect()
}

#[test]
fn a_leak_fails_from_the_confidence_asked_for_and_the_fastest_comes_first() {
    let report = report(&[leak("slow", 1000.0, 0.5), leak("fast", 5000.0, 0.5)]);
    let failed = check(&report, |_| {});
    assert_eq!((failed.outcome, failed.exit_code), (Outcome::Failed, 3));
    assert_eq!(functions(&failed), ["fast", "slow"]);
    assert_eq!(failed.failures[0].criterion, Criterion::Leak);
    let reason = &failed.failures[0].reason;
    assert!(reason.contains("confidence 0.50"), "{reason}");
    let passed = check(&report, |policy| policy.criteria.confidence = 0.8);
    assert_eq!((passed.outcome, passed.exit_code), (Outcome::Passed, 0));
}

#[test]
fn a_path_that_may_look_like_a_leak_by_chance_has_to_be_surer() {
    let mut report = report(&[leak("one_of_many", 1000.0, 0.6)]);
    report.leak_detection.verdict = Verdict::Growing;
    assert_eq!(check(&report, |_| {}).outcome, Outcome::Passed);
    report.top_allocators[0].confidence = Some(0.85);
    assert_eq!(check(&report, |_| {}).outcome, Outcome::Failed);
}

#[test]
fn growth_that_may_be_a_leak_fails_only_if_asked_for() {
    let mut report = report(&[growing("cache")]);
    report.leak_detection.verdict = Verdict::Growing;
    assert_eq!(check(&report, |_| {}).outcome, Outcome::Passed);
    let failed = check(&report, |policy| policy.criteria.fail_on = FailOn::Growing);
    assert_eq!(functions(&failed), ["cache"]);
    assert_eq!(failed.failures[0].criterion, Criterion::Growing);
}

#[test]
fn small_leaks_fail_by_severity_only_together() {
    // 60 s at 50 KB/s: 3 MB each, minor.
    let least_moderate = |policy: &mut Policy| policy.criteria.severity = Severity::Moderate;
    let one = report(&[leak("a", 50e3, 0.6)]);
    assert_eq!(check(&one, |_| {}).outcome, Outcome::Failed);
    assert_eq!(check(&one, least_moderate).outcome, Outcome::Passed);
    let two = report(&[leak("a", 50e3, 0.6), leak("b", 50e3, 0.6)]);
    assert_eq!(functions(&check(&two, least_moderate)).len(), 2);
}

#[test]
fn a_suppressed_leak_passes_and_what_suppresses_nothing_is_told() {
    let file = r#"
        [[suppression]]
        function = "plugin_*"
        stack = "main"
        module = "server"
        reason = "plugins stay loaded"

        [[suppression]]
        function = "plugin_load"
        module = "libother.so*"
        reason = "of old"
    "#;
    let suppress = |policy: &mut Policy| {
        policy.suppressions = Suppressions::parse(file).expect("it is well-formed");
    };
    let both = report(&[leak("plugin_load", 1000.0, 0.6), leak("other", 900.0, 0.6)]);
    let check_both = check(&both, suppress);
    assert_eq!(functions(&check_both), ["other"]);
    let alone = check(&report(&[leak("plugin_load", 1000.0, 0.6)]), suppress);
    assert_eq!(alone.outcome, Outcome::Passed);
    assert_eq!(alone.suppressed[0].because, "plugins stay loaded");
    let unused = r#"function "plugin_load", module "libother.so*" (of old)"#;
    assert_eq!(alone.unused_suppressions, [unused]);
}

#[test]
fn a_suppression_matches_whole_names() {
    let matches = |line: &str| {
        let file = format!("[[suppression]]\n{line}\nreason = \"x\"");
        let all = Suppressions::parse(&file).expect("it is well-formed");
        !all.matching(&leak("plugin_load", 1.0, 0.5)).is_empty()
    };
    assert!(matches("function = 'plugin_load'"));
    assert!(matches("function = 'plugin_l??d'"));
    assert!(!matches("function = 'plugin'"));
    assert!(matches("stack = 'ma?n'"));
    assert!(!matches("function = 'main'"));
    assert!(matches("module = '/usr/bin/server'") && matches("module = 'server'"));
    assert!(!matches("module = 'bin/server'"));
}

#[test]
fn the_example_in_the_repository_is_well_formed() {
    let file = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/suppressions.toml"
    ));
    assert_eq!(Suppressions::parse(file).map(|all| all.len()), Ok(2));
}

#[test]
fn a_file_of_suppressions_that_makes_no_sense_is_refused_in_one_line() {
    for (file, why) in [
        ("[[suppression]]\nfunction = 'a'", "1 has no reason"),
        (
            "[[suppression]]\nfunction = 'a'\nreason = ' '",
            "1 has no reason",
        ),
        ("[[suppression]]\nreason = 'b'", "1 says nothing"),
        (
            "[[suppression]]\nfunction = ''\nreason = 'b'",
            "empty function",
        ),
        ("\n[[suppression]]\nfunktion = 'a'", "line 3: unknown field"),
        ("suppression = 7", "line 1: "),
        ("[[suppression", "line 1: "),
    ] {
        let refusal = Suppressions::parse(file).expect_err(file).to_string();
        assert!(refusal.contains(why), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let many = "[[suppression]]\nfunction='a'\nreason='b'\n".repeat(MAX_SUPPRESSIONS + 1);
    assert!(Suppressions::parse(&many).is_err());
    assert!(Suppressions::parse("").is_ok_and(|none| none.is_empty()));
}

#[test]
fn only_what_is_new_or_clearly_faster_fails_against_a_baseline() {
    let before = report(&[leak("old", 1000.0, 0.6), growing("cache")]);
    let against = |now: &[TopAllocator]| {
        let mut now = now.to_vec();
        for one in &mut now {
            // Another build.
            one.stack_id = HexStackId(99);
            one.line = Some(14);
            one.stack[0].address = Some(HexAddress(0x5555));
        }
        check(&report(&now), |policy| {
            policy.baseline = Some(Baseline::of(&before));
        })
    };
    let same = against(&[leak("old", 1100.0, 0.6)]);
    assert_eq!((same.outcome, same.in_baseline.len()), (Outcome::Passed, 1));
    let faster = against(&[leak("old", 2000.0, 0.6)]);
    assert_eq!(functions(&faster), ["old"]);
    let new = against(&[leak("old", 1000.0, 0.6), leak("new", 10.0, 0.6)]);
    assert_eq!(functions(&new), ["new"]);
    let surer = against(&[leak("cache", 1000.0, 0.6)]);
    assert_eq!(surer.outcome, Outcome::Passed);
    let twice = against(&[leak("old", 1000.0, 0.6), leak("old", 1000.0, 0.6)]);
    assert_eq!(functions(&twice), ["old", "old"]);
}

#[test]
fn call_paths_that_did_not_grow_are_no_baseline() {
    let mut before = report(&[leak("old", 1000.0, 0.6)]);
    before.top_allocators[0].verdict = Verdict::Stable;
    let now = report(&[leak("old", 1000.0, 0.6)]);
    let failed = check(&now, |policy| policy.baseline = Some(Baseline::of(&before)));
    assert_eq!(functions(&failed), ["old"]);
}

#[test]
fn a_leak_that_is_spread_over_many_call_paths_fails_as_a_whole() {
    let mut spread = report(&[]);
    spread.leak_detection.verdict = Verdict::Leak;
    spread.leak_detection.confidence = Some(0.5);
    spread.leak_detection.rate_bytes_per_second = Some(1000.0);
    spread.leak_detection.rate_ci95_bytes_per_second = None;
    let failed = check(&spread, |_| {});
    assert_eq!(functions(&failed), ["-"]);
    let known = check(&spread, |policy| {
        policy.baseline = Some(Baseline::of(&spread));
    });
    assert_eq!(known.outcome, Outcome::Passed);
    let sure = check(&spread, |policy| policy.criteria.confidence = 0.8);
    assert_eq!(sure.outcome, Outcome::Passed);
}

#[test]
fn losses_prove_nothing_about_blocks_but_resident_memory_needs_none() {
    let strict = |policy: &mut Policy| {
        policy.criteria.max_outstanding_bytes = Some(1);
        policy.criteria.max_growth_bytes_per_second = Some(0.0);
    };
    let mut spoilt = report(&[leak("a", 1000.0, 0.9)]);
    spoilt.quality.lost.alloc = 5;
    assert_eq!(check(&spoilt, strict).outcome, Outcome::Failed);
    spoilt.quality.lost.alloc = 50;
    let undecided = check(&spoilt, strict);
    assert_eq!(undecided.exit_code, 4);
    assert!(undecided.not_judged[0].contains("0.50 % of the events"));
    let tolerant = check(&spoilt, |policy| policy.criteria.max_lost = 0.01);
    assert_eq!(tolerant.outcome, Outcome::Failed);

    spoilt.quality.lost = Lost {
        free: 1,
        ..Lost::default()
    };
    assert_eq!(check(&spoilt, strict).outcome, Outcome::Undecided);
    let heavy = check(&spoilt, |policy| {
        policy.criteria.max_rss_bytes = Some(1_999_999);
    });
    assert_eq!(heavy.failures[0].criterion, Criterion::MaxRss);
    assert_eq!(heavy.outcome, Outcome::Failed);
}

#[test]
fn without_probes_to_the_end_nothing_is_decided() {
    let mut report = report(&[leak("a", 1000.0, 0.9)]);
    report.quality.governor = vec![GovernorStep {
        at_seconds: 30.0,
        action: GovernorAction::Detach,
        share: 0.2,
    }];
    assert_eq!(check(&report, |_| {}).outcome, Outcome::Undecided);
}

#[test]
fn a_run_that_is_too_short_passes_nothing_and_fails_by_what_is_proved() {
    let short = Watched {
        seconds: Some(2.0),
        ..minute()
    };
    let mut policy = policy();
    let calm = report(&[]);
    let undecided = decide(&calm, &short, &policy);
    assert_eq!(undecided.outcome, Outcome::Undecided);
    assert!(undecided.not_judged[0].contains("for 2s only"));
    policy.criteria.max_outstanding_bytes = Some(99_999);
    let failed = decide(&calm, &short, &policy);
    assert_eq!(failed.failures[0].criterion, Criterion::MaxOutstanding);
    assert_eq!(failed.exit_code, 3);
}

#[test]
fn a_run_that_ends_within_its_warm_up_is_not_decided() {
    let warm = Watched {
        seconds: None,
        peak_rss_bytes: None,
        ..minute()
    };
    let mut policy = policy();
    policy.criteria.max_outstanding_bytes = Some(1);
    let check = decide(&report(&[leak("a", 1000.0, 0.9)]), &warm, &policy);
    assert_eq!(check.outcome, Outcome::Undecided);
    assert_eq!(check.not_judged, ["the run ended within its warm-up"]);
}

#[test]
fn growth_that_was_not_judged_is_not_decided() {
    let mut report = report(&[]);
    report.leak_detection = LeakDetection::not_judged("it was asleep");
    let check = check(&report, |_| {});
    assert_eq!(check.exit_code, 4);
    assert!(check.not_judged[0].ends_with("it was asleep"));
}

#[test]
fn growth_above_its_bound_fails_if_it_is_surely_growth() {
    let bound = |policy: &mut Policy| {
        policy.criteria.max_growth_bytes_per_second = Some(500.0);
        policy.criteria.confidence = 1.0;
    };
    let mut report = report(&[leak("a", 501.0, 0.9)]);
    let failed = check(&report, bound);
    assert_eq!(failed.failures[0].criterion, Criterion::MaxGrowth);
    report.leak_detection.rate_bytes_per_second = Some(500.0);
    assert_eq!(check(&report, bound).outcome, Outcome::Passed);
    report.leak_detection.rate_bytes_per_second = Some(900.0);
    report.leak_detection.rate_ci95_bytes_per_second = Some([-100.0, 2000.0]);
    assert_eq!(check(&report, bound).outcome, Outcome::Passed);
    report.leak_detection.rate_bytes_per_second = None;
    assert_eq!(check(&report, bound).outcome, Outcome::Undecided);
}

#[test]
fn resident_memory_that_nobody_saw_is_not_within_its_bound() {
    let unseen = Watched {
        peak_rss_bytes: None,
        ..minute()
    };
    let mut policy = policy();
    policy.criteria.max_rss_bytes = Some(1 << 30);
    let check = decide(&report(&[]), &unseen, &policy);
    assert_eq!(check.outcome, Outcome::Undecided);
}

/// Twenty cycles, of which all that count left a block at each of these functions.
fn cycled(leaks: Option<bool>, functions: &[&str]) -> Report {
    let path = |function: &&str| LeftPerCycle {
        left_bytes_per_cycle: 512.0,
        left_count_per_cycle: 1.0,
        cycles: 16,
        leaks,
        allocator: TopAllocator {
            verdict: Verdict::Stable,
            ..leak(function, 0.0, 0.9)
        },
    };
    Report {
        cycles: Some(Cycles {
            kind: CycleKind::Action,
            command: vec!["curl".to_owned()],
            requested: 20,
            completed: 20,
            failed: 0,
            warm_up: 4,
            left_bytes_per_cycle: Some(512.0),
            left_count_per_cycle: Some(1.0),
            growth_bytes_per_cycle: Some(512.0),
            growth_bytes_per_cycle_ci95: None,
            leaks,
            reasons: vec!["as it is".to_owned()],
            cycles: Vec::new(),
            top_allocators: functions.iter().map(path).collect(),
        }),
        ..report(&[])
    }
}

#[test]
fn what_nearly_every_cycle_leaves_fails_unless_it_is_suppressed() {
    let report = cycled(Some(true), &["one", "other"]);
    let failed = check(&report, |_| {});
    assert_eq!(functions(&failed), ["one", "other"]);
    assert_eq!(failed.failures[0].criterion, Criterion::Cycles);
    let reason = &failed.failures[0].reason;
    assert!(
        reason.contains("512 B a cycle") && reason.contains("16 of 16"),
        "{reason}"
    );
    let file = "[[suppression]]\nfunction = 'one'\nreason = 'a log'";
    let suppressed = check(&report, |policy| {
        policy.suppressions = Suppressions::parse(file).expect("it is well-formed");
    });
    assert_eq!(functions(&suppressed), ["other"]);
    assert!(suppressed.unused_suppressions.is_empty());
    assert_eq!(
        check(&cycled(Some(false), &["one"]), |_| {}).outcome,
        Outcome::Passed
    );
}

#[test]
fn cycles_that_say_nothing_leave_it_undecided() {
    let unknown = check(&cycled(None, &["one"]), |_| {});
    assert_eq!(unknown.outcome, Outcome::Undecided);
    assert!(
        unknown.not_judged[0].contains("as it is"),
        "{:?}",
        unknown.not_judged
    );
    let mut cut = cycled(Some(false), &[]);
    if let Some(cycles) = &mut cut.cycles {
        cycles.completed = 7;
    }
    assert_eq!(check(&cut, |_| {}).outcome, Outcome::Undecided);
    // Programs that end are told about, not judged.
    let mut launched = cycled(None, &["one"]);
    if let Some(cycles) = &mut launched.cycles {
        cycles.kind = CycleKind::Launch;
    }
    assert_eq!(check(&launched, |_| {}).outcome, Outcome::Passed);
}
