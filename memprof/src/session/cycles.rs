//! `--cycles`: does the same thing again and again, and notes when each time was over.
//!
//! The action is a command that makes the traced program work, or the launched program itself.
//! Around each boundary there is peace for longer than the grain of a block's birth, so that every
//! block counts for its own cycle.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Result;
use tokio::time::Instant;

use super::{
    collector::{Shared, monotonic},
    control::set_mark,
};
use crate::{
    bad_input,
    config::{CyclesConfig, Destination},
    identity::Nanoseconds,
    stacks::weight::Amount,
};

/// From the end of a command to the mark: for what the program still has to do, and for the
/// collector to hear of it.
const SETTLE: Duration = Duration::from_millis(200);
/// From the mark to the next command: more than the 16.8 ms to which births are known.
pub const PEACE: Duration = Duration::from_millis(40);

/// A cycle that is over.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// When it was over.
    pub end: Nanoseconds,
    /// How long its command ran.
    pub command: Duration,
    /// How that ended, if it is known.
    pub status: Option<ExitStatus>,
    /// All that was outstanding then.
    pub outstanding: Amount,
}

#[derive(Debug)]
enum Phase {
    Pause(Instant),
    Acting(Child, Instant),
    Settling(Instant, Duration, ExitStatus),
}

/// The cycles of a run.
#[derive(Debug)]
pub struct Cycles {
    config: CyclesConfig,
    /// When the first began.
    begin: Nanoseconds,
    done: Vec<Done>,
    phase: Phase,
    to_standard_error: bool,
}

impl Cycles {
    /// Begins; what was allocated before is of no cycle.
    pub fn begin(config: CyclesConfig, output: &Destination, shared: &Shared) -> Self {
        let begin = monotonic();
        // As of the launched command: the report needs its place for itself.
        let to_standard_error = *output == Destination::StandardOutput;
        shared
            .lock()
            .marks
            .set(begin, |_| "cycles begin".to_owned());
        Self {
            config,
            begin,
            done: Vec::new(),
            phase: Phase::Pause(Instant::now() + PEACE),
            to_standard_error,
        }
    }

    /// What was asked for.
    pub fn config(&self) -> &CyclesConfig {
        &self.config
    }

    /// Those that are over.
    pub fn done(&self) -> &[Done] {
        &self.done
    }

    /// When the first began.
    pub fn first_begin(&self) -> Nanoseconds {
        self.begin
    }

    /// Whether all that were asked for are over.
    pub fn are_done(&self) -> bool {
        self.done.len() >= self.config.count as usize
    }

    /// Goes on with the action, if it is time to; often.
    ///
    /// # Errors
    /// Bad input if the command can't be run.
    pub fn turn(&mut self, shared: &Shared, start: Nanoseconds, quiet: bool) -> Result<()> {
        if self.config.launches || self.are_done() {
            return Ok(());
        }
        let now = Instant::now();
        match &mut self.phase {
            Phase::Pause(until) if now >= *until => {
                let child = self.act()?;
                self.phase = Phase::Acting(child, now);
            }
            Phase::Acting(child, began) => {
                if let Some(status) = child.try_wait()? {
                    self.phase = Phase::Settling(now + SETTLE, now - *began, status);
                }
            }
            Phase::Settling(until, took, status) if now >= *until => {
                let (took, status) = (*took, *status);
                self.end_one(took, Some(status), shared, start, quiet);
                self.phase = Phase::Pause(Instant::now() + PEACE);
            }
            Phase::Pause(_) | Phase::Settling(..) => {}
        }
        Ok(())
    }

    /// Notes the end of a cycle, and marks it.
    pub fn end_one(
        &mut self,
        command: Duration,
        status: Option<ExitStatus>,
        shared: &Shared,
        start: Nanoseconds,
        quiet: bool,
    ) {
        let end = monotonic();
        let number = self.done.len() + 1;
        let totals = shared.lock().pipeline.summary().totals;
        set_mark(shared, end, start, quiet, |_| format!("cycle {number}"));
        self.done.push(Done {
            end,
            command,
            status,
            outstanding: Amount {
                bytes: totals.outstanding_bytes(),
                count: totals.outstanding_count(),
            },
        });
    }

    fn act(&self) -> Result<Child> {
        let mut words = self.config.command.iter();
        let Some(program) = words.next() else {
            return Err(bad_input!("--cycles needs a command: give -- COMMAND"));
        };
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        if self.to_standard_error {
            let stderr: OwnedFd = io::stderr().as_fd().try_clone_to_owned()?;
            command.stdout(Stdio::from(stderr));
        }
        command.spawn().map_err(|error| {
            let name = program.to_string_lossy();
            match error.kind() {
                io::ErrorKind::NotFound => {
                    bad_input!("there is no command {name:?}: give a path or a name on PATH")
                }
                _ => bad_input!("{name:?} can't be run: {error}"),
            }
        })
    }
}
