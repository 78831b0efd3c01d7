//! A running process as a target: that it is one, who it is, and what it weighs.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use anyhow::{Error, Result};
use nix::{
    sys::time::TimeValLike as _,
    time::{ClockId, clock_gettime},
};
use procfs::{
    FromRead as _, ProcError,
    process::{Process as Proc, Stat, StatFlags, Status},
};

use crate::{
    bad_input,
    identity::{Nanoseconds, Pid},
};

/// Who a process is. A pid alone is not an identity: it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its id.
    pub pid: Pid,
    /// Its start, in clock ticks since boot: with the id, its identity.
    pub start_ticks: u64,
    /// The kernel's name for its main thread.
    pub comm: Option<String>,
    /// What it executes.
    pub exe: Option<PathBuf>,
    /// Its arguments.
    pub cmdline: Option<Vec<String>>,
}

impl ProcessFacts {
    /// Reads what is known of `pid`; `None` if there is no such process any more.
    pub fn read(pid: Pid) -> Option<Self> {
        let process = open(pid).ok()?;
        let stat = process.stat().ok()?;
        Some(Self {
            pid,
            start_ticks: stat.starttime,
            comm: Some(stat.comm),
            exe: process.exe().ok(),
            cmdline: process.cmdline().ok().filter(|words| !words.is_empty()),
        })
    }

    /// Reads what is known of the process that had the id `pid` at the time `at`, nanoseconds of
    /// `CLOCK_MONOTONIC`; nothing but its id if it is gone, whoever has the id now.
    pub fn read_of(pid: Pid, at: Nanoseconds) -> Self {
        let now = Self::read(pid).filter(|facts| !facts.began_after(at));
        now.unwrap_or(Self {
            pid,
            start_ticks: 0,
            comm: None,
            exe: None,
            cmdline: None,
        })
    }

    /// Whether it surely started after the time `at`, nanoseconds of `CLOCK_MONOTONIC`.
    fn began_after(&self, at: Nanoseconds) -> bool {
        // Starts are counted on the clock that goes on in a machine's sleep, in whole ticks.
        let slept = match (
            clock_gettime(ClockId::CLOCK_BOOTTIME),
            clock_gettime(ClockId::CLOCK_MONOTONIC),
        ) {
            (Ok(boot), Ok(monotonic)) => (boot - monotonic).num_nanoseconds().max(0) as u64,
            _ => return false,
        };
        let tick = 1_000_000_000 / procfs::ticks_per_second().max(1);
        self.start_ticks.saturating_mul(tick) > at.saturating_add(slept + tick)
    }

    /// Whether the process still lives: same id, same start, not a zombie.
    pub fn is_alive(&self) -> bool {
        open(self.pid)
            .and_then(|process| process.stat())
            .is_ok_and(|stat| {
                stat.starttime == self.start_ticks && !matches!(stat.state, 'Z' | 'X')
            })
    }
}

/// Checks that `pid` can be traced at all.
///
/// # Errors
/// If there is no such process, or it is a thread, a zombie, a kernel thread or memprof itself.
pub fn require_traceable(pid: Pid) -> Result<ProcessFacts> {
    let Pid(number) = pid;
    if number == std::process::id() {
        return Err(bad_input!(
            "memprof does not trace itself: give another --pid"
        ));
    }
    require_program(pid)?;
    ProcessFacts::read(pid).ok_or_else(|| no_process(number, &ProcError::NotFound(None)))
}

/// A living process that runs a program. What is read through `process` is of no other one that has
/// its id later.
#[derive(Debug)]
pub struct Program {
    /// Its directory in `/proc`, held open.
    pub process: Proc,
    /// Its state at that moment.
    pub stat: Stat,
    /// The same, in other words.
    pub status: Status,
}

/// Finds the program that runs as `pid`.
///
/// # Errors
/// If there is no such process, or it is a thread, a zombie or a kernel thread.
pub fn require_program(pid: Pid) -> Result<Program> {
    let Pid(number) = pid;
    let process = open(pid).map_err(|error| no_process(number, &error))?;
    let stat = process.stat().map_err(|error| no_process(number, &error))?;
    let status = status(&process).map_err(|error| no_process(number, &error))?;
    if status.tgid != number as i32 {
        return Err(bad_input!(
            "{number} is a thread: give its process, --pid {}",
            status.tgid
        ));
    }
    if matches!(stat.state, 'Z' | 'X') {
        return Err(bad_input!(
            "process {number} ({}) is a zombie: it has ended and waits for its parent to notice",
            stat.comm
        ));
    }
    let flags = StatFlags::from_bits_truncate(stat.flags);
    if flags.contains(StatFlags::PF_KTHREAD) {
        return Err(bad_input!(
            "{number} ({}) is a kernel thread: it has no memory of its own",
            stat.comm
        ));
    }
    Ok(Program {
        process,
        stat,
        status,
    })
}

/// As `Process::status`, which refuses a process whose name isn't UTF-8.
fn status(process: &Proc) -> Result<Status, ProcError> {
    let mut text = Vec::new();
    process.open_relative("status")?.read_to_end(&mut text)?;
    Status::from_read(String::from_utf8_lossy(&text).as_bytes())
}

fn open(pid: Pid) -> Result<Proc, ProcError> {
    let number = i32::try_from(pid.0).map_err(|_| ProcError::NotFound(None))?;
    Proc::new(number)
}

fn no_process(pid: u32, error: &ProcError) -> Error {
    match error {
        ProcError::PermissionDenied(_) => {
            bad_input!("process {pid} can't be looked at: run memprof as root")
        }
        _ => bad_input!("there is no process {pid}: see `ps -e` for those that run"),
    }
}

/// A process's resident memory, bytes; `None` once it has none.
pub fn resident_bytes(pid: Pid) -> Option<u64> {
    let statm = open(pid).ok()?.statm().ok()?;
    (statm.resident > 0).then(|| statm.resident * page_size::get() as u64)
}

/// A process's anonymous memory, resident and swapped out, bytes, by what its file `/proc/PID/status`
/// holds; `None` once it has none.
pub fn anonymous_bytes(status: &[u8]) -> Option<u64> {
    let kib = |name: &[u8]| {
        let line = status
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name))?;
        let number = line.trim_ascii().split(|byte| *byte == b' ').next()?;
        str::from_utf8(number).ok()?.parse::<u64>().ok()
    };
    let resident = kib(b"RssAnon:")?;
    // A kernel without swap has no such line.
    let swapped = kib(b"VmSwap:").unwrap_or(0);
    Some(resident.saturating_add(swapped).saturating_mul(1024))
}

/// Processor time that a process has taken, in user and kernel mode, seconds; `None` if it is gone.
pub fn cpu_seconds(pid: Pid) -> Option<f64> {
    let stat = open(pid).ok()?.stat().ok()?;
    Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// The name that the kernel gives a process, kept short by the kernel.
///
/// # Errors
/// If it is gone.
pub fn comm(pid: Pid) -> io::Result<String> {
    let name = fs::read(format!("/proc/{}/comm", pid.0))?;
    Ok(String::from_utf8_lossy(&name).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_bad_input() {
        let error = require_traceable(Pid(u32::MAX)).unwrap_err();
        assert!(error.to_string().contains("no process"));
        assert!(error.is::<crate::failure::BadInput>());
    }

    #[test]
    fn memprof_does_not_trace_itself() {
        let error = require_traceable(Pid(std::process::id())).unwrap_err();
        assert!(error.to_string().contains("itself"));
    }

    #[test]
    fn a_process_that_has_its_id_by_now_is_not_the_one_that_had_it() {
        let pid = Pid(std::process::id());
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        let now = now.num_nanoseconds() as u64;
        assert!(ProcessFacts::read_of(pid, now).comm.is_some());
        let before = ProcessFacts::read_of(pid, 1);
        assert_eq!((before.pid, before.comm), (pid, None));
    }

    #[test]
    fn anonymous_memory_is_what_is_resident_and_what_is_swapped_out() {
        let status =
            b"Name:\tVmSwap: 7\nRssAnon:\t     120 kB\nRssFile:\t 9 kB\nVmSwap:\t       8 kB\n";
        assert_eq!(anonymous_bytes(status), Some(128 << 10));
        assert_eq!(anonymous_bytes(b"RssAnon:\t1 kB"), Some(1024));
        let zombie = b"Name:\tx\nState:\tZ (zombie)\n";
        for nothing in [
            &b""[..],
            zombie,
            b"RssAnon:",
            b"RssAnon:\t-1 kB",
            b"\xff\nRssAnon:\t\xff",
        ] {
            assert_eq!(anonymous_bytes(nothing), None);
        }
        let own = fs::read("/proc/self/status").unwrap();
        assert!(anonymous_bytes(&own).unwrap() > 10_000);
    }

    #[test]
    fn this_process_is_alive_and_weighs_something() {
        let this = ProcessFacts::read(Pid(std::process::id())).unwrap();
        assert!(this.is_alive());
        assert!(resident_bytes(this.pid).unwrap() > 100_000);
        assert!(cpu_seconds(this.pid).unwrap() >= 0.0);
        let another_life = ProcessFacts {
            start_ticks: this.start_ticks + 1,
            ..this
        };
        assert!(!another_life.is_alive());
    }
}
