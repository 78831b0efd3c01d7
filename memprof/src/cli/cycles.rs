//! The arguments of cycles.

use clap::Args;

/// Doing the same again and again.
#[derive(Debug, Default, Args)]
pub struct CyclesArgs {
    /// Run the command so many times, one after the other, and report what each time leaves
    /// behind: with --pid an action against that process (the command itself is not traced), else
    /// the traced program itself
    #[arg(long, value_name = "N")]
    pub cycles: Option<String>,

    /// Of the cycles, how many warm up and don't count [default: a fifth, at least 1]
    #[arg(long, value_name = "N", requires = "cycles")]
    pub cycles_warm_up: Option<String>,
}
