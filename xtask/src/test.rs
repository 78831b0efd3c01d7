//! `cargo xtask test`: everything a change has to pass.

use std::env;
use std::time::Instant;

use anyhow::Result;

use crate::{build_ebpf, setup, shell};

/// What runs with the user's toolchain: all but the crate for the BPF target.
const USERSPACE: [&str; 3] = ["--workspace", "--exclude", "memprof-ebpf"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which tests to run, and other options of the test programs (default: all).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    filter: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    shell::step("set up", setup::run)?;
    build_ebpf::run()?;
    shell::step("check the format", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    })?;
    shell::step("check with clippy", || {
        let deny = ["--all-targets", "--", "-D", "warnings"];
        shell::run(shell::cargo().arg("clippy").args(USERSPACE).args(deny))
    })?;
    shell::step("run the tests", || run_tests(&options.filter))?;
    println!(
        "everything passed in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn run_tests(filter: &[String]) -> Result<()> {
    let mut cargo = shell::cargo();
    // One run tells of everything that fails.
    cargo.args(["test", "--no-fail-fast"]).args(USERSPACE);
    cargo.arg("--").args(filter);
    if env::var_os("RUST_TEST_THREADS").is_none() {
        // The end-to-end tests load the machine; more of them at once would measure each other.
        cargo.env("RUST_TEST_THREADS", "2");
    }
    if env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false")) {
        // In a pipeline, an end-to-end test that can't run has not passed.
        cargo.env("MEMPROF_REQUIRE_BPF", "1");
    }
    shell::run(&mut cargo)
}
