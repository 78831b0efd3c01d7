//! `--on-leak`: a command that is told when the verdict becomes a leak, beside the trace.
//!
//! It runs in a thread of its own and a process group of its own, one at a time, each for a bounded
//! time: a command that hangs costs the trace nothing.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{SigSet, Signal, killpg},
    unistd::Pid,
};

use crate::report::Verdict;

/// A command that takes longer is killed, with all that it started.
const MAX_RUNNING: Duration = Duration::from_secs(60);
/// Time between two looks at whether it has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Runs the command when it is time.
pub(super) struct Alerts {
    command: String,
    last: Option<Verdict>,
    running: Option<JoinHandle<()>>,
}

impl Alerts {
    /// Nothing has been judged yet.
    pub(super) fn new(command: String) -> Self {
        Self {
            command,
            last: None,
            running: None,
        }
    }

    /// Takes note of a verdict. Whether it has just become a leak.
    pub(super) fn hear(&mut self, verdict: Verdict) -> bool {
        let before = self.last.replace(verdict);
        verdict == Verdict::Leak && before != Some(Verdict::Leak)
    }

    /// Runs the command with `report` on its standard input, unless it still runs.
    pub(super) fn raise(&mut self, report: Vec<u8>) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| !running.is_finished())
        {
            eprintln!("memprof: the command of --on-leak still runs: not run again");
            return;
        }
        let command = self.command.clone();
        let started = thread::Builder::new()
            .name("on-leak".to_owned())
            .spawn(move || {
                if let Err(error) = run(&command, report) {
                    eprintln!("memprof: --on-leak: {error:#}");
                }
            });
        match started {
            Ok(thread) => self.running = Some(thread),
            Err(error) => eprintln!("memprof: --on-leak: cannot start a thread: {error}"),
        }
    }

    /// Waits for the last one.
    pub(super) fn finish(self) {
        if let Some(running) = self.running {
            // A panic in the thread has been printed.
            let _ = running.join();
        }
    }
}

fn run(command: &str, report: Vec<u8>) -> Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        // Standard output is the report's.
        .stdout(Stdio::from(std::io::stderr()))
        .process_group(0);
    // SAFETY: between fork and exec it makes one system call, which is safe there.
    unsafe {
        shell.pre_exec(|| {
            // memprof has blocked the signals that it waits for; the command is to hear them.
            SigSet::empty().thread_set_mask().map_err(Into::into)
        });
    }
    let mut child = shell.spawn().context("cannot run /bin/sh")?;
    if let Some(mut input) = child.stdin.take() {
        // Not waited for: a command that reads nothing leaves the pipe full until it ends.
        thread::Builder::new()
            .name("on-leak-input".to_owned())
            .spawn(move || {
                // One that wants no input closes it.
                let _ = input.write_all(&report);
            })
            .context("cannot start a thread")?;
    }
    match wait(&mut child)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(anyhow::anyhow!("the command failed: {status}")),
        None => Err(anyhow::anyhow!(
            "the command was killed: it took over {MAX_RUNNING:?}"
        )),
    }
}

/// Waits for its end; kills it when its time is over.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > MAX_RUNNING {
            let group = Pid::from_raw(child.id().cast_signed());
            killpg(group, Signal::SIGKILL).context("cannot kill the command")?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_when_the_verdict_becomes_a_leak_and_not_while_it_stays_one() {
        let mut alerts = Alerts::new("true".to_owned());
        let verdicts = [
            (Verdict::InsufficientData, false),
            (Verdict::Growing, false),
            (Verdict::Leak, true),
            (Verdict::Leak, false),
            (Verdict::Stable, false),
            (Verdict::Leak, true),
        ];
        for (verdict, due) in verdicts {
            assert_eq!(alerts.hear(verdict), due, "{verdict:?}");
        }
    }

    #[test]
    fn the_command_has_the_report_on_its_input_and_its_failure_is_said() {
        assert!(run("grep -q here", b"it is here\n".to_vec()).is_ok());
        let refusal = run("exit 7", vec![0; 1 << 20]).expect_err("it failed");
        assert!(refusal.to_string().contains("exit status: 7"), "{refusal}");
    }
}
