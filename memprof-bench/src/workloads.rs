//! The programs that are traced, and how much each does at a time.

/// One program under one load.
pub(crate) struct Workload {
    /// Its name in tables and filters.
    pub(crate) name: &'static str,
    /// What it does, for the reader of the table.
    pub(crate) does: &'static str,
    /// How it is run.
    pub(crate) program: Program,
    /// Which of the project's goals are about it.
    pub(crate) kind: Kind,
    /// What it is asked to do at a time, in its own units: some tenths of a second when traced.
    pub(crate) units: u32,
    /// Pairs of an allocation and its free in a unit, where the program is made so that they are
    /// known; else memprof counts them.
    pub(crate) pairs_per_unit: Option<f64>,
    /// Whether the slowest peers run it too.
    pub(crate) for_slow_peers: bool,
    /// Whether it is in a quick comparison.
    pub(crate) in_quick: bool,
}

/// What is run.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// A C program of `programs/`, compiled with or without frame pointers.
    C {
        source: &'static str,
        frame_pointers: bool,
        argument: &'static str,
    },
    /// Debian's Python and a script of `programs/`.
    Python {
        script: &'static str,
        /// Whether every object is one of `malloc`'s, which Python's own allocator keeps from being so.
        through_malloc: bool,
    },
    /// The `sqlite3` shell; a unit is a row.
    Sqlite,
    /// A server of its own with `redis-benchmark`; a unit is a request.
    Redis,
}

/// What kind of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `malloc` and `free`, and nothing else.
    Loop,
    /// Deep call paths and some work.
    Server,
    /// Nobody wrote it for this.
    Real,
    /// New pages are touched, and nothing else.
    Pages,
}

/// `server.c` with so many steps of work a request.
const fn server(name: &'static str, does: &'static str, steps: &'static str) -> Workload {
    Workload {
        name,
        does,
        program: Program::C {
            source: "server",
            frame_pointers: false,
            argument: steps,
        },
        kind: Kind::Server,
        units: 40_000,
        pairs_per_unit: Some(1.0),
        for_slow_peers: false,
        in_quick: false,
    }
}

/// The same, compiled with frame pointers.
const fn with_frame_pointers(name: &'static str, workload: Workload) -> Workload {
    let Program::C {
        source, argument, ..
    } = workload.program
    else {
        panic!("only what is compiled here can have frame pointers");
    };
    Workload {
        name,
        program: Program::C {
            source,
            frame_pointers: true,
            argument,
        },
        for_slow_peers: false,
        in_quick: false,
        ..workload
    }
}

const fn pairs(name: &'static str, does: &'static str, threads: &'static str) -> Workload {
    Workload {
        name,
        does,
        program: Program::C {
            source: "pairs",
            frame_pointers: false,
            argument: threads,
        },
        kind: Kind::Loop,
        units: 100_000,
        pairs_per_unit: Some(1.0),
        for_slow_peers: false,
        in_quick: true,
    }
}

const SERVER_LITTLE: Workload = server(
    "server-little",
    "20 paths 20 frames deep, some 0.2 µs of work a request",
    "100",
);
const SERVER_MEDIUM: Workload = Workload {
    for_slow_peers: true,
    in_quick: true,
    ..server(
        "server-medium",
        "20 paths 20 frames deep, some 2 µs of work a request",
        "1000",
    )
};
const SERVER_MUCH: Workload = Workload {
    units: 10_000,
    ..server(
        "server-much",
        "20 paths 20 frames deep, some 15 µs of work a request",
        "10000",
    )
};

/// `sqlite3`, and its heap as the table grows and goes.
pub(crate) const SQLITE: Workload = Workload {
    name: "sqlite",
    does: "sqlite3 fills a table in memory",
    program: Program::Sqlite,
    kind: Kind::Real,
    units: 25_000,
    pairs_per_unit: None,
    for_slow_peers: true,
    in_quick: true,
};
/// Python, much of whose work is allocating.
pub(crate) const PYTHON: Workload = Workload {
    name: "python",
    does: "python3 parses JSON, with PYTHONMALLOC=malloc",
    program: Program::Python {
        script: "parse_json",
        through_malloc: true,
    },
    kind: Kind::Real,
    units: 120,
    pairs_per_unit: None,
    for_slow_peers: false,
    in_quick: true,
};
/// A server with an allocator linked into it.
pub(crate) const REDIS: Workload = Workload {
    name: "redis",
    does: "redis-server under redis-benchmark: SET of random keys, 16 at a time",
    program: Program::Redis,
    kind: Kind::Real,
    units: 25_000,
    pairs_per_unit: None,
    for_slow_peers: false,
    in_quick: true,
};

/// All of them, in the order of the table.
pub(crate) const WORKLOADS: [Workload; 11] = [
    Workload {
        for_slow_peers: true,
        ..pairs("loop-1", "malloc and free, nothing else, 1 thread", "1")
    },
    Workload {
        in_quick: false,
        ..pairs("loop-2", "malloc and free, nothing else, 2 threads", "2")
    },
    SERVER_LITTLE,
    with_frame_pointers("server-little-fp", SERVER_LITTLE),
    SERVER_MEDIUM,
    with_frame_pointers("server-medium-fp", SERVER_MEDIUM),
    SERVER_MUCH,
    with_frame_pointers("server-much-fp", SERVER_MUCH),
    SQLITE,
    PYTHON,
    REDIS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_a_name_of_its_own() {
        let mut names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WORKLOADS.len());
    }

    #[test]
    fn a_quick_comparison_has_every_kind() {
        for kind in [Kind::Loop, Kind::Server, Kind::Real] {
            let quick = |workload: &Workload| workload.in_quick && workload.kind == kind;
            assert!(WORKLOADS.iter().any(quick), "{kind:?}");
        }
    }
}
