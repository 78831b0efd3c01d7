//! `cargo xtask build-ebpf`: the eBPF object, by a toolchain of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{setup, shell, toolchain::Toolchain};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object, installing what that takes; returns where it is. `memprof/build.rs` looks
/// for it in the same place.
pub(crate) fn run() -> Result<PathBuf> {
    let toolchain = setup::bpf_toolchain()?;
    shell::step("build the eBPF object", || build(&toolchain))
}

fn build(toolchain: &Toolchain) -> Result<PathBuf> {
    let directory = shell::root().join("target/ebpf");
    let linker = format!("linker={}", toolchain.linker.display());
    let flags = [
        "-C",
        &linker,
        "-C",
        "link-arg=--btf",
        "-C",
        "debuginfo=2",
        "-C",
        "target-cpu=v3",
    ];

    let mut cargo = shell::foreign_command(&toolchain.compiler.cargo);
    cargo
        .args([
            "build",
            "--release",
            "--package",
            "memprof-ebpf",
            "--target",
            TARGET,
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(&directory)
        .env("RUSTC", &toolchain.compiler.rustc)
        // Set but empty: overrides a wrapper in the user's configuration too.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if shell::root().join("Cargo.lock").is_file() {
        cargo.arg("--locked");
    }
    shell::run(&mut cargo)?;

    let built = directory.join(TARGET).join("release");
    for name in ["baselines", "memprof"] {
        let object = directory.join(name).with_extension("bpf.o");
        install(&built.join(name), &object)
            .with_context(|| format!("can't write {}", object.display()))?;
    }
    Ok(directory.join("memprof.bpf.o"))
}

/// Puts the object in its place whole or not at all, and leaves one that is the same alone, so
/// that what includes it is not built again.
fn install(built: &Path, object: &Path) -> std::io::Result<()> {
    let bytes = fs::read(built)?;
    if fs::read(object).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let temporary = object.with_extension("o.new");
    fs::write(&temporary, &bytes)?;
    fs::rename(&temporary, object)
}
