//! The command line as users type it. `config` turns it into what the session needs.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

mod cycles;
mod offline;
pub use cycles::CyclesArgs;
pub use offline::{DiffArgs, MarkArgs, ReportArgs};

/// Which call path holds the memory that is never given back: an eBPF allocation tracer.
#[derive(Debug, Parser)]
#[command(name = "memprof", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow every allocation of a process and report who holds memory
    ///
    /// Attaches to running processes (--pid) or launches a command and follows it from its first
    /// allocation. Prints the call paths that hold most each interval, and a report at the end:
    /// at Ctrl-C, when the target exits, or after --duration.
    Trace(Box<TraceArgs>),
    /// Write a saved JSON report in another format
    Report(ReportArgs),
    /// Say what changed between two saved JSON reports, call path by call path
    ///
    /// Call paths are matched by the names of their functions and files, so that a rebuild
    /// compares with the build before it. Save both with a --top that lists all of them.
    Diff(DiffArgs),
    /// Set a named point in a running trace: the report says what was left between two of them
    Mark(MarkArgs),
    /// Say what this kernel, user and target allow, each line with its cure
    Doctor(DoctorArgs),
}

/// Arguments of `memprof trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Process to attach to; may be given several times
    #[arg(long, value_name = "PID", allow_negative_numbers = true)]
    pub pid: Vec<String>,

    /// Follow the children of --pid too (every process that maps their allocator pays a trap a
    /// call then)
    #[arg(long)]
    pub children: bool,

    /// Don't follow the children of a launched command
    #[arg(long, conflicts_with = "children")]
    pub no_children: bool,

    /// Run the launched command as this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Stop after this time: 30s, 10m, 24h, 7d [default: at Ctrl-C or the target's exit]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,

    /// Time between reports
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: String,

    /// Call paths to show
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: String,

    /// What comes first: outstanding, allocated, count or rate
    #[arg(long, value_name = "KEY", default_value = "outstanding")]
    pub sort: String,

    /// Show only blocks of at least this age (totals stay whole)
    #[arg(long, value_name = "TIME")]
    pub min_age: Option<String>,

    /// Show only blocks of at least this size (totals stay whole)
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<String>,

    /// Show only blocks of at most this size (totals stay whole)
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,

    /// Pass over frames whose function or module matches when naming the guilty line; * and ?
    /// match the whole name, else a part of it is enough; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub skip: Vec<String>,

    /// Look for separate debug files here too, before /usr/lib/debug: DIR/.build-id/xx/yyyy.debug
    /// and DIR/PATH/NAME.debug; may be given several times
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,

    /// Format of the report: text, json, jsonl or folded
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// Where the report goes; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: OsString,

    /// What memprof's exit status says: `verdict`, or `child` for the launched command's own
    #[arg(long, value_name = "WHOSE", default_value = "verdict")]
    pub exit_status: String,

    /// Follow a sample of the blocks, one in so many bytes on average (512KiB, say); totals are
    /// weighted, and come with the interval that the truth is in
    #[arg(long, value_name = "SIZE")]
    pub sample_bytes: Option<String>,

    /// Hold the share of the target's processor time that tracing takes, as estimated: above it,
    /// sample; and if that is too much too, take the probes out
    #[arg(long, value_name = "PERCENT")]
    pub max_overhead: Option<String>,

    /// No progress on standard error, no reports before the last
    #[arg(long, short)]
    pub quiet: bool,

    /// Say more of what is done
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Probe every function at its entry and its return, as if no inner probes could be proved: what
    /// benchmarks compare with
    #[arg(long, hide = true)]
    pub entry_probes: bool,

    #[command(flatten)]
    pub cycles: CyclesArgs,

    /// Command to launch and trace
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `memprof doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Process to look at too
    #[arg(long, value_name = "PID")]
    pub pid: Option<String>,
}
