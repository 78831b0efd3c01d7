//! The floor: probes that do nothing, on instructions that the kernel emulates. No tracer that probes
//! both ends of a block's life by uprobes can cost less.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Result;
use memprof::probes::emulation::Emulation;
use memprof::probes::emulation::empty_probes::{self, At};
use nix::unistd::Pid;

use crate::allocators;

/// Empty probes in one process, until dropped.
pub(crate) struct EmptyProbes {
    _probes: Vec<OwnedFd>,
}

/// Which instructions this kernel emulates, as memprof finds out at its start.
pub(crate) struct Floor {
    emulation: Emulation,
}

impl Floor {
    pub(crate) fn measure() -> Self {
        Self {
            emulation: Emulation::measure(),
        }
    }

    /// What the kernel emulates, in words.
    pub(crate) fn describe(&self) -> String {
        self.emulation.to_string()
    }

    /// Probes every allocator that `pid` maps.
    pub(crate) fn attach(&self, pid: Pid) -> Result<EmptyProbes> {
        let mut probes = Vec::new();
        for allocator in allocators::of_process(pid, self.emulation.emulated)? {
            let path = CString::new(format!("/proc/self/fd/{}", allocator.file.as_raw_fd()))?;
            let offsets: Vec<u64> = allocator
                .functions
                .iter()
                .map(|function| function.offset + u64::from(function.placement.place.offset))
                .collect();
            let pid = pid.as_raw().unsigned_abs();
            probes.extend(empty_probes::attach(&path, &offsets, At::Instruction, pid)?);
        }
        Ok(EmptyProbes { _probes: probes })
    }

    /// Where the probes are in `pid`, a line for each function.
    pub(crate) fn places(&self, pid: Pid) -> Result<Vec<String>> {
        let mut places = Vec::new();
        for allocator in allocators::of_process(pid, self.emulation.emulated)? {
            for function in allocator.functions {
                let library = allocator.path.display();
                let reason = &function.placement.reason;
                places.push(format!("{library}: {}: {reason}", function.name));
            }
        }
        Ok(places)
    }
}
