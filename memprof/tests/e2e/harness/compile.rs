//! The programs of `tests/programs`, compiled when they are older than their sources, or were
//! compiled by another command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
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

/// What Debian's `musl-gcc` gives to gcc.
const MUSL_SPECS: &str = "/usr/lib/x86_64-linux-musl/musl-gcc.specs";
/// For the programs whose stacks only unwind tables can tell.
const NO_FRAME_POINTERS: &str = "-fomit-frame-pointer";

/// The executable of `tests/programs/NAME.c` or `.cc`; call it with a stage held.
pub(crate) fn program(name: &str) -> PathBuf {
    match name {
        "static_nolibc" | "static_arena" => build(name, name, &["-nostdlib", "-static"]),
        // The C library in the executable, and its functions known by its symbol table alone.
        "sites_static" => build("sites", name, &["-static"]),
        "known_calls_static" => build("known_calls", name, &["-static"]),
        "known_calls_musl" => build("known_calls", name, &["-specs", MUSL_SPECS]),
        "mmaps_stripped" => build("mmaps", name, &["-static", "-s"]),
        "known_calls_musl_static" => build("known_calls", name, &["-specs", MUSL_SPECS, "-static"]),
        "known_calls_with_jemalloc" => build("known_calls", name, &["-ljemalloc"]),
        "known_calls_with_tcmalloc" => build("known_calls", name, &["-ltcmalloc_minimal"]),
        "known_calls_with_mimalloc" => build("known_calls", name, &["-lmimalloc"]),
        "known_calls_jemalloc_static" => {
            let libraries = ["-static", "-l:libjemalloc.a", "-lm", "-lstdc++"];
            build("known_calls", name, &libraries)
        }
        // Whole: else the C library's own functions are found first.
        "operators_tcmalloc_static" => build(
            "operators",
            name,
            &[
                "-static",
                "-Wl,--whole-archive,-l:libtcmalloc_minimal.a,--no-whole-archive",
            ],
        ),
        // Unwind information that is not loaded, and no frame pointers.
        "copied_debug_frame" => build(
            "copied",
            name,
            &["-fno-asynchronous-unwind-tables", "-fomit-frame-pointer"],
        ),
        // Not the C library that other tracers of this machine probe.
        "hunted_static" => build("hunted", name, &["-static"]),
        "hunted_stripped" => build("hunted", name, &["-static", "-s"]),
        "holder_static" => build("holder", name, &["-static"]),
        "execs" => build(name, name, &[NO_FRAME_POINTERS]),
        _ => build(name, name, &[]),
    }
}

/// A program whose calls go to jemalloc under Rust's prefix, beside the C library's: Debian's static
/// jemalloc with its functions renamed.
pub(crate) fn prefixed_jemalloc(archive: &Path) -> PathBuf {
    let renamed = programs_directory().join("libprefixed_jemalloc.a");
    let mut command = Command::new("objcopy");
    for function in PREFIXED {
        command.arg(format!("--redefine-sym={function}=_rjem_{function}"));
    }
    fs::create_dir_all(programs_directory()).expect("a directory for the programs");
    let done = command.arg(archive).arg(&renamed).status();
    assert!(done.is_ok_and(|status| status.success()), "objcopy");
    let library = renamed.to_str().expect("a path in plain letters");
    let mut flags = FLAGS.to_vec();
    let renames = PREFIXED.map(|function| format!("-D{function}=_rjem_{function}"));
    flags.extend(renames.iter().map(String::as_str));
    // The declarations of the C library are renamed with the calls.
    flags.extend([library, "-lm", "-lstdc++", "-ldl"]);
    build_with(&["known_calls.c"], "known_calls_prefixed", &flags)
}

/// What of jemalloc is renamed.
const PREFIXED: [&str; 13] = [
    "malloc",
    "calloc",
    "realloc",
    "free",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "mallocx",
    "rallocx",
    "dallocx",
    "sdallocx",
    "malloc_usable_size",
];

/// The Rust program with its own allocator, or with the mimalloc that memprof itself is linked with.
pub(crate) fn rust_allocator(linked: bool) -> PathBuf {
    let common = [
        "-g",
        "-O",
        "--edition=2024",
        "-Cforce-frame-pointers=yes",
        "--check-cfg=cfg(linked)",
    ];
    if !linked {
        return build_with(&["rust_allocator.rs"], "rust_own_allocator", &common);
    }
    let archive = memprofs_mimalloc();
    let directory = archive.parent().expect("a file is in a directory");
    let search = format!("-Lnative={}", directory.display());
    let more = ["--cfg=linked", &search, "-lstatic=mimalloc"];
    let flags = [&common[..], &more].concat();
    build_with(&["rust_allocator.rs"], "rust_mimalloc", &flags)
}

/// The newest of those that cargo has built.
fn memprofs_mimalloc() -> PathBuf {
    let profile = Path::new(super::MEMPROF).parent();
    let builds = profile.expect("it is in a directory").join("build");
    let entries = fs::read_dir(&builds).expect("cargo's directory of builds");
    entries
        .flatten()
        .map(|entry| entry.path().join("out/libmimalloc.a"))
        .filter(|path| path.exists())
        .max_by_key(|path| modified(path))
        .expect("memprof is linked with it")
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

/// Makes a root directory with a test program and copies of the libraries that it needs.
pub(crate) fn furnish(root: &Path, name: &str) {
    let executable = program(name);
    fs::create_dir_all(root).expect("a root directory");
    fs::copy(&executable, root.join(name)).expect("the program can be copied");
    let listed = Command::new("ldd").arg(&executable).output();
    let listed = listed.expect("ldd is there").stdout;
    for path in String::from_utf8_lossy(&listed)
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let copy = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap_or(root)).expect("a directory for the library");
        fs::copy(path, copy).expect("the library can be copied");
    }
}

fn build(name: &str, output: &str, extra: &[&str]) -> PathBuf {
    let in_c = format!("{name}.c");
    let source = if sources_directory().join(&in_c).exists() {
        in_c
    } else {
        format!("{name}.cc")
    };
    let flags: Vec<&str> = FLAGS.iter().chain(extra).copied().collect();
    build_with(&[&source], output, &flags)
}

/// What some files of `tests/programs`, all of the language of the first, are compiled to with
/// these flags alone; call it with a stage held.
pub(crate) fn build_with(files: &[&str], output: &str, flags: &[&str]) -> PathBuf {
    let compiler = match files[0].rsplit_once('.') {
        Some((_, "rs")) => "rustc",
        Some((_, "cc")) => "g++",
        _ => "gcc",
    };
    // Tests that share the stage may want one program at one time.
    static COMPILING: Mutex<()> = Mutex::new(());
    let _turn = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = programs_directory();
    fs::create_dir_all(&directory).expect("a directory for the programs");
    let command_file = directory.join(format!("{output}.command"));
    let output = directory.join(output);
    let sources = files.iter().map(|file| sources_directory().join(file));
    let sources: Vec<PathBuf> = sources.collect();
    let mut command = Command::new(compiler);
    // Libraries come behind what needs them.
    command.arg("-o").arg(&output).args(&sources).args(flags);
    let command_line = format!("{command:?}");

    let header = sources_directory().join("truth.h");
    let inputs = sources.iter().chain([&header]);
    let newest_input = inputs.filter_map(|path| modified(path)).max();
    let is_newer = modified(&output).is_some_and(|built| Some(built) > newest_input);
    if is_newer && fs::read_to_string(&command_file).is_ok_and(|built| built == command_line) {
        return output;
    }
    // Else what is left of a failed attempt could pass for the new one.
    let _ = fs::remove_file(&command_file);
    let result = command
        .output()
        .unwrap_or_else(|error| panic!("{compiler} is needed to compile the programs: {error}"));
    assert!(
        result.status.success(),
        "{} does not compile: {}",
        files.join(", "),
        String::from_utf8_lossy(&result.stderr)
    );
    fs::write(&command_file, command_line).expect("the command can be noted");
    output
}

fn programs_directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs")
}

fn sources_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
