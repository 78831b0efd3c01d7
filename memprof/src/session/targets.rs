//! From what the user named to processes that are followed and probed.

use std::{collections::HashMap, path::Path, thread};

use anyhow::{Result, anyhow};
use memprof_common::{counters::Counters, settings::WideScope};

use super::collector::{State, monotonic};
use crate::{
    bad_input,
    config::{Destination, Events, TargetChoice, TraceConfig},
    identity::{Pid, SpaceId},
    probes::{
        attach::{Found, Probed},
        emulation::Emulation,
        families::Demand,
        file_plan::{Coverage, FilePlans},
        kernel_side::{Beside, Children, KernelSide, Loaded, Scope},
        offsets::{KERNEL_BTF, kernel_offsets},
        rings::{Rings, cpus, first_ring_bytes},
        territory::{Surveyor, Territory},
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
            TargetChoice::Wide(scope) => Ok(Self {
                processes: scope.processes(),
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
    whom: Whom,
    events: Events,
    /// Finds allocators' code, if mappings are followed.
    surveyor: Surveyor,
    /// What it has found that the collector does not know yet.
    found: Territory,
    spaces: Vec<Option<SpaceId>>,
    /// Processes that live, and whose mappings can't be read.
    hidden: u64,
}

/// Who is followed, as far as probes are concerned.
#[derive(Clone, Copy, Debug)]
struct Whom {
    children: Children,
    /// Processes are found by what they are, and whatever they are, memprof goes on.
    is_wide: bool,
    /// Each has probes of its own, which nobody else pays for.
    one_by_one: bool,
}

/// Processes that get probes of their own. Taking out a probe takes the kernel a tenth of a second, and
/// an allocator has some twenty.
const MOST_ONE_BY_ONE: usize = 8;

impl Whom {
    fn new(target: &TargetChoice, children: Children) -> Self {
        let is_few = match target {
            TargetChoice::Pids(pids) => pids.len() <= MOST_ONE_BY_ONE,
            TargetChoice::Command { .. } => true,
            TargetChoice::Wide(_) => false,
        };
        Self {
            children,
            is_wide: matches!(target, TargetChoice::Wide(_)),
            one_by_one: is_few && children == Children::Ignored,
        }
    }

    fn scope(self, pid: Pid) -> Scope {
        if self.one_by_one {
            Scope::Process(pid)
        } else {
            Scope::Everyone
        }
    }
}

impl Tracer {
    /// Loads the kernel side, for such a target; the gate is closed.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn load(
        target: &TargetChoice,
        (children, events): (Children, Events),
        plans: FilePlans,
    ) -> Result<(Self, Rings, UnwindMaps)> {
        let wide = match target {
            TargetChoice::Wide(scope) => {
                let own = Pid(std::process::id());
                scope.settings(own, children == Children::Followed)
            }
            _ => WideScope::default(),
        };
        let beside = Beside {
            mappings: events.mmap,
            pages: events.faults,
        };
        let offsets = kernel_offsets(Path::new(KERNEL_BTF))?;
        // The kernel verifies the programs meanwhile.
        let (loaded, emulation) = thread::scope(|scope| {
            let measuring = scope.spawn(Emulation::measure);
            let loaded = cpus().and_then(|cpus| {
                KernelSide::load(offsets, first_ring_bytes(cpus.len() as u32), wide, beside)
            });
            (loaded, measuring.join())
        });
        let Loaded {
            mut side,
            rings,
            unwind,
        } = loaded?;
        // A panic has been printed; every function is probed at its first instruction then.
        side.place_by(emulation.unwrap_or_else(|_| Emulation::unknown()));
        side.watch()?;
        let tracer = Self {
            side,
            probed: HashMap::new(),
            whom: Whom::new(target, children),
            events,
            surveyor: Surveyor::new(plans.families().clone()),
            found: Territory::default(),
            plans,
            spaces: Vec::new(),
            hidden: 0,
        };
        Ok((tracer, rings, unwind))
    }

    /// Follows the targets and probes their allocators.
    ///
    /// # Errors
    /// Bad input if one of them has no allocator that memprof knows.
    pub fn follow(&mut self, targets: &Targets) -> Result<()> {
        self.spaces.clear();
        if self.whom.is_wide {
            return self.follow_those_that_live(targets);
        }
        for facts in &targets.processes {
            self.spaces
                .push(self.side.follow(facts.pid, self.whom.children)?);
            let found = self.look_at(facts.pid).map_err(|error| {
                if facts.is_alive() {
                    hidden(facts, &error)
                } else {
                    bad_input!(
                        "process {} ended while it was being attached to",
                        facts.pid.0
                    )
                }
            })?;
            if !self.events.malloc {
                continue;
            }
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

    /// Of many processes some end meanwhile, and some have nothing to probe.
    fn follow_those_that_live(&mut self, targets: &Targets) -> Result<()> {
        // Those that come later most likely have the C library that memprof has.
        self.look_at(Pid(std::process::id()))?;
        for facts in &targets.processes {
            let space = self.side.follow(facts.pid, self.whom.children)?;
            // Of one that had ended by then nobody tells.
            let lives = facts.is_alive();
            if !lives {
                self.side.unfollow(facts.pid);
            }
            self.spaces.push(space.filter(|_| lives));
            if lives && self.look_at(facts.pid).is_err() && facts.is_alive() {
                self.hidden += 1;
            }
        }
        Ok(())
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
    pub fn introduce(&mut self, targets: &mut Targets, state: &mut State) {
        state.learn(self.take_territory());
        let now = monotonic();
        for (facts, space) in targets.processes.iter_mut().zip(&self.spaces) {
            let Some(space) = *space else { continue };
            if let Some(present) = ProcessFacts::read(facts.pid) {
                *facts = present;
            }
            state.add(facts.clone(), space, now);
        }
    }

    /// Allocators' code that was found since this was asked last.
    pub fn take_territory(&mut self) -> Territory {
        std::mem::take(&mut self.found)
    }

    /// Probes what `pid` has mapped and is not probed yet, as far as blocks are followed.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn look_at(&mut self, pid: Pid) -> Result<Found> {
        if self.events.mmap {
            let found = self.surveyor.look_at(pid)?;
            self.found.extend(found);
        }
        if !self.events.malloc {
            return Ok(Found::default());
        }
        let scope = self.whom.scope(pid);
        let probed = self.probed.entry(scope).or_default();
        probed.look_at(&mut self.side, &mut self.plans, pid, scope)
    }

    /// A child has what its parent has.
    pub fn inherit(&mut self, parent: Pid, child: Pid) {
        let scope = self.whom.scope(parent);
        if scope == self.whom.scope(child)
            && let Some(probed) = self.probed.get_mut(&scope)
        {
            probed.inherit(parent, child);
        }
    }

    /// What is probed in `pid`; `None` if it was not looked at.
    pub fn probed_in(&self, pid: Pid) -> Option<impl Iterator<Item = &Coverage>> {
        self.probed.get(&self.whom.scope(pid))?.of_process(pid)
    }

    /// What limits what is seen of the processes, in one sentence.
    pub fn limit(&self) -> Option<String> {
        let hidden = match self.hidden {
            0 => return None,
            1 => "1 process hides its mappings".to_owned(),
            count => format!("{count} processes hide their mappings"),
        };
        Some(format!(
            "{hidden} even from memprof: allocators that nobody else has are not probed there, and the \
             stacks have no names"
        ))
    }

    /// Why processes pay that are not followed, if they do.
    pub fn why_others_pay(&self) -> Option<&'static str> {
        if self.whom.one_by_one {
            return None;
        }
        Some(match (self.whom.is_wide, self.whom.children) {
            (true, _) => "processes are found as they come",
            (false, Children::Followed) => "children are followed (--no-children avoids it)",
            (false, Children::Ignored) => "there are too many to have probes of their own",
        })
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

fn hidden(facts: &ProcessFacts, error: &anyhow::Error) -> anyhow::Error {
    bad_input!(
        "process {} ({}) hides its mappings even from this user ({error}): run memprof as root, outside \
         of containers, or trace another process",
        facts.pid.0,
        facts.comm.as_deref().unwrap_or("?").escape_debug()
    )
}

fn not_there(demand: &Demand) -> anyhow::Error {
    match demand {
        Demand::Prefix(prefix) => bad_input!(
            "--allocator-prefix {prefix:?}: no file that the target maps defines {prefix}malloc or \
             another function with it: see `nm FILE`; a stripped file has only the names that it \
             exports (`nm -D FILE`)"
        ),
        Demand::Provider(provider) => bad_input!(
            "--usdt {provider:?}: no file that the target maps has a USDT probe {provider}:alloc or \
             {provider}:free: see `readelf -n FILE`"
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
