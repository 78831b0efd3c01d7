//! One measurement: a workload under a tracer, warmed up, a few times in a row.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use memprof_common::event::PAGE_BYTES;
use nix::unistd::Pid;

use crate::bpftrace::{self, Bpftrace};
use crate::floor::{EmptyProbes, Floor};
use crate::memprof_run::{self, MemprofRun};
use crate::redis;
use crate::results::Measurement;
use crate::statistics::median;
use crate::target::{Cost, Target};
use crate::tracers::{Tracer, Way};
use crate::workloads::{Program, Workload};

const HEAPTRACK: &str = "/usr/bin/heaptrack";
const VALGRIND: &str = "/usr/bin/valgrind";
/// The share of the work that is done before anything is measured: stacks are learned, the heap has
/// its size.
const WARM_UP_SHARE: u32 = 4;

/// What measurements take.
pub(crate) struct Bench {
    /// The memprof that is measured.
    pub(crate) memprof: PathBuf,
    /// Where programs, logs and recordings go.
    pub(crate) directory: PathBuf,
    /// What the kernel emulates.
    pub(crate) floor: Floor,
    /// Pieces of work in a measurement; the median counts.
    pub(crate) repeats: usize,
    /// By how much less is done at a time.
    pub(crate) divisor: u32,
}

/// What traces a target.
enum Attached {
    Nothing,
    Probes(EmptyProbes),
    Memprof(MemprofRun),
    Script(Bpftrace),
}

impl Bench {
    /// Why a workload can't be run by this tracer, as far as that is known beforehand.
    pub(crate) fn refusal(&self, workload: &Workload, tracer: &Tracer) -> Option<String> {
        let programs: &[&str] = match workload.program {
            Program::C { .. } => &["/usr/bin/gcc"],
            Program::Python { .. } => &["/usr/bin/python3"],
            Program::Sqlite => &["/usr/bin/sqlite3"],
            Program::Redis => &[redis::SERVER, redis::BENCHMARK],
        };
        let tools: &[&str] = match tracer.way {
            Way::Bpftrace(_) => &[bpftrace::PROGRAM],
            Way::Heaptrack => &[HEAPTRACK],
            Way::Memcheck => &[VALGRIND],
            Way::Untraced | Way::EmptyProbes | Way::Memprof(_) => &[],
        };
        let mut needed = programs.iter().chain(tools);
        if let Some(missing) = needed.find(|program| !Path::new(program).is_file()) {
            return Some(format!("{missing} is not installed"));
        }
        match tracer.way {
            Way::Memprof(options) => memprof_run::refusal(&self.memprof, options),
            Way::Memcheck if !workload.for_slow_peers => {
                Some("too slow: runs a few workloads only".to_owned())
            }
            _ => None,
        }
    }

    /// Measures a workload under a tracer.
    pub(crate) fn measure(
        &self,
        workload: &Workload,
        tracer: &Tracer,
        round: usize,
    ) -> Result<Measurement> {
        let units = (workload.units / self.divisor / tracer.divisor).max(1);
        let warm_up = (units / WARM_UP_SHARE).max(1);
        let mut target = Target::start(workload, &self.wrapper(tracer.way), &self.directory)?;
        let attached = self.attach(tracer.way, target.pid())?;
        target.work(warm_up)?;

        let collector_before = attached.cpu_time()?;
        let faults_before = target.faults()?;
        let costs: Vec<Cost> = (0..self.repeats)
            .map(|_| target.work(units))
            .collect::<Result<_>>()?;
        let faults_after = target.faults()?;
        let collector_after = attached.cpu_time()?;

        let malloc_probes = match &attached {
            Attached::Memprof(memprof) => Some(memprof.malloc_probes()?),
            _ => None,
        };
        let seen = match attached {
            Attached::Memprof(memprof) => Some(memprof.end()?),
            Attached::Script(script) => {
                script.end()?;
                None
            }
            Attached::Probes(probes) => {
                drop(probes);
                None
            }
            Attached::Nothing => None,
        };
        target.end()?;

        let measured_units = f64::from(units) * self.repeats as f64;
        let all_units = f64::from(warm_up) + measured_units;
        let collector = collector_before
            .zip(collector_after)
            .map(|(before, after)| after.saturating_sub(before).as_nanos() as f64);
        let events_per_unit = seen.map(|seen| seen.events as f64 / all_units);
        let per_unit = |pick: fn(&Cost) -> Duration| {
            let times = costs.iter().map(pick);
            median(times.map(|time| time.as_nanos() as f64 / f64::from(units)))
        };
        Ok(Measurement {
            round,
            cpu_ns_per_unit: per_unit(|cost| cost.cpu).context("nothing was measured")?,
            wall_ns_per_unit: per_unit(|cost| cost.wall).context("nothing was measured")?,
            pairs_per_unit: seen.map(|seen| seen.allocations as f64 / all_units),
            collector_ns_per_event: collector
                .zip(events_per_unit)
                .map(|(time, events)| time / (events * measured_units))
                .filter(|time| time.is_finite()),
            collector_seconds_in_all: seen.and_then(|seen| seen.cpu_seconds),
            lost_events: seen.map(|seen| seen.lost),
            malloc_probes,
            own_ns_per_unit: median(costs.iter().filter_map(|cost| cost.own_ns_per(units))),
            faults_per_unit: (faults_after - faults_before) as f64 / measured_units,
            collector_ns_per_unit: collector.map(|time| time / measured_units),
            touched_pages_per_unit: seen
                .and_then(|seen| seen.touched_bytes)
                .map(|bytes| bytes as f64 / PAGE_BYTES as f64 / all_units),
        })
    }

    /// Where the floor's probes are in a workload's program, for the record.
    pub(crate) fn places(&self, workload: &Workload) -> Result<Vec<String>> {
        let target = Target::start(workload, &[], &self.directory)?;
        self.floor.places(target.pid())
    }

    fn attach(&self, way: Way, pid: Pid) -> Result<Attached> {
        Ok(match way {
            Way::Untraced | Way::Heaptrack | Way::Memcheck => Attached::Nothing,
            Way::EmptyProbes => Attached::Probes(self.floor.attach(pid)?),
            Way::Memprof(options) => Attached::Memprof(MemprofRun::attach(
                &self.memprof,
                options,
                pid,
                &self.directory,
            )?),
            Way::Bpftrace(script) => {
                Attached::Script(Bpftrace::attach(script, pid, &self.directory)?)
            }
        })
    }

    /// What a program is run behind.
    fn wrapper(&self, way: Way) -> Vec<OsString> {
        match way {
            Way::Heaptrack => {
                let recording = self.directory.join("heaptrack");
                vec![HEAPTRACK.into(), "--output".into(), recording.into()]
            }
            Way::Memcheck => {
                let mut log = OsString::from("--log-file=");
                log.push(self.directory.join("valgrind.log"));
                [VALGRIND, "--tool=memcheck", "--leak-check=full"]
                    .map(OsString::from)
                    .into_iter()
                    .chain([log])
                    .collect()
            }
            Way::Untraced | Way::EmptyProbes | Way::Memprof(_) | Way::Bpftrace(_) => Vec::new(),
        }
    }
}

impl Attached {
    /// The CPU time that memprof has used so far; of others it is not asked.
    fn cpu_time(&self) -> Result<Option<Duration>> {
        match self {
            Self::Memprof(memprof) => memprof.cpu_time().map(Some),
            Self::Nothing | Self::Probes(_) | Self::Script(_) => Ok(None),
        }
    }
}
