//! What is compared: nothing at all, the floor, memprof's modes and its peers.

/// One way to run a workload.
pub(crate) struct Tracer {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// What it is, for the reader of the table.
    pub(crate) does: &'static str,
    /// What its figures are for.
    pub(crate) role: Role,
    /// How the workload is traced.
    pub(crate) way: Way,
    /// By how much less a workload does under it: the slowest would take minutes.
    pub(crate) divisor: u32,
}

/// What a tracer's figures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What all others are held against.
    Untraced,
    /// The least that probes of this kind can cost.
    Floor,
    /// memprof's default: every event, whole stacks.
    Exact,
    /// memprof with probes at entry and return alone.
    Fallback,
    /// Another mode of memprof, about which there is no goal here.
    Mode,
    /// The equivalent script, which the goals are about.
    Script,
    /// Another peer.
    Peer,
    /// The untraced program a second time.
    Control,
}

/// How a workload is traced.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// Not at all.
    Untraced,
    /// Empty probes, held by this process.
    EmptyProbes,
    /// `memprof trace` with these options; left out if the build knows them not.
    Memprof(&'static [&'static str]),
    /// A script of bpftrace that attaches.
    Bpftrace(Script),
    /// Preloaded.
    Heaptrack,
    /// The program runs on a processor of valgrind's making.
    Memcheck,
}

/// What a script of bpftrace follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Blocks, from their allocation to their free.
    Leak,
    /// Page faults, and the kernel's counters of resident memory.
    Faults,
}

/// All of them, in the order of the table. A new mode of memprof is one entry here.
pub(crate) const TRACERS: [Tracer; 8] = [
    Tracer {
        name: "untraced",
        does: "the program alone",
        role: Role::Untraced,
        way: Way::Untraced,
        divisor: 1,
    },
    Tracer {
        name: "floor",
        does: "an empty uprobe on each of malloc, calloc, realloc and free, where memprof puts its entry probe",
        role: Role::Floor,
        way: Way::EmptyProbes,
        divisor: 1,
    },
    Tracer {
        name: "memprof",
        does: "`memprof trace`: every event, whole stacks",
        role: Role::Exact,
        way: Way::Memprof(&[]),
        divisor: 1,
    },
    Tracer {
        name: "memprof, entry and return",
        does: "`memprof trace --entry-probes`: where inner probes can't be proved",
        role: Role::Fallback,
        way: Way::Memprof(&["--entry-probes"]),
        divisor: 1,
    },
    Tracer {
        name: "memprof, sampled",
        does: "`memprof trace --sample-bytes 512KiB`",
        role: Role::Mode,
        way: Way::Memprof(&["--sample-bytes", "512KiB"]),
        divisor: 1,
    },
    Tracer {
        name: "bpftrace",
        does: "the same as a script: entry and return probes, `ustack`, blocks by address, sums by stack",
        role: Role::Script,
        way: Way::Bpftrace(Script::Leak),
        divisor: 4,
    },
    Tracer {
        name: "heaptrack",
        does: "a preloaded library that unwinds in the program",
        role: Role::Peer,
        way: Way::Heaptrack,
        divisor: 1,
    },
    Tracer {
        name: "valgrind",
        does: "memcheck, a few workloads, once",
        role: Role::Peer,
        way: Way::Memcheck,
        divisor: 10,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ratios_are_taken_of_is_there_once() {
        for role in [Role::Untraced, Role::Floor, Role::Exact, Role::Script] {
            let count = TRACERS.iter().filter(|tracer| tracer.role == role).count();
            assert_eq!(count, 1, "{role:?}");
        }
    }

    #[test]
    fn the_untraced_program_comes_first() {
        assert_eq!(TRACERS[0].role, Role::Untraced);
    }
}
