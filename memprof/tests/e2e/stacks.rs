//! The stack matrix: for each kind of code, every stack of memprof's report compared, frame by
//! frame, with what an unwinder inside of the program found at the same allocation.
//!
//! Every allocation of the process counts, those of its loader and libraries included. Each case
//! prints which share of them has the stack that it came from, and fails below 100 %.

mod compare;
mod foreign;
mod jit;
mod truth;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use self::compare::{Names, compare, cut_to_limit, stacks_of};
use self::truth::Truth;
use crate::harness::{Report, Stage, Trace, build_with};

/// A long report of a busy machine takes its time.
const LONG: Duration = Duration::from_secs(90);

/// Fewer would prove little.
const LEAST_ALLOCATIONS: u64 = 1_000;

/// More than any case has.
const ALL_STACKS: u32 = 100_000;

/// What all programs of the matrix are compiled with, besides what makes the case.
const COMMON: [&str; 5] = ["-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
/// As distributions compile.
const OPTIMIZED: [&str; 2] = ["-O2", "-fomit-frame-pointer"];

/// Compiles a program of the matrix.
fn compiled(files: &[&str], output: &str, flags: &[&str]) -> PathBuf {
    let flags: Vec<&str> = COMMON.iter().chain(flags).copied().collect();
    build_with(files, output, &flags)
}

/// One case of the matrix.
struct Case<'a> {
    name: &'a str,
    /// Frames that the deepest stack has at least, or there is no truth to compare with.
    depth: usize,
    /// The percentage of allocations whose stack may go on where the shim's unwinder had to stop,
    /// for want of unwind information that memprof may well find.
    most_further: f64,
    /// The percentage of allocations whose stack is exact at least.
    least_exact: f64,
}

impl<'a> Case<'a> {
    fn new(name: &'a str, depth: usize) -> Self {
        Self {
            name,
            depth,
            most_further: 0.0,
            least_exact: 100.0,
        }
    }

    /// Launches the program with the shim in it and holds the report to the truth.
    fn launch<A: AsRef<OsStr>>(
        &self,
        stage: &Stage,
        target: &[A],
        prepare: impl FnOnce(&mut Command),
    ) {
        let program = Path::new(&target[0]);
        let mut trace = Trace::launch_alone(stage, ALL_STACKS, target, |command| {
            command
                .stdin(Stdio::null())
                .envs(truth::environment(stage, program));
            prepare(command);
        });
        trace.process.wait(LONG);
        let report = trace.finish();
        assert_eq!(
            report.at("/target/processes/0/exit_status"),
            0,
            "{}: {}{}",
            self.name,
            trace.process.stdout(),
            trace.process.stderr()
        );
        self.hold_to_truth(stage, &report);
    }

    fn hold_to_truth(&self, stage: &Stage, report: &Report) {
        let name = self.name;
        let pid = report.number("/target/processes/0/pid");
        let Truth {
            mut stacks,
            unfinished,
            untaken,
        } = Truth::read(stage, pid);
        let deepest = stacks.keys().map(Vec::len).max().unwrap_or(0);
        let cut = cut_to_limit(&mut stacks);
        let (seen, unwitnessed) = stacks_of(report, pid);
        let (shares, differences) = compare(&stacks, &unfinished, &seen);
        say(&format!(
            "stacks of {name:20} {:6} allocations, {:5} stacks, deepest {deepest:3}: {shares}",
            shares.allocations,
            stacks.len(),
        ));

        report.assert_nothing_lost();
        assert!(
            deepest >= self.depth && shares.allocations >= LEAST_ALLOCATIONS,
            "{name}: too little to prove anything: {shares:?}"
        );
        let percent = |count: u64| count as f64 * 100.0 / shares.allocations as f64;
        let is_whole = shares.exact + shares.further == shares.allocations;
        assert!(
            is_whole && percent(shares.further) <= self.most_further
                || self.least_exact < 100.0 && percent(shares.exact) >= self.least_exact,
            "{name}: {shares:?}\n{}{}",
            Names::of(report).show(&differences),
            report.at("/quality")
        );
        assert_eq!(shares.unexpected, untaken, "{name}: {shares:?}");
        assert_eq!(
            unwitnessed, 0,
            "{name}: allocations that passed by the shim"
        );
        // What memprof says about itself.
        if untaken == 0 && cut == 0 && self.least_exact == 100.0 {
            let truncated = report.number("/quality/truncated_stacks");
            assert_eq!(truncated, 0, "{name}: {}", report.at("/quality"));
        }
    }
}

/// Writes past the capture of the test's output: the shares are there to be read.
fn say(line: &str) {
    // Nobody listening is no failure.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One case of a program of our own.
fn matrix(case: &str, files: &[&str], flags: &[&str], arguments: &[&str], depth: usize) {
    let Some(stage) = Stage::with_bpf(case) else {
        return;
    };
    let program = compiled(files, case, flags);
    let mut target = vec![program.as_os_str()];
    target.extend(arguments.iter().map(OsStr::new));
    Case::new(case, depth).launch(&stage, &target, |_| {});
}

#[test]
fn c_without_optimization_has_whole_stacks() {
    matrix("stack_deep_O0", &["stack_deep.c"], &["-O0"], &["40"], 60);
}

#[test]
fn c_without_frame_pointers_has_whole_stacks() {
    matrix("stack_deep", &["stack_deep.c"], &OPTIMIZED, &["40"], 40);
}

#[test]
fn frames_of_sizes_and_alignments_known_at_run_time_have_whole_stacks() {
    let files = ["stack_odd_frames.c"];
    matrix("stack_odd_frames", &files, &OPTIMIZED, &["100"], 12);
    // Callers align the stack to 8 bytes only, so every function that needs more sees to it.
    let realigned = ["-O2", "-fomit-frame-pointer", "-mincoming-stack-boundary=3"];
    matrix("stack_realigned", &files, &realigned, &["100"], 12);
}

#[test]
fn cpp_frames_that_exceptions_pass_through_have_whole_stacks() {
    let files = ["stack_exceptions.cc"];
    matrix("stack_exceptions", &files, &OPTIMIZED, &["40"], 12);
}

#[test]
fn rust_with_inlining_has_whole_stacks() {
    let Some(stage) = Stage::with_bpf("stack_rust") else {
        return;
    };
    let flags = ["--edition", "2024", "-O", "-g"];
    let program = build_with(&["stack_rust.rs"], "stack_rust", &flags);
    let target = [program.as_os_str(), OsStr::new("20")];
    Case::new("stack_rust", 12).launch(&stage, &target, |_| {});
}

#[test]
fn handlers_on_an_alternate_stack_have_whole_stacks() {
    // Functions are bound before the timer runs: the loader's resolver saves its stack pointer in
    // a register that no unwind rule knows.
    let flags = ["-O2", "-fomit-frame-pointer", "-fno-builtin", "-Wl,-z,now"];
    matrix("stack_signals", &["stack_signals.c"], &flags, &["400"], 12);
}

#[test]
fn eight_threads_at_once_have_whole_stacks() {
    matrix(
        "stack_threads",
        &["stack_threads.c"],
        &OPTIMIZED,
        &["100"],
        12,
    );
}

#[test]
fn coroutines_have_whole_stacks() {
    matrix(
        "stack_coroutines",
        &["stack_coroutines.c"],
        &OPTIMIZED,
        &["500"],
        10,
    );
}

#[test]
fn a_statically_linked_program_has_whole_stacks() {
    let files = ["stack_deep.c", "unwind_shim.c"];
    let flags = [
        "-O2",
        "-fomit-frame-pointer",
        "-static",
        "-DWITNESS_WRAPS",
        "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc",
    ];
    matrix("stack_deep_static", &files, &flags, &["40"], 40);
}

/// The two plugins of `stack_dlopen`.
fn plugins() -> [PathBuf; 2] {
    [1, 2].map(|number| {
        let make = format!("-DPLUGIN={number}");
        let flags = ["-O2", "-fomit-frame-pointer", "-shared", "-fPIC", &make];
        compiled(
            &["stack_plugin.c"],
            &format!("libplugin_{number}.so"),
            &flags,
        )
    })
}

#[test]
fn a_plugin_has_whole_stacks_but_for_a_first_moment() {
    let Some(stage) = Stage::with_bpf("stack_plugin") else {
        return;
    };
    let program = compiled(&["stack_dlopen.c"], "stack_dlopen", &OPTIMIZED);
    let [plugin, _] = plugins();
    let target = [program.as_os_str(), OsStr::new("300"), plugin.as_os_str()];
    // Its code runs before its tables are compiled, if memprof's turn comes late.
    let mut case = Case::new("stack_plugin", 10);
    case.least_exact = 80.0;
    case.launch(&stage, &target, |_| {});
}

#[test]
fn a_plugin_in_the_place_of_another_has_whole_stacks_but_for_a_first_moment() {
    let Some(stage) = Stage::with_bpf("stack_plugins") else {
        return;
    };
    let program = compiled(&["stack_dlopen.c"], "stack_dlopen", &OPTIMIZED);
    let [one, other] = plugins();
    let target = [
        program.as_os_str(),
        OsStr::new("100"),
        one.as_os_str(),
        other.as_os_str(),
    ];
    // Until the new mapping is known the place has the tables of the old one.
    let mut case = Case::new("stack_plugins", 10);
    case.least_exact = 70.0;
    case.launch(&stage, &target, |_| {});
}
