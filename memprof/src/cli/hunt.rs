//! The arguments of `memprof hunt`.

use std::ffi::OsString;

use clap::Args;

use super::{ScopeArgs, TracingArgs};

/// Arguments of `memprof hunt`.
#[derive(Debug, Args)]
pub struct HuntArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,

    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Time between two words on who grows
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub interval: String,

    /// The longest time for which a process is probed; it ends sooner if the verdict is clear
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub probe_for: String,

    /// Growth below this is not significant; nor is less than a hundredth of what the process has
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub min_growth: String,

    /// How sure a verdict must be to be a find, 0 to 1
    #[arg(long, value_name = "NUMBER", default_value = "0.4")]
    pub min_confidence: String,

    /// Stop after so many finds of a leak [default: go on]
    #[arg(long, value_name = "N")]
    pub finds: Option<String>,

    /// Format of the report: text, json or jsonl
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// Not taken: what is launched is followed from its start by `memprof trace`
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub command: Vec<OsString>,
}
