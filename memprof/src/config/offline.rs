//! The commands that trace nothing themselves, validated.

use std::path::PathBuf;

use anyhow::Result;

use super::{Destination, Sort, destination, pid, sort, top};
use crate::{
    bad_input,
    cli::{DiffArgs, MarkArgs, ReportArgs, SnapshotArgs},
    control::check_label,
    export::Format,
    identity::Pid,
    snapshot::Look,
};

/// A validated `memprof report`.
#[derive(Debug)]
pub struct ReportConfig {
    /// The saved report.
    pub file: PathBuf,
    /// Call paths to show; `None`: all.
    pub top: Option<usize>,
    /// What comes first; `None`: what came first.
    pub sort: Option<Sort>,
    /// The format to write.
    pub format: Format,
    /// Where it goes.
    pub output: Destination,
}

/// A validated `memprof diff`.
#[derive(Debug)]
pub struct DiffConfig {
    /// The saved report to compare with.
    pub before: PathBuf,
    /// The saved report to compare.
    pub after: PathBuf,
    /// Call paths to show.
    pub top: usize,
    /// What has to differ most to come first.
    pub sort: Sort,
    /// Text or JSON.
    pub format: Format,
    /// Where it goes.
    pub output: Destination,
}

impl ReportConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: ReportArgs) -> Result<Self> {
        Ok(Self {
            file: args.file,
            top: args.top.as_deref().map(top).transpose()?,
            sort: args.sort.as_deref().map(sort).transpose()?,
            format: format(&args.format)?,
            output: destination(args.output),
        })
    }
}

impl DiffConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: DiffArgs) -> Result<Self> {
        Ok(Self {
            before: args.before,
            after: args.after,
            top: top(&args.top)?,
            sort: sort(&args.sort)?,
            format: text_or_json("comparison", &args.format)?,
            output: destination(args.output),
        })
    }
}

/// A validated `memprof snapshot`.
#[derive(Debug)]
pub struct SnapshotConfig {
    /// At whom to look, and how.
    pub look: Look,
    /// Text or JSON.
    pub format: Format,
    /// Where it goes.
    pub output: Destination,
}

impl SnapshotConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: SnapshotArgs) -> Result<Self> {
        let label = args.label.as_deref().map(|text| {
            let label = check_label(text);
            label.map_err(|why| bad_input!("--label: {why}"))
        });
        Ok(Self {
            look: Look {
                pid: pid(&args.pid)?,
                label: label.transpose()?.map(str::to_owned),
                top: top(&args.top)?,
                quick: args.quick,
            },
            format: text_or_json("snapshot", &args.format)?,
            output: destination(args.output),
        })
    }
}

/// A validated `memprof mark`.
#[derive(Debug)]
pub struct MarkConfig {
    /// Name of the point.
    pub label: String,
    /// The memprof whose trace it is; `None`: the only one.
    pub trace: Option<Pid>,
}

impl MarkConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: &MarkArgs) -> Result<Self> {
        let label = check_label(&args.label).map_err(|why| bad_input!("LABEL: {why}"))?;
        Ok(Self {
            label: label.to_owned(),
            trace: args.pid.as_deref().map(pid).transpose()?,
        })
    }
}

/// The format of what has no others.
fn text_or_json(what: &str, name: &str) -> Result<Format> {
    if !matches!(name, "text" | "json") {
        return Err(bad_input!(
            "--format {name:?} is none that a {what} has: give text or json"
        ));
    }
    format(name)
}

fn format(name: &str) -> Result<Format> {
    name.parse()
        .map_err(|error| bad_input!("--format: {error}"))
}
