//! The project's tasks, as `cargo xtask VERB`: one file per verb.

mod apt;
mod bench;
mod build_ebpf;
mod demo;
mod setup;
mod shell;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Project tasks of memprof.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing for building and testing, and say what it is.
    Setup,
    /// Build the eBPF object that memprof carries.
    BuildEbpf,
    /// Build everything, start a leaking server and trace it.
    Demo(demo::Options),
    /// Set up, build, and run everything: format, clippy, unit and end-to-end tests.
    Test(test::Options),
    /// Set up, build, and run the benchmarks.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Setup => setup::run(),
        Verb::BuildEbpf => build_ebpf::run().map(|_| ()),
        Verb::Demo(options) => demo::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
