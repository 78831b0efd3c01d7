//! Every allocator that is installed: each of its functions is probed on another instruction of
//! its own, and the calls are counted exactly all the same.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Process, Stage, Trace, Truth, missing, program, wait_attached};

/// Where Debian and Fedora put the libraries.
const LIBRARY_DIRECTORIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];

/// What glibc's cache of one thread holds at the most, freed at the thread's end within the
/// library: 64 sizes, 7 blocks of each.
const THREAD_CACHE_BLOCKS: u64 = 64 * 7;

fn library(prefix: &str) -> Option<PathBuf> {
    LIBRARY_DIRECTORIES
        .into_iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix)
        })
}

/// Traces the program with this library preloaded, or none; `probed` is the allocator that its
/// calls go to.
fn is_exact(test: &str, name: &str, preloaded: Option<&str>, probed: &str) {
    let Some(stage) = Stage::with_bpf(test) else {
        return;
    };
    let mut command = Command::new(program(name));
    command
        .stdin(Stdio::piped())
        .env("WAIT_FOR_GO", "1")
        .env("TRUTH_FILE", stage.path("truth"));
    if let Some(prefix) = preloaded {
        let Some(library) = library(prefix) else {
            return missing(test, &format!("{prefix} is not installed"));
        };
        command.env("LD_PRELOAD", library);
    }
    let mut target = Process::start(&stage, name, &mut command);
    target.wait_ready();
    let mut trace = Trace::attach(&stage, &[target.pid()], &["-v"]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    assert_cheap(&trace, probed);

    let truth = Truth::read(&stage.path("truth"));
    report.assert_nothing_lost();
    let seen = report.sites();
    for (site, expected) in &truth.sites {
        assert_eq!(seen.get(site), Some(expected), "{site}");
    }
    assert!(truth.total().allocated_count > 12_000);
    let unknown_frees = report.number("/quality/unknown_frees");
    let most = truth.fact("ended_threads") * THREAD_CACHE_BLOCKS;
    assert!(unknown_frees <= most, "{unknown_frees} unknown frees");
}

/// Where the kernel emulates anything, `malloc` and `free` are not stepped.
fn assert_cheap(trace: &Trace, probed: &str) {
    let said = trace.process.stderr();
    let line = |start: &str| {
        let mut lines = said.lines().skip_while(|line| !line.contains(probed));
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start:?} for {probed}: {said}"))
    };
    if said.contains("this kernel emulates nothing") {
        return;
    }
    for function in ["malloc", "free"] {
        let place = line(&format!("memprof:   {function}: "));
        assert!(!place.contains("stepped"), "{place}");
    }
}

#[test]
fn glibc_is_exact() {
    is_exact("known_calls_glibc", "known_calls", None, "(glibc)");
}

#[test]
fn static_glibc_is_exact() {
    is_exact(
        "known_calls_static",
        "known_calls_static",
        None,
        "(known_calls_static)",
    );
}

#[test]
fn musl_is_exact() {
    if !PathBuf::from("/usr/bin/musl-gcc").exists() {
        return missing("known_calls_musl", "musl-gcc is not installed");
    }
    is_exact("known_calls_musl", "known_calls_musl", None, "(musl)");
}

#[test]
fn jemalloc_is_exact() {
    let library = Some("libjemalloc.so");
    is_exact("known_calls_jemalloc", "known_calls", library, "(jemalloc)");
}

#[test]
fn tcmalloc_is_exact() {
    let library = Some("libtcmalloc_minimal.so");
    is_exact("known_calls_tcmalloc", "known_calls", library, "(tcmalloc)");
}

#[test]
fn mimalloc_is_exact() {
    let library = Some("libmimalloc.so");
    is_exact("known_calls_mimalloc", "known_calls", library, "(mimalloc)");
}
