//! `memprof trace` as the tests run it, and the programs that it attaches to.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{PATIENCE, Process, Report, Stage, Truth, patched_bytes, program, wait_until};

/// The binary under test.
pub(crate) const MEMPROF: &str = env!("CARGO_BIN_EXE_memprof");

/// A running `memprof trace` that writes a JSON report of every stack to a file.
pub(crate) struct Trace {
    pub(crate) process: Process,
    report: PathBuf,
    truth: PathBuf,
}

impl Trace {
    /// Attaches to running processes; `more` are further options.
    pub(crate) fn attach(stage: &Stage, pids: &[u32], more: &[&str]) -> Self {
        let mut command = Self::command(stage);
        command.args(more);
        command.stdin(Stdio::null());
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        Self::start(stage, &mut command)
    }

    /// Launches a test program; `more` are further options of memprof.
    pub(crate) fn launch(stage: &Stage, name: &str, arguments: &[&str], more: &[&str]) -> Self {
        let mut target = vec![program(name).into_os_string()];
        target.extend(arguments.iter().map(OsString::from));
        Self::launch_with(stage, more, &target, |command| {
            command.stdin(Stdio::null());
        })
    }

    /// Launches anything, with the environment and input that `prepare` adds.
    pub(crate) fn launch_with<A: AsRef<OsStr>>(
        stage: &Stage,
        more: &[&str],
        target: &[A],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Self::command(stage);
        command.args(more).arg("--").args(target);
        prepare(&mut command);
        Self::start(stage, &mut command)
    }

    /// Launches a program that is one process, for a report of its `top` stacks.
    pub(crate) fn launch_alone<A: AsRef<OsStr>>(
        stage: &Stage,
        top: u32,
        target: &[A],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Self::command_with_top(stage, top);
        // Else memprof's own allocations would trap as well, and a long report takes many.
        command.arg("--no-children").arg("--").args(target);
        prepare(&mut command);
        Self::start(stage, &mut command)
    }

    /// Follows the processes of a scope; waits until that has begun.
    pub(crate) fn of_scope(stage: &Stage, scope: &[&str]) -> Self {
        // Many processes have many call paths.
        let mut command = Self::command_with_top(stage, 100_000);
        command.args(scope).stdin(Stdio::null());
        let mut trace = Self::start(stage, &mut command);
        wait_until("memprof follows the scope", PATIENCE, || {
            assert!(trace.process.is_running(), "{}", trace.process.stderr());
            trace.process.stderr().contains("memprof: tracing ") && trace.gate_is_open()
        });
        trace
    }

    /// Waits until events are wanted. There need be no probe to wait for.
    pub(crate) fn wait_for_gate(&mut self) {
        wait_until("memprof attaches", PATIENCE, || {
            assert!(self.process.is_running(), "{}", self.process.stderr());
            self.gate_is_open()
        });
    }

    /// Whether events are wanted by now: the control socket comes after the gate was opened.
    fn gate_is_open(&self) -> bool {
        let socket = format!("/run/memprof/{}.sock", self.process.pid());
        Path::new(&socket).exists() || self.process.stderr().contains("no control socket")
    }

    /// Tells memprof to end, and reads its report.
    pub(crate) fn stop(&mut self) -> Report {
        self.process.signal(nix::sys::signal::Signal::SIGINT);
        // All that a machine's processes did is named, and many probes are taken out.
        self.process.wait(4 * PATIENCE);
        self.finish()
    }

    fn command(stage: &Stage) -> Command {
        Self::command_with_top(stage, 3000)
    }

    fn command_with_top(stage: &Stage, top: u32) -> Command {
        let mut command = Command::new(MEMPROF);
        command
            .args(["trace", "--format", "json", "--top", &top.to_string()])
            .args(["--sort", "allocated", "--output"])
            .arg(stage.path("report.json"))
            .env("TRUTH_FILE", stage.path("truth"));
        command
    }

    fn start(stage: &Stage, command: &mut Command) -> Self {
        Self {
            process: Process::start(stage, "memprof", command),
            report: stage.path("report.json"),
            truth: stage.path("truth"),
        }
    }

    /// Waits for memprof's end, which must be a good one, and reads its report.
    pub(crate) fn finish(&mut self) -> Report {
        self.process.must_exit(0);
        Report::read(&self.report)
    }

    /// The truth of the single process that was launched.
    pub(crate) fn truth(&self) -> Truth {
        Truth::read(&self.truth)
    }

    /// The truths of all processes that were launched.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        Truth::read_all(&self.truth)
    }

    /// Where the report goes.
    pub(crate) fn report_path(&self) -> &Path {
        &self.report
    }
}

/// Starts a test program that waits for the go before it does anything that counts; its truth
/// goes to the file `NAME.truth` on the stage.
pub(crate) fn start_waiting(stage: &Stage, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program(name));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .env("WAIT_FOR_GO", "1")
        .env("TRUTH_FILE", stage.path(&format!("{name}.truth")));
    let mut process = Process::start(stage, name, &mut command);
    process.wait_ready();
    process
}

/// Waits until memprof follows the process: probes are in, it has said so, and the gate is open.
pub(crate) fn wait_attached(trace: &mut Trace, pid: u32) {
    wait_until("memprof attaches", PATIENCE, || {
        assert!(
            trace.process.is_running(),
            "memprof is gone: {}",
            trace.process.stderr()
        );
        let said = trace.process.stderr();
        said.contains("tracing ") && trace.gate_is_open() && patched_bytes(pid) > 0
    });
}
