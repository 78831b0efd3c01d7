//! What a leak script in bpftrace costs: the probes and maps of bcc's `memleak`, in the words of a
//! one-page script.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memprof::probes::emulation::Emulated;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::allocators::{self, Allocator};
use crate::guard::Guarded;

/// Its program.
pub(crate) const PROGRAM: &str = "/usr/bin/bpftrace";
/// How long compiling and attaching may take.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);
/// How long detaching may take: 0.1 s a probe.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Blocks that its maps can hold: more than any workload here has at a time.
const MAP_KEYS: &str = "200000";
/// What the script says when all its probes are in.
const ATTACHED: &str = "all probes are in";

/// A script that traces.
pub(crate) struct Bpftrace {
    process: Guarded,
}

impl Bpftrace {
    /// Attaches to `pid`, and returns when all probes are in.
    pub(crate) fn attach(pid: Pid, directory: &Path) -> Result<Self> {
        let script = directory.join("leak.bt");
        let log = directory.join("bpftrace.log");
        let allocators = allocators::of_process(pid, Emulated::NONE)?;
        fs::write(&script, script_for(pid, &allocators))?;
        let output = File::create(&log)?;
        let mut process = Guarded::spawn(
            Command::new(PROGRAM)
                .arg(&script)
                .env("BPFTRACE_MAP_KEYS_MAX", MAP_KEYS)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output),
        )?;
        let start = Instant::now();
        loop {
            let said = fs::read_to_string(&log)?;
            if said.contains(ATTACHED) {
                return Ok(Self { process });
            }
            if !process.is_running() {
                bail!("bpftrace ended: {}", said.trim());
            }
            if start.elapsed() > ATTACH_LIMIT {
                bail!("bpftrace did not attach within {ATTACH_LIMIT:?}: {said}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it and waits until its probes are out.
    pub(crate) fn end(mut self) -> Result<()> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(END_LIMIT).context("bpftrace")?;
        Ok(())
    }
}

/// What the script does when a block is given back.
const GIVE_BACK: &str =
    "@held[@stack[arg0]] -= @size[arg0]; delete(@size[arg0]); delete(@stack[arg0]);";

/// The script for these allocators of `pid`: size and stack of each block by address, what is held
/// by stack. It asks for the process itself: the `-p` of bpftrace 0.17 (Debian 12) does not hold for
/// uprobes. Its last probe is in when all are, and printing the maps at the end is nobody's cost.
fn script_for(pid: Pid, allocators: &[Allocator]) -> String {
    let mut script = String::new();
    for allocator in allocators {
        let library = allocator.path.display();
        for function in &allocator.functions {
            let name = function.name;
            let entry = match name {
                "malloc" => "@asked[tid] = arg0;".to_owned(),
                "calloc" => "@asked[tid] = arg0 * arg1;".to_owned(),
                "realloc" => format!("if (@size[arg0] != 0) {{ {GIVE_BACK} }} @asked[tid] = arg1;"),
                _ => format!("if (@size[arg0] != 0) {{ {GIVE_BACK} }}"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                script,
                "uprobe:{library}:{name} /pid == {pid}/ {{ {entry} }}"
            );
            if name != "free" {
                let _ = writeln!(
                    script,
                    "uretprobe:{library}:{name} /pid == {pid} && @asked[tid] != 0/ {{ \
                     if (retval != 0) {{ $size = @asked[tid]; $stack = ustack; \
                     @size[retval] = $size; @stack[retval] = $stack; @held[$stack] += $size; }} \
                     delete(@asked[tid]); }}"
                );
            }
        }
    }
    let _ = writeln!(
        script,
        "interval:ms:20 /!@told/ {{ @told = 1; printf(\"{ATTACHED}\\n\"); }}\n\
         END {{ clear(@asked); clear(@size); clear(@stack); clear(@held); clear(@told); }}"
    );
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocators::Probed;
    use memprof::probes::placement::Placement;

    #[test]
    fn the_script_has_every_function_and_returns_of_those_that_give_blocks() {
        let probed = |name| Probed {
            name,
            offset: 0,
            placement: Placement::default(),
        };
        let allocator = Allocator {
            path: "/lib/libc.so.6".into(),
            file: File::open("/dev/null").unwrap(),
            functions: ["malloc", "realloc", "free"].map(probed).into(),
        };
        let script = script_for(Pid::from_raw(7), &[allocator]);
        let lines = [
            "uprobe:/lib/libc.so.6:malloc /pid == 7/ { @asked[tid] = arg0; }",
            "uretprobe:/lib/libc.so.6:realloc /pid == 7 && @asked[tid] != 0/ {",
            "uprobe:/lib/libc.so.6:free /pid == 7/ { if (@size[arg0] != 0) {",
        ];
        for line in lines {
            assert!(script.contains(line), "{script}");
        }
        assert!(!script.contains("uretprobe:/lib/libc.so.6:free"));
        assert!(!script.contains("calloc"));
    }
}
