//! Processes under guard: output into files, every wait bounded, killed with all they started
//! when the test is over, however it ends.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::Stage;

/// How long anything may take that should take a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running process in a process group of its own.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to files on the stage named after `name`, its input is
    /// what the command says. A piped one stays open until [`Process::go`] or the test's end.
    pub(crate) fn start(stage: &Stage, name: &str, command: &mut Command) -> Self {
        let stdout = stage.path(&format!("{name}.stdout"));
        let stderr = stage.path(&format!("{name}.stderr"));
        let child = command
            .stdout(File::create(&stdout).expect("a file for the output"))
            .stderr(File::create(&stderr).expect("a file for the errors"))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.pid().cast_signed())
    }

    /// Tells a program that waits for a line to go on.
    pub(crate) fn go(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            // A program that is gone already says so by its status.
            let _ = input.write_all(b"\n");
        }
    }

    /// Writes a line to a program that does as it is told.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it has an input");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} is deaf: {error}", self.name));
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.nix_pid(), signal)
            .unwrap_or_else(|error| panic!("{} can't be signalled: {error}", self.name));
    }

    /// Sends a signal to the process and what it started, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(self.nix_pid(), signal)
            .unwrap_or_else(|error| panic!("{} can't be signalled: {error}", self.name));
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end, at most `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "{} is still running after {limit:?}; it said: {}{}",
                self.name,
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end and insists on an exit code.
    pub(crate) fn must_exit(&mut self, code: i32) {
        let status = self.wait(PATIENCE);
        assert_eq!(
            status.code(),
            Some(code),
            "{} ended with {status}; it said: {}{}",
            self.name,
            self.stdout(),
            self.stderr()
        );
    }

    /// What it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits for the line `ready PID` of a test program on standard output; its pid.
    pub(crate) fn wait_ready(&mut self) -> u32 {
        let mut pid = None;
        wait_until(&format!("{} is ready", self.name), PATIENCE, || {
            let gone = !self.is_running();
            pid = self
                .stdout()
                .split_once("ready ")
                .and_then(|(_, rest)| rest.split_once('\n'))
                .and_then(|(number, _)| number.parse().ok());
            assert!(
                pid.is_some() || !gone,
                "{} is gone; it said: {}{}",
                self.name,
                self.stdout(),
                self.stderr()
            );
            pid.is_some()
        });
        pid.expect("waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may live on without its leader (a target that memprof left running).
        let _ = killpg(self.nix_pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Waits until `happened`, at most `limit`; else fails with `what`.
pub(crate) fn wait_until(what: &str, limit: Duration, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
