//! What is looked at while a trace runs: the targets' memory, their limits, what tracing takes from them,
//! and whether they still live.

use std::time::Duration;

use tokio::time::Instant;

use memprof_common::counters::Counter;

use super::{
    super::{
        collector::monotonic,
        reconcile::Around,
        restraint,
        weight::{WEIGHING_SHARE, thread_cpu_time},
    },
    Ended, GRACE, Run,
};
use crate::{
    identity::{Pid, seconds_since},
    probes::{
        kernel_side::{lost_allocations, lost_ends},
        territory::Territory,
    },
    target::memory_limit,
};

/// Targets whose limits are looked at.
const MOST_LIMITS: usize = 16;

impl Run {
    /// Weighs the targets, and takes note of a launched command's end.
    pub(super) fn look(&mut self) {
        self.learn();
        let (living, perf_maps): (Vec<Pid>, _) = {
            let mut state = self.shared.lock();
            let living = state.processes.living();
            let living = living.map(|process| process.facts.pid).collect();
            (living, state.code.take_new_perf_maps())
        };
        if Instant::now() >= self.next_weighing {
            let begun = thread_cpu_time();
            self.resident.look(living.iter().copied());
            let taken = thread_cpu_time().saturating_sub(begun);
            self.next_weighing = Instant::now() + taken * WEIGHING_SHARE;
        }
        let resident = self.resident.last.filter(|_| !living.is_empty());
        self.shared.lock().pipeline.hold(monotonic(), resident);
        if let Some(gate) = &mut self.gate {
            gate.weigh(resident);
        }
        if !living.is_empty() {
            let watched = living.iter().take(MOST_LIMITS).copied();
            self.limit = memory_limit::tightest(watched).or(self.limit);
        }
        self.cost.look(self.tracer.side());
        self.restrain(&living);
        self.symbols.read_perf_maps(perf_maps);
        self.reconcile(false);
        self.note_status();
    }

    /// Looks what the targets' memory is made of, if it is time for that or the last chance.
    pub(super) fn reconcile(&mut self, is_last: bool) {
        // Without probes nobody knows which blocks are still there.
        if !(is_last || self.reconciler.is_due()) || self.restraint.has_withdrawn() {
            return;
        }
        let counters = self.tracer.counters();
        let lost = |counters| lost_allocations(&counters) + lost_ends(&counters) > 0;
        self.reconciler.look(Around {
            tracer: &self.tracer,
            shared: &self.shared,
            events: self.config.events,
            loses: counters.is_ok_and(lost),
        });
    }

    /// Looks for allocators in files that stacks of mappings go through, and that nobody has looked at.
    pub(super) fn learn(&mut self) {
        let unknown = self.shared.lock().take_unknown_files();
        let mut found = Territory::default();
        for module in unknown {
            if let Some(file) = module.file() {
                found.look_at(&self.config.families, file, module.path());
            }
        }
        self.shared.lock().learn(found);
    }

    /// The warm-up is over: what is outstanding by now is no growth.
    pub(super) fn begin_judging(&mut self) {
        self.look();
        if let Some(gate) = &mut self.gate {
            let now = monotonic();
            let resident = self.resident.last;
            // Without a warm-up the first blocks may be here already, and count.
            if gate.begin(now, resident) {
                self.shared.lock().pipeline.judge_from(now);
            }
        }
    }

    /// Spares the targets if tracing takes too much of them.
    pub(super) fn restrain(&mut self, living: &[Pid]) {
        let now = monotonic();
        let at = seconds_since(self.start, now);
        let (cost, tracer) = (&mut self.cost, &mut self.tracer);
        let step = self
            .restraint
            .look(now, at, living, cost, tracer, &self.shared);
        match step {
            Ok(Some(step)) if !self.config.quiet => {
                eprintln!("memprof: {}", restraint::sentence(&step));
            }
            Ok(_) => {}
            Err(error) => eprintln!("memprof: cannot hold its cost down: {error:#}"),
        }
    }

    pub(super) fn note_status(&mut self) {
        if let (Some(pid), None, Some(command)) =
            (self.command_pid, self.command_status, &mut self.command)
        {
            self.command_status = command.try_status().map(|status| (pid, status));
        }
    }

    /// The kernel side tells of a process's end a moment before its parent can ask for it.
    pub(super) fn note_final_status(&mut self, ended: &Ended) {
        let gone = matches!(ended, Ended::NobodyLeft);
        let until = Instant::now() + GRACE;
        self.note_status();
        while gone
            && self.command.is_some()
            && self.command_status.is_none()
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(5));
            self.note_status();
        }
    }

    /// Whether every target is gone, though the kernel side has not said so: its word was lost.
    pub(super) fn all_gone(&self) -> bool {
        let lost = self
            .tracer
            .counters()
            .is_ok_and(|counters| counters[Counter::LostProcess as usize] > 0);
        lost && !self.config.target.is_wide() && {
            let state = self.shared.lock();
            let mut living = state.processes.living();
            living.all(|process| !process.facts.is_alive())
        }
    }
}
