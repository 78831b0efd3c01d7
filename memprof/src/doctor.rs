//! `memprof doctor`: what this kernel, user and target allow, each line with its cure.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use memprof_common::settings::WideScope;

use crate::{
    host::{self, CAPABILITIES, OLDEST_KERNEL},
    identity::Pid,
    probes::{
        attach::survey,
        kernel_side::{Beside, KernelSide},
        offsets::{KERNEL_BTF, kernel_offsets},
    },
    target::process::require_traceable,
};

/// Bytes of the rings of a trial: the least that the kernel makes.
const TRIAL_RING_BYTES: u32 = 4096;

/// One line: what was looked at, and what came of it.
struct Finding {
    subject: String,
    result: Result<String, Problem>,
}

/// What is wrong, and what to do.
struct Problem {
    what: String,
    cure: String,
}

fn problem(what: impl Into<String>, cure: impl Into<String>) -> Problem {
    Problem {
        what: what.into(),
        cure: cure.into(),
    }
}

/// Looks at everything and prints a line each; success if tracing would work.
///
/// # Errors
/// If standard output can't be written.
pub fn examine(pid: Option<Pid>) -> Result<ExitCode> {
    let mut findings = vec![
        finding("kernel", kernel()),
        finding("privileges", privileges()),
        finding("type information", type_information()),
        finding("BPF programs", programs()),
    ];
    if let Some(pid) = pid {
        findings.push(finding(format!("process {}", pid.0), process(pid)));
        findings.push(finding("allocators", allocators(pid)));
    }
    let well = findings.iter().all(|finding| finding.result.is_ok());
    match print(&findings, &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn finding(subject: impl Into<String>, result: Result<String, Problem>) -> Finding {
    Finding {
        subject: subject.into(),
        result,
    }
}

fn print(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let width = findings
        .iter()
        .map(|one| one.subject.len())
        .max()
        .unwrap_or(0);
    for Finding { subject, result } in findings {
        match result {
            Ok(what) => writeln!(out, "ok    {subject:width$}  {}", plain(what))?,
            Err(Problem { what, cure }) => {
                writeln!(
                    out,
                    "WRONG {subject:width$}  {}: {}",
                    plain(what),
                    plain(cure)
                )?;
            }
        }
    }
    Ok(())
}

fn plain(text: &str) -> String {
    crate::export::escape(text, true).into_owned()
}

fn kernel() -> Result<String, Problem> {
    let host = host::describe();
    let (major, minor) = OLDEST_KERNEL;
    match host::kernel_version() {
        Some(version) if version < OLDEST_KERNEL => Err(problem(
            format!("{} is too old", host.kernel),
            format!("boot {major}.{minor} or newer"),
        )),
        _ if host.arch != "x86_64" => Err(problem(
            format!(
                "{} is an architecture that memprof does not know",
                host.arch
            ),
            "trace on x86_64",
        )),
        _ => Ok(format!(
            "Linux {} on {}, {} CPUs",
            host.kernel, host.arch, host.cpus
        )),
    }
}

fn privileges() -> Result<String, Problem> {
    let missing = host::missing_capabilities();
    if missing.is_empty() {
        let all: Vec<&str> = CAPABILITIES.iter().map(|(name, ..)| *name).collect();
        return Ok(all.join(", "));
    }
    let why: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(name, ..)| missing.contains(name))
        .map(|(name, _, why)| format!("{name} ({why})"))
        .collect();
    Err(problem(
        format!("missing {}", why.join(", ")),
        "run memprof as root",
    ))
}

fn type_information() -> Result<String, Problem> {
    match kernel_offsets(Path::new(KERNEL_BTF)) {
        Ok(_) => Ok(format!("{KERNEL_BTF} has all that memprof reads")),
        Err(error) => Err(problem(
            format!("{error:#}"),
            "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF=y",
        )),
    }
}

fn programs() -> Result<String, Problem> {
    let loaded = kernel_offsets(Path::new(KERNEL_BTF)).and_then(|offsets| {
        KernelSide::load(offsets, TRIAL_RING_BYTES, WideScope::default(), Beside::ALL)
    });
    match loaded {
        Ok(_) => Ok("loaded, verified and taken out again".to_owned()),
        Err(error) => Err(problem(
            format!("{error:#}"),
            "run as root on a kernel with CONFIG_BPF_SYSCALL, CONFIG_UPROBE_EVENTS and \
             CONFIG_BPF_EVENTS, not locked down",
        )),
    }
}

fn process(pid: Pid) -> Result<String, Problem> {
    match require_traceable(pid) {
        Ok(facts) => {
            let exe = facts.exe.map(|exe| exe.to_string_lossy().into_owned());
            Ok(format!(
                "{}, {}",
                facts.comm.as_deref().unwrap_or("?"),
                exe.as_deref().unwrap_or("its executable can't be read")
            ))
        }
        Err(error) => Err(problem(error.to_string(), "give another --pid")),
    }
}

fn allocators(pid: Pid) -> Result<String, Problem> {
    let found = survey(pid).map_err(|error| {
        problem(
            format!("its mappings can't be read: {error:#}"),
            "run memprof as root",
        )
    })?;
    if found.is_empty() {
        return Err(problem(
            "it maps nothing that defines malloc and free",
            "keep the symbols of a static program; a Go program has its own heap profile",
        ));
    }
    let lines: Vec<String> = found
        .iter()
        .map(|(module, plan)| {
            let symbols = plan.sites.iter().flat_map(|site| &site.symbols);
            let functions: Vec<&str> = symbols.map(String::as_str).collect();
            format!("{module}: {}", functions.join(", "))
        })
        .collect();
    Ok(lines.join("; "))
}
