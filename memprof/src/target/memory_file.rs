//! Files in memory, without a name: what is read as a file but is none, or must not change.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;

/// An empty file that only this process has.
///
/// # Errors
/// The system's, when it is out of descriptors.
pub fn memory_file() -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC;
    // SAFETY: the name is a NUL-terminated string that lives for the call.
    let fd = unsafe { libc::memfd_create(c"memprof-symbols".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    // Such a file is everybody's to write to, else, who can reach it.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}
