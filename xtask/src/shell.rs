//! Where things are, and how other programs are run: in an environment without what `cargo run`
//! and rustup put into ours, so that the two toolchains do not meet.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Cargo's target directory, wherever the user's configuration puts it: xtask itself runs from
/// `TARGET/debug/xtask`.
pub(crate) fn target_directory() -> PathBuf {
    env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf()))
        .unwrap_or_else(|| root().join("target"))
}

/// The directory of cargo's own settings and binaries.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    home_directory("CARGO_HOME", ".cargo")
}

/// The directory of rustup's toolchains.
pub(crate) fn rustup_home() -> Option<PathBuf> {
    home_directory("RUSTUP_HOME", ".rustup")
}

fn home_directory(variable: &str, default: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(default)))
}

/// The first file of this name on `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    path_directories()
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The directories of `PATH`, then those where system programs are even if `PATH` lacks them.
pub(crate) fn path_directories() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin"].map(PathBuf::from))
        .collect::<Vec<_>>()
        .into_iter()
}

/// A command in the workspace, for the user's own toolchain: the one that runs xtask.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_xtask) {
            command.env_remove(name);
        }
    }
    match own_library_path() {
        Some(path) => command.env("LD_LIBRARY_PATH", path),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
    command
}

/// The user's cargo: the one that runs xtask.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A command in the workspace for a toolchain that is not the user's: nothing that selects or
/// adjusts a compiler is passed on.
pub(crate) fn foreign_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = command(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(selects_compiler) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether `cargo run` set this variable to describe xtask itself.
fn describes_xtask(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || matches!(
            name,
            "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
        )
}

/// Whether this variable is about which compiler is used and how, not about where things are and
/// how they are downloaded.
fn selects_compiler(name: &str) -> bool {
    const HARMLESS: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_BUILD_JOBS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let selects = name.starts_with("CARGO")
        || name.starts_with("RUSTC")
        || name.starts_with("RUSTDOC")
        || name.starts_with("RUSTFLAGS")
        || matches!(name, "RUSTUP_TOOLCHAIN" | "RUST_RECURSION_COUNT");
    selects && !HARMLESS.iter().any(|prefix| name.starts_with(prefix))
}

/// `LD_LIBRARY_PATH` as it was before cargo and rustup added the build's and their own directories.
fn own_library_path() -> Option<std::ffi::OsString> {
    let path = env::var_os("LD_LIBRARY_PATH")?;
    let target = target_directory();
    let rustup = rustup_home();
    let own: Vec<_> = env::split_paths(&path)
        .filter(|entry| {
            !entry.as_os_str().is_empty()
                && !entry.starts_with(&target)
                && !rustup.as_ref().is_some_and(|home| entry.starts_with(home))
                && !entry.components().any(|part| part.as_os_str() == "rustlib")
        })
        .collect();
    if own.is_empty() {
        None
    } else {
        env::join_paths(own).ok()
    }
}

/// Runs a command to its end; an error names it if it can't be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("can't run `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", describe(command));
    }
    Ok(())
}

/// What a command prints on standard output if it succeeds within reason; `None` if it can't be
/// run or fails: the way to ask a program whether it is there and what it is.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs one step of a longer task, named before and timed after, on standard error.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {name}");
    let start = Instant::now();
    let result = work().with_context(|| format!("{name} failed"))?;
    eprintln!("==> {name}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}

/// Whether this process may do what root may.
pub(crate) fn is_root() -> bool {
    status_field("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// Whether this process may load eBPF programs and attach them to other processes.
pub(crate) fn may_trace() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const CAP_PERFMON_AND_BPF: u64 = 1 << 38 | 1 << 39;
    let capabilities = status_field("CapEff:")
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    capabilities & CAP_SYS_ADMIN != 0 || capabilities & CAP_PERFMON_AND_BPF == CAP_PERFMON_AND_BPF
}

fn status_field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::to_owned)
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::{describes_xtask, selects_compiler};

    #[test]
    fn the_users_compiler_settings_stay_out_of_the_ebpf_build() {
        for name in [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(selects_compiler(name), "{name}");
        }
    }

    #[test]
    fn the_users_network_and_job_settings_reach_the_ebpf_build() {
        for name in [
            "CARGO_HOME",
            "CARGO_BUILD_JOBS",
            "CARGO_NET_OFFLINE",
            "RUSTUP_HOME",
            "PATH",
        ] {
            assert!(!selects_compiler(name) && !describes_xtask(name), "{name}");
        }
    }
}
