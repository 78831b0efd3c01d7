//! Child processes that end with this one, however it ends: each leads a group of its own, which is
//! killed when its owner lets go of it, and when a signal ends the comparison.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, killpg, sigaction};
use nix::unistd::Pid;

/// Children at one time: a target, its tracer and its load.
const MOST_CHILDREN: usize = 8;
/// Time between two looks at a child that is about to end.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// The groups that are alive; 0 is a free place. Atomics, because a signal handler reads them.
static GROUPS: [AtomicI32; MOST_CHILDREN] = [const { AtomicI32::new(0) }; MOST_CHILDREN];

/// Makes the signals that end a program end its children too.
pub(crate) fn end_children_on_signals() -> Result<()> {
    extern "C" fn end(signal: i32) {
        for group in &GROUPS {
            let group = group.load(Ordering::Relaxed);
            if group > 0 {
                // Gone already is as well. `kill` may be called in a handler.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
        }
        // SAFETY: ends the process; may be called in a handler.
        unsafe { nix::libc::_exit(128 + signal) }
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler calls nothing but functions that are safe there.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// A child and whatever it starts in its group.
pub(crate) struct Guarded {
    child: Child,
    place: usize,
}

impl Guarded {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let free = |place: &AtomicI32| place.load(Ordering::Relaxed) == 0;
        let Some(place) = GROUPS.iter().position(free) else {
            bail!("more than {MOST_CHILDREN} children at a time");
        };
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {}", command.get_program().display()))?;
        GROUPS[place].store(child.id().cast_signed(), Ordering::Relaxed);
        Ok(Self { child, place })
    }

    /// The child, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it goes on for longer than `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("it did not end within {limit:?}");
            }
            thread::sleep(LOOK_PERIOD);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // All of it may be gone already.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        GROUPS[self.place].store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn what_a_child_has_started_ends_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & wait"]);
        let mut shell = Guarded::spawn(command.stdout(Stdio::piped())).unwrap();
        let mut output = shell.child().stdout.take().unwrap();
        assert!(shell.is_running());
        let start = Instant::now();
        drop(shell);
        // The pipe ends when the last that holds it does.
        output.read_to_end(&mut Vec::new()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn a_child_that_goes_on_is_not_waited_for_for_ever() {
        let mut sleep = Guarded::spawn(Command::new("sleep").arg("100")).unwrap();
        sleep.wait(Duration::from_millis(10)).unwrap_err();
    }
}
