//! Ctrl-C and SIGTERM: once to end in order, twice to leave at once.
//!
//! A thread of its own waits for them, so that the second is heard whatever the session is doing.

use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The exit code of a session that was told twice: there is no report, so memprof has failed.
const LEFT_AT_ONCE: i32 = 1;

/// Blocks both signals for this thread and those that it starts, and hands on the first.
///
/// # Errors
/// If the thread cannot be started.
pub fn listen() -> Result<UnboundedReceiver<Signal>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("cannot block signals")?;
    let (sender, receiver) = unbounded_channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut heard = 0;
            while let Ok(signal) = signals.wait() {
                heard += 1;
                if heard > 1 {
                    // The kernel takes the probes out of what it closes.
                    std::process::exit(LEFT_AT_ONCE);
                }
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })
        .context("cannot start the thread for signals")?;
    Ok(receiver)
}
