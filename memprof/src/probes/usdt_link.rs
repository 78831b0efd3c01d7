//! A program on a USDT probe whose semaphore the kernel holds while it is there: a perf event of our
//! own, for aya's uprobes know of no semaphores.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr::from_ref,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};

use super::{kernel_side::Scope, usdt::UsdtSite};

/// Where the kernel tells the number of its uprobes.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// Where in the configuration of a uprobe the semaphore is.
const SEMAPHORE_SHIFT: u32 = 32;
/// `BPF_LINK_CREATE` and `BPF_PERF_EVENT` of `linux/bpf.h`.
const LINK_CREATE: libc::c_long = 28;
const PERF_EVENT: u32 = 41;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE` with a perf event.
#[repr(C)]
struct LinkRequest {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// A program on a probe; dropping it takes it off.
pub struct UsdtLink {
    _link: OwnedFd,
}

impl UsdtLink {
    /// Puts `program` on a probe of the file at `path`.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn new(
        program: BorrowedFd<'_>,
        path: &Path,
        site: &UsdtSite,
        scope: Scope,
    ) -> Result<Self> {
        let event = open_event(path, site, scope).context("the kernel refused the uprobe")?;
        let request = LinkRequest {
            program: program.as_raw_fd() as u32,
            target: event.as_raw_fd() as u32,
            attach_type: PERF_EVENT,
            flags: 0,
            cookie: site.cookie,
        };
        // SAFETY: the structure outlives the call, which is told its size.
        let link = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LINK_CREATE,
                from_ref(&request),
                size_of::<LinkRequest>(),
            )
        };
        // The link holds the event.
        let link = descriptor(link).context("the kernel refused the program on the uprobe")?;
        Ok(Self { _link: link })
    }
}

fn open_event(path: &Path, site: &UsdtSite, scope: Scope) -> Result<OwnedFd> {
    let kind = fs::read_to_string(UPROBE_TYPE).with_context(|| format!("no {UPROBE_TYPE}"))?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let semaphore = u32::try_from(site.semaphore.unwrap_or(0))
        .context("its semaphore is too far from the file's start")?;
    let mut attributes = perf_event_attr {
        type_: kind.trim().parse()?,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(semaphore) << SEMAPHORE_SHIFT,
        // SAFETY: integers, bit fields and unions of integers, for which 0 means "not asked for".
        ..unsafe { std::mem::zeroed() }
    };
    attributes.__bindgen_anon_3.config1 = path.as_ptr() as u64;
    attributes.__bindgen_anon_4.config2 = site.offset;
    let (pid, cpu) = match scope {
        Scope::Process(pid) => (pid.0 as i32, -1),
        // Any one processor: the probe fires on all of them.
        Scope::Everyone => (-1, 0),
    };
    // SAFETY: the structure and the path outlive the call, and the structure's size is in it.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            from_ref(&attributes),
            pid,
            cpu,
            -1_i32,
            u64::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    Ok(descriptor(event)?)
}

fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(returned as i32) })
}
