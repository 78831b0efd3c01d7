//! Every allocator in every way that it can be linked: each of its functions is probed on another
//! instruction of its own, and what each call site got, gave back and left is counted exactly.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{
    Process, Report, Stage, Trace, Truth, missing, prefixed_jemalloc, program, rust_allocator,
    wait_attached,
};

/// Where Debian and Fedora put the libraries.
const LIBRARY_DIRECTORIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"];

/// What glibc's cache of one thread holds at the most, freed at the thread's end within the
/// library: 64 sizes, 7 blocks of each.
const THREAD_CACHE_BLOCKS: u64 = 64 * 7;

const JEMALLOC: &str = "libjemalloc.so.";
const TCMALLOC: &str = "libtcmalloc_minimal.so.";
const MIMALLOC: &str = "libmimalloc.so.";

fn library(prefix: &str) -> Option<PathBuf> {
    LIBRARY_DIRECTORIES
        .into_iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(Iterator::flatten)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix)
        })
}

/// A target, traced from its go to its end.
struct Traced {
    report: Report,
    truth: Truth,
    said: String,
}

/// A target to attach to.
struct Target {
    program: PathBuf,
    arguments: &'static [&'static str],
    preloaded: Option<PathBuf>,
    options: Vec<String>,
}

impl Target {
    fn of(program: PathBuf) -> Self {
        Self {
            program,
            arguments: &[],
            preloaded: None,
            options: Vec::new(),
        }
    }

    fn with(program: PathBuf, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned());
        Self {
            options: options.collect(),
            ..Self::of(program)
        }
    }

    fn trace(self, stage: &Stage) -> Traced {
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments)
            .stdin(Stdio::piped())
            .env("WAIT_FOR_GO", "1")
            .env("TRUTH_FILE", stage.path("truth"));
        if let Some(library) = &self.preloaded {
            command.env("LD_PRELOAD", library);
        }
        let name = self.program.file_name().and_then(OsStr::to_str);
        let mut target = Process::start(stage, name.expect("a plain name"), &mut command);
        target.wait_ready();
        let mut options = vec!["-v"];
        options.extend(self.options.iter().map(String::as_str));
        let mut trace = Trace::attach(stage, &[target.pid()], &options);
        wait_attached(&mut trace, target.pid());
        target.go();
        target.must_exit(0);
        Traced {
            report: trace.finish(),
            truth: Truth::read(&stage.path("truth")),
            said: trace.process.stderr(),
        }
    }
}

impl Traced {
    /// Every site is as the program knows it, with something left there.
    fn assert_exact(&self) {
        self.report.assert_nothing_lost();
        let seen = self.report.sites();
        for (site, expected) in &self.truth.sites {
            assert_eq!(seen.get(site), Some(expected), "{site}: {}", self.said);
        }
        assert!(self.truth.total().outstanding_count > 0, "nothing leaked");
        let unknown_frees = self.report.number("/quality/unknown_frees");
        let ended = self.truth.optional_fact("ended_threads").unwrap_or(0);
        // An exception's memory is taken inside the call that throws, and so not counted.
        let exceptions = self.truth.optional_fact("caught").unwrap_or(0);
        let before = self.truth.optional_fact("blocks_of_before").unwrap_or(0);
        let most = ended * THREAD_CACHE_BLOCKS + exceptions + before;
        assert!(unknown_frees <= most, "{unknown_frees} unknown frees");
    }

    /// What is covered of the file in which `allocator` is: functions seen, functions not.
    fn coverage(&self, allocator: &str) -> (Vec<&str>, Vec<&str>) {
        let all = self.report.at("/quality/coverage").as_array();
        let mut all = all.expect("a list").iter();
        let one = all
            .find(|one| one["allocator"] == allocator)
            .unwrap_or_else(|| panic!("no {allocator}: {}", self.said));
        let names = |field: &str| {
            let names = one[field].as_array().expect("a list").iter();
            names.map(|name| name.as_str().expect("a name")).collect()
        };
        (names("attached"), names("missing"))
    }

    /// What is said of where a function is probed.
    fn place(&self, function: &str) -> &str {
        let start = format!("memprof:   {function}: ");
        let mut lines = self.said.lines();
        lines
            .find_map(|line| line.strip_prefix(&start))
            .unwrap_or_else(|| panic!("no {function}: {}", self.said))
    }

    /// Where the kernel emulates anything, `malloc` and `free` are not stepped.
    fn assert_cheap(&self, allocator: &str, functions: [&str; 2]) {
        if self.said.contains("this kernel emulates nothing") {
            return;
        }
        let marker = format!("({allocator})");
        for function in functions {
            let mut lines = self.said.lines().skip_while(|line| !line.contains(&marker));
            let place = lines
                .find_map(|line| {
                    let (names, place) = line.strip_prefix("memprof:   ")?.split_once(": ")?;
                    let mut names = names.split(", ");
                    names.any(|name| name == function).then_some(place)
                })
                .unwrap_or_else(|| panic!("no {function} of {allocator}: {}", self.said));
            assert!(!place.contains("stepped"), "{function}: {place}");
        }
    }
}

/// Traces the program `name`, with this library preloaded or none; `allocator` is what its calls go
/// to.
fn is_exact(test: &str, name: &str, preloaded: Option<&str>, allocator: &str) {
    let Some(stage) = Stage::with_bpf(test) else {
        return;
    };
    let preloaded = match preloaded.map(|prefix| (prefix, library(prefix))) {
        Some((prefix, None)) => return missing(test, &format!("{prefix} is not installed")),
        found => found.and_then(|(_, path)| path),
    };
    let target = Target {
        preloaded,
        ..Target::of(program(name))
    };
    let traced = target.trace(&stage);
    traced.assert_exact();
    assert!(traced.truth.total().allocated_count > 12_000);
    traced.assert_cheap(allocator, ["malloc", "free"]);
}

/// The same where the program is linked with a library for building with, not just for running.
fn is_exact_if(test: &str, needed: &str, name: &str, allocator: &str) {
    let found = LIBRARY_DIRECTORIES
        .into_iter()
        .any(|directory| Path::new(directory).join(needed).exists());
    if found {
        is_exact(test, name, None, allocator);
    } else {
        missing(test, &format!("{needed} is not installed"));
    }
}

#[test]
fn glibc_is_exact() {
    is_exact("known_calls_glibc", "known_calls", None, "glibc");
}

#[test]
fn static_glibc_is_exact() {
    is_exact("known_calls_static", "known_calls_static", None, "glibc");
}

#[test]
fn musl_is_exact() {
    if !PathBuf::from("/usr/bin/musl-gcc").exists() {
        return missing("known_calls_musl", "musl-gcc is not installed");
    }
    is_exact("known_calls_musl", "known_calls_musl", None, "musl");
}

#[test]
fn static_musl_is_exact() {
    let name = "known_calls_musl_static";
    if !PathBuf::from("/usr/bin/musl-gcc").exists() {
        return missing(name, "musl-gcc is not installed");
    }
    is_exact(name, name, None, "musl");
}

#[test]
fn jemalloc_is_exact() {
    let library = Some(JEMALLOC);
    is_exact("known_calls_jemalloc", "known_calls", library, "jemalloc");
}

#[test]
fn linked_jemalloc_is_exact() {
    let name = "known_calls_with_jemalloc";
    is_exact_if(name, "libjemalloc.so", name, "jemalloc");
}

#[test]
fn static_jemalloc_is_exact() {
    let name = "known_calls_jemalloc_static";
    is_exact_if(name, "libjemalloc.a", name, "jemalloc");
}

#[test]
fn jemalloc_behind_rusts_prefix_is_exact_and_the_c_library_beside_it_is_followed_too() {
    let test = "known_calls_prefixed";
    let Some(archive) = library("libjemalloc.a") else {
        return missing(test, "libjemalloc.a is not installed");
    };
    let Some(stage) = Stage::with_bpf(test) else {
        return;
    };
    let traced = Target::of(prefixed_jemalloc(&archive)).trace(&stage);
    traced.assert_exact();
    traced.assert_cheap("jemalloc, _rjem_", ["_rjem_malloc", "_rjem_free"]);
    let (attached, missing) = traced.coverage("jemalloc, _rjem_");
    assert!(attached.contains(&"_rjem_sdallocx"), "{attached:?}");
    assert!(missing.is_empty(), "{missing:?}");
    assert!(traced.coverage("glibc").0.contains(&"malloc"));
}

#[test]
fn tcmalloc_is_exact() {
    let library = Some(TCMALLOC);
    is_exact("known_calls_tcmalloc", "known_calls", library, "tcmalloc");
}

#[test]
fn linked_tcmalloc_is_exact() {
    let name = "known_calls_with_tcmalloc";
    is_exact_if(name, "libtcmalloc_minimal.so", name, "tcmalloc");
}

#[test]
fn mimalloc_is_exact() {
    let library = Some(MIMALLOC);
    is_exact("known_calls_mimalloc", "known_calls", library, "mimalloc");
}

#[test]
fn linked_mimalloc_is_exact() {
    let name = "known_calls_with_mimalloc";
    is_exact_if(name, "libmimalloc.so", name, "mimalloc");
}

#[test]
fn jemallocs_operators_are_exact() {
    is_exact(
        "operators_jemalloc",
        "operators",
        Some(JEMALLOC),
        "jemalloc",
    );
}

#[test]
fn tcmallocs_operators_are_exact() {
    is_exact(
        "operators_tcmalloc",
        "operators",
        Some(TCMALLOC),
        "tcmalloc",
    );
}

#[test]
fn mimallocs_operators_are_exact() {
    is_exact(
        "operators_mimalloc",
        "operators",
        Some(MIMALLOC),
        "mimalloc",
    );
}

#[test]
fn static_tcmallocs_operators_are_exact() {
    let name = "operators_tcmalloc_static";
    is_exact_if(name, "libtcmalloc_minimal.a", name, "tcmalloc");
}

/// A return probe on what throws would abort it. Not mimalloc: as Debian builds it, it aborts by
/// itself where memory runs out.
fn bad_alloc_is_caught(test: &str, preloaded: &str, allocator: &str) {
    let Some(stage) = Stage::with_bpf(test) else {
        return;
    };
    let Some(library) = library(preloaded) else {
        return missing(test, &format!("{preloaded} is not installed"));
    };
    let target = Target {
        preloaded: Some(library),
        ..Target::of(program("bad_alloc"))
    };
    let traced = target.trace(&stage);
    traced.assert_exact();
    assert_eq!(traced.truth.fact("caught"), 300);
    assert_eq!(traced.truth.fact("passed"), 300);
    let (attached, missing) = traced.coverage(allocator);
    for operator in ["_Znwm", "_Znam", "_ZnwmSt11align_val_t", "_ZdlPvm"] {
        assert!(attached.contains(&operator), "{attached:?}");
    }
    let operators = missing.iter().filter(|name| name.starts_with("_Z"));
    assert_eq!(operators.count(), 0, "{missing:?}");
}

#[test]
fn a_bad_alloc_of_jemallocs_is_still_caught() {
    bad_alloc_is_caught("bad_alloc_jemalloc", JEMALLOC, "jemalloc");
}

#[test]
fn a_bad_alloc_of_tcmallocs_is_still_caught() {
    bad_alloc_is_caught("bad_alloc_tcmalloc", TCMALLOC, "tcmalloc");
}

#[test]
fn rust_with_mimalloc_linked_in_is_exact() {
    let Some(stage) = Stage::with_bpf("rust_mimalloc") else {
        return;
    };
    let traced = Target::of(rust_allocator(true)).trace(&stage);
    traced.assert_exact();
    let (attached, _) = traced.coverage("mimalloc");
    for function in ["mi_malloc_aligned", "mi_realloc_aligned", "mi_free"] {
        assert!(attached.contains(&function), "{attached:?}");
    }
}

#[test]
fn rust_with_an_allocator_of_its_own_is_exact() {
    let Some(stage) = Stage::with_bpf("rust_own_allocator") else {
        return;
    };
    let options = ["--probe", "alloc=own_alloc,free=own_free"];
    let traced = Target::with(rust_allocator(false), &options).trace(&stage);
    traced.assert_exact();
    assert_eq!(traced.coverage("own_alloc").0, ["own_alloc", "own_free"]);
}

#[test]
fn rusts_own_names_are_probed_where_nothing_else_is_and_what_that_misses_is_said() {
    let Some(stage) = Stage::with_bpf("rust_names") else {
        return;
    };
    let traced = Target::of(rust_allocator(false)).trace(&stage);
    traced.report.assert_nothing_lost();
    let (attached, _) = traced.coverage("Rust's global allocator");
    for function in ["__rust_alloc", "__rust_dealloc"] {
        assert!(attached.contains(&function), "{attached:?}");
    }
    assert!(traced.report.summary().allocated_count > 0);
    let notes = traced.report.at("/quality/notes").to_string();
    assert!(notes.contains("inlined are not seen"), "{notes}");
}

#[test]
fn a_pool_of_the_programs_own_is_exact_and_its_chunks_do_not_count() {
    let Some(stage) = Stage::with_bpf("pool") else {
        return;
    };
    let options = ["--probe", "alloc=pool_get:2,free=pool_put:2"];
    let traced = Target::with(program("pool"), &options).trace(&stage);
    traced.assert_exact();
    assert!(traced.truth.fact("chunks") > 10);
    assert_eq!(traced.report.summary(), traced.truth.total());
    assert_eq!(traced.coverage("pool_get").0, ["pool_get", "pool_put"]);
    // In C a return probe will do, which costs less.
    assert!(!traced.place("pool_get").contains("`ret`"));
}

#[test]
fn an_allocator_behind_a_prefix_of_its_own_is_exact() {
    let Some(stage) = Stage::with_bpf("pool_prefix") else {
        return;
    };
    let target = Target {
        arguments: &["my_"],
        ..Target::with(program("pool"), &["--allocator-prefix", "my_"])
    };
    let traced = target.trace(&stage);
    traced.assert_exact();
    assert_eq!(traced.report.summary(), traced.truth.total());
    let (attached, missing) = traced.coverage("my_");
    assert_eq!(attached.len(), 4, "{attached:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_pool_that_throws_is_exact_and_its_exceptions_are_still_caught() {
    let Some(stage) = Stage::with_bpf("pool_throws") else {
        return;
    };
    let options = ["--probe", "alloc=arena_get,free=arena_put"];
    let traced = Target::with(program("pool_throws"), &options).trace(&stage);
    traced.assert_exact();
    assert!(traced.truth.fact("caught") > 800);
    // No return probe, which would abort it.
    assert!(traced.place("arena_get").contains("`ret`"));
}
