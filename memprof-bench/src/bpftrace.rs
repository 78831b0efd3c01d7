//! What a script in bpftrace costs: of leaks, the probes and maps of bcc's `memleak`, in the words of one
//! page; of page faults, memprof's tracepoints in the words of some lines.

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
use crate::tracers::Script;

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
    pub(crate) fn attach(script: Script, pid: Pid, directory: &Path) -> Result<Self> {
        let log = directory.join("bpftrace.log");
        let (file, text, mut command) = match script {
            Script::Leak => {
                let allocators = allocators::of_process(pid, Emulated::NONE)?;
                let text = leak_script(pid, &allocators);
                ("leak.bt", text, Command::new(PROGRAM))
            }
            Script::Faults => ("faults.bt", fault_script(pid), with_tracefs()),
        };
        let file = directory.join(file);
        fs::write(&file, text)?;
        let output = File::create(&log)?;
        let mut process = Guarded::spawn(
            command
                .arg(&file)
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
fn leak_script(pid: Pid, allocators: &[Allocator]) -> String {
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

/// The script for page faults of `pid`: faults by stack, the program's and the kernel's on its behalf,
/// and resident memory of each kind as it changes.
fn fault_script(pid: Pid) -> String {
    format!(
        "tracepoint:exceptions:page_fault_user /pid == {pid}/ {{ @touched[ustack] = count(); }}\n\
         tracepoint:exceptions:page_fault_kernel /pid == {pid}/ {{ @touched_by_kernel[ustack] = count(); }}\n\
         tracepoint:kmem:rss_stat /pid == {pid} && args->curr/ {{ @resident[args->member] = args->size; }}\n\
         interval:ms:20 /!@told/ {{ @told = 1; printf(\"{ATTACHED}\\n\"); }}\n\
         END {{ clear(@touched); clear(@touched_by_kernel); clear(@resident); clear(@told); }}\n"
    )
}

/// bpftrace where it finds the kernel's list of tracepoints, without which it can't attach to any. memprof
/// needs none, so it may not be mounted: here it is for bpftrace alone. A second mount does no harm.
fn with_tracefs() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]).args([
        "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"",
        "sh",
        PROGRAM,
    ]);
    command
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
        let script = leak_script(Pid::from_raw(7), &[allocator]);
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

    #[test]
    fn the_script_of_faults_has_memprofs_tracepoints_for_one_process() {
        let script = fault_script(Pid::from_raw(7));
        for tracepoint in [
            "exceptions:page_fault_user",
            "exceptions:page_fault_kernel",
            "kmem:rss_stat",
        ] {
            let probe = format!("tracepoint:{tracepoint} /pid == 7");
            assert!(script.contains(&probe), "{script}");
        }
        assert!(
            script.contains("printf(\"all probes are in\\n\");"),
            "{script}"
        );
    }
}
