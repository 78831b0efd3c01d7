//! `cargo xtask setup`: finds what building and testing take, and installs what is missing.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::toolchain::{self, Compiler, LINKER_VERSION, Toolchain};
use crate::{apt, shell};

/// A Rust for the BPF target that Debian packages with its sources.
const RUST_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// The LLVM of that Rust.
const RUST_PACKAGES_LLVM: u32 = 22;
/// The major versions of LLVM that bpf-linker 0.13 can be built against.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// What the tests run, and the Debian package that it is in. A name without a directory may be
/// anywhere on the search path.
const TEST_PROGRAMS: [(&str, &str); 8] = [
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/g++", "g++"),
    ("xz", "xz-utils"),
    ("node", "nodejs"),
    ("/usr/bin/sqlite3", "sqlite3"),
    ("/usr/bin/python3", "python3"),
    ("/usr/bin/redis-server", "redis-server"),
    ("/usr/bin/redis-benchmark", "redis-tools"),
];

/// Allocators that the tests trace as well: the library's name, or all of it up to its version, and
/// the packages that may have it. A distribution without them skips those tests.
const TEST_ALLOCATORS: [(&str, &[&str]); 6] = [
    ("libjemalloc.so.", &["libjemalloc2"]),
    (
        "libtcmalloc_minimal.so.",
        &["libtcmalloc-minimal4", "libtcmalloc-minimal4t64"],
    ),
    ("libmimalloc.so.", &["libmimalloc2.0", "libmimalloc3"]),
    ("libjemalloc.a", &["libjemalloc-dev"]),
    ("libtcmalloc_minimal.a", &["libgoogle-perftools-dev"]),
    ("libmimalloc.so", &["libmimalloc-dev"]),
];
/// Where Debian puts libraries.
const LIBRARY_DIRECTORY: &str = "/usr/lib/x86_64-linux-gnu";
/// What compiles for musl, and its package.
const MUSL: (&str, &str) = ("/usr/bin/musl-gcc", "musl-tools");

/// Everything, for building and for testing.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let toolchain = bpf_toolchain()?;
    test_programs()?;
    test_allocators()?;
    rust_components()?;
    eprintln!(
        "setup: rustc {} ({}) and {} build for BPF; nothing is missing ({:.1} s)",
        toolchain.compiler.version,
        toolchain.compiler.rustc.display(),
        toolchain.linker.display(),
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// The toolchain for the BPF target, installed if there is none.
pub(crate) fn bpf_toolchain() -> Result<Toolchain> {
    if let Some(toolchain) = toolchain::find() {
        return Ok(toolchain);
    }
    let compiler = match compiler_with_obtainable_linker() {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    // The compiler alone may have been what was missing.
    if let Some(toolchain) = toolchain::find() {
        return Ok(toolchain);
    }
    install_linker(&compiler)?;
    match toolchain::find() {
        Some(toolchain) => Ok(toolchain),
        None => bail!(
            "bpf-linker was installed into {}, but does not run or is not for LLVM {}",
            toolchain::own_tools().display(),
            compiler.llvm,
        ),
    }
}

/// The first compiler that is here whose linker can be built.
fn compiler_with_obtainable_linker() -> Option<Compiler> {
    toolchain::compilers()
        .into_iter()
        .find(|compiler| linker_is_obtainable(compiler.llvm))
}

fn linker_is_obtainable(llvm: u32) -> bool {
    LINKER_LLVM.contains(&llvm) && (llvm_is_here(llvm) || apt::offers(&[&llvm_package(llvm)]))
}

/// Installs a compiler with the sources of `core`: Debian's where it has one, else the sources
/// for the user's own.
fn install_compiler() -> Result<Compiler> {
    let mut packages = RUST_PACKAGES.to_vec();
    let llvm = llvm_package(RUST_PACKAGES_LLVM);
    packages.push(&llvm);
    if apt::offers(&packages) {
        apt::install(&packages, "building the eBPF object")?;
    } else if let Some(major) = users_llvm()
        && shell::find_program("rustup").is_some()
        && linker_is_obtainable(major)
    {
        eprintln!("setup: adding rust-src to the current Rust toolchain");
        shell::run(shell::command("rustup").args(["component", "add", "rust-src"]))?;
    }
    match compiler_with_obtainable_linker() {
        Some(compiler) => Ok(compiler),
        None => bail!(
            "no toolchain for the BPF target, and none that can be installed here: it takes rustup's \
             nightly with sources (`rustup toolchain install nightly --component rust-src`) and a \
             bpf-linker {LINKER_VERSION} or later of the same LLVM on PATH (`cargo binstall bpf-linker`)"
        ),
    }
}

/// The LLVM of the compiler that the user's cargo runs.
fn users_llvm() -> Option<u32> {
    let (_, llvm) = toolchain::compiler_versions(Path::new("rustc"))?;
    Some(llvm)
}

/// Builds the bpf-linker for a compiler, with the user's own cargo, into the project's own place.
fn install_linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.llvm;
    if !llvm_is_here(llvm) {
        apt::install(&[&llvm_package(llvm)], "building bpf-linker")?;
    }
    eprintln!("setup: building bpf-linker {LINKER_VERSION} for LLVM {llvm} (about a minute)");
    let prefix = llvm_prefix(llvm);
    shell::run(
        shell::cargo()
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
                "--force",
            ])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm}"),
                "--root",
            ])
            .arg(toolchain::own_tools())
            .env("LLVM_PREFIX", &prefix)
            // llvm-sys calls LLVM 22.1 "221".
            .env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix)
            .env_remove("CARGO_TARGET_DIR"),
    )
}

fn llvm_package(major: u32) -> String {
    format!("llvm-{major}-dev")
}

fn llvm_prefix(major: u32) -> String {
    format!("/usr/lib/llvm-{major}")
}

/// Whether LLVM is here for building against, not just for running.
fn llvm_is_here(major: u32) -> bool {
    let prefix = llvm_prefix(major);
    let prefix = Path::new(&prefix);
    prefix.join("lib/libLLVM.so").exists() && prefix.join("include/llvm-c").is_dir()
}

/// The programs that the end-to-end tests run.
pub(crate) fn test_programs() -> Result<()> {
    let mut missing: Vec<&str> = TEST_PROGRAMS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if !some_llc_is_here() {
        missing.push("llvm");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !apt::is_here() {
        bail!("the tests need {}: install them first", missing.join(", "));
    }
    apt::install(&missing, "the end-to-end tests")
}

pub(crate) fn is_installed(program: &str) -> bool {
    match Path::new(program).is_absolute() {
        true => Path::new(program).is_file(),
        false => shell::find_program(program).is_some(),
    }
}

/// LLVM's compiler, of any version: the tests' largest program, and mostly here with the LLVM that
/// building takes.
fn some_llc_is_here() -> bool {
    fs::read_dir("/usr/lib").is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let is_llvm = entry.file_name().to_string_lossy().starts_with("llvm-");
            is_llvm && entry.path().join("bin/llc").is_file()
        })
    })
}

/// The allocators that the end-to-end tests trace, where they can be had.
fn test_allocators() -> Result<()> {
    let installed: Vec<String> = fs::read_dir(LIBRARY_DIRECTORY)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let is_installed = |wanted: &str| {
        let version_follows = wanted.ends_with('.');
        let is_it = |name: &str| name == wanted || version_follows && name.starts_with(wanted);
        installed.iter().any(|name| is_it(name))
    };
    let musl: &[&str] = &[MUSL.1];
    let missing: Vec<&str> = TEST_ALLOCATORS
        .into_iter()
        .filter(|(library, _)| !is_installed(library))
        .map(|(_, packages)| packages)
        .chain((!Path::new(MUSL.0).is_file()).then_some(musl))
        .filter_map(|packages| packages.iter().find(|package| apt::offers(&[*package])))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&missing, "the end-to-end tests")
}

/// rustfmt and clippy of the user's own toolchain.
pub(crate) fn rust_components() -> Result<()> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .iter()
        .filter(|(verb, _)| shell::ask(shell::cargo().args([verb, "--version"])).is_none())
        .map(|(_, component)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" and ");
    if shell::find_program("rustup").is_none() {
        bail!("{list} of this Rust is missing: install it, or Rust from https://rustup.rs");
    }
    eprintln!("setup: adding {list} to the current Rust toolchain");
    shell::run(
        shell::command("rustup")
            .args(["component", "add"])
            .args(&missing),
    )
}
