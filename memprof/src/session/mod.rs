//! `memprof trace`, `check` and `hunt`, wired: prepare, probe, follow, report, detach.

mod alerts;
mod assemble;
mod by_process;
mod check;
mod collector;
mod code_maps;
mod control;
mod copies;
mod cost;
mod cycles;
mod helpers;
mod hunt;
mod joined;
mod left;
mod left_report;
mod marks;
mod notes;
pub mod output;
mod paths;
mod reconcile;
mod restraint;
mod roster;
mod run;
mod signals;
mod targets;
mod touchers;
mod weight;

pub use self::hunt::hunt;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use self::{
    check::Gate,
    code_maps::CodeMaps,
    collector::{Collector, Notice, State, monotonic},
    control::Control,
    copies::Copies,
    cost::Cost,
    output::Output,
    restraint::Restraint,
    run::{Ended, Run},
    targets::{Targets, Tracer},
};
use crate::{
    config::{TargetChoice, TraceConfig},
    host,
    probes::{file_plan::FilePlans, inner_plans::InnerPlans},
    target::mmap_events::MmapEvents,
    units::format_count,
    unwind::{loader::UnwindLoader, worker::TableLoader},
};

/// Traces as configured; memprof's exit code.
///
/// # Errors
/// Bad input, found before anything is touched, or a failure of memprof or the kernel.
pub fn trace(config: TraceConfig) -> Result<ExitCode> {
    let gate = config
        .check
        .as_ref()
        .map(|check| Gate::open(check, config.severity));
    let gate = gate.transpose()?;
    let output = Output::open(&config.output, config.format)?;
    let mut targets = Targets::prepare(&config)?;
    host::require_tracing()?;
    if config.events.faults {
        host::require_faults()?;
    }
    allow_many_files();
    let mut signals = signals::listen()?;
    let quiet = config.quiet;
    let (mut run, heard) = begin((config, gate), output, &mut targets, say_start)?;
    let control = match Control::open(run.shared(), run.start(), quiet) {
        Ok(control) => Some(control),
        Err(error) => {
            eprintln!("memprof: no control socket ({error}): only SIGUSR1 sets marks");
            None
        }
    };
    run.release(targets)?;
    let ended = new_runtime()?.block_on(run.until_end(heard, &mut signals));
    drop(control);
    run.finish(ended)
}

/// Probes the targets, as configured, and opens the gate: what they allocate from now on is on record.
/// A launched command is still held. `say` tells of it when all is in.
///
/// # Errors
/// Bad input, or a failure of memprof or the kernel.
fn begin(
    (config, gate): (TraceConfig, Option<Gate>),
    output: Output,
    targets: &mut Targets,
    say: impl FnOnce(&TraceConfig, &Targets, &mut Tracer),
) -> Result<(Run, UnboundedReceiver<Notice>)> {
    let (notices, heard) = unbounded_channel();
    let plans = FilePlans::new(
        config.families.clone(),
        InnerPlans::new(config.entry_probes),
    );
    let (mut tracer, rings, unwind) =
        Tracer::load(&config.target, (config.children, config.events), plans)?;
    tracer.follow(targets)?;
    let start = monotonic();
    let (mmap_events, deafness) = match MmapEvents::open() {
        Ok(events) => (Some(events), None),
        // Mappings are read when a stack has an unknown address, and the report says so.
        Err(error) => (None, Some(error.to_string())),
    };
    let tables = TableLoader::start(UnwindLoader::new(unwind))?;
    let code = CodeMaps::new(tables, deafness);
    let copies = Copies::start(tracer.side().take_broken_walks())
        .context("cannot start the unwinder's thread")?;
    let mut state = State::new(start, code, copies, notices);
    tracer.introduce(targets, &mut state);
    state.code.tables().settle();
    let collector = Collector::start(state, rings, mmap_events)?;
    say(&config, targets, &mut tracer);

    let restraint = Restraint::begin(
        config.sample_bytes,
        config.max_overhead,
        &mut tracer,
        &collector.shared(),
    )?;
    let cost = Cost::begin(tracer.side());
    tracer.side().open_gate()?;
    let run = Run::new(
        (config, gate),
        tracer,
        collector,
        (cost, restraint),
        output,
        start,
    );
    Ok((run, heard))
}

/// What waits for signals, notices and times.
fn new_runtime() -> Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    Ok(runtime.enable_time().build()?)
}

/// Each module of the targets stays open, to be named after they are gone.
fn allow_many_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused: then fewer stay open, and those that don't say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Who is traced, at what price for others, and how to end it.
fn say_start(config: &TraceConfig, targets: &Targets, tracer: &mut Tracer) {
    if config.quiet {
        return;
    }
    let probes = tracer.side().probes();
    if let TargetChoice::Wide(scope) = &config.target {
        let count = targets.processes.len();
        eprintln!(
            "memprof: tracing {} processes {}, and those that come, with {probes} probes; Ctrl-C ends \
             and reports",
            format_count(count as u64),
            crate::export::escape(&scope.to_string(), true),
        );
    }
    let one_by_one = targets.processes.iter().take(match config.target {
        TargetChoice::Wide(_) => 0,
        _ => usize::MAX,
    });
    for facts in one_by_one {
        let name = facts.comm.as_deref().unwrap_or("?");
        eprintln!(
            "memprof: tracing {} (pid {}) with {} probes; Ctrl-C ends and reports",
            crate::export::escape(name, true),
            facts.pid.0,
            probes
        );
    }
    if config.verbose {
        say_probes(tracer);
    }
    if config.events.mmap {
        eprintln!(
            "memprof: mappings are followed at every system call, so each one of every process on \
             this machine takes a little longer (--events malloc avoids it)"
        );
    }
    if config.events.faults {
        eprintln!(
            "memprof: pages are followed at every page fault, so each one of every process on this \
             machine takes a little longer (a tenth of a microsecond outside of the target)"
        );
    }
    if let Some(why) = tracer.why_others_pay()
        && config.events.malloc
    {
        let costs = tracer.side().emulation().costs;
        let trap = costs.map(|costs| format!(", some {:.1} \u{b5}s", costs.emulated.ns / 1e3));
        eprintln!(
            "memprof: {why}, so every process on this machine that calls these allocators pays a trap \
             a call{}",
            trap.unwrap_or_default()
        );
    }
    if targets
        .held
        .as_ref()
        .is_some_and(|held| held.constructors_ran)
    {
        eprintln!(
            "memprof: the loader has no _dl_debug_state to hold the command at: what libraries \
             allocate before the program starts is missed"
        );
    }
}

/// What is probed, and where.
fn say_probes(tracer: &mut Tracer) {
    eprintln!("memprof: {}", tracer.side().emulation());
    for coverage in tracer.probed().flat_map(|probed| probed.coverage()) {
        eprintln!(
            "memprof: {} ({}): {}",
            crate::export::escape(&coverage.module, true),
            crate::export::escape(&coverage.allocator, true),
            coverage.attached.join(", ")
        );
        for place in &coverage.places {
            eprintln!("memprof:   {place}");
        }
    }
}

/// Whether writing failed only because nobody reads any more.
fn is_closed_pipe(ended: &Ended) -> bool {
    matches!(ended, Ended::Unwritable(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
}
