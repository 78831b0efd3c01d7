//! `redis-server` on a socket of its own, and `redis-benchmark` as its load.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;

use crate::guard::Guarded;

/// The server's program.
pub(crate) const SERVER: &str = "/usr/bin/redis-server";
/// The load's program.
pub(crate) const BENCHMARK: &str = "/usr/bin/redis-benchmark";

/// Where it listens, in the directory that everything runs in: a socket's path must be short.
const SOCKET: &str = "redis.sock";

/// What starts the server: without a port, and nothing on disk.
pub(crate) fn command() -> Vec<OsString> {
    let options = [
        "--port",
        "0",
        "--save",
        "",
        "--appendonly",
        "no",
        "--unixsocket",
        SOCKET,
    ];
    let words = [SERVER].into_iter().chain(options);
    words.map(OsString::from).collect()
}

/// Waits until the server answers, at most `limit`; its process id, in its own words.
pub(crate) fn await_ready(server: &mut Guarded, limit: Duration) -> Result<Pid> {
    let start = Instant::now();
    loop {
        if let Ok(stream) = UnixStream::connect(SOCKET) {
            return process_id(stream, limit);
        }
        if !server.is_running() {
            bail!("redis-server ended at its start");
        }
        if start.elapsed() > limit {
            bail!("redis-server does not answer");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Has the load send so many requests, and waits for its end.
pub(crate) fn load(requests: u32, limit: Duration) -> Result<()> {
    let mut load = Guarded::spawn(
        Command::new(BENCHMARK)
            .args(["-s", SOCKET])
            .args(["-n", &requests.to_string()])
            .args([
                "-c", "8", "-P", "16", "-t", "set", "-d", "64", "-r", "10000", "-q",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let status = load.wait(limit).context("redis-benchmark")?;
    if !status.success() {
        bail!("redis-benchmark failed ({status})");
    }
    Ok(())
}

fn process_id(mut stream: UnixStream, limit: Duration) -> Result<Pid> {
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"INFO server\r\n")?;
    for line in BufReader::new(stream).lines() {
        if let Some(pid) = line?.strip_prefix("process_id:") {
            return Ok(Pid::from_raw(pid.trim().parse()?));
        }
    }
    bail!("redis-server does not say who it is");
}
