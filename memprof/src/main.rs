//! The `memprof` command: parse, run, exit code.

use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Parser as _;
use memprof::{
    cli::{Cli, Command},
    config::{
        DiffConfig, HuntConfig, MarkConfig, ReportConfig, SnapshotConfig, TraceConfig, doctor_pid,
    },
    doctor,
    failure::BadInput,
    look, mark, offline, session,
};

/// Not the C library's: where children are followed, its functions are probed in every process,
/// and memprof would pay a trap for each block of its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// memprof failed.
const FAILED: u8 = 1;
/// The user's input was wrong.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    run(cli.command).unwrap_or_else(|error| explain(&error))
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Trace(args) => session::trace(TraceConfig::new(*args)?),
        Command::Report(args) => offline::report(&ReportConfig::new(args)?),
        Command::Diff(args) => offline::diff(&DiffConfig::new(args)?),
        Command::Snapshot(args) => look::take(&SnapshotConfig::new(args)?),
        Command::Mark(args) => mark::set(&MarkConfig::new(&args)?),
        Command::Check(args) => session::trace(TraceConfig::of_check(*args)?),
        Command::Hunt(args) => session::hunt(HuntConfig::new(*args)?),
        Command::Doctor(args) => doctor::examine(doctor_pid(&args)?),
    }
}

/// Help and version as clap prints them; a wrong command line in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Standard output may be closed; there is nobody to tell then.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let first: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let line = first.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    eprintln!("memprof: {line} (see memprof --help)");
    ExitCode::from(BAD_INPUT)
}

/// One line on standard error.
fn explain(error: &Error) -> ExitCode {
    eprintln!("memprof: {error:#}");
    ExitCode::from(if error.is::<BadInput>() {
        BAD_INPUT
    } else {
        FAILED
    })
}
