//! Probes that do nothing, for one process: on several places at once where the kernel can (6.6
//! and later), which takes them out at once too, else one by one.

use std::{
    ffi::CStr,
    fs, io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, PERF_FLAG_FD_CLOEXEC,
    bpf_attach_type::BPF_TRACE_UPROBE_MULTI, bpf_attr, bpf_cmd, bpf_insn,
    bpf_prog_type::BPF_PROG_TYPE_KPROBE, perf_event_attr,
};

/// The kernel's number for uprobes among the kinds of perf events.
const UPROBE_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// The bit of such an event's configuration that makes it one of a function's return.
const PERF_RETURN: u64 = 1;
/// The flag of a link that does the same (`BPF_F_UPROBE_MULTI_RETURN`).
const LINK_RETURN: u32 = 1;

/// Whether an instruction is probed, or the return of the function that begins with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The instruction.
    Instruction,
    /// The function's return.
    Return,
}

/// Probes `offsets` of the file at `path`, bytes from its start, in the process `pid`, until what it
/// gives is dropped.
///
/// # Errors
/// If the kernel refuses one.
pub fn attach(path: &CStr, offsets: &[u64], at: At, pid: u32) -> Result<Vec<OwnedFd>> {
    match all_at_once(path, offsets, at, pid) {
        Ok(link) => Ok(vec![link]),
        Err(_) => one_by_one(path, offsets, at, pid),
    }
}

pub(super) fn all_at_once(path: &CStr, offsets: &[u64], at: At, pid: u32) -> io::Result<OwnedFd> {
    let program = empty_program()?;
    // SAFETY: zeros are a valid value of the kernel's plain structures.
    let mut request: bpf_attr = unsafe { mem::zeroed() };
    request.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().unsigned_abs();
    request.link_create.attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    // SAFETY: all of the union is zeros, and this member is what the attach type goes with.
    let places = unsafe { &mut request.link_create.__bindgen_anon_3.uprobe_multi };
    places.path = path.as_ptr() as u64;
    places.offsets = offsets.as_ptr() as u64;
    places.cnt = offsets.len() as u32;
    places.pid = pid;
    places.flags = if at == At::Return { LINK_RETURN } else { 0 };
    bpf(bpf_cmd::BPF_LINK_CREATE, &request)
}

/// `return 0`.
fn empty_program() -> io::Result<OwnedFd> {
    let instructions = [
        bpf_insn {
            code: (BPF_ALU64 | BPF_MOV | BPF_K) as u8,
            // SAFETY: zeros are a valid value of the kernel's plain structures.
            ..unsafe { mem::zeroed() }
        },
        bpf_insn {
            code: (BPF_JMP | BPF_EXIT) as u8,
            // SAFETY: as above.
            ..unsafe { mem::zeroed() }
        },
    ];
    // SAFETY: as above.
    let mut request: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: all of the union is zeros, and this member is what the command goes with.
    let program = unsafe { &mut request.__bindgen_anon_3 };
    program.prog_type = BPF_PROG_TYPE_KPROBE as u32;
    program.expected_attach_type = BPF_TRACE_UPROBE_MULTI as u32;
    program.insns = instructions.as_ptr() as u64;
    program.insn_cnt = instructions.len() as u32;
    program.license = c"GPL".as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &request)
}

fn bpf(command: bpf_cmd, request: &bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: a whole request, whose pointers are good for the length of the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_ref(request),
            size_of::<bpf_attr>(),
        )
    };
    owned(fd)
}

pub(super) fn one_by_one(path: &CStr, offsets: &[u64], at: At, pid: u32) -> Result<Vec<OwnedFd>> {
    let kind =
        fs::read_to_string(UPROBE_TYPE).with_context(|| format!("cannot read {UPROBE_TYPE}"))?;
    let kind = kind.trim().parse()?;
    let probes: io::Result<_> = offsets
        .iter()
        .map(|&offset| {
            // SAFETY: zeros are a valid value of the kernel's plain structures.
            let mut request: perf_event_attr = unsafe { mem::zeroed() };
            request.type_ = kind;
            request.size = size_of::<perf_event_attr>() as u32;
            request.config = if at == At::Return { PERF_RETURN } else { 0 };
            request.__bindgen_anon_3.uprobe_path = path.as_ptr() as u64;
            request.__bindgen_anon_4.probe_offset = offset;
            let (any_cpu, no_group) = (-1, -1);
            // SAFETY: a whole request, whose pointer is good for the length of the call.
            owned(unsafe {
                libc::syscall(
                    libc::SYS_perf_event_open,
                    std::ptr::from_ref(&request),
                    pid,
                    any_cpu,
                    no_group,
                    PERF_FLAG_FD_CLOEXEC,
                )
            })
        })
        .collect();
    probes.context("the kernel refuses a probe")
}

/// What a system call gave: a descriptor, or an error.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made by the kernel, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
