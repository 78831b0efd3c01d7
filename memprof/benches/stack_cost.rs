//! What a stack costs in the kernel: memprof's walk without frame pointers, beside the kernel's
//! own walk along frame pointers and a probe that does nothing, in one run.
//!
//! The figures are those of the kernel's BPF run-time statistics: time inside the program that
//! runs at the return of `malloc`, per run, without the trap. Needs root.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aya::Ebpf;
use aya::programs::uprobe::UProbeScope;
use aya::programs::{UProbe, loaded_programs};
use aya::sys::{Stats, enable_stats};

/// Frames of a stack, innermost to outermost, as `depths.c` makes them.
const DEPTHS: [u32; 3] = [10, 20, 40];
/// Calls at each depth, one after the other.
const HOT: Calls = Calls {
    count: 50_000,
    bytes_between: 0,
};
/// Calls between which the program writes over more than the processor's own caches hold.
const COLD: Calls = Calls {
    count: 500,
    bytes_between: 16 << 20,
};
const ROUNDS: usize = 3;
/// What real programs do, deep and shallow, from few places and from many.
const REAL: [&[&str]; 3] = [
    &[
        "sqlite3",
        ":memory:",
        "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n \
         where i < 100000) insert into t select i, hex(randomblob(20)) from n; \
         select count(*) from t where b like '%FF%';",
    ],
    &[
        "env",
        "PYTHONMALLOC=malloc",
        "python3",
        "-c",
        "import json; [json.loads(json.dumps({'a': list(range(50)), 'b': {'c': str(i)}})) \
         for i in range(5000)]",
    ],
    &[
        "env",
        "PYTHONMALLOC=malloc",
        "python3",
        "-c",
        "import decimal, http.server, sqlite3, unittest, xml.dom.minidom",
    ],
];

/// What `depths.c` is told to do at each depth.
#[derive(Clone, Copy)]
struct Calls {
    count: u32,
    bytes_between: u32,
}

/// Nanoseconds per run at each depth, of each round.
type Samples = [Vec<f64>; DEPTHS.len()];

fn main() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED stack_cost: it loads BPF programs, which takes root");
        return;
    }
    let _stats = enable_stats(Stats::RunTime).expect("BPF run-time statistics");
    let without = compile("depths", "-fomit-frame-pointer");
    let with = compile("depths_with_frame_pointers", "-fno-omit-frame-pointer");
    for (title, calls) in [("hot", HOT), ("cold", COLD)] {
        let (mut empty, mut frame_pointers, mut tables) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..ROUNDS {
            baseline("empty", Target::start(&with, calls), &mut empty);
            baseline(
                "frame_pointers",
                Target::start(&with, calls),
                &mut frame_pointers,
            );
            traced(Target::start(&without, calls), &mut tables);
        }
        println!("{title}: nanoseconds per stack, median of {ROUNDS} (fastest to slowest)");
        println!(
            "{:<28}{:>22}{:>22}{:>22}",
            "", "10 frames", "20 frames", "40 frames"
        );
        row("empty probe", &empty);
        row("frame pointers, kernel's", &frame_pointers);
        row("memprof, whole program", &tables);
        println!("{:<28}{}", "memprof / empty", ratio(&tables, &empty));
        println!(
            "{:<28}{}",
            "memprof / frame pointers",
            ratio(&tables, &frame_pointers)
        );
    }
    println!("real programs, from their start to their end: nanoseconds per stack");
    for command in REAL {
        real(command);
    }
}

fn ratio(of: &Samples, over: &Samples) -> String {
    let pairs = of.iter().zip(over);
    pairs
        .map(|(of, over)| format!("{:>22.2}", median(of) / median(over)))
        .collect()
}

fn row(name: &str, samples: &Samples) {
    let cells = samples.iter().map(|depth| {
        let least = depth.iter().copied().fold(f64::INFINITY, f64::min);
        let most = depth.iter().copied().fold(0.0, f64::max);
        format!(
            "{:>22}",
            format!("{:.0} ({least:.0} to {most:.0})", median(depth))
        )
    });
    println!("{name:<28}{}", cells.collect::<String>());
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// One of the programs of `baselines.bpf.o` at the return of `malloc`.
fn baseline(name: &str, mut target: Target, samples: &mut Samples) {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/baselines.bpf.o");
    let mut bpf = Ebpf::load_file(object).expect("the object that xtask build-ebpf made");
    let probe: &mut UProbe = bpf
        .program_mut(name)
        .expect("a program of that name")
        .try_into()
        .expect("a probe");
    probe.load().expect("a program that the kernel takes");
    let pid = NonZeroU32::new(target.child.id()).expect("a pid");
    probe
        .attach("malloc", "libc", UProbeScope::OneProcess(pid))
        .expect("a C library with malloc");
    target.measure(name, std::process::id(), samples);
}

/// memprof itself.
fn traced(mut target: Target, samples: &mut Samples) {
    let mut memprof = Command::new(env!("CARGO_BIN_EXE_memprof"))
        .args(["trace", "--entry-probes", "--output", "/dev/null", "--pid"])
        .arg(target.child.id().to_string())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memprof starts");
    let stderr = memprof.stderr.take().expect("it is piped");
    let mut stderr = BufReader::new(stderr);
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert!(
        line.contains("tracing"),
        "memprof did not get to trace: {line}"
    );
    target.measure("leave", memprof.id(), samples);
    drop(target);
    memprof.wait().expect("memprof ends with its target");
}

/// A real program under memprof, whose programs are asked while it detaches.
fn real(command: &[&str]) {
    let mut memprof = Command::new(env!("CARGO_BIN_EXE_memprof"))
        .args(["trace", "--entry-probes", "--no-children"])
        .args(["--output", "/dev/null", "--"])
        .args(command)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memprof starts");
    let mut stderr = BufReader::new(memprof.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("detaching") {
        line.clear();
        let read = stderr.read_line(&mut line).expect("a line");
        assert!(read > 0, "memprof ended without detaching");
    }
    let time = run_time("leave", memprof.id());
    println!(
        "{:>8.0}  {:>9} stacks  {}",
        time.nanoseconds as f64 / time.runs as f64,
        time.runs,
        command.join(" ").chars().take(60).collect::<String>()
    );
    memprof.wait().expect("memprof ends");
}

/// A running `depths`.
struct Target {
    calls: Calls,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    fn start(program: &Path, calls: Calls) -> Self {
        let mut child = Command::new(program)
            .arg(calls.count.to_string())
            .arg(calls.bytes_between.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut target = Self {
            calls,
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        };
        target.await_ready();
        target
    }

    fn await_ready(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
    }

    fn measure(&mut self, program: &str, owner: u32, samples: &mut Samples) {
        for depth in samples {
            let before = run_time(program, owner);
            self.input.write_all(b"go\n").expect("it listens");
            self.await_ready();
            let after = run_time(program, owner);
            let runs = after.runs - before.runs;
            assert!(
                runs >= u64::from(self.calls.count),
                "{program} ran {runs} times only"
            );
            depth.push((after.nanoseconds - before.nanoseconds) as f64 / runs as f64);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
struct RunTime {
    nanoseconds: u64,
    runs: u64,
}

/// What the kernel has counted for the program of this name that process `owner` has loaded.
fn run_time(name: &str, owner: u32) -> RunTime {
    let named: Vec<u32> = loaded_programs()
        .filter_map(Result::ok)
        .filter(|program| program.name_as_str() == Some(name))
        .map(|program| program.id())
        .collect();
    let handles = fs::read_dir(format!("/proc/{owner}/fdinfo")).expect("the owner's files");
    for handle in handles.filter_map(Result::ok) {
        let text = fs::read_to_string(handle.path()).unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
        };
        if field("prog_id:").is_some_and(|id| named.contains(&(id as u32))) {
            return RunTime {
                nanoseconds: field("run_time_ns:").expect("statistics are on"),
                runs: field("run_cnt:").expect("statistics are on"),
            };
        }
    }
    panic!("process {owner} has no program {name}");
}

fn compile(name: &str, frame_pointers: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs/depths.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiled = Command::new("gcc")
        .args(["-O2", "-g", "-fno-builtin", "-fno-optimize-sibling-calls"])
        .args([frame_pointers, "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .expect("gcc");
    assert!(compiled.success(), "depths.c does not compile");
    program
}
