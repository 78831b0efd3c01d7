//! Packages of Debian and its kin, where there is `apt-get`.

use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::shell;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_MARK: &str = "written by memprof's cargo xtask setup";

/// Whether this system installs packages with apt.
pub(crate) fn is_here() -> bool {
    shell::find_program("apt-get").is_some()
}

/// Whether every one of these packages can be installed, as far as this user can find out: root
/// refreshes the package lists before saying no, others have to believe in lists that are absent.
pub(crate) fn offers(packages: &[&str]) -> bool {
    let all_known = || packages.iter().all(|package| has_candidate(package));
    if !is_here() {
        return false;
    }
    if all_known() {
        return true;
    }
    if !shell::is_root() {
        return !has_lists();
    }
    update();
    all_known()
}

/// Installs packages, saying so; starts no service, removes nothing.
///
/// Errors: not root, or the packages can't be installed; each names the command for doing it.
pub(crate) fn install(packages: &[&str], purpose: &str) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = format!("apt-get install -y --no-install-recommends {list}");
    if !shell::is_root() {
        bail!(
            "missing for {purpose}: {list}; run `sudo apt-get update && sudo {by_hand}`, then this again"
        );
    }
    eprintln!("setup: installing {list} (for {purpose})");
    let _no_services = ServicesHeld::new()?;
    if !packages.iter().all(|package| has_candidate(package)) {
        update();
    }
    let attempt = || {
        shell::run(
            apt_get()
                .args([
                    "install",
                    "-y",
                    "-q",
                    "--no-install-recommends",
                    "--no-remove",
                ])
                .args(packages),
        )
    };
    if attempt().is_err() {
        // Lists that are a few weeks old name files that the mirrors no longer have.
        update();
        attempt().with_context(|| format!("try `{by_hand}` by hand"))?;
    }
    Ok(())
}

/// Refreshes the package lists, once. A source that can't be reached is no failure yet: what is
/// needed may be in another.
fn update() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    eprintln!("setup: refreshing the package lists");
    if let Err(error) = shell::run(apt_get().args(["update", "-q"])) {
        eprintln!("warning: {error:#}");
    }
}

fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// `apt-get` without questions, its output where progress goes: standard error.
fn apt_get() -> Command {
    let mut command = shell::command("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr());
    command
}

fn has_candidate(package: &str) -> bool {
    let answer = shell::ask(
        shell::command("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C"),
    );
    answer.is_some_and(|text| {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("Candidate:"))
            .any(|version| version.trim() != "(none)")
    })
}

/// While this lives, no package starts its service: tests run servers of their own. Where the
/// system has no policy about that, one is written that ends with this process, even if killed.
struct ServicesHeld {
    written: bool,
}

impl ServicesHeld {
    fn new() -> Result<Self> {
        let present = fs::read_to_string(POLICY);
        let ours = present
            .as_ref()
            .is_ok_and(|text| text.contains(POLICY_MARK));
        if Path::new(POLICY).exists() && !ours {
            return Ok(Self { written: false });
        }
        let pid = process::id();
        let script =
            format!("#!/bin/sh\n# {POLICY_MARK}\n[ -d /proc/{pid} ] && exit 101\nexit 0\n");
        fs::write(POLICY, script)
            .and_then(|()| fs::set_permissions(POLICY, executable()))
            .with_context(|| format!("can't write {POLICY}"))?;
        Ok(Self { written: true })
    }
}

impl Drop for ServicesHeld {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: can't remove {POLICY}: {error}");
        }
    }
}

fn executable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
