//! The command line as users type it. `config` turns it into what the session needs.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

mod cycles;
mod hunt;
mod offline;
pub use cycles::CyclesArgs;
pub use hunt::HuntArgs;
pub use offline::{DiffArgs, MarkArgs, ReportArgs, SnapshotArgs};

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
    /// Say what changed between two saved JSON reports, call path by call path, or two snapshots
    ///
    /// Call paths are matched by the names of their functions and files, so that a rebuild
    /// compares with the build before it. Save both with a --top that lists all of them.
    Diff(DiffArgs),
    /// Take one look at a process: its memory by kind, file and permissions, threads, open files
    ///
    /// Without BPF, and without root for one's own processes. Counting pages holds the lock of the
    /// target's address space for moments; --quick does without.
    Snapshot(SnapshotArgs),
    /// Set a named point in a running trace: the report says what was left between two of them
    Mark(MarkArgs),
    /// Trace, judge, and exit by the verdict: 0 passed, 3 failed, 4 not enough evidence
    ///
    /// A gate for pipelines. Traces as `trace` does, judges once at the end, and says what fails: a
    /// leak, or one of the bounds that are given. 1 and 2 mean, as everywhere, that memprof failed
    /// or was used wrongly.
    Check(Box<CheckArgs>),
    /// Find what leaks on this machine: watch cheaply, and probe only the process that grows
    ///
    /// Watches the anonymous memory of processes, all of them unless some are named, without a
    /// probe in any. When one grows significantly, its allocator is probed for a bounded time, and
    /// no other process's; the call path that leaks is named, the probes are taken out, and the
    /// watch goes on: until Ctrl-C, or as --duration and --finds say.
    Hunt(Box<HuntArgs>),
    /// Say what this kernel, user and target allow, each line with its cure
    Doctor(DoctorArgs),
}

/// Processes that run already: the same words in every command that traces.
#[derive(Debug, Default, Args)]
pub struct ScopeArgs {
    /// Process to attach to; may be given several times
    #[arg(long, value_name = "PID", allow_negative_numbers = true)]
    pub pid: Vec<String>,

    /// Follow every process on this machine, now and as they come
    #[arg(long)]
    pub all: bool,

    /// Follow every process of this name, as `ps -o comm` prints it; may be given several times
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<String>,

    /// Follow every process in this cgroup (version 2) and those below it; may be given several times,
    /// and together with --comm, when both must hold
    #[arg(long, value_name = "PATH")]
    pub cgroup: Vec<PathBuf>,
}

/// Whom to trace: running processes, or a command.
#[derive(Debug, Default, Args)]
pub struct TargetArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,

    /// Follow the children of --pid too (every process that maps their allocator pays a trap a
    /// call then); of --comm and --cgroup, also children that leave the scope
    #[arg(long)]
    pub children: bool,

    /// Don't follow the children of a launched command
    #[arg(long, conflicts_with = "children")]
    pub no_children: bool,

    /// Run the launched command as this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    #[command(flatten)]
    pub cycles: CyclesArgs,

    /// Command to launch and trace
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// How to trace and judge, and where to say so.
#[derive(Debug, Args)]
pub struct TracingArgs {
    /// Stop after this time: 30s, 10m, 24h, 7d [default: at Ctrl-C or the target's exit]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,

    /// What to follow: malloc (blocks of the C allocation functions), mmap (what is mapped past
    /// them: every system call of every process takes some longer then), faults (who first touches
    /// memory, whatever the language: no probe in any program), or several: malloc,faults
    #[arg(long, value_name = "KINDS", default_value = "malloc")]
    pub events: String,

    /// Call paths to show
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: String,

    /// Pass over frames whose function or module matches when naming the guilty line; * and ?
    /// match the whole name, else a part of it is enough; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub skip: Vec<String>,

    /// Look for separate debug files here too, before /usr/lib/debug: DIR/.build-id/xx/yyyy.debug
    /// and DIR/PATH/NAME.debug; may be given several times
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,

    /// Where the report goes; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: OsString,

    /// Look for an allocator whose functions have this before their names (je_ for je_malloc, ...), in
    /// every file of the target; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub allocator_prefix: Vec<String>,

    /// Probe an allocator of your own: alloc=SYMBOL,free=SYMBOL[,realloc=SYMBOL][,calloc=SYMBOL];
    /// alloc=SYMBOL:2 and free=SYMBOL:2 say which argument is the size and the block; may be given
    /// several times
    #[arg(long, value_name = "FUNCTIONS")]
    pub probe: Vec<String>,

    /// Follow the USDT probes PROVIDER:alloc (block, size) and PROVIDER:free (block), as those of
    /// otel_memory are anyway; may be given several times
    #[arg(long, value_name = "PROVIDER")]
    pub usdt: Vec<String>,

    /// Follow a sample of the blocks, one in so many bytes on average (512KiB, say); totals are
    /// weighted, and come with the interval that the truth is in
    #[arg(long, value_name = "SIZE")]
    pub sample_bytes: Option<String>,

    /// Hold the share of the target's processor time that tracing takes, as estimated: above it,
    /// sample; and if that is too much too, take the probes out
    #[arg(long, value_name = "PERCENT")]
    pub max_overhead: Option<String>,

    /// Judge nothing if more of the events than this are lost
    #[arg(long, value_name = "PERCENT", default_value = "0.1%")]
    pub max_lost: String,

    /// Where minor, moderate and severe begin: three sizes left, three rates
    #[arg(
        long,
        value_name = "SIZE,SIZE,SIZE,RATE,RATE,RATE",
        default_value = "500KB,5MB,20MB,1MB/s,2MB/s,5MB/s"
    )]
    pub severity_bounds: String,

    /// Run this shell command when the verdict becomes a leak, with the report as JSON on its input
    #[arg(long, value_name = "COMMAND")]
    pub on_leak: Option<String>,

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
}

/// Arguments of `memprof trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Time between reports
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: String,

    /// What comes first: outstanding, allocated, count or rate
    #[arg(long, value_name = "KEY", default_value = "outstanding")]
    pub sort: String,

    /// What call paths are listed by, and added up over: process, comm, cgroup or all
    #[arg(long, value_name = "KEY", default_value = "process")]
    pub group_by: String,

    /// Show only blocks of at least this age (totals stay whole)
    #[arg(long, value_name = "TIME")]
    pub min_age: Option<String>,

    /// Show only blocks of at least this size (totals stay whole)
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<String>,

    /// Show only blocks of at most this size (totals stay whole)
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,

    /// Format of the report: text, json, jsonl or folded
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// What memprof's exit status says: `verdict`, or `child` for the launched command's own
    #[arg(long, value_name = "WHOSE", default_value = "verdict")]
    pub exit_status: String,
}

/// Arguments of `memprof check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Judge from this time on: what is allocated before stays in the totals, and counts as no growth
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub warm_up: String,

    /// Which verdicts fail: leak, or growing (a leak, or growth that may be one)
    #[arg(long, value_name = "VERDICT", default_value = "leak")]
    pub fail_on: String,

    /// How sure a verdict must be to fail, 0 to 1
    #[arg(long, value_name = "NUMBER", default_value = "0.4")]
    pub confidence: String,

    /// Fail only from this severity on: minor, moderate or severe [default: any leak fails]
    #[arg(long, value_name = "DEGREE")]
    pub severity: Option<String>,

    /// Fail if what is outstanding grows faster: 10MB/h, 1KiB/s
    #[arg(long, value_name = "RATE")]
    pub max_growth: Option<String>,

    /// Fail if more is outstanding at any time after the warm-up
    #[arg(long, value_name = "SIZE")]
    pub max_outstanding: Option<String>,

    /// Fail if more is resident at any look (four a second) after the warm-up
    #[arg(long, value_name = "SIZE")]
    pub max_rss: Option<String>,

    /// Known call paths that may fail, each with the reason why (TOML)
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,

    /// Fail only by what is worse than in this report (JSON, of `check` or `trace`)
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Format of the report: text, json, junit or github
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
}

/// Arguments of `memprof doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Process to look at too
    #[arg(long, value_name = "PID")]
    pub pid: Option<String>,
}
