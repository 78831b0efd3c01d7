//! `memprof mark`: sets a named point in a running trace, over its control socket.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bad_input,
    config::MarkConfig,
    control::{DIRECTORY, owner_of, socket_of},
    identity::Pid,
};

/// How long a trace may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Sets a mark; memprof's exit code.
///
/// # Errors
/// Bad input if there is no such trace, or several and none was named; or a failure of the trace.
pub fn set(config: &MarkConfig) -> Result<ExitCode> {
    let (pid, mut stream) = match config.trace {
        Some(pid) => (pid, connect(pid)?),
        None => the_only_trace()?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let ask = |stream: &mut UnixStream| -> io::Result<String> {
        writeln!(stream, "mark {}", config.label)?;
        let mut answer = String::new();
        BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask(&mut stream)
        .with_context(|| format!("the trace of memprof {} does not answer", pid.0))?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", _)) => Ok(ExitCode::SUCCESS),
        Some(("error", why)) => {
            let why = crate::export::escape(why, true);
            bail!("memprof {} refuses the mark: {why}", pid.0)
        }
        _ => bail!("the trace of memprof {} ended", pid.0),
    }
}

fn connect(pid: Pid) -> Result<UnixStream> {
    UnixStream::connect(socket_of(pid)).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "the control socket of memprof {} is root's: run as root",
                pid.0
            )
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => bad_input!(
            "process {} is no memprof that traces: --pid is that of memprof, not of its target",
            pid.0
        ),
        kind => anyhow::anyhow!("cannot reach memprof {}: {kind}", pid.0),
    })
}

/// The one trace that runs.
fn the_only_trace() -> Result<(Pid, UnixStream)> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut pids: Vec<Pid> = entries
        .filter_map(|entry| entry.file_name().to_str().and_then(owner_of))
        .collect();
    pids.sort_unstable_by_key(|pid| pid.0);
    let mut running = Vec::new();
    for pid in pids {
        match connect(pid) {
            Ok(stream) => running.push((pid, stream)),
            // What a killed trace has left.
            Err(error) if error.is::<crate::failure::BadInput>() => {}
            Err(error) => return Err(error),
        }
    }
    if running.len() > 1 {
        let pids: Vec<String> = running.iter().map(|(pid, _)| pid.0.to_string()).collect();
        return Err(bad_input!(
            "several traces run (memprof {}): give --pid",
            pids.join(", ")
        ));
    }
    running
        .pop()
        .ok_or_else(|| bad_input!("no trace is running: start memprof trace first"))
}
