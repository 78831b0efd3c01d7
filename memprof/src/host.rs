//! The machine: what its kernel and the user's privileges allow.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use nix::sys::utsname::{UtsName, uname};
use procfs::process::Process;

use crate::{bad_input, report::Host};

/// The oldest kernel on which the programs load: `bpf_loop` came with it.
pub const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// The oldest kernel whose counters of resident memory are those that page faults are counted by.
const OLDEST_FOR_FAULTS: (u32, u32) = (6, 2);

/// Capabilities that tracing takes, with their numbers (`linux/capability.h`) and what for.
/// `CAP_BPF` and `CAP_PERFMON` load the programs, and then the kernel refuses the probes.
pub const CAPABILITIES: [(&str, u32, &str); 2] = [
    ("CAP_SYS_ADMIN", 21, "to load programs and attach probes"),
    ("CAP_SYS_PTRACE", 19, "to look at other users' processes"),
];

/// The machine, as reports name it.
pub fn describe() -> Host {
    let names = uname().ok();
    let text = |field: fn(&UtsName) -> &OsStr| {
        let value = names.as_ref().map(field);
        value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
    };
    Host {
        kernel: text(UtsName::release),
        arch: text(UtsName::machine),
        cpus: aya::util::online_cpus().map_or(0, |cpus| cpus.len() as u32),
    }
}

/// The kernel's version, major and minor; `None` if it does not say one.
pub fn kernel_version() -> Option<(u32, u32)> {
    parse_version(&describe().kernel)
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The capabilities of [`CAPABILITIES`] that memprof has not, by name.
pub fn missing_capabilities() -> Vec<&'static str> {
    let effective = Process::myself()
        .and_then(|process| process.status())
        .map_or(0, |status| status.capeff);
    missing_from(effective)
}

fn missing_from(effective: u64) -> Vec<&'static str> {
    CAPABILITIES
        .iter()
        .filter(|(_, number, _)| effective >> number & 1 == 0)
        .map(|(name, ..)| *name)
        .collect()
}

/// Checks that tracing is possible at all, before anything is touched.
///
/// # Errors
/// One line of what is missing and how to get it.
pub fn require_tracing() -> Result<()> {
    let missing = missing_capabilities();
    if !missing.is_empty() {
        bail!(
            "tracing needs {}: run memprof as root (sudo memprof ...)",
            missing.join(", ")
        );
    }
    if let Some(version) = kernel_version()
        && version < OLDEST_KERNEL
    {
        bail!(
            "kernel {}.{} is too old: memprof needs {}.{} or newer",
            version.0,
            version.1,
            OLDEST_KERNEL.0,
            OLDEST_KERNEL.1
        );
    }
    let btf = crate::probes::offsets::KERNEL_BTF;
    if !std::path::Path::new(btf).exists() {
        bail!("this kernel has no {btf}: boot one that is built with CONFIG_DEBUG_INFO_BTF=y");
    }
    Ok(())
}

/// Checks that page faults can be followed.
///
/// # Errors
/// Bad input if this kernel is too old for that.
pub fn require_faults() -> Result<()> {
    match kernel_version() {
        Some(version) => new_enough_for_faults(version),
        None => Ok(()),
    }
}

fn new_enough_for_faults(version: (u32, u32)) -> Result<()> {
    if version < OLDEST_FOR_FAULTS {
        return Err(bad_input!(
            "--events faults: kernel {}.{} is too old for it, which takes {}.{}: give malloc or mmap",
            version.0,
            version.1,
            OLDEST_FOR_FAULTS.0,
            OLDEST_FOR_FAULTS.1
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_take_a_newer_kernel_than_blocks() {
        assert!(new_enough_for_faults((6, 2)).is_ok());
        let refusal = new_enough_for_faults((6, 1)).unwrap_err();
        assert!(refusal.to_string().contains("kernel 6.1 is too old"));
    }

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(parse_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(parse_version("5.15-rc1"), Some((5, 15)));
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn the_missing_capabilities_are_named() {
        assert_eq!(missing_from(0), ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(missing_from(1 << 21), ["CAP_SYS_PTRACE"]);
        assert!(missing_from(u64::MAX).is_empty());
    }
}
