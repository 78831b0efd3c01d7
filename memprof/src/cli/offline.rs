//! The arguments of the commands that trace nothing themselves.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

/// Arguments of `memprof report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A saved JSON report
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Call paths to show [default: all that the file has]
    #[arg(long, value_name = "N")]
    pub top: Option<String>,

    /// What comes first: outstanding, allocated, count or rate [default: as in the file]
    #[arg(long, value_name = "KEY")]
    pub sort: Option<String>,

    /// Format of the report: text, json, jsonl or folded
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// Where the report goes; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: OsString,
}

/// Arguments of `memprof diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The JSON report or snapshot to compare with
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,

    /// The JSON report or snapshot to compare
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,

    /// Call paths to show, or files of snapshots
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: String,

    /// What has to differ most to come first: outstanding, allocated, count or rate
    #[arg(long, value_name = "KEY", default_value = "outstanding")]
    pub sort: String,

    /// Format of the comparison: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// Where the comparison goes; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: OsString,
}

/// Arguments of `memprof snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Process to look at
    #[arg(long, value_name = "PID", allow_negative_numbers = true)]
    pub pid: String,

    /// What to call the snapshot
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,

    /// Mappings to show one by one, and files
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: String,

    /// Don't count the pages of its mappings: only what the kernel counts anyway, at once
    #[arg(long)]
    pub quick: bool,

    /// Format of the snapshot: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,

    /// Where the snapshot goes; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: OsString,
}

/// Arguments of `memprof mark`.
#[derive(Debug, Args)]
pub struct MarkArgs {
    /// Name of the point
    #[arg(value_name = "LABEL")]
    pub label: String,

    /// The memprof whose trace it is, if several run
    #[arg(long, value_name = "PID")]
    pub pid: Option<String>,
}
