//! The C programs of `programs/`, compiled when they are older than their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

/// No built-in allocation functions and no tail calls: every call of the source must happen, from
/// its own frame.
const FLAGS: [&str; 7] = [
    "-g",
    "-O2",
    "-Wall",
    "-Wextra",
    "-pthread",
    "-fno-builtin",
    "-fno-optimize-sibling-calls",
];

/// The directory of the workloads' sources.
pub(crate) fn sources_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// The executable of `programs/NAME.c` in `directory`.
pub(crate) fn program(name: &str, frame_pointers: bool, directory: &Path) -> Result<PathBuf> {
    let (suffix, flag) = match frame_pointers {
        true => ("-fp", "-fno-omit-frame-pointer"),
        false => ("", "-fomit-frame-pointer"),
    };
    let output = directory.join(format!("{name}{suffix}"));
    let source = sources_directory().join(format!("{name}.c"));
    let header = sources_directory().join("workload.h");
    let built = modified(&output);
    if built.is_some() && built > modified(&source).max(modified(&header)) {
        return Ok(output);
    }
    let compiled = Command::new("gcc")
        .args(FLAGS)
        .args([flag, "-o"])
        .arg(&output)
        .arg(&source)
        .output()
        .context("gcc is needed to compile the workloads")?;
    if !compiled.status.success() {
        let said = String::from_utf8_lossy(&compiled.stderr);
        bail!("{} does not compile: {said}", source.display());
    }
    Ok(output)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
