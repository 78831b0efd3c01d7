//! `cargo xtask bench`: how fast the collector's parts are, and what tracing costs the target.

use anyhow::{Result, bail};

use crate::{apt, build_ebpf, setup, shell};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run this part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,

    /// Compare in one short round.
    #[arg(long)]
    quick: bool,

    /// Which benchmarks of the collector to run, and other options of the benchmark programs; with
    /// `--only comparison` and `--only faults` which workloads to compare (default: everything).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The collector's parts, each by itself.
    Collector,
    /// What tracing costs the target: memprof beside its peers.
    Comparison,
    /// What following page faults costs the target: memprof beside a script of bpftrace.
    Faults,
}

/// What the comparison runs, and the Debian package that it is in.
const COMPARED: [(&str, &str); 8] = [
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/sqlite3", "sqlite3"),
    ("/usr/bin/python3", "python3"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/redis-benchmark", "redis-tools"),
    ("/usr/bin/bpftrace", "bpftrace"),
    ("/usr/bin/heaptrack", "heaptrack"),
    ("/usr/bin/valgrind", "valgrind"),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    build_ebpf::run()?;
    // A filter is the collector's benchmarks', unless it is the comparison that is asked for.
    let compared: &[Part] = match options.only {
        Some(Part::Collector) => &[],
        Some(Part::Comparison) => &[Part::Comparison],
        Some(Part::Faults) => &[Part::Faults],
        None if options.filter.is_empty() => &[Part::Comparison, Part::Faults],
        None => &[],
    };
    if matches!(options.only, None | Some(Part::Collector)) {
        shell::step("run the benchmarks", || bench_collector(&options.filter))?;
    }
    if compared.is_empty() {
        return Ok(());
    }
    if !shell::may_trace() {
        if options.only.is_some() {
            bail!("comparing takes root, as tracing does");
        }
        eprintln!("SKIPPED the comparison: it traces, which takes root");
        return Ok(());
    }
    install_peers();
    shell::step("build memprof and the comparison", build)?;
    for part in compared {
        shell::step("compare", || compare(*part, options))?;
    }
    Ok(())
}

fn bench_collector(filter: &[String]) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo
        .args(["bench", "--package", "memprof", "--benches", "--"])
        .args(filter);
    shell::run(&mut cargo)
}

/// Installs what is missing, one by one: what can't be had is in the table with the reason.
fn install_peers() {
    for (program, package) in COMPARED {
        if setup::is_installed(program) {
            continue;
        }
        let installed = match apt::is_here() {
            true => apt::install(&[package], "the comparison of `cargo xtask bench`"),
            false => Err(anyhow::anyhow!("there is no apt-get to install it with")),
        };
        if let Err(error) = installed {
            eprintln!("warning: comparing without {package}: {error:#}");
        }
    }
}

fn build() -> Result<()> {
    let packages = ["--package", "memprof", "--package", "memprof-bench"];
    shell::run(shell::cargo().args(["build", "--release"]).args(packages))
}

fn compare(part: Part, options: &Options) -> Result<()> {
    let mut comparison = shell::command(shell::target_directory().join("release/memprof-bench"));
    if part == Part::Faults {
        comparison.arg("--faults");
    }
    if options.quick {
        comparison.arg("--quick");
    }
    shell::run(comparison.args(&options.filter))
}
