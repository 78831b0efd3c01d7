//! What a hunt writes, whole: each find as it is made, and the end; and what is concluded from an exact
//! look's report.

use insta::assert_snapshot;
use memprof::export::{write_find, write_hunt};
use memprof::hunt::{Conclusion, Question, conclude, guiltiest};
use memprof::report::{
    Find, FindKind, GrownProcess, Hunt, HuntOverhead, HuntSchema, HuntScope, LeakDetection,
    Memprof, Report, TargetKind, Verdict, WatchedGrowth,
};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::{plain, sample};

const MIB: u64 = 1 << 20;
const FORMATS: [&str; 3] = ["text", "json", "jsonl"];

/// The report of a look that found the leak.
fn leaking() -> Report {
    let mut report = sample::report();
    report.top_allocators[0].verdict = Verdict::Leak;
    report.top_allocators[0].confidence = Some(0.46);
    report.top_allocators[0].rate_bytes_per_second = Some(1_520_000.0);
    report.top_allocators.truncate(2);
    report
}

fn growth(bytes: u64, rate: f64) -> WatchedGrowth {
    WatchedGrowth {
        growth_bytes: bytes,
        seconds: 5.5,
        rate_bytes_per_second: rate,
        rate_ci95_bytes_per_second: [0.97 * rate, 1.04 * rate],
    }
}

fn find(kind: FindKind, pid: u32, comm: &str) -> Find {
    let report = matches!(kind, FindKind::Leak).then(leaking).map(Box::new);
    let guilty = report.as_deref().and_then(guiltiest);
    Find {
        at_seconds: 14.2,
        pid,
        comm: Some(comm.to_owned()),
        exe: Some(format!("/usr/bin/{comm}")),
        kind,
        why: match kind {
            FindKind::Leak => "1 call path leaks, by +1.4 MiB/s".to_owned(),
            _ => format!(
                "it grows, and its allocator can't be probed: process {pid} ({comm}) is a Go program; \
                 who touches its memory first can be followed: memprof trace --pid {pid} --events mmap,faults"
            ),
        },
        watched: growth(8 * MIB, 1.5e6),
        looked_for_seconds: report.is_some().then_some(6.02),
        verdict: match kind {
            FindKind::Leak => Verdict::Leak,
            _ => Verdict::InsufficientData,
        },
        confidence: report.is_some().then_some(0.46),
        function: guilty.and_then(|one| one.function.clone()),
        file: guilty.and_then(|one| one.file.clone()),
        line: guilty.and_then(|one| one.line),
        report,
    }
}

fn grown(pid: u32, comm: &str, to: u64, said: Option<&str>) -> GrownProcess {
    GrownProcess {
        pid,
        comm: Some(comm.to_owned()),
        exe: Some(format!("/usr/bin/{comm}")),
        has_ended: false,
        watched_seconds: [0.0, 60.5],
        first_bytes: 20 * MIB,
        last_bytes: to,
        growth: growth(8 * MIB, 1.5e6),
        grows: true,
        looks: u32::from(said.is_some()),
        said: said.map(str::to_owned),
    }
}

fn hunt() -> Hunt {
    let report = sample::report();
    Hunt {
        schema: HuntSchema::V1,
        memprof: Memprof {
            version: "0.1.0".to_owned(),
        },
        host: report.host,
        started_at: report.started_at,
        duration_seconds: 60.7,
        scope: HuntScope {
            kind: TargetKind::Cgroup,
            pids: Vec::new(),
            names: vec!["server".to_owned()],
            cgroups: vec!["/system.slice/web.service".to_owned()],
        },
        processes_watched: 4211,
        processes_left_out: 115,
        min_growth_bytes: MIB,
        min_confidence: 0.4,
        looks: 3,
        overhead: HuntOverhead {
            own_cpu_seconds: Some(1.74),
            watch_cpu_seconds: 0.91,
            probe_hits: 461_796,
            estimated_target_seconds: 0.588,
        },
        growing: vec![
            grown(1234, "server", 108 * MIB, Some("leak")),
            GrownProcess {
                has_ended: true,
                ..grown(77, "indexer", 41 * MIB, Some("unprobed"))
            },
            GrownProcess {
                looks: 3,
                grows: false,
                ..grown(88, "cache", 30 * MIB, Some("innocent"))
            },
        ],
        finds: vec![
            find(FindKind::Leak, 1234, "server"),
            find(FindKind::Unprobed, 77, "indexer"),
        ],
        finds_left_out: 0,
        notes: vec![
            "115 processes were not watched: there was room for 4096 at one time".to_owned(),
        ],
    }
}

/// All that is written of a hunt, from the first find to the end.
fn written(hunt: &Hunt, format: &str, width: usize) -> String {
    let format = format.parse().unwrap();
    let mut written = Vec::new();
    for (find, number) in hunt.finds.iter().zip(1..) {
        write_find(find, number, format, plain(width), &mut written).unwrap();
    }
    write_hunt(hunt, format, plain(width), &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

#[test]
fn text_of_a_hunt() {
    assert_snapshot!(written(&hunt(), "text", 100));
}

#[test]
fn text_of_a_hunt_that_found_nothing() {
    let nothing = Hunt {
        finds: Vec::new(),
        growing: Vec::new(),
        notes: Vec::new(),
        processes_watched: 1,
        processes_left_out: 0,
        looks: 0,
        overhead: HuntOverhead::default(),
        ..hunt()
    };
    assert_snapshot!(written(&nothing, "text", 60));
}

#[test]
fn no_line_of_text_is_longer_than_the_width() {
    for width in [40, 60, 99, 200] {
        for line in written(&hunt(), "text", width).lines() {
            assert!(line.width() <= width, "{width}: {line:?}");
        }
    }
}

#[test]
fn the_json_reads_back_and_its_fields_are_the_contract() {
    let hunt = hunt();
    let json = written(&hunt, "json", 100);
    assert_eq!(serde_json::from_str::<Hunt>(&json).unwrap(), hunt);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["schema"], "memprof/hunt/v1");
    assert_eq!(value["scope"]["kind"], "cgroup");
    let fields = |value: &Value| -> String {
        let names: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.join(" ")
    };
    assert_eq!(
        fields(&value),
        "duration_seconds finds finds_left_out growing host looks memprof min_confidence \
         min_growth_bytes notes overhead processes_left_out processes_watched schema scope started_at"
    );
    assert_eq!(
        fields(&value["finds"][0]),
        "at_seconds comm confidence exe file function kind line looked_for_seconds pid report verdict \
         watched why"
    );
    assert_eq!(
        fields(&value["growing"][0]),
        "comm exe first_bytes grows growth has_ended last_bytes looks pid said watched_seconds"
    );
    assert_eq!(value["finds"][0]["kind"], "leak");
    assert_eq!(value["finds"][0]["report"]["schema"], "memprof/report/v1");
    assert_eq!(value["finds"][1]["report"], Value::Null);
}

#[test]
fn lines_of_json_are_a_find_each_and_the_whole() {
    let hunt = hunt();
    let text = written(&hunt, "jsonl", 100);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let schemas: Vec<&Value> = lines.iter().map(|line| &line["schema"]).collect();
    assert_eq!(
        schemas,
        ["memprof/find/v1", "memprof/find/v1", "memprof/hunt/v1"]
    );
    assert_eq!(lines[0]["function"], "order_book_add");
    let find: Find = serde_json::from_value(lines[1].clone()).unwrap();
    assert_eq!(find, hunt.finds[1]);
}

#[test]
fn names_from_processes_stay_names() {
    const HOSTILE: &str = "a\u{1b}[2J\nFind 9: x\r\u{202e}\u{2028}\u{85}\0";
    let text = || Some(HOSTILE.to_owned());
    let mut hunt = hunt();
    for process in &mut hunt.growing {
        (process.comm, process.exe, process.said) = (text(), text(), text());
    }
    for find in &mut hunt.finds {
        (find.comm, find.exe, find.function) = (text(), text(), text());
        find.why.push_str(HOSTILE);
        if let Some(report) = &mut find.report {
            for one in &mut report.top_allocators {
                (one.function, one.file, one.module) = (text(), text(), text());
            }
        }
    }
    hunt.notes.push(HOSTILE.to_owned());
    for format in FORMATS {
        let written = written(&hunt, format, 100);
        let odd = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
        assert!(!written.contains(odd), "{format}: {written}");
        let lines = written.lines();
        assert_eq!(lines.filter(|line| line.starts_with("Find 9")).count(), 0);
    }
}

/// What the looks here were to find out.
const ASKED: Question = Question {
    min_confidence: 0.4,
    rate: 1.5e6,
};

/// A look in which nothing grew.
fn peaceful() -> Report {
    let mut report = sample::report();
    report.leak_detection = LeakDetection {
        verdict: Verdict::Stable,
        leak_detected: false,
        confidence: Some(0.9),
        ..report.leak_detection
    };
    for one in &mut report.top_allocators {
        one.verdict = Verdict::Stable;
    }
    report.summary.rss_start_bytes = Some(100 * MIB);
    report.summary.rss_end_bytes = Some(100 * MIB);
    report.summary.unattributed_bytes = Some(0);
    report
}

#[test]
fn a_sure_leak_is_a_find_and_an_unsure_one_is_undecided() {
    let report = leaking();
    let sure = conclude(&report, ASKED, MIB);
    let leak = Conclusion::Find(FindKind::Leak, Verdict::Leak, Some(0.46));
    assert_eq!(sure, leak);
    assert!(sure.is_leak());
    let surer = Question {
        min_confidence: 0.9,
        ..ASKED
    };
    let unsure = conclude(&report, surer, MIB);
    let undecided = Conclusion::Find(FindKind::Undecided, Verdict::Leak, Some(0.46));
    assert_eq!(unsure, undecided);
    assert!(!unsure.is_leak());
    // It leaks, but that is not why the process grows.
    let more = Question { rate: 1e7, ..ASKED };
    assert_eq!(conclude(&report, more, MIB), undecided);
    let guilty = guiltiest(&report).unwrap();
    assert_eq!(guilty.function.as_deref(), Some("order_book_add"));
}

#[test]
fn a_leak_of_the_whole_is_one_though_no_call_path_leaks() {
    let mut report = peaceful();
    report.leak_detection.verdict = Verdict::Leak;
    report.leak_detection.confidence = Some(0.7);
    report.leak_detection.rate_bytes_per_second = Some(1e6);
    report.top_allocators[1].verdict = Verdict::Growing;
    report.top_allocators[1].confidence = Some(0.2);
    let leak = Conclusion::Find(FindKind::Leak, Verdict::Leak, Some(0.7));
    assert_eq!(conclude(&report, ASKED, MIB), leak);
}

#[test]
fn what_does_not_grow_is_innocent_unless_it_grows_elsewhere() {
    let mut report = peaceful();
    let innocent = Conclusion::Innocent(Verdict::Stable);
    assert_eq!(conclude(&report, ASKED, MIB), innocent);
    report.summary.rss_end_bytes = Some(110 * MIB);
    report.summary.unattributed_bytes = Some(2 * MIB as i64);
    assert_eq!(conclude(&report, ASKED, MIB), innocent, "blocks explain it");
    report.summary.unattributed_bytes = Some(9 * MIB as i64);
    let elsewhere = Conclusion::Find(FindKind::Elsewhere, Verdict::Stable, Some(0.9));
    assert_eq!(conclude(&report, ASKED, MIB), elsewhere);
    assert_eq!(conclude(&report, ASKED, 20 * MIB), innocent, "too little");
    report.leak_detection = LeakDetection::not_judged("it was seen for 2s only");
    let undecided = Conclusion::Find(FindKind::Undecided, Verdict::InsufficientData, None);
    assert_eq!(conclude(&report, ASKED, MIB), undecided);
}
