//! A running workload: started, asked to work, and what that took.
//!
//! Its CPU time is the kernel's own account of the process, read from outside before it is asked and
//! when it says that it is done: the same for every program, with nothing of start and end in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::compile;
use crate::guard::Guarded;
use crate::redis;
use crate::workloads::{Program, Workload};

/// How long a program may take to start, even on a processor of valgrind's making.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long one piece of work may take.
const WORK_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to end, with what its tracer has to write.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What a piece of work took the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of all its threads, its own and the kernel's on its behalf.
    pub(crate) cpu: Duration,
    /// Time on the wall.
    pub(crate) wall: Duration,
    /// The same by the program's own clock, without the way there and back; `None` if it does not tell.
    pub(crate) own: Option<Duration>,
}

impl Cost {
    /// The program's own time for each of `units`, nanoseconds.
    pub(crate) fn own_ns_per(&self, units: u32) -> Option<f64> {
        Some(self.own?.as_nanos() as f64 / f64::from(units))
    }
}

/// A running workload.
pub(crate) struct Target {
    process: Guarded,
    pid: Pid,
    driver: Driver,
}

/// How it is told what to do.
enum Driver {
    /// By lines of its input, which `say` makes; it answers `done`.
    Lines {
        input: ChildStdin,
        output: Lines,
        say: fn(u32) -> String,
    },
    /// By its own benchmark.
    Redis,
}

impl Target {
    /// Starts `workload` behind the words of `wrapper`; its files go to `directory`.
    pub(crate) fn start(
        workload: &Workload,
        wrapper: &[OsString],
        directory: &Path,
    ) -> Result<Self> {
        let mut words = wrapper.to_vec();
        let log = File::create(directory.join("target.log"))?;
        if let Program::Redis = workload.program {
            words.extend(redis::command());
            let mut command = to_command(&words);
            let mut process = Guarded::spawn(
                command
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log),
            )?;
            let pid = redis::await_ready(&mut process, START_LIMIT)?;
            return Ok(Self {
                process,
                pid,
                driver: Driver::Redis,
            });
        }
        words.extend(command_words(workload.program, directory)?);
        let mut command = to_command(&words);
        if let Program::Python {
            through_malloc: true,
            ..
        } = workload.program
        {
            command.env("PYTHONMALLOC", "malloc");
        }
        let mut process = Guarded::spawn(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(log),
        )?;
        let mut input = process.child().stdin.take().context("it is piped")?;
        let output = Lines::of(process.child().stdout.take().context("it is piped")?);
        let say: fn(u32) -> String = match workload.program {
            Program::Sqlite => {
                // `$PPID` of its shell is itself.
                writeln!(input, ".system echo ready $PPID")?;
                sqlite_script
            }
            _ => |units| format!("{units}\n"),
        };
        let ready = output.await_prefix("ready ", START_LIMIT)?;
        Ok(Self {
            pid: Pid::from_raw(ready.trim().parse().context("a pid")?),
            process,
            driver: Driver::Lines { input, output, say },
        })
    }

    /// Its process id: not that of a wrapper.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Has it do `units` of work.
    pub(crate) fn work(&mut self, units: u32) -> Result<Cost> {
        let cpu = cpu_time(self.pid)?;
        let start = Instant::now();
        let own = match &mut self.driver {
            Driver::Lines { input, output, say } => {
                input.write_all(say(units).as_bytes())?;
                own_time(&output.await_prefix("done", WORK_LIMIT)?)
            }
            Driver::Redis => {
                redis::load(units, WORK_LIMIT)?;
                None
            }
        };
        Ok(Cost {
            wall: start.elapsed(),
            cpu: cpu_time(self.pid)?.saturating_sub(cpu),
            own,
        })
    }

    /// Page faults so far that needed no disk.
    pub(crate) fn faults(&self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        minor_faults(&text).with_context(|| format!("no faults in {path}"))
    }

    /// Lets it end.
    pub(crate) fn end(self) -> Result<()> {
        let Self {
            mut process,
            pid,
            driver,
        } = self;
        match driver {
            Driver::Lines { input, .. } => drop(input),
            Driver::Redis => kill(pid, Signal::SIGTERM)?,
        }
        process.wait(END_LIMIT).context("the program")?;
        Ok(())
    }
}

/// CPU time of a process so far.
pub(crate) fn cpu_time(pid: Pid) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(pid).context("the program is gone")?;
    Ok(Duration::from(clock_gettime(clock)?))
}

/// What a program says of its own time, nanoseconds after its `done`.
fn own_time(said: &str) -> Option<Duration> {
    said.trim().parse().ok().map(Duration::from_nanos)
}

/// The faults of all threads, the tenth field of `/proc/PID/stat`. The second, the name, may have blanks
/// and parentheses in it.
fn minor_faults(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(7)?.parse().ok()
}

fn to_command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// The words that run a program that is driven by lines.
fn command_words(program: Program, directory: &Path) -> Result<Vec<OsString>> {
    Ok(match program {
        Program::C {
            source,
            frame_pointers,
            argument,
        } => vec![
            compile::program(source, frame_pointers, directory)?.into(),
            argument.into(),
        ],
        Program::Python { script, .. } => {
            let script = compile::sources_directory().join(format!("{script}.py"));
            vec!["/usr/bin/python3".into(), script.into()]
        }
        Program::Sqlite => vec![
            "/usr/bin/sqlite3".into(),
            "-batch".into(),
            ":memory:".into(),
        ],
        Program::Redis => bail!("it is driven by its own benchmark"),
    })
}

/// Fills a table with so many rows, beginning anew. The shell says when: what `sqlite3` prints itself
/// stays in its buffer until it ends.
fn sqlite_script(rows: u32) -> String {
    format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL); \
         INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, 'name ' || (i * 7919 % 20011), i * 0.5 FROM n;\n\
         .system echo done\n"
    )
}

/// The lines of a program's output, with a limit on the wait for each.
struct Lines(Receiver<String>);

impl Lines {
    fn of(output: ChildStdout) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self(lines)
    }

    /// What follows `prefix` on the next line that has it.
    fn await_prefix(&self, prefix: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(prefix) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the program did not say `{prefix}` within {limit:?}")
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the program ended early"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_own_time_follows_its_done() {
        assert_eq!(own_time(" 1500"), Some(Duration::from_nanos(1_500)));
        assert_eq!(own_time(""), None);
    }

    #[test]
    fn faults_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 123 0 4 0 5 6";
        assert_eq!(minor_faults(stat), Some(123));
        assert_eq!(minor_faults("7 (a"), None);
    }

    #[test]
    fn a_page_that_is_touched_is_a_fault_of_this_process() {
        let faults = || {
            let text = fs::read_to_string("/proc/self/stat").unwrap();
            minor_faults(&text).unwrap()
        };
        let before = faults();
        // More than the allocator keeps: mapped for it alone.
        std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(faults() > before);
    }
}
