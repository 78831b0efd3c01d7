//! The looking itself: `/proc/PID` and what of the machine's state goes with it.
//!
//! Reading smaps walks the page tables of the target. The kernel holds the lock of its address space for
//! reading meanwhile, for some mappings at a time: the target goes on, but its `mmap`, `munmap` and the
//! like wait, and what faults behind them may too. So it is read once, and not at all if the look is to
//! be quick. A list that is read in pieces is of no one moment: what changes meanwhile may be in it or not.

mod around;
mod files;
pub(super) mod threads;

use std::io::{self, BufReader, Read as _};
use std::path::PathBuf;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use procfs::ProcError;
use procfs::process::Process;

use super::groups::group;
use super::model::{
    Mappings, Memory, MemorySource, Snapshot, SnapshotProcess, SnapshotSchema, Threads,
};
use super::smaps::{Regions, parse};
use crate::bad_input;
use crate::identity::Pid;
use crate::report::{Host, Memprof};
use crate::target::process::{Program, require_program};

/// How much of smaps is read at a time: no more than the kernel gives.
const SMAPS_BUFFER_BYTES: usize = 64 << 10;
/// Of a process's arguments so many bytes are kept.
const MAX_CMDLINE_BYTES: u64 = 64 << 10;

/// How to look.
#[derive(Debug)]
pub struct Look {
    /// At whom.
    pub pid: Pid,
    /// What to call it.
    pub label: Option<String>,
    /// Mappings to list one by one.
    pub top: usize,
    /// Without its mappings.
    pub quick: bool,
}

/// Looks at a process.
///
/// # Errors
/// Bad input if there is no such process, it is none that runs a program, or it ended meanwhile.
pub fn read(look: &Look, host: Host) -> Result<Snapshot> {
    let taken_at = jiff::Timestamp::now();
    let taken_at = taken_at.round(jiff::Unit::Millisecond).unwrap_or(taken_at);
    let program = require_program(look.pid)?;
    let mut notes = Vec::new();
    let (regions, pointers) = if look.quick {
        notes.push(
            "mappings were not read (--quick): PSS, USS and groups of mappings are unknown"
                .to_owned(),
        );
        (None, None)
    } else {
        let pointers = threads::stack_pointers(&program.process, &mut notes);
        (read_smaps(&program.process, &mut notes), pointers)
    };
    let open_files = files::count(look.pid, &program.process, &mut notes);
    let process = describe(look.pid, &program);
    still_there(look.pid, &program)?;

    let memory = weigh(&program, regions.as_ref());
    let (mappings, mut threads) = match &regions {
        Some(regions) => {
            let (mappings, threads) = group(regions, pointers.as_deref(), look.top);
            (Some(mappings), threads)
        }
        None => (None, Threads::default()),
    };
    threads.count = Some(program.status.threads);
    notes.extend(mappings.as_ref().and_then(only_counted));
    Ok(Snapshot {
        schema: SnapshotSchema::V1,
        memprof: Memprof::this(),
        host,
        taken_at: taken_at.to_string(),
        label: look.label.clone(),
        process,
        memory,
        mappings,
        threads,
        open_files,
        system: around::system(),
        cgroup: around::cgroup(look.pid),
        notes,
    })
}

/// Its mappings; `None`, and a note of why, if they can't be read.
pub(crate) fn read_smaps(process: &Process, notes: &mut Vec<String>) -> Option<Regions> {
    let why = match process.open_relative("smaps") {
        Ok(file) => match parse(BufReader::with_capacity(SMAPS_BUFFER_BYTES, file)) {
            Ok(regions) => return Some(regions),
            Err(error) => refusal(&error),
        },
        Err(ProcError::PermissionDenied(_)) => NOT_ALLOWED.to_owned(),
        Err(ProcError::NotFound(_)) => {
            "this kernel shows none: boot one with CONFIG_PROC_PAGE_MONITOR=y".to_owned()
        }
        Err(ProcError::Io(error, _)) => refusal(&error),
        Err(error) => error.to_string(),
    };
    notes.push(format!(
        "mappings can't be read, so that PSS, USS and groups of mappings are unknown: {why}"
    ));
    None
}

const NOT_ALLOWED: &str =
    "permission denied: run memprof as root, or as the user to whom the process belongs";

fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => NOT_ALLOWED.to_owned(),
        kind => kind.to_string(),
    }
}

fn only_counted(mappings: &Mappings) -> Option<String> {
    (mappings.beyond_count > 0).then(|| {
        format!(
            "of {} mappings {} are only counted, as others",
            mappings.count, mappings.beyond_count
        )
    })
}

/// Checks that all that was read is of the same program.
fn still_there(pid: Pid, program: &Program) -> Result<()> {
    let Pid(number) = pid;
    match program.process.stat() {
        Ok(now) if matches!(now.state, 'Z' | 'X') => {}
        // Of each program it runs, another address; 0 for those who may not know.
        Ok(now) if now.startstack == program.stat.startstack => return Ok(()),
        Ok(_) => {
            return Err(bad_input!(
                "process {number} began to run another program while it was looked at: try again"
            ));
        }
        Err(_) => {}
    }
    Err(bad_input!(
        "process {number} ended while it was looked at: see `ps -e` for those that run"
    ))
}

fn describe(pid: Pid, program: &Program) -> SnapshotProcess {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let per_second = procfs::ticks_per_second().max(1) as f64;
    let started = program.stat.starttime as f64 / per_second;
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok();
    let now = now.map(|now| now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9);
    SnapshotProcess {
        pid: pid.0,
        comm: Some(program.stat.comm.clone()),
        exe: program.process.exe().ok().map(text),
        cmdline: arguments(&program.process).filter(|words| !words.is_empty()),
        uid: Some(program.status.euid),
        state: Some(program.stat.state.to_string()),
        started_seconds_after_boot: Some(started),
        age_seconds: now.map(|now| (now - started).max(0.0)),
    }
}

fn arguments(process: &Process) -> Option<Vec<String>> {
    let mut bytes = Vec::new();
    let file = process.open_relative("cmdline").ok()?;
    file.take(MAX_CMDLINE_BYTES).read_to_end(&mut bytes).ok()?;
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if bytes.is_empty() {
        return None;
    }
    let words = bytes.split(|byte| *byte == 0);
    Some(
        words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
    )
}

/// What it weighs, page by page if its mappings were read, else by the kernel's counters.
fn weigh(program: &Program, regions: Option<&Regions>) -> Memory {
    let status = &program.status;
    let bytes = |kib: Option<u64>| kib.map(|kib| kib.saturating_mul(1024));
    let statm = program.process.statm().ok();
    let pages = |pages: u64| pages.saturating_mul(page_size::get() as u64);
    let total = regions.map(|regions| &regions.total);
    let sums = regions.map(|regions| regions.sums);
    let counted = bytes(status.vmrss).or(statm.map(|statm| pages(statm.resident)));
    let rss = total.map(|total| total.rss_bytes).or(counted);
    Memory {
        source: if regions.is_some() {
            MemorySource::Smaps
        } else {
            MemorySource::Status
        },
        rss_bytes: rss,
        pss_bytes: total.map(|total| total.pss_bytes),
        uss_bytes: total.map(|total| total.uss_bytes),
        shared_bytes: sums.map(|sums| sums.shared),
        swap_bytes: total.map(|total| total.swap_bytes).or(bytes(status.vmswap)),
        swap_pss_bytes: sums.map(|sums| sums.swap_pss),
        // The kernel notes the peak by counters that lag: what is resident now was so at some time.
        peak_rss_bytes: bytes(status.vmhwm).max(rss),
        virtual_bytes: bytes(status.vmsize).or(statm.map(|statm| pages(statm.size))),
        peak_virtual_bytes: bytes(status.vmpeak),
        rss_anonymous_bytes: bytes(status.rssanon),
        rss_file_bytes: bytes(status.rssfile),
        rss_shared_memory_bytes: bytes(status.rssshmem),
        page_tables_bytes: bytes(status.vmpte),
        locked_bytes: bytes(status.vmlck),
        hugetlb_bytes: bytes(status.hugetlbpages).or(sums.map(|sums| sums.hugetlb)),
        transparent_huge_bytes: sums.map(|sums| sums.transparent_huge),
        lazily_freed_bytes: sums.map(|sums| sums.lazily_freed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_process(quick: bool) -> Snapshot {
        let look = Look {
            pid: Pid(std::process::id()),
            label: Some("here".to_owned()),
            top: 3,
            quick,
        };
        let host = Host {
            kernel: String::new(),
            arch: String::new(),
            cpus: 1,
        };
        read(&look, host).unwrap()
    }

    #[test]
    fn this_process_is_seen_and_reads_back_as_it_was() {
        let snapshot = this_process(false);
        let mappings = snapshot.mappings.as_ref().unwrap();
        assert_eq!(mappings.largest.len(), 3);
        assert!(snapshot.memory.rss_bytes.unwrap() > 100_000);
        assert!(snapshot.memory.peak_rss_bytes >= snapshot.memory.rss_bytes);
        let sum: u64 = mappings
            .by_kind
            .iter()
            .map(|group| group.amounts.rss_bytes)
            .sum();
        assert_eq!(Some(sum), snapshot.memory.rss_bytes);
        assert!(snapshot.open_files.unwrap().count >= 1);
        assert!(snapshot.system.is_some());
        assert_eq!(snapshot.notes, [""; 0]);
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    }

    #[test]
    fn a_quick_look_knows_no_mappings_and_says_so() {
        let snapshot = this_process(true);
        assert_eq!(snapshot.mappings, None);
        assert_eq!(snapshot.memory.pss_bytes, None);
        assert!(snapshot.memory.rss_bytes.unwrap() > 100_000);
        assert_eq!(snapshot.memory.source, MemorySource::Status);
        assert_eq!(snapshot.notes.len(), 1);
    }
}
