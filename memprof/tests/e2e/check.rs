//! `memprof check` on real programs: its exit code, and what it says for it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{MEMPROF, Process, Report, Stage, program};

/// A check that has ended.
struct Checked {
    process: Process,
    path: PathBuf,
}

impl Checked {
    /// Checks `grows HOW SECONDS`, and insists on an exit code.
    fn run(stage: &Stage, how: &str, seconds: &str, more: &[&str], code: i32) -> Self {
        let path = stage.path("report");
        let mut command = Command::new(MEMPROF);
        command
            .args(["check", "--no-children", "--output"])
            .arg(&path)
            .args(more)
            .arg("--")
            .arg(program("grows"))
            .args([how, seconds])
            .stdin(Stdio::null());
        let mut process = Process::start(stage, "memprof", &mut command);
        process.must_exit(code);
        Self { process, path }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("the report was written")
    }

    /// The decision, of a check whose format is JSON.
    fn decision(&self) -> Value {
        let report = Report::read(&self.path);
        report.assert_nothing_lost();
        println!("{}", report.at("/leak_detection"));
        report.at("/check").clone()
    }
}

fn functions(failures: &Value) -> Vec<&str> {
    let failures = failures.as_array().expect("a list");
    failures
        .iter()
        .filter_map(|failure| failure["allocator"]["function"].as_str())
        .collect()
}

const JSON: [&str; 2] = ["--format", "json"];

#[test]
fn a_leak_fails_and_its_function_is_named_in_every_format() {
    let Some(stage) = Stage::shared("check_leak") else {
        return;
    };
    let check = Checked::run(&stage, "leak", "10", &JSON, 3);
    let decision = check.decision();
    assert_eq!(decision["outcome"], "failed");
    assert_eq!(decision["exit_code"], 3);
    assert_eq!(functions(&decision["failures"]), ["leak_one"]);
    assert_eq!(decision["failures"][0]["criterion"], "leak");
    let line = &decision["failures"][0]["allocator"]["line"];

    let github = Checked::run(&stage, "leak", "8", &["--format", "github"], 3).text();
    let annotation = github.lines().next().expect("an annotation");
    assert!(annotation.starts_with("::error title=memprof%3A leak,file=/"));
    let place = format!("grows.c,line={line}::leak_one (grows.c:{line}) leaks");
    assert!(annotation.contains(&place), "{annotation}");

    let junit = Checked::run(&stage, "leak", "8", &["--format", "junit"], 3).text();
    assert!(junit.contains("<testcase name=\"leak: leak_one (grows.c:"));
    let text = Checked::run(&stage, "leak", "8", &[], 3).text();
    assert!(text.contains("FAILED: 1 failure"), "{text}");
}

#[test]
fn what_does_not_leak_passes_though_it_fills_a_cache_first() {
    let Some(stage) = Stage::shared("check_innocent") else {
        return;
    };
    let steady = Checked::run(&stage, "steady", "8", &JSON, 0).decision();
    assert_eq!(steady["outcome"], "passed");
    // The cache is full after 4 s.
    let cache = Checked::run(&stage, "cache", "14", &JSON, 0).decision();
    assert_eq!(cache["failures"], Value::Array(Vec::new()));
    let warm = [
        "--format",
        "json",
        "--fail-on",
        "growing",
        "--warm-up",
        "6s",
    ];
    let warm = Checked::run(&stage, "cache", "14", &warm, 0).decision();
    let seconds = warm["judged_seconds"].as_f64().expect("it was judged");
    assert!((7.0..12.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_leak_that_begins_before_the_warm_up_ends_fails_by_what_comes_after() {
    let Some(stage) = Stage::shared("check_warm_leak") else {
        return;
    };
    let more = ["--format", "json", "--warm-up", "3s"];
    let check = Checked::run(&stage, "leak", "12", &more, 3);
    assert_eq!(functions(&check.decision()["failures"]), ["leak_one"]);
    let report = Report::read(&check.path);
    // 25 blocks of 512 bytes a second, those of the warm-up too.
    assert_eq!(report.number("/summary/outstanding_bytes"), 300 * 512);
    let left = report.number("/check/failures/0/allocator/left_bytes");
    assert!(left < 260 * 512, "{left}");
}

#[test]
fn a_run_that_is_too_short_is_not_decided_and_may_fail_by_a_threshold() {
    let Some(stage) = Stage::shared("check_short") else {
        return;
    };
    let short = Checked::run(&stage, "steady", "1", &JSON, 4).decision();
    assert_eq!(short["outcome"], "undecided");
    let why = short["not_judged"][0].as_str().expect("a reason");
    assert!(why.contains("only"), "{why}");
    let warm = ["--format", "json", "--warm-up", "1m"];
    let warm = Checked::run(&stage, "steady", "1", &warm, 4).decision();
    assert_eq!(warm["not_judged"][0], "the run ended within its warm-up");
    let bounds = ["--max-outstanding", "1KiB", "--max-rss", "64KiB"];
    let bounds = [&JSON[..], &bounds].concat();
    let over = Checked::run(&stage, "steady", "1", &bounds, 3).decision();
    let criteria = [0, 1].map(|index| over["failures"][index]["criterion"].clone());
    assert_eq!(criteria, ["max_outstanding", "max_rss"]);
}

#[test]
fn a_threshold_fails_where_a_verdict_is_let_pass() {
    let Some(stage) = Stage::shared("check_threshold") else {
        return;
    };
    let more = ["--confidence", "0.99", "--max-growth", "10MB/h"];
    let more = [&JSON[..], &more].concat();
    let decision = Checked::run(&stage, "leak", "8", &more, 3).decision();
    assert_eq!(decision["failures"][0]["criterion"], "max_growth");
    let wide = ["--severity", "minor", "--max-growth", "100MB/h"];
    let wide = [&JSON[..], &wide].concat();
    Checked::run(&stage, "leak", "8", &wide, 0);
}

#[test]
fn a_leak_that_is_suppressed_or_in_the_baseline_passes() {
    let Some(stage) = Stage::shared("check_excused") else {
        return;
    };
    let list = stage.path("suppressions.toml");
    let entries = "[[suppression]]\nfunction = 'leak_*'\nreason = 'by design'\n\
                   [[suppression]]\nmodule = 'libold.so*'\nreason = 'of old'\n";
    fs::write(&list, entries).expect("it can be written");
    let list = list.to_str().expect("a path in UTF-8");
    let more = [&JSON[..], &["--suppressions", list]].concat();
    let check = Checked::run(&stage, "leak", "8", &more, 0);
    let decision = check.decision();
    assert_eq!(functions(&decision["suppressed"]), ["leak_one"]);
    assert_eq!(decision["suppressed"][0]["because"], "by design");
    let unused = &decision["unused_suppressions"];
    assert_eq!(unused[0], "module \"libold.so*\" (of old)");

    let baseline = stage.path("baseline.json");
    fs::rename(&check.path, &baseline).expect("it can be moved");
    let baseline = baseline.to_str().expect("a path in UTF-8");
    let more = [&JSON[..], &["--baseline", baseline]].concat();
    let decision = Checked::run(&stage, "leak", "8", &more, 0).decision();
    assert_eq!(functions(&decision["in_baseline"]), ["leak_one"]);
    // The same function by other call paths is news.
    let decision = Checked::run(&stage, "spread", "10", &more, 3).decision();
    assert!(!functions(&decision["failures"]).is_empty());
}

#[test]
fn a_command_is_told_of_a_leak_once_with_the_report() {
    let Some(stage) = Stage::shared("check_on_leak") else {
        return;
    };
    let told = stage.path("told");
    let tell = format!("cat >> '{}'; echo said; exit 9", told.display());
    let more = ["--format", "json", "--on-leak", &tell];
    let check = Checked::run(&stage, "leak", "16", &more, 3);
    let text = fs::read_to_string(&told).expect("it was told");
    // Two documents would not parse as one.
    let report = Report::parse(&text);
    assert_eq!(report.at("/leak_detection/verdict"), "leak");
    let said = check.process.stderr();
    assert!(said.contains("\nsaid\n"), "{said}");
    assert!(said.contains("--on-leak: the command failed: exit status: 9"));
}

#[test]
fn what_makes_no_sense_is_bad_input_before_anything_runs() {
    let stage = Stage::new("check_bad_input");
    let broken = stage.path("broken");
    fs::write(&broken, "[[suppression]]\nfunction = 'a'\n").expect("it can be written");
    let broken = broken.to_str().expect("a path in UTF-8");
    let witness = stage.path("it-ran");
    for (more, words) in [
        (["--suppressions", broken], "no reason"),
        (["--suppressions", "/nonexistent"], "not found"),
        (["--baseline", broken], "no report of memprof"),
        (["--confidence", "7"], "from 0 to 1"),
        (["--format", "pdf"], "text, json, junit, github"),
    ] {
        let mut command = Command::new(MEMPROF);
        command.arg("check").args(more).args(["--", "/bin/touch"]);
        let mut process = Process::start(&stage, "memprof", command.arg(&witness));
        process.must_exit(2);
        let said = process.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words), "{said}");
    }
    assert!(!witness.exists(), "the command ran");
}
