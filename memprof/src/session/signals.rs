//! Ctrl-C and SIGTERM: once to end in order, twice to leave at once. SIGUSR1: to set a mark.
//!
//! A thread of its own waits for them, so that the second is heard whatever the session is doing.

use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{collector::monotonic, control::remove_own};
use crate::identity::Nanoseconds;

/// The exit code of a session that was told twice: there is no report, so memprof has failed.
const LEFT_AT_ONCE: i32 = 1;

/// What memprof was told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To end, by this signal.
    End(Signal),
    /// To set a mark at this time.
    Mark(Nanoseconds),
}

/// Blocks the signals for this thread and those that it starts, and hands them on.
///
/// # Errors
/// If the thread cannot be started.
pub fn listen() -> Result<UnboundedReceiver<Told>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGUSR1);
    signals.thread_block().context("cannot block signals")?;
    let (sender, receiver) = unbounded_channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut heard = 0;
            while let Ok(signal) = signals.wait() {
                if signal == Signal::SIGUSR1 {
                    // A session on its way out sets no mark.
                    let _ = sender.send(Told::Mark(monotonic()));
                    continue;
                }
                heard += 1;
                if heard > 1 {
                    remove_own();
                    // The kernel takes the probes out of what it closes.
                    std::process::exit(LEFT_AT_ONCE);
                }
                if sender.send(Told::End(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start the thread for signals")?;
    Ok(receiver)
}
