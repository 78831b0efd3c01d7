//! Raw arguments, validated once into what the session needs.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use memprof_common::sampling::MAX_MEAN;

mod allocators;
mod cycles;
mod offline;
pub use cycles::CyclesConfig;
pub use offline::{DiffConfig, MarkConfig, ReportConfig, SnapshotConfig};
mod check;
mod hunt;
mod target;

pub use check::CheckConfig;
pub use hunt::HuntConfig;
pub use target::TargetChoice;
use target::{attaches, pid, target};

use crate::{
    bad_input,
    cli::{DoctorArgs, TargetArgs, TraceArgs, TracingArgs},
    export::Format,
    growth::SeverityBounds,
    identity::Pid,
    pipeline::ShownFilter,
    probes::{families::Families, kernel_side::Children},
    report::GroupBy,
    units::{parse_duration, parse_rate, parse_size},
};

/// The shortest time between two reports: below it the reports would be the load.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// Time between reports unless it is said: of a check, between the points of its timeline.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// The most call paths that a report shows one by one.
const MOST_SHOWN: usize = 100_000;

/// A validated `memprof trace`, or the part of `memprof check` that traces.
#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// Whom to trace.
    pub target: TargetChoice,
    /// What becomes of their children.
    pub children: Children,
    /// What is followed.
    pub events: Events,
    /// When to stop by itself.
    pub duration: Option<Duration>,
    /// Time between reports.
    pub interval: Duration,
    /// Call paths to show.
    pub top: usize,
    /// What comes first.
    pub sort: Sort,
    /// What call paths are added up over.
    pub group_by: GroupBy,
    /// Which blocks are shown.
    pub filter: ShownFilter,
    /// Frames to pass over when naming the guilty line.
    pub skip: Vec<String>,
    /// More directories with separate debug files.
    pub debug_dirs: Vec<PathBuf>,
    /// Format of the report.
    pub format: Format,
    /// Where it goes.
    pub output: Destination,
    /// Whether the exit status is the launched command's.
    pub exit_status_of_child: bool,
    /// No progress, no reports before the last.
    pub quiet: bool,
    /// Say more.
    pub verbose: bool,
    /// Which allocators are looked for.
    pub families: Families,
    /// Bytes between samples; `None`: every block is followed.
    pub sample_bytes: Option<u64>,
    /// The most that tracing may take of the targets' processor time, as a share.
    pub max_overhead: Option<f64>,
    /// The share of the events that may be lost before nothing is judged.
    pub max_lost: f64,
    /// Where the degrees of severity begin.
    pub severity: SeverityBounds,
    /// What to run when the verdict becomes a leak.
    pub on_leak: Option<String>,
    /// Probe entries and returns alone.
    pub entry_probes: bool,
    /// What is done again and again meanwhile.
    pub cycles: Option<CyclesConfig>,
    /// What else `memprof check` asks for.
    pub check: Option<CheckConfig>,
}

/// Which kinds of events are followed, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Blocks, by the functions of allocators.
    pub malloc: bool,
    /// Mappings, by system calls.
    pub mmap: bool,
    /// Pages that become resident, by page faults.
    pub faults: bool,
}

/// What the call paths are sorted by, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Bytes outstanding.
    Outstanding,
    /// Bytes ever allocated.
    Allocated,
    /// Blocks outstanding.
    Count,
    /// Growth of the bytes outstanding.
    Rate,
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    StandardOutput,
    /// A file, whole or not at all.
    File(PathBuf),
}

impl TraceConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// The first one that makes no sense, as bad input.
    pub fn new(args: TraceArgs) -> Result<Self> {
        // With a process to attach to, a command is the action of cycles, or one target too many.
        let attaches = attaches(&args.target.scope);
        let launched = !args.target.command.is_empty() && !attaches;
        let common = Self::common(args.target, args.tracing)?;
        let interval = interval(&args.interval)?;
        let exit_status_of_child = match args.exit_status.as_str() {
            "verdict" => false,
            "child" if launched => true,
            "child" => {
                return Err(bad_input!(
                    "--exit-status child needs a launched command: give -- COMMAND"
                ));
            }
            other => {
                return Err(bad_input!(
                    "--exit-status {other:?} is unknown: give verdict or child"
                ));
            }
        };
        Ok(Self {
            interval,
            sort: sort(&args.sort)?,
            group_by: group_by(&args.group_by)?,
            filter: filter(
                args.min_age.as_deref(),
                args.min_size.as_deref(),
                args.max_size.as_deref(),
            )?,
            format: args
                .format
                .parse()
                .map_err(|error| bad_input!("--format: {error}"))?,
            exit_status_of_child,
            ..common
        })
    }

    /// What all commands that trace have in common; the rest at its defaults.
    fn common(mut who: TargetArgs, args: TracingArgs) -> Result<Self> {
        let attaches = attaches(&who.scope);
        let cycles = CyclesConfig::new(&who.cycles, attaches, &mut who.command)?;
        if who.no_children && cycles.as_ref().is_some_and(|cycles| cycles.launches) {
            return Err(bad_input!(
                "--no-children does not go with a command that --cycles launches anew each time: \
                 leave it out"
            ));
        }
        let launched = !who.command.is_empty();
        let children = if who.children || (launched && !who.no_children) {
            Children::Followed
        } else {
            Children::Ignored
        };
        let duration = args
            .duration
            .as_deref()
            .map(|text| time("--duration", text));
        let duration = duration.transpose()?;
        if duration.is_some_and(|duration| duration.is_zero()) {
            return Err(bad_input!(
                "--duration 0 traces nothing: give a time such as 30s"
            ));
        }
        if args
            .on_leak
            .as_deref()
            .is_some_and(|text| text.trim().is_empty())
        {
            return Err(bad_input!(
                "--on-leak needs a command, such as 'cat > leak.json'"
            ));
        }
        let events = events(&args.events)?;
        for (option, given) in [
            ("--sample-bytes", args.sample_bytes.is_some()),
            ("--max-overhead", args.max_overhead.is_some()),
        ] {
            if given && !events.malloc {
                return Err(bad_input!(
                    "{option} is about the blocks of allocators, which --events {} does not follow: \
                     give --events malloc,mmap, or leave {option} out",
                    args.events
                ));
            }
        }
        if cycles.is_some() && !events.malloc && !events.mmap {
            return Err(bad_input!(
                "--cycles is about what is held, which page faults don't say: give --events malloc,faults"
            ));
        }
        Ok(Self {
            target: target(who)?,
            children,
            events,
            duration,
            interval: DEFAULT_INTERVAL,
            top: top(&args.top)?,
            sort: Sort::Outstanding,
            group_by: GroupBy::Process,
            filter: ShownFilter::default(),
            skip: args.skip,
            debug_dirs: directories(args.debug_dir)?,
            format: Format::default(),
            output: destination(args.output),
            exit_status_of_child: false,
            quiet: args.quiet,
            verbose: args.verbose > 0,
            families: allocators::families(&args.allocator_prefix, &args.probe, &args.usdt)?,
            sample_bytes: args.sample_bytes.as_deref().map(sample_bytes).transpose()?,
            max_overhead: args
                .max_overhead
                .as_deref()
                .map(|text| match percent(text) {
                    Some(share) if share > 0.0 => Ok(share),
                    _ => Err(bad_input!(
                        "--max-overhead {text:?}: give a share above 0% and up to 100%, such as 5%"
                    )),
                })
                .transpose()?,
            max_lost: percent(&args.max_lost).ok_or_else(|| {
                bad_input!(
                    "--max-lost {:?}: give a share from 0% to 100%, such as 0.1%",
                    args.max_lost
                )
            })?,
            severity: severity_bounds(&args.severity_bounds)?,
            on_leak: args.on_leak,
            entry_probes: args.entry_probes,
            cycles,
            check: None,
        })
    }
}

/// The process of `memprof doctor`, if one was given.
///
/// # Errors
/// If it is no process id.
pub fn doctor_pid(args: &DoctorArgs) -> Result<Option<Pid>> {
    args.pid.as_deref().map(pid).transpose()
}

fn group_by(text: &str) -> Result<GroupBy> {
    Ok(match text {
        "process" => GroupBy::Process,
        "comm" => GroupBy::Comm,
        "cgroup" => GroupBy::Cgroup,
        "all" => GroupBy::All,
        _ => {
            return Err(bad_input!(
                "--group-by {text:?} is unknown: give process, comm, cgroup or all"
            ));
        }
    })
}

fn time(option: &str, text: &str) -> Result<Duration> {
    parse_duration(text).map_err(|error| bad_input!("{option} {text:?}: {error}"))
}

fn interval(text: &str) -> Result<Duration> {
    let interval = time("--interval", text)?;
    if interval < SHORTEST_INTERVAL {
        return Err(bad_input!(
            "--interval {text} is too short: give at least {SHORTEST_INTERVAL:?}"
        ));
    }
    Ok(interval)
}

fn size(option: &str, text: &str) -> Result<u64> {
    parse_size(text).map_err(|error| bad_input!("{option} {text:?}: {error}"))
}

fn events(text: &str) -> Result<Events> {
    let mut events = Events {
        malloc: false,
        mmap: false,
        faults: false,
    };
    for kind in text.split(',').map(str::trim) {
        match kind {
            "malloc" => events.malloc = true,
            "mmap" => events.mmap = true,
            "faults" => events.faults = true,
            _ => {
                return Err(bad_input!(
                    "--events {text:?}: {kind:?} is no kind of event: give malloc, mmap, faults or \
                     some of them, such as malloc,faults"
                ));
            }
        }
    }
    Ok(events)
}

fn sample_bytes(text: &str) -> Result<u64> {
    match size("--sample-bytes", text)? {
        bytes @ 1..=MAX_MEAN => Ok(bytes),
        _ => Err(bad_input!(
            "--sample-bytes {text:?}: give a size from 1 byte to 1TiB, such as 512KiB"
        )),
    }
}

/// A share given in percent, 0 to 1.
fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?.trim();
    let percent: f64 = number.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn rate(option: &str, text: &str) -> Result<f64> {
    parse_rate(text).map_err(|error| bad_input!("{option} {text:?}: {error}"))
}

fn severity_bounds(text: &str) -> Result<SeverityBounds> {
    const OPTION: &str = "--severity-bounds";
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [minor, moderate, severe, slow, medium, fast] = parts.as_slice() else {
        return Err(bad_input!(
            "{OPTION} {text:?}: give three sizes and three rates, such as \
             500KB,5MB,20MB,1MB/s,2MB/s,5MB/s"
        ));
    };
    let bounds = SeverityBounds {
        bytes: [
            size(OPTION, minor)?,
            size(OPTION, moderate)?,
            size(OPTION, severe)?,
        ],
        rates: [
            rate(OPTION, slow)?,
            rate(OPTION, medium)?,
            rate(OPTION, fast)?,
        ],
    };
    if !bounds.bytes.is_sorted() || !bounds.rates.is_sorted() {
        return Err(bad_input!(
            "{OPTION} {text:?}: a worse degree can't begin below a lesser one"
        ));
    }
    Ok(bounds)
}

fn top(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(number) if (1..=MOST_SHOWN).contains(&number) => Ok(number),
        _ => Err(bad_input!(
            "--top {text:?}: give a number from 1 to {MOST_SHOWN}"
        )),
    }
}

fn sort(text: &str) -> Result<Sort> {
    Ok(match text {
        "outstanding" => Sort::Outstanding,
        "allocated" => Sort::Allocated,
        "count" => Sort::Count,
        "rate" => Sort::Rate,
        other => {
            return Err(bad_input!(
                "--sort {other:?} is unknown: give outstanding, allocated, count or rate"
            ));
        }
    })
}

fn filter(
    min_age: Option<&str>,
    min_size: Option<&str>,
    max_size: Option<&str>,
) -> Result<ShownFilter> {
    let mut filter = ShownFilter::default();
    if let Some(text) = min_age {
        let age = time("--min-age", text)?.as_nanos();
        filter.min_age_ns = u64::try_from(age).unwrap_or(u64::MAX);
    }
    if let Some(text) = min_size {
        filter.min_size = size("--min-size", text)?;
    }
    if let Some(text) = max_size {
        filter.max_size = size("--max-size", text)?;
    }
    if filter.min_size > filter.max_size {
        return Err(bad_input!(
            "--min-size is larger than --max-size: no block is both"
        ));
    }
    Ok(filter)
}

fn directories(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    for path in &paths {
        if !path.is_dir() {
            return Err(bad_input!(
                "--debug-dir {path:?} is no directory: give one that holds debug files"
            ));
        }
    }
    Ok(paths)
}

fn destination(path: OsString) -> Destination {
    if path == OsStr::new("-") {
        Destination::StandardOutput
    } else {
        Destination::File(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn config(words: &[&str]) -> Result<TraceConfig> {
        let cli = Cli::try_parse_from(["memprof", "trace"].iter().chain(words)).unwrap();
        match cli.command {
            Command::Trace(args) => TraceConfig::new(*args),
            _ => panic!("trace"),
        }
    }

    fn refusal(words: &[&str]) -> String {
        let error = config(words).unwrap_err();
        assert!(error.is::<crate::failure::BadInput>());
        let line = error.to_string();
        assert_eq!(line.lines().count(), 1);
        line
    }

    #[test]
    fn a_launched_command_is_followed_into_its_children_and_a_pid_is_not() {
        assert_eq!(config(&["--", "ls"]).unwrap().children, Children::Followed);
        assert_eq!(config(&["--pid", "7"]).unwrap().children, Children::Ignored);
        let alone = config(&["--no-children", "--", "ls"]).unwrap();
        assert_eq!(alone.children, Children::Ignored);
        let family = config(&["--pid", "7", "--children"]).unwrap();
        assert_eq!(family.children, Children::Followed);
    }

    #[test]
    fn a_process_given_twice_is_traced_once() {
        let config = config(&["--pid", "7", "--pid", "8", "--pid", "7"]).unwrap();
        assert_eq!(config.target, TargetChoice::Pids(vec![Pid(7), Pid(8)]));
    }

    #[test]
    fn the_default_bounds_are_those_of_the_contract() {
        let config = config(&["--pid", "7"]).unwrap();
        assert_eq!(config.severity, SeverityBounds::default());
        assert_eq!(config.max_lost, 0.001);
    }

    #[test]
    fn debug_directories_stand_in_the_order_given() {
        let config = config(&["--pid", "7", "--debug-dir", "/usr", "--debug-dir", "/tmp"]);
        let expected = [PathBuf::from("/usr"), PathBuf::from("/tmp")];
        assert_eq!(config.unwrap().debug_dirs, expected);
    }

    #[test]
    fn blocks_are_followed_unless_something_else_is_asked_for() {
        let events = |words: &[&str]| {
            let events = config(words).unwrap().events;
            (events.malloc, events.mmap, events.faults)
        };
        assert_eq!(events(&["--pid", "7"]), (true, false, false));
        let mmap = events(&["--pid", "7", "--events", "mmap"]);
        assert_eq!(mmap, (false, true, false));
        assert_eq!(
            events(&["--pid", "7", "--events", "faults, malloc"]),
            (true, false, true)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        assert!(refusal(&["--pid", "1", "--events", "malloc,fault"]).contains("\"fault\""));
        assert!(refusal(&["--pid", "1", "--events", ""]).contains("malloc, mmap, faults"));
        let sampled = ["--pid", "1", "--events", "mmap", "--sample-bytes", "1MiB"];
        assert!(refusal(&sampled).contains("--sample-bytes"));
        let cycled = ["--cycles", "9", "--events", "faults", "--", "ls"];
        assert!(refusal(&cycled).contains("--events malloc,faults"));
        assert!(refusal(&[]).contains("nothing to trace"));
        assert!(refusal(&["--pid", "1", "--", "ls"]).contains("give one of them"));
        assert!(refusal(&["--all", "--pid", "1"]).contains("give one of them"));
        assert!(refusal(&["--all", "--comm", "sh"]).contains("leave it out"));
        assert!(refusal(&["--comm", ""]).contains("no name"));
        assert!(refusal(&["--cgroup", "/no/such"]).contains("--cgroup /no/such"));
        assert!(refusal(&["--all", "--user", "nobody"]).contains("--user"));
        assert!(refusal(&["--all", "--group-by", "age"]).contains("cgroup or all"));
        let many: Vec<&str> = ["--comm", "sh"].repeat(9);
        assert!(refusal(&many).contains("at most 8"));
        assert!(refusal(&["--pid", "0"]).contains("no process id"));
        assert!(refusal(&["--pid", "-4"]).contains("no process id"));
        assert!(refusal(&["--pid", "1", "--duration", "fast"]).contains("--duration"));
        assert!(refusal(&["--pid", "1", "--duration", "0"]).contains("traces nothing"));
        assert!(refusal(&["--pid", "1", "--interval", "1ms"]).contains("too short"));
        assert!(refusal(&["--pid", "1", "--min-size", "9QB"]).contains("--min-size"));
        assert!(refusal(&["--pid", "1", "--sample-bytes", "0"]).contains("512KiB"));
        assert!(refusal(&["--pid", "1", "--max-overhead", "5"]).contains("such as 5%"));
        assert!(refusal(&["--pid", "1", "--max-overhead", "0%"]).contains("above 0%"));
        assert!(refusal(&["--pid", "1", "--max-overhead", "NaN%"]).contains("above 0%"));
        assert!(refusal(&["--pid", "1", "--max-lost", "101%"]).contains("such as 0.1%"));
        assert!(refusal(&["--pid", "1", "--max-lost", "0.1"]).contains("such as 0.1%"));
        assert!(refusal(&["--pid", "1", "--on-leak", " "]).contains("needs a command"));
        let few = ["--pid", "1", "--severity-bounds", "1KB,2KB"];
        assert!(refusal(&few).contains("three sizes"));
        let unsorted = ["--pid", "1", "--severity-bounds", "2,1,3,1/s,2/s,3/s"];
        assert!(refusal(&unsorted).contains("lesser"));
        assert!(refusal(&["--pid", "1", "--top", "0"]).contains("--top"));
        assert!(refusal(&["--pid", "1", "--sort", "name"]).contains("--sort"));
        assert!(refusal(&["--pid", "1", "--format", "svg"]).contains("folded"));
        assert!(refusal(&["--pid", "1", "--user", "nobody"]).contains("--user"));
        assert!(refusal(&["--pid", "1", "--exit-status", "child"]).contains("COMMAND"));
        assert!(refusal(&["--pid", "1", "--debug-dir", "/no/such"]).contains("no directory"));
        assert!(refusal(&["--pid", "1", "--debug-dir", "/etc/passwd"]).contains("no directory"));
        let half = ["--pid", "1", "--probe", "alloc=a"];
        assert!(refusal(&half).contains("free=SYMBOL"));
        let empty = ["--pid", "1", "--allocator-prefix", ""];
        assert!(refusal(&empty).contains("--allocator-prefix"));
        let both = ["--pid", "1", "--min-size", "2K", "--max-size", "1K"];
        assert!(refusal(&both).contains("no block"));
    }
}
