//! What a process has mapped: the executable and file-backed lines of `/proc/PID/maps`, looked up
//! by address, and the files behind them, opened so that they outlive the process.
//!
//! The lines are taken apart here and not by the procfs crate (0.18): it refuses the whole list
//! for one path that isn't UTF-8 and panics on a short path that begins with `/SYSV`, and the
//! target chooses its paths.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;

use crate::events::event::Pid;

/// Mappings of one process that are kept; the kernel's own limit (`vm.max_map_count`) is 65,530
/// unless raised.
pub const MAX_MAPPINGS: usize = 65_536;
/// Lines longer than this (a path of 4,096 bytes and what stands before it) are skipped.
pub const MAX_LINE_BYTES: usize = 8192;

pub(super) const DELETED_SUFFIX: &str = " (deleted)";

/// A file as `/proc/PID/maps` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The inode on that device, never 0.
    pub inode: u64,
}

/// What is behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file.
    File {
        /// Which.
        id: FileId,
        /// Its path as the target sees it, in lossy UTF-8, without the suffix for deleted files.
        path: Arc<str>,
        /// Its last name is gone (or it never had one, as with `memfd_create`).
        deleted: bool,
    },
    /// The kernel's own shared object.
    Vdso,
    /// No file: in an executable mapping, code made at run time.
    Anonymous,
}

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// Where `start` is in the file, in bytes.
    pub file_offset: u64,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// What is behind it.
    pub backing: Backing,
}

impl Mapping {
    /// The file offset of an address in this mapping; `None` outside.
    pub fn file_offset_of(&self, address: u64) -> Option<u64> {
        let within = address.checked_sub(self.start)?;
        (address < self.end).then(|| self.file_offset.checked_add(within))?
    }
}

/// The executable and the file-backed mappings of one process at one moment, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    sorted: Vec<Mapping>,
    truncated: bool,
}

impl Mappings {
    /// Reads those of `pid`. A zombie or a kernel thread has none. Errors are the system's:
    /// `NotFound` if there is no such process, `PermissionDenied`.
    pub fn read(pid: Pid) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/maps", pid.0))?;
        Self::parse(BufReader::with_capacity(64 << 10, file))
    }

    /// Reads text as in `/proc/PID/maps`. What is not such a line is passed over.
    pub fn parse(mut text: impl BufRead) -> io::Result<Self> {
        let mut mappings = Self::default();
        let mut line = Vec::new();
        let mut last_path: Arc<str> = Arc::from("");
        loop {
            line.clear();
            let limit = MAX_LINE_BYTES as u64;
            if io::Read::take(&mut text, limit).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.last() != Some(&b'\n') && line.len() == MAX_LINE_BYTES {
                text.skip_until(b'\n')?;
                continue;
            }
            if let Some(mapping) = parse_line(&String::from_utf8_lossy(&line), &mut last_path) {
                if mappings.sorted.len() == MAX_MAPPINGS {
                    mappings.truncated = true;
                    break;
                }
                mappings.sorted.push(mapping);
            }
        }
        mappings.sorted.sort_by_key(|mapping| mapping.start);
        Ok(mappings)
    }

    /// The mapping that covers `address`.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let after = self.sorted.partition_point(|m| m.start <= address);
        let mapping = self.sorted.get(after.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.sorted.iter()
    }

    /// Whether there were more than [`MAX_MAPPINGS`], so that some are missing.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// One line, if it is of a kind that is kept. `last_path` spares an allocation for each further
/// mapping of the same file.
fn parse_line(line: &str, last_path: &mut Arc<str>) -> Option<Mapping> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let mut fields = line.splitn(6, ' ');
    let (start, end) = hex_pair(fields.next()?, '-')?;
    let permissions = fields.next()?.as_bytes();
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = hex_pair(fields.next()?, ':')?;
    let inode: u64 = fields.next()?.parse().ok()?;
    // The kernel pads with spaces before the path and ends a line without one with a space.
    let path = fields.next().unwrap_or("").trim_start_matches(' ');
    let executable = permissions.get(2) == Some(&b'x');
    let backing = if inode != 0 {
        let (name, deleted) = match path.strip_suffix(DELETED_SUFFIX) {
            Some(name) => (name, true),
            None => (path, false),
        };
        // The kernel escapes newlines, and nothing else.
        let name = name.replace("\\012", "\n");
        if **last_path != *name {
            *last_path = Arc::from(name);
        }
        Backing::File {
            id: FileId {
                major: u32::try_from(major).ok()?,
                minor: u32::try_from(minor).ok()?,
                inode,
            },
            path: Arc::clone(last_path),
            deleted,
        }
    } else if path == "[vdso]" {
        Backing::Vdso
    } else {
        Backing::Anonymous
    };
    // The kernel's own: a page for old system calls, one for stepping over probed instructions.
    let of_the_kernel = path == "[vsyscall]" || path == "[uprobes]";
    let kept = (executable && !of_the_kernel) || backing != Backing::Anonymous;
    (kept && start < end).then_some(Mapping {
        start,
        end,
        file_offset,
        readable: permissions.first() == Some(&b'r'),
        writable: permissions.get(1) == Some(&b'w'),
        executable,
        backing,
    })
}

fn hex_pair(text: &str, separator: char) -> Option<(u64, u64)> {
    let (left, right) = text.split_once(separator)?;
    Some((
        u64::from_str_radix(left, 16).ok()?,
        u64::from_str_radix(right, 16).ok()?,
    ))
}

/// Why the file behind a mapping was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no file behind it.
    NoFile,
    /// It is a device, a pipe or the like: opening such a thing can block or have effects.
    NotRegular,
    /// The path leads to another file by now, and the mapped one is not to be had otherwise.
    Replaced,
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => out.write_str("no file behind the mapping"),
            Self::NotRegular => out.write_str("the mapped file is not a regular file"),
            Self::Replaced => out.write_str("the file was replaced since it was mapped"),
            Self::Io(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens the file behind a mapping of `pid` for reading, without blocking and without effects on
/// it: through `map_files`, which is the mapped file whatever became of its name (needs
/// `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`), else by its path in the target's root, or as
/// its executable, if the inode there is the mapped one.
pub fn open_mapped_file(pid: Pid, mapping: &Mapping) -> Result<File, OpenError> {
    let Backing::File { id, path, deleted } = &mapping.backing else {
        return Err(OpenError::NoFile);
    };
    let process = format!("/proc/{}", pid.0);
    // No zero padding: the kernel compares the name as text.
    let map_file = format!("{process}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    let mapped = |found: &Metadata| found.ino() == id.inode;
    // Something else may be mapped there by now. A stacked file system may give the inode another
    // number than the mapping has; then its path will do.
    let linked = || {
        std::fs::read_link(&map_file).is_ok_and(|link| {
            let link = link.to_string_lossy();
            link == **path || link.strip_suffix(DELETED_SUFFIX) == Some(path)
        })
    };
    let first = match open_regular(&map_file, |found| mapped(found) || linked()) {
        Ok(file) => return Ok(file),
        Err(OpenError::NotRegular) => return Err(OpenError::NotRegular),
        Err(error) => error,
    };
    let by_path = (!deleted).then(|| format!("{process}/root{path}"));
    let candidates = by_path.into_iter().chain([format!("{process}/exe")]);
    let mut replaced = false;
    for candidate in candidates {
        match open_regular(&candidate, mapped) {
            Ok(file) => return Ok(file),
            Err(OpenError::Replaced) => replaced = true,
            Err(_) => {}
        }
    }
    Err(if replaced && !deleted {
        OpenError::Replaced
    } else {
        first
    })
}

/// Opens a regular file that `accept`s. Looks before it opens: `O_PATH` touches nothing.
fn open_regular(path: &str, accept: impl Fn(&Metadata) -> bool) -> Result<File, OpenError> {
    let handle = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
        .open(path)
        .map_err(OpenError::Io)?;
    reopen_regular(&handle, accept)
}

/// Opens what an `O_PATH` handle stands for, if it is a regular file that `accept`s.
pub(super) fn reopen_regular(
    handle: &File,
    accept: impl Fn(&Metadata) -> bool,
) -> Result<File, OpenError> {
    let metadata = handle.metadata().map_err(OpenError::Io)?;
    if !accept(&metadata) {
        return Err(OpenError::Replaced);
    }
    if !metadata.is_file() {
        return Err(OpenError::NotRegular);
    }
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        .map_err(OpenError::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Mappings {
        Mappings::parse(text).unwrap()
    }

    const SMALL: &[u8] = b"\
55d0c0a00000-55d0c0a21000 r--p 00000000 fe:01 12345                      /usr/bin/a b
55d0c0a21000-55d0c0a30000 r-xp 00021000 fe:01 12345                      /usr/bin/a b
55d0c0b00000-55d0c0b21000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000002000-7f0000003000 r-xs 00001000 00:01 77                         /memfd:jit (deleted)
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn keeps_executable_and_file_backed_mappings_of_the_program_only() {
        let mappings = parse(SMALL);
        let starts: Vec<u64> = mappings.iter().map(|m| m.start).collect();
        assert_eq!(
            starts,
            [
                0x55d0_c0a0_0000,
                0x55d0_c0a2_1000,
                0x7f00_0000_0000,
                0x7f00_0000_2000,
                0x7fff_0000_0000,
            ]
        );
    }

    #[test]
    fn finds_the_covering_mapping_and_its_file_offset() {
        let mappings = parse(SMALL);
        let text = mappings.find(0x55d0_c0a2_1010).unwrap();
        assert_eq!(text.file_offset_of(0x55d0_c0a2_1010), Some(0x21010));
        assert!(text.executable && text.readable && !text.writable);
        let Backing::File { id, path, deleted } = &text.backing else {
            panic!("not a file: {text:?}");
        };
        assert_eq!(
            (&**path, *deleted, id.inode, id.major),
            ("/usr/bin/a b", false, 12345, 0xfe)
        );
        // One past the end, a hole, below and above everything.
        for address in [0x55d0_c0a3_0000, 0x7f00_0000_1000, 0, u64::MAX] {
            assert_eq!(mappings.find(address), None, "{address:#x}");
        }
        assert_eq!(text.file_offset_of(0x55d0_c0a3_0000), None);
    }

    #[test]
    fn deleted_files_lose_their_suffix() {
        let mappings = parse(SMALL);
        let Backing::File { path, deleted, .. } = &mappings.find(0x7f00_0000_2fff).unwrap().backing
        else {
            panic!("not a file");
        };
        assert_eq!((&**path, *deleted), ("/memfd:jit", true));
        assert_eq!(
            mappings.find(0x7fff_0000_0000).unwrap().backing,
            Backing::Vdso
        );
        assert_eq!(
            mappings.find(0x7f00_0000_0000).unwrap().backing,
            Backing::Anonymous
        );
    }

    #[test]
    fn a_hostile_path_costs_only_its_own_line() {
        let mut text = b"1000-2000 r-xp 00000000 fe:01 5 /SYSV\n\
            2000-3000 r-xp 00000000 fe:01 6 /bad\xff\xfename\\012x\n\
            nonsense\n\
            5000-4000 r-xp 00000000 fe:01 6 /backwards\n\
            6000-7000 r-xp 00000000 fe:01 7 /"
            .to_vec();
        text.extend(std::iter::repeat_n(b'a', 3 * MAX_LINE_BYTES));
        text.extend(b" 1-2 r-xp 00000000 fe:01 9 /forged\n8000-9000 r-xp 00000000 fe:01 8 /last\n");
        let mappings = parse(&text);
        let starts: Vec<u64> = mappings.iter().map(|m| m.start).collect();
        assert_eq!(starts, [0x1000, 0x2000, 0x8000]);
        let Backing::File { path, .. } = &mappings.find(0x2000).unwrap().backing else {
            panic!("not a file");
        };
        assert_eq!(&**path, "/bad\u{fffd}\u{fffd}name\nx");
    }

    #[test]
    fn the_number_of_mappings_is_bounded() {
        let mut text = Vec::new();
        for index in 0..MAX_MAPPINGS as u64 + 10 {
            let start = 0x1000 * (index + 1);
            let line = format!("{start:x}-{:x} r-xp 00000000 fe:01 5 /a\n", start + 0x1000);
            text.extend(line.as_bytes());
        }
        let mappings = parse(&text);
        assert_eq!(mappings.iter().count(), MAX_MAPPINGS);
        assert!(mappings.is_truncated());
    }

    #[test]
    fn reads_and_opens_our_own_executable() {
        let pid = Pid(std::process::id());
        let mappings = Mappings::read(pid).unwrap();
        let here = reads_and_opens_our_own_executable as fn() as usize as u64;
        let mapping = mappings.find(here).unwrap();
        assert!(mapping.executable);
        let file = open_mapped_file(pid, mapping).unwrap();
        let exe = std::fs::metadata("/proc/self/exe").unwrap();
        assert_eq!(file.metadata().unwrap().ino(), exe.ino());
    }

    #[test]
    fn a_replaced_file_is_not_taken_for_the_mapped_one() {
        // A mapping that this process doesn't have, so that map_files can't help.
        let mapping = |path: &str| Mapping {
            start: 0x1000,
            end: 0x2000,
            file_offset: 0,
            readable: true,
            writable: false,
            executable: true,
            backing: Backing::File {
                id: FileId {
                    major: 1,
                    minor: 1,
                    inode: u64::MAX,
                },
                path: Arc::from(path),
                deleted: false,
            },
        };
        let pid = Pid(std::process::id());
        let error = open_mapped_file(pid, &mapping("/proc/self/exe")).unwrap_err();
        assert!(matches!(error, OpenError::Replaced), "{error:?}");
    }

    #[test]
    fn devices_and_pipes_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap();
        assert!(made.success());
        for path in [fifo.to_str().unwrap(), "/dev/null", "/tmp"] {
            let error = open_regular(path, |_| true).unwrap_err();
            assert!(matches!(error, OpenError::NotRegular), "{path}: {error:?}");
        }
    }
}
