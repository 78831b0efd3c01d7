//! The programs of `tests/programs`, compiled when they are older than their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Frame pointers, because the stacks of these programs must be whole; no built-in allocation
/// functions and no tail calls, because every call of the source must happen, from its own frame.
const FLAGS: [&str; 9] = [
    "-g",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
    "-fno-omit-frame-pointer",
    "-fno-builtin",
    "-fno-optimize-sibling-calls",
];

/// For the programs whose stacks only unwind tables can tell.
const NO_FRAME_POINTERS: &str = "-fomit-frame-pointer";

/// The executable of `tests/programs/NAME.c` or `.cc`; call it with a stage held.
pub(crate) fn program(name: &str) -> PathBuf {
    match name {
        "static_nolibc" => build(name, name, &["-nostdlib", "-static"]),
        // The C library in the executable, and its functions known by its symbol table alone.
        "sites_static" => build("sites", name, &["-static"]),
        "execs" => build(name, name, &[NO_FRAME_POINTERS]),
        _ => build(name, name, &[]),
    }
}

/// The counting shim, to be preloaded.
pub(crate) fn shim_library() -> PathBuf {
    build("shim", "libshim.so", &["-shared", "-fPIC", "-ldl"])
}

/// A library without frame pointers that programs load at run time.
pub(crate) fn plugin_library() -> PathBuf {
    // Without line numbers: the tests name the functions of a thousand copies.
    let extra = ["-shared", "-fPIC", "-g0", NO_FRAME_POINTERS];
    build("plugin", "plugin.so", &extra)
}

fn build(name: &str, output: &str, extra: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let in_c = sources.join(format!("{name}.c"));
    let (source, compiler) = if in_c.exists() {
        (in_c, "gcc")
    } else {
        (sources.join(format!("{name}.cc")), "g++")
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&directory).expect("a directory for the programs");
    let output = directory.join(output);
    let newest_input = [
        &source,
        &sources.join("truth.h"),
        &PathBuf::from(file_of_flags()),
    ]
    .into_iter()
    .filter_map(|path| modified(path))
    .max();
    if modified(&output).is_some_and(|built| Some(built) > newest_input) {
        return output;
    }
    let result = Command::new(compiler)
        .args(FLAGS)
        .arg("-o")
        .arg(&output)
        .arg(&source)
        .args(extra)
        .output()
        .unwrap_or_else(|error| panic!("{compiler} is needed to compile the programs: {error}"));
    assert!(
        result.status.success(),
        "{} does not compile: {}",
        source.display(),
        String::from_utf8_lossy(&result.stderr)
    );
    output
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// This file: other flags make other programs.
fn file_of_flags() -> String {
    format!(
        "{}/tests/e2e/harness/compile.rs",
        env!("CARGO_MANIFEST_DIR")
    )
}
