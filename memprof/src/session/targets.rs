//! From what the user named to processes that are followed and probed.

use std::{collections::HashMap, path::Path, thread};

use anyhow::{Result, anyhow};
use memprof_common::counters::Counters;

use super::collector::State;
use crate::{
    bad_input,
    config::{Destination, TargetChoice, TraceConfig},
    identity::{Pid, SpaceId},
    probes::{
        attach::{Found, Probed},
        emulation::Emulation,
        families::Demand,
        file_plan::FilePlans,
        kernel_side::{Children, KernelSide, Loaded, Scope},
        offsets::{KERNEL_BTF, kernel_offsets},
        rings::{Rings, cpus, first_ring_bytes},
    },
    target::{
        launch::{ChildOutput, Held, launch},
        process::{ProcessFacts, require_traceable},
    },
    unwind::loader::UnwindMaps,
};

/// The targets, before anything is loaded: they exist and can be traced.
pub struct Targets {
    /// Who they are.
    pub processes: Vec<ProcessFacts>,
    /// The launched command, held.
    pub held: Option<Held>,
}

impl Targets {
    /// Checks the given processes, or launches the command and holds it.
    ///
    /// # Errors
    /// Bad input if one of them can't be traced.
    pub fn prepare(config: &TraceConfig) -> Result<Self> {
        match &config.target {
            TargetChoice::Pids(pids) => Ok(Self {
                processes: pids
                    .iter()
                    .map(|pid| require_traceable(*pid))
                    .collect::<Result<_>>()?,
                held: None,
            }),
            TargetChoice::Command { words, user } => {
                let output = match config.output {
                    Destination::StandardOutput => ChildOutput::ToStandardError,
                    Destination::File(_) => ChildOutput::Inherited,
                };
                let held = launch(words, user.as_deref(), output)?;
                let facts = ProcessFacts::read(held.pid()).ok_or_else(|| {
                    bad_input!("the command was killed before it could be traced")
                })?;
                Ok(Self {
                    processes: vec![facts],
                    held: Some(held),
                })
            }
        }
    }
}

/// The kernel side with what is probed through it.
pub struct Tracer {
    side: KernelSide,
    probed: HashMap<Scope, Probed>,
    plans: FilePlans,
    children: Children,
    spaces: Vec<SpaceId>,
}

impl Tracer {
    /// Loads the kernel side; the gate is closed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn load(children: Children, plans: FilePlans) -> Result<(Self, Rings, UnwindMaps)> {
        let offsets = kernel_offsets(Path::new(KERNEL_BTF))?;
        // The kernel verifies the programs meanwhile.
        let (loaded, emulation) = thread::scope(|scope| {
            let measuring = scope.spawn(Emulation::measure);
            let loaded = cpus()
                .and_then(|cpus| KernelSide::load(offsets, first_ring_bytes(cpus.len() as u32)));
            (loaded, measuring.join())
        });
        let Loaded {
            mut side,
            rings,
            unwind,
        } = loaded?;
        // A panic has been printed; every function is probed at its first instruction then.
        side.place_by(emulation.unwrap_or_else(|_| Emulation::unknown()));
        let tracer = Self {
            side,
            probed: HashMap::new(),
            plans,
            children,
            spaces: Vec::new(),
        };
        Ok((tracer, rings, unwind))
    }

    /// Follows the targets and probes their allocators.
    ///
    /// # Errors
    /// Bad input if one of them has no allocator that memprof knows.
    pub fn follow(&mut self, targets: &Targets) -> Result<()> {
        self.spaces.clear();
        for facts in &targets.processes {
            self.spaces
                .push(self.side.follow(facts.pid, self.children)?);
            let found = self.look_at(facts.pid).map_err(|error| {
                if facts.is_alive() {
                    error
                } else {
                    bad_input!(
                        "process {} ended while it was being attached to",
                        facts.pid.0
                    )
                }
            })?;
            if found.allocators == 0 && found.refused > 0 {
                return Err(self.refusal(facts));
            }
            if found.allocators == 0 {
                return Err(no_allocator(facts, found));
            }
        }
        match self.plans.unmet() {
            Some(demand) => Err(not_there(&demand)),
            None => Ok(()),
        }
    }

    /// Why the allocator of a process could not be probed.
    fn refusal(&self, facts: &ProcessFacts) -> anyhow::Error {
        let coverage = self.probed().flat_map(|probed| probed.coverage());
        let why = coverage.flat_map(|coverage| &coverage.refusals).next();
        anyhow!(
            "the kernel refused the probes in process {} ({}): run memprof as root, outside of \
             containers that hide it",
            facts.pid.0,
            why.map_or("no reason given", String::as_str)
        )
    }

    /// Tells the collector's state whom it will hear of. Who they are is read again: a process
    /// may have become another program since it was first looked at.
    pub fn introduce(&self, targets: &mut Targets, state: &mut State) {
        for (facts, space) in targets.processes.iter_mut().zip(&self.spaces) {
            if let Some(now) = ProcessFacts::read(facts.pid) {
                *facts = now;
            }
            state.add(facts.clone(), *space);
        }
    }

    /// Probes what `pid` has mapped and is not probed yet.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn look_at(&mut self, pid: Pid) -> Result<Found> {
        let scope = match self.children {
            Children::Followed => Scope::Everyone,
            Children::Ignored => Scope::Process(pid),
        };
        let probed = self.probed.entry(scope).or_default();
        probed.look_at(&mut self.side, &mut self.plans, pid, scope)
    }

    /// What is probed; several processes may have the same file.
    pub fn probed(&self) -> impl Iterator<Item = &Probed> {
        self.probed.values()
    }

    /// What the kernel side has counted so far.
    ///
    /// # Errors
    /// If the kernel refuses the read.
    pub fn counters(&self) -> Result<Counters> {
        self.side.counters()
    }

    /// The kernel side.
    pub fn side(&mut self) -> &mut KernelSide {
        &mut self.side
    }

    /// Gives up the kernel side, to be detached.
    pub fn into_side(self) -> KernelSide {
        self.side
    }
}

fn not_there(demand: &Demand) -> anyhow::Error {
    match demand {
        Demand::Prefix(prefix) => bad_input!(
            "--allocator-prefix {prefix:?}: no file that the target maps defines {prefix}malloc or \
             another function with it: see `nm FILE`; a stripped file has only the names that it \
             exports (`nm -D FILE`)"
        ),
        Demand::Symbol(symbol) => bad_input!(
            "--probe: no file that the target maps defines {symbol:?}: see `nm FILE` for the names as \
             linkers know them; a stripped file has only those that it exports (`nm -D FILE`)"
        ),
    }
}

fn no_allocator(facts: &ProcessFacts, found: Found) -> anyhow::Error {
    let name = facts
        .comm
        .as_deref()
        .unwrap_or("?")
        .escape_debug()
        .to_string();
    let pid = facts.pid.0;
    if found.go {
        return bad_input!(
            "process {pid} ({name}) is a Go program, whose allocator has no malloc to probe: use \
             Go's own heap profile (go tool pprof http://HOST/debug/pprof/heap)"
        );
    }
    bad_input!(
        "process {pid} ({name}) maps no library or executable that defines malloc and free: if it \
         is linked statically, keep its symbols (no strip, no -s); if it brings its own allocator \
         under other names, give --allocator-prefix or --probe"
    )
}
