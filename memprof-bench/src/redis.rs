//! `redis-server` on a socket of its own, and `redis-benchmark` as its load.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;

use crate::guard::Guarded;

/// The server's program.
pub(crate) const SERVER: &str = "/usr/bin/redis-server";
/// The load's program.
pub(crate) const BENCHMARK: &str = "/usr/bin/redis-benchmark";

/// Where a server listens; its socket goes with it.
pub(crate) struct Redis {
    socket: PathBuf,
}

impl Redis {
    /// Not in the target directory, whose path may be too long for a socket's.
    pub(crate) fn new() -> Self {
        let name = format!("memprof-bench-{}.sock", process::id());
        Self {
            socket: env::temp_dir().join(name),
        }
    }

    /// What starts the server: without a port, and nothing on disk.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = [SERVER, "--port", "0", "--save", "", "--appendonly", "no"]
            .map(OsString::from)
            .to_vec();
        words.extend([OsString::from("--unixsocket"), self.socket.clone().into()]);
        words
    }

    /// Waits until the server answers, at most `limit`; its process id, in its own words.
    pub(crate) fn await_ready(&self, server: &mut Guarded, limit: Duration) -> Result<Pid> {
        let start = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
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
    pub(crate) fn load(&self, requests: u32, limit: Duration) -> Result<()> {
        let mut load = Guarded::spawn(
            Command::new(BENCHMARK)
                .arg("-s")
                .arg(&self.socket)
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
}

impl Drop for Redis {
    fn drop(&mut self) {
        // The server has taken it away itself if it could.
        let _ = std::fs::remove_file(&self.socket);
    }
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
