//! `memprof trace` on a running target: attached, asked for what it uses, ended with its report.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::guard::Guarded;
use crate::target::cpu_time;

/// How long attaching may take: some 10 ms on an idle machine.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);
/// How long the report and the detaching may take: 0.1 s a probe.
const END_LIMIT: Duration = Duration::from_secs(60);
/// The collector polls every 10 ms; after this long it has seen everything.
const CATCH_UP: Duration = Duration::from_millis(50);

/// A memprof that traces.
pub(crate) struct MemprofRun {
    process: Guarded,
    log: PathBuf,
    report: PathBuf,
}

/// What its report says of the whole run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Allocations that succeeded.
    pub(crate) allocations: u64,
    /// Allocations and frees, of blocks on record or not.
    pub(crate) events: u64,
    /// Events that were lost.
    pub(crate) lost: u64,
    /// Bytes that became resident as they were touched; `None` if it did not follow or does not say.
    pub(crate) touched_bytes: Option<u64>,
    /// The CPU time that it used from its start to its report, seconds.
    pub(crate) cpu_seconds: Option<f64>,
}

/// Why this build can't run so; `None` if it can.
pub(crate) fn refusal(memprof: &Path, options: &[&str]) -> Option<String> {
    let knows = Command::new(memprof)
        .arg("trace")
        .args(options)
        .arg("--help")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match knows {
        Ok(status) if status.success() => None,
        Ok(_) => Some(format!("this memprof has no `{}`", options.join(" "))),
        Err(error) => Some(format!("{}: {error}", memprof.display())),
    }
}

impl MemprofRun {
    /// Attaches to `pid`, and returns when it traces.
    pub(crate) fn attach(
        memprof: &Path,
        options: &[&str],
        pid: Pid,
        directory: &Path,
    ) -> Result<Self> {
        let report = directory.join("memprof.json");
        let log = directory.join("memprof.log");
        // What an earlier run left would pass for this one's.
        let _ = fs::remove_file(&report);
        let mut process = Guarded::spawn(
            Command::new(memprof)
                .args(["trace", "--verbose"])
                .args(options)
                .args(["--pid", &pid.to_string(), "--format", "json", "--output"])
                .arg(&report)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(&log)?),
        )?;
        let start = Instant::now();
        loop {
            let said = fs::read_to_string(&log)?;
            if said.contains("memprof: tracing ") {
                return Ok(Self {
                    process,
                    log,
                    report,
                });
            }
            if !process.is_running() {
                bail!("memprof ended: {}", said.trim());
            }
            if start.elapsed() > ATTACH_LIMIT {
                bail!("memprof did not attach within {ATTACH_LIMIT:?}: {said}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The CPU time that it has used, once it has caught up with its target.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        thread::sleep(CATCH_UP);
        cpu_time(self.process.pid())
    }

    /// Where it has probed `malloc`, in its own words; empty before it has said so.
    pub(crate) fn malloc_probes(&self) -> Result<String> {
        Ok(malloc_probes(&fs::read_to_string(&self.log)?))
    }

    /// Ends it; what its report says.
    pub(crate) fn end(mut self) -> Result<Seen> {
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait(END_LIMIT).context("memprof")?;
        if !status.success() {
            bail!("memprof failed ({status})");
        }
        let text = fs::read_to_string(&self.report).context("memprof's report")?;
        seen(&serde_json::from_str(&text)?)
    }
}

/// What `--verbose` says of `malloc` in each allocator.
fn malloc_probes(log: &str) -> String {
    let lines = log.lines().map(|line| line.trim_start_matches("memprof:"));
    let places = lines.filter_map(|line| line.trim_start().strip_prefix("malloc: "));
    places.collect::<Vec<_>>().join("; ")
}

fn seen(report: &Value) -> Result<Seen> {
    let count = |pointer: &str| {
        let value = report.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("memprof's report has no count {pointer}"))
    };
    let lost = report.pointer("/quality/lost").and_then(Value::as_object);
    let lost = lost.context("memprof's report has no /quality/lost")?;
    let lost = lost.values().filter_map(Value::as_u64).sum();
    let allocations = count("/summary/allocated_count")?;
    let frees = count("/summary/freed_count")? + count("/quality/unknown_frees")?;
    Ok(Seen {
        allocations,
        events: allocations + frees,
        lost,
        touched_bytes: report
            .pointer("/summary/touched_bytes")
            .and_then(Value::as_u64),
        cpu_seconds: report
            .pointer("/quality/overhead/collector_cpu_seconds")
            .and_then(Value::as_f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_and_loss_is_counted() {
        let report = serde_json::json!({
            "summary": {"allocated_count": 100, "freed_count": 90, "touched_bytes": 4096},
            "quality": {
                "unknown_frees": 5,
                "lost": {"alloc": 1, "free": 2, "stack": 4, "process": 8},
                "overhead": {"collector_cpu_seconds": 0.25},
            },
        });
        let expected = Seen {
            allocations: 100,
            events: 195,
            lost: 15,
            touched_bytes: Some(4096),
            cpu_seconds: Some(0.25),
        };
        assert_eq!(seen(&report).unwrap(), expected);
    }

    #[test]
    fn the_places_of_malloc_are_found_in_what_memprof_says() {
        let log = "memprof: tracing server (pid 7) with 17 probes; Ctrl-C ends and reports\n\
            memprof: /lib/libc.so.6 (glibc): malloc, free\n\
            memprof:   malloc: `push r12`, its first instruction\n\
            memprof:   free: `push rbp` at +0x9\n";
        assert_eq!(malloc_probes(log), "`push r12`, its first instruction");
        assert_eq!(malloc_probes("memprof: tracing server"), "");
    }

    #[test]
    fn a_report_that_lacks_a_count_is_refused() {
        let report = serde_json::json!({"summary": {"allocated_count": 100}});
        seen(&report).unwrap_err();
    }

    #[test]
    fn a_program_without_the_option_says_so() {
        assert!(refusal(Path::new("/bin/false"), &["--no-such"]).is_some());
        assert_eq!(refusal(Path::new("/bin/true"), &["--any"]), None);
    }
}
