//! Finds what compiles for the BPF target: a rustc that has the sources of `core`, and a
//! bpf-linker that was built against the same LLVM.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// The oldest compiler that this workspace is for: 1.95.
const MINIMUM_RUST_MINOR: u32 = 95;
/// The bpf-linker that is installed where there is none, and the oldest that is used: 0.13.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
const MINIMUM_LINKER_MINOR: u32 = 13;

/// A compiler that can build `core` for a target that it has no library for.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// As in "1.96.0".
    pub(crate) version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
}

/// A compiler and a linker that fit each other.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// The first compiler, in order of preference, that there is a linker for.
pub(crate) fn find() -> Option<Toolchain> {
    let compilers = compilers();
    let linkers = linkers();
    compilers.into_iter().find_map(|compiler| {
        let (linker, _) = linkers.iter().find(|(_, llvm)| *llvm == compiler.llvm)?;
        Some(Toolchain {
            compiler,
            linker: linker.clone(),
        })
    })
}

/// Every usable compiler: rustup's nightlies, then the system's, then rustup's others.
pub(crate) fn compilers() -> Vec<Compiler> {
    let mut sysroots: Vec<PathBuf> = shell::rustup_home()
        .and_then(|home| home.join("toolchains").read_dir().ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    sysroots.sort();
    let (mut ordered, others): (Vec<_>, Vec<_>) = sysroots.into_iter().partition(|sysroot| {
        sysroot
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("nightly"))
    });
    ordered.push(PathBuf::from("/usr"));
    ordered.extend(others);
    ordered
        .iter()
        .filter_map(|sysroot| compiler(sysroot))
        .collect()
}

fn compiler(sysroot: &Path) -> Option<Compiler> {
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        return None;
    }
    let rustc = sysroot.join("bin/rustc");
    let cargo = sysroot.join("bin/cargo");
    let (version, llvm) = compiler_versions(&rustc)?;
    let new_enough = numbers(&version)? >= (1, MINIMUM_RUST_MINOR);
    (cargo.is_file() && new_enough).then_some(Compiler {
        cargo,
        rustc,
        version,
        llvm,
    })
}

/// The version of a rustc ("1.96.0"), and the major version of its LLVM.
pub(crate) fn compiler_versions(rustc: &Path) -> Option<(String, u32)> {
    parse_compiler_versions(&shell::ask(shell::foreign_command(rustc).arg("-vV"))?)
}

fn parse_compiler_versions(text: &str) -> Option<(String, u32)> {
    let field = |name| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    Some((
        field("release:")?.to_owned(),
        numbers(field("LLVM version:")?)?.0,
    ))
}

/// Every usable linker with the major version of its LLVM: ours, then those on `PATH`, then cargo's.
fn linkers() -> Vec<(PathBuf, u32)> {
    let mut places = vec![own_tools().join("bin")];
    places.extend(shell::path_directories());
    places.extend(shell::cargo_home().map(|home| home.join("bin")));
    let mut linkers: Vec<(PathBuf, u32)> = Vec::new();
    for place in places {
        let linker = place.join("bpf-linker");
        if linkers.iter().any(|(known, _)| *known == linker) {
            continue;
        }
        if let Some(llvm) = linker_llvm(&linker) {
            linkers.push((linker, llvm));
        }
    }
    linkers
}

/// Where tools of the project's own are installed: the user's are left alone.
pub(crate) fn own_tools() -> PathBuf {
    shell::root().join("target/tools")
}

fn linker_llvm(linker: &Path) -> Option<u32> {
    if !linker.is_file() {
        return None;
    }
    let version = shell::ask(Command::new(linker).arg("--version"))?;
    let version = version.trim().strip_prefix("bpf-linker")?;
    if numbers(version)? < (0, MINIMUM_LINKER_MINOR) {
        return None;
    }
    // It says which LLVM it has in no other way than by passing this option on to it.
    let llvm = ["--llvm-args=--version", "--output=/dev/null", "/dev/null"];
    parse_llvm_major(&shell::ask(Command::new(linker).args(llvm))?)
}

fn parse_llvm_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version")?;
    Some(numbers(version)?.0)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split(['.', '-', ' ', '\n']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{numbers, parse_compiler_versions, parse_llvm_major};

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_long_version() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(
            parse_compiler_versions(text),
            Some(("1.97.0-nightly".into(), 22))
        );
        assert_eq!(parse_compiler_versions("rustc 1.97.0\n"), None);
    }

    #[test]
    fn the_llvm_of_a_linker_is_read_whoever_built_it() {
        let debian = "Debian LLVM version 22.1.8\n  Optimized build.\n";
        let upstream = "LLVM (http://llvm.org/):\n  LLVM version 23.0.0-rust-dev\n";
        assert_eq!(parse_llvm_major(debian), Some(22));
        assert_eq!(parse_llvm_major(upstream), Some(23));
        assert_eq!(parse_llvm_major("clang 22"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(numbers(" 0.13.0\n"), Some((0, 13)));
        assert!(numbers("0.9.15") < numbers("0.13.0"));
        assert_eq!(numbers("unknown"), None);
    }
}
