//! `memprof snapshot`: one look at a process, written down.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    config::SnapshotConfig,
    export::write_snapshot,
    host,
    offline::written,
    session::output::Output,
    snapshot::{self, Snapshot},
};

/// Looks at a process and writes what is seen; memprof's exit code.
///
/// # Errors
/// Bad input if there is no such process or the output can't be written there, or a failure to write.
pub fn take(config: &SnapshotConfig) -> Result<ExitCode> {
    let mut output = Output::open(&config.output, config.format)?;
    let snapshot: Snapshot = snapshot::read(&config.look, host::describe())?;
    let style = output.style();
    written(&mut output, |out| {
        write_snapshot(&snapshot, config.look.top, config.format, style, out)
    })
}
