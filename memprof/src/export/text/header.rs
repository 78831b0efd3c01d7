//! The head of the final report: who was traced, when, and by what.

use std::io;

use super::fit::{comma_separated, words};
use super::labelled;
use super::page::{Page, Paint};
use crate::report::{EventKind, Process, Report, Target, TargetKind};
use crate::units::{format_count, format_seconds};

/// Processes that are listed one by one.
const LISTED_PROCESSES: usize = 5;

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let host = &report.host;
    let cpus = if host.cpus == 1 { "CPU" } else { "CPUs" };
    page.line(&[
        (format!("memprof {}", report.memprof.version), Paint::Strong),
        (
            format!(
                "  Linux {} {}, {} {cpus}",
                host.kernel, host.arch, host.cpus
            ),
            Paint::Faint,
        ),
    ])?;
    page.blank()?;
    let processes = match report.target.kind {
        TargetKind::Pid | TargetKind::Command => &report.target.processes[..],
        TargetKind::Comm | TargetKind::Cgroup | TargetKind::All => {
            labelled(page, "target", &words(&scope(&report.target)))?;
            &[]
        }
    };
    for (index, process) in processes.iter().take(LISTED_PROCESSES).enumerate() {
        let label = if index == 0 { "target" } else { "" };
        labelled(page, label, &words(&describe(process)))?;
    }
    if processes.len() > LISTED_PROCESSES {
        let met = report.target.processes_met.unwrap_or(0);
        let met = met.max(processes.len() as u64);
        let more = format_count(met - LISTED_PROCESSES as u64);
        labelled(page, "", &words(&format!("and {more} more processes")))?;
    }
    labelled(
        page,
        "time",
        &[
            format_seconds(report.duration_seconds),
            format!("from {}", report.started_at),
        ],
    )?;
    let events = report
        .events
        .iter()
        .map(|kind| event_name(*kind).to_owned());
    labelled(page, "events", &comma_separated(events.collect()))
}

/// `every process of this machine: 37 processes`
fn scope(target: &Target) -> String {
    let of_cgroups = match &target.cgroups[..] {
        [] => String::new(),
        paths => format!(" in {}", paths.join(" or ")),
    };
    let which = match (&target.names[..], &of_cgroups[..]) {
        ([], "") => "every process of this machine".to_owned(),
        ([], of_cgroups) => format!("every process{of_cgroups}"),
        (names, of_cgroups) => format!("every {}{of_cgroups}", names.join(" or ")),
    };
    let met = target
        .processes_met
        .unwrap_or(target.processes.len() as u64);
    match met {
        0 => format!("{which}: none was met"),
        1 => format!("{which}: 1 process"),
        _ => format!("{which}: {} processes", format_count(met)),
    }
}

fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Malloc => "malloc",
        EventKind::Mmap => "mmap",
        EventKind::Faults => "faults",
    }
}

/// `server (pid 1234), exit status 1: /usr/bin/server --listen 80`
fn describe(process: &Process) -> String {
    let mut text = match &process.comm {
        Some(comm) => format!("{comm} (pid {})", process.pid),
        None => format!("pid {}", process.pid),
    };
    if let Some(status) = process.exit_status {
        text.push_str(&format!(", exit status {status}"));
    }
    if let Some(signal) = process.exit_signal {
        text.push_str(&format!(", killed by signal {signal}"));
    }
    match (&process.cmdline, &process.exe) {
        (Some(arguments), _) if !arguments.is_empty() => {
            let quoted: Vec<_> = arguments.iter().map(|argument| quote(argument)).collect();
            text.push_str(": ");
            text.push_str(&quoted.join(" "));
        }
        (_, Some(exe)) => {
            text.push_str(": ");
            text.push_str(exe);
        }
        (_, None) => {}
    }
    text
}

/// Shows where an argument begins and ends, if that is not plain to see.
fn quote(argument: &str) -> String {
    if argument.is_empty() || argument.contains(char::is_whitespace) {
        format!("'{argument}'")
    } else {
        argument.to_owned()
    }
}
