//! `cargo xtask bench`: how fast the collector's parts are.

use anyhow::Result;

use crate::{build_ebpf, shell};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which benchmarks to run, and other options of the benchmark programs (default: all).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    build_ebpf::run()?;
    shell::step("run the benchmarks", || {
        let mut cargo = shell::cargo();
        cargo
            .args(["bench", "--package", "memprof", "--benches", "--"])
            .args(&options.filter);
        shell::run(&mut cargo)
    })
}
