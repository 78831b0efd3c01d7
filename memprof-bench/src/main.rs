//! What tracing costs the target: memprof beside its peers, on the same programs in the same run.
//! `cargo xtask bench` builds and runs it.
//!
//! The modules stand in the order in which the data flows.

mod guard;
mod statistics;
mod workloads;
mod tracers;
mod compile;
mod redis;
mod target;
mod allocators;
mod floor;
mod memprof_run;
mod bpftrace;
mod results;
mod measure;
mod goals;
mod comparison;
mod table;
mod plot;
mod faults;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use self::comparison::Extent;
use self::floor::Floor;
use self::measure::Bench;
use self::workloads::{WORKLOADS, Workload};

/// Compare what memprof and its peers cost the programs that they trace.
#[derive(Parser)]
#[command(name = "memprof-bench")]
struct Arguments {
    /// One short round of a few workloads
    #[arg(long)]
    quick: bool,

    /// Follow page faults instead of allocations
    #[arg(long)]
    faults: bool,

    /// Rounds, as far as there is time [default: 5; with --faults 9]
    #[arg(long)]
    rounds: Option<usize>,

    /// The memprof to measure [default: the one built beside this program]
    #[arg(long, value_name = "FILE")]
    memprof: Option<PathBuf>,

    /// Where table, plot and figures go [default: target/bench]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Only workloads with one of these in their names
    filter: Vec<String>,
}

/// What is left of the eight minutes goes to the round that began last.
const FULL_TIME: Duration = Duration::from_secs(465);
const ROUNDS: usize = 5;
/// Their goals are about hundredths.
const ROUNDS_OF_FAULTS: usize = 9;
/// Pieces of work in a measurement.
const REPEATS: usize = 3;
/// By how much less a quick comparison does at a time.
const QUICK_DIVISOR: u32 = 2;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("comparing tracers takes root, as tracing does");
    }
    guard::end_children_on_signals()?;
    let all: &[Workload] = match arguments.faults {
        true => &faults::WORKLOADS,
        false => &WORKLOADS,
    };
    let workloads = chosen(all, arguments);
    if workloads.is_empty() {
        let names: Vec<&str> = all.iter().map(|workload| workload.name).collect();
        bail!("no such workload: there are {}", names.join(", "));
    }
    let program = std::env::current_exe()?;
    let built = program.parent().context("a program is in a directory")?;
    let memprof = arguments.memprof.clone();
    let memprof = memprof.unwrap_or_else(|| built.join("memprof"));
    let output = arguments.output.clone();
    let output = output.unwrap_or_else(|| built.with_file_name("bench"));
    let directory = output.join("work");
    fs::create_dir_all(&directory)
        .with_context(|| format!("can't make {}", directory.display()))?;
    let memprof = memprof
        .canonicalize()
        .with_context(|| format!("{} is missing: build it first", memprof.display()))?;
    let (output, directory) = (output.canonicalize()?, directory.canonicalize()?);
    // So that redis's socket has a short name, and whatever a program drops falls there.
    std::env::set_current_dir(&directory)?;

    let (rounds, divisor) = match arguments.quick {
        true => (1, QUICK_DIVISOR),
        false if arguments.faults => (arguments.rounds.unwrap_or(ROUNDS_OF_FAULTS), 1),
        false => (arguments.rounds.unwrap_or(ROUNDS), 1),
    };
    let bench = Bench {
        memprof,
        directory,
        floor: Floor::measure(),
        repeats: REPEATS,
        divisor,
    };
    let extent = Extent {
        rounds: rounds.max(1),
        time: FULL_TIME,
    };
    let failures = match arguments.faults {
        true => compare_faults(&bench, &workloads, extent, &output)?,
        false => compare(&bench, &workloads, extent, &output)?,
    };
    if !failures.is_empty() {
        bail!("not everything could be measured: {}", failures.join("; "));
    }
    Ok(())
}

/// Compares tracers of allocations; what failed.
fn compare(
    bench: &Bench,
    workloads: &[&Workload],
    extent: Extent,
    output: &Path,
) -> Result<Vec<String>> {
    let comparison = comparison::run(bench, workloads, extent);
    let page = table::markdown(&comparison);
    write(&output.join("comparison.md"), page.as_bytes())?;
    let figures = serde_json::to_vec_pretty(&comparison)?;
    write(&output.join("comparison.json"), &figures)?;
    plot::draw(&comparison.outcomes, &output.join("comparison.svg"))?;
    println!("{page}");
    println!(
        "written to {}: comparison.md, .json, .svg",
        output.display()
    );
    Ok(comparison.failures())
}

/// Compares tracers of page faults; what failed.
fn compare_faults(
    bench: &Bench,
    workloads: &[&Workload],
    extent: Extent,
    output: &Path,
) -> Result<Vec<String>> {
    let comparison = faults::run(bench, workloads, extent);
    let page = faults::markdown(&comparison);
    write(&output.join("faults.md"), page.as_bytes())?;
    let figures = serde_json::to_vec_pretty(&comparison)?;
    write(&output.join("faults.json"), &figures)?;
    println!("{page}");
    println!("written to {}: faults.md, .json", output.display());
    Ok(comparison.failures())
}

/// Those of `all` that are asked for.
fn chosen<'a>(all: &'a [Workload], arguments: &Arguments) -> Vec<&'a Workload> {
    let filter = &arguments.filter;
    let is_named = |workload: &Workload| filter.iter().any(|part| workload.name.contains(part));
    all.iter()
        .filter(|workload| match filter.is_empty() {
            true => workload.in_quick || !arguments.quick,
            false => is_named(workload),
        })
        .collect()
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    fs::write(path, contents).with_context(|| format!("can't write {}", path.display()))
}
