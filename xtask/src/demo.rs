//! `cargo xtask demo`: memprof on a server that leaks.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};

use crate::{build_ebpf, shell};

const SOURCE: &str = "demo/server.c";
/// Time for the server to fill its caches, which are no leak.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long to trace.
    #[arg(long, default_value = "10s")]
    duration: String,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !shell::may_trace() {
        bail!("tracing takes root: run `sudo -E env \"PATH=$PATH\" cargo xtask demo`");
    }
    build_ebpf::run()?;
    shell::step("build memprof", || {
        shell::run(shell::cargo().args(["build", "--release", "--package", "memprof"]))
    })?;
    let program = shell::step("compile the demo server", compile_server)?;

    keep_running_on_interrupt();
    let mut server = Server::start(&program)?;
    thread::sleep(WARM_UP);
    let memprof = shell::target_directory().join("release/memprof");
    let pid = server.0.id().to_string();
    eprintln!(
        "==> memprof trace --pid {pid} --duration {}",
        options.duration
    );
    let traced = shell::run(shell::command(memprof).args([
        "trace",
        "--pid",
        &pid,
        "--duration",
        &options.duration,
    ]));
    server.stop()?;
    traced
}

fn compile_server() -> Result<PathBuf> {
    let directory = shell::target_directory().join("demo");
    fs::create_dir_all(&directory)?;
    let program = directory.join("server");
    if shell::find_program("cc").is_none() {
        bail!("there is no C compiler: install gcc");
    }
    shell::run(
        shell::command("cc")
            .args(["-g", "-O2", "-fno-omit-frame-pointer", "-o"])
            .arg(&program)
            .arg(shell::root().join(SOURCE)),
    )?;
    Ok(program)
}

/// The running server, ended with its owner whichever way that goes.
struct Server(Child);

impl Server {
    fn start(program: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = shell::command(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Out of the terminal's reach: Ctrl-C is for memprof, which then reports.
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        Ok(Self(child))
    }

    /// Asks it to end, so that it says what it really lost.
    fn stop(&mut self) -> Result<()> {
        if self.0.try_wait()?.is_none() {
            // The shell's own `kill`: the program of that name is not on every system.
            let kill = format!("kill -TERM {}", self.0.id());
            shell::run(Command::new("sh").args(["-c", &kill]))?;
            self.0.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets Ctrl-C end memprof but not this process, which has a server to stop afterwards. A handler
/// rather than "ignore", because programs that are started would inherit that.
fn keep_running_on_interrupt() {
    extern "C" fn nothing(_signal: i32) {}
    unsafe extern "C" {
        fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
    }
    const SIGINT: i32 = 2;
    // SAFETY: `signal` has this signature in every Linux libc, and the handler does nothing, which
    // is safe at any point of the program.
    unsafe { signal(SIGINT, nothing) };
}
