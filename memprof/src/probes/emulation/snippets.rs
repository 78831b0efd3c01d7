//! The code that the measurement runs: one function per kind of instruction, in a file of its own,
//! because a uprobe wants a file.

use std::{
    fs::File,
    io::Write as _,
    mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use memmap2::{Mmap, MmapOptions};

/// A kind of instruction; its number is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Kind {
    Push,
    Nop,
    LongNop,
    Jump,
    Branch,
    Call,
    Move,
    Test,
    /// A `nop` again, whose function is probed at its return alone.
    Return,
}

/// How many kinds there are.
pub(super) const KINDS: usize = 9;

/// A function of each kind that begins with the instruction in question.
const CODE: [(Kind, &[u8]); KINDS] = [
    // push r12; pop r12; ret
    (Kind::Push, &[0x41, 0x54, 0x41, 0x5c, 0xc3]),
    // nop; ret
    (Kind::Nop, &[0x90, 0xc3]),
    // nop dword [rax]; ret
    (Kind::LongNop, &[0x0f, 0x1f, 0x40, 0x00, 0xc3]),
    // jmp to the next; ret
    (Kind::Jump, &[0xeb, 0x00, 0xc3]),
    // je to the next; ret
    (Kind::Branch, &[0x74, 0x00, 0xc3]),
    // call of the second ret; ret; ret
    (Kind::Call, &[0xe8, 0x01, 0x00, 0x00, 0x00, 0xc3, 0xc3]),
    // mov rax, rdi; ret
    (Kind::Move, &[0x48, 0x89, 0xf8, 0xc3]),
    // test rdi, rdi; ret
    (Kind::Test, &[0x48, 0x85, 0xff, 0xc3]),
    // nop; ret
    (Kind::Return, &[0x90, 0xc3]),
];

/// Bytes from one function to the next: a cache line.
const SLOT: usize = 64;
const PAGE: usize = 4096;
const _: () = assert!(KINDS * SLOT <= PAGE);

/// The functions, in memory that can be executed.
pub(super) struct Snippets {
    file: File,
    code: Mmap,
}

impl Snippets {
    pub(super) fn new() -> Result<Self> {
        let mut page = vec![0xcc; PAGE];
        for (kind, bytes) in CODE {
            let start = kind as usize * SLOT;
            page[start..start + bytes.len()].copy_from_slice(bytes);
        }
        let mut file = anonymous_file()?;
        file.write_all(&page)?;
        // SAFETY: nobody else has the file, so nobody changes or truncates it. Private, because
        // the kernel puts no probe into a shared mapping.
        let code = unsafe { MmapOptions::new().len(PAGE).map_copy(&file) }
            .and_then(memmap2::MmapMut::make_exec)
            .context("cannot map code")?;
        Ok(Self { file, code })
    }

    /// A path to the file, good while `self` lives.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.file.as_raw_fd().to_string())
    }

    /// Where each kind's function is in the file, bytes.
    pub(super) fn offsets(&self) -> [u64; KINDS] {
        std::array::from_fn(|kind| (kind * SLOT) as u64)
    }

    /// Every kind's function.
    pub(super) fn functions(&self) -> [extern "C" fn(); KINDS] {
        let start = self.code.as_ptr();
        // SAFETY: each slot holds a whole function without arguments that keeps all registers
        // but rax and the flags, as the C convention lets it.
        std::array::from_fn(|kind| unsafe { mem::transmute(start.add(kind * SLOT)) })
    }
}

fn anonymous_file() -> Result<File> {
    // SAFETY: a name that ends with a zero, and a flag.
    let fd = unsafe { libc::memfd_create(c"memprof-emulation".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        bail!(
            "cannot make an anonymous file: {}",
            std::io::Error::last_os_error()
        );
    }
    // SAFETY: just made, and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_returns() {
        let snippets = Snippets::new().unwrap();
        for function in snippets.functions() {
            function();
        }
    }

    #[test]
    fn every_kind_stands_in_its_place() {
        for (place, (kind, _)) in CODE.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
