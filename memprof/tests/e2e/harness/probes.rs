//! Whether a process has probes in it: code in memory that is not the code of its file.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, Process, Stage, wait_until};

/// How long no probe must have come for all to be in.
const SETTLED: Duration = Duration::from_millis(500);

/// Waits until the process has probes and gets no more: one function after the other is probed.
pub(crate) fn wait_probed(pid: u32) {
    let (mut last, mut since) = (0, Instant::now());
    wait_until("its allocator is probed", PATIENCE, || {
        let now = patched_bytes(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        now > 0 && since.elapsed() > SETTLED
    });
}

/// Bytes of the process's mapped code that differ from the files they come from: a uprobe is a
/// breakpoint (or, where the kernel optimises it, a call) written over an instruction. 0 for a
/// process that is gone.
pub(crate) fn patched_bytes(pid: u32) -> usize {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else {
        return 0;
    };
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
        return 0;
    };
    let mut patched = 0;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(offset), _, _, Some(path)) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            continue;
        };
        if !rights.contains('x') || !path.starts_with('/') {
            continue;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).expect("maps are hexadecimal");
        let (start, end) = range.split_once('-').expect("a mapping is a range");
        let (start, end, offset) = (number(start), number(end), number(offset));
        // The former finds deleted files too, but takes privileges.
        let Ok(file) = File::open(format!("/proc/{pid}/map_files/{range}"))
            .or_else(|_| File::open(format!("/proc/{pid}/root{path}")))
        else {
            continue;
        };
        let length = usize::try_from(end - start).expect("code fits into memory");
        let (mut in_memory, mut in_file) = (vec![0; length], vec![0; length]);
        let from_file = read_what_is_there(&file, &mut in_file, offset);
        let from_memory = read_what_is_there(&memory, &mut in_memory, start);
        patched += in_memory[..from_memory.min(from_file)]
            .iter()
            .zip(&in_file)
            .filter(|(memory, file)| memory != file)
            .count();
    }
    patched
}

fn read_what_is_there(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut at = 0;
    while at < buffer.len() {
        match file.read_at(&mut buffer[at..], offset + at as u64) {
            Ok(read) if read > 0 => at += read,
            _ => break,
        }
    }
    at
}

/// Fails unless all probes are out of the process soon: the kernel takes its time, about 0.1 s
/// for each.
pub(crate) fn assert_no_probe_left(pid: u32) {
    wait_until("no probe is left behind", Duration::from_secs(10), || {
        patched_bytes(pid) == 0
    });
}

/// Without this, "no probe is left" could be said by a check that sees none.
#[test]
fn a_breakpoint_in_a_process_is_noticed() {
    let stage = Stage::new("breakpoint");
    let mut command = Command::new("/bin/sleep");
    let target = Process::start(&stage, "sleep", command.arg("60").stdin(Stdio::null()));
    let pid = target.pid();
    wait_until("it has started", Duration::from_secs(5), || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains("(sleep) S"))
    });
    // The kernel may still be taking out those of an earlier test.
    assert_no_probe_left(pid);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is ours");
    let code = maps
        .lines()
        .find(|line| line.contains(" r-xp ") && line.contains("/sleep"))
        .and_then(|line| line.split_once('-'))
        .map(|(start, _)| u64::from_str_radix(start, 16).expect("maps are hexadecimal"))
        .expect("its own code is mapped");
    let memory = File::options()
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .expect("it is ours");
    memory
        .write_all_at(&[0xcc], code)
        .expect("code can be poked");
    assert_eq!(patched_bytes(pid), 1);
}
