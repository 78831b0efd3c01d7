//! What a traced pair of an allocation and its free costs the target, whole: with probes at entry
//! and return, beside inner probes, beside no probes, in turn in one run. Needs root.
//!
//! Where this C library's functions get no inner probes, the two ways are one.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const PAIRS: u32 = 100_000;
const ROUNDS: usize = 7;
/// Options of memprof; `None` is without it.
const WAYS: [(&str, Option<&[&str]>); 3] = [
    ("untraced", None),
    ("entry and return", Some(&["--entry-probes"])),
    ("inner probes", Some(&[])),
];

fn main() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED pair_cost: it loads BPF programs, which takes root");
        return;
    }
    let program = compile();
    let mut samples: [[Vec<f64>; 2]; WAYS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (samples, (_, options)) in samples.iter_mut().zip(WAYS) {
            for (kind, pair) in samples.iter_mut().zip(measure(&program, options)) {
                kind.push(pair);
            }
        }
    }
    println!("nanoseconds of CPU time per pair, median of {ROUNDS} (fastest to slowest)");
    println!("{:<18}{:>26}{:>26}", "", "malloc, free", "calloc, free");
    for ((name, _), kinds) in WAYS.iter().zip(&mut samples) {
        let cells = kinds.each_mut().map(|kind| {
            kind.sort_by(f64::total_cmp);
            let (least, most) = (kind[0], kind[ROUNDS - 1]);
            format!("{:.0} ({least:.0} to {most:.0})", kind[ROUNDS / 2])
        });
        println!("{name:<18}{:>26}{:>26}", cells[0], cells[1]);
    }
}

/// A pair of `malloc`, and one of `calloc`, nanoseconds.
fn measure(program: &Path, options: Option<&[&str]>) -> [f64; 2] {
    let mut target = Command::new(program)
        .arg(PAIRS.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut output = BufReader::new(target.stdout.take().expect("it is piped"));
    let mut next_line = || {
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        line
    };
    assert_eq!(next_line(), "ready\n");
    let memprof = options.map(|options| attach(target.id(), options));
    let mut input = target.stdin.take().expect("it is piped");
    let mut pairs = [0.0; 2];
    // The first time warms up: memprof learns the stacks.
    for _ in 0..2 {
        input.write_all(b"go\n").expect("it listens");
        let line = next_line();
        let mut words = line.split_ascii_whitespace();
        pairs = pairs.map(|_| words.next().expect("two").parse().expect("a number"));
        assert_eq!(next_line(), "ready\n");
    }
    drop(input);
    target.wait().expect("it ends");
    if let Some(mut memprof) = memprof {
        memprof.wait().expect("memprof ends with its target");
    }
    pairs
}

fn attach(pid: u32, options: &[&str]) -> Child {
    let mut memprof = Command::new(env!("CARGO_BIN_EXE_memprof"))
        .args(["trace", "--output", "/dev/null", "--pid", &pid.to_string()])
        .args(options)
        .stderr(Stdio::piped())
        .spawn()
        .expect("memprof starts");
    let mut stderr = BufReader::new(memprof.stderr.take().expect("it is piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert!(line.contains("tracing"), "memprof does not trace: {line}");
    memprof
}

fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/programs/pairs.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pairs");
    let compiled = Command::new("gcc")
        .args(["-O2", "-g", "-fno-builtin", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .expect("gcc");
    assert!(compiled.success(), "pairs.c does not compile");
    program
}
