//! The records of perf events, taken apart: code that a process has mapped, a process on its way
//! into another program, records that found no room.
//!
//! Layout: `perf_event_open(2)`, "MMAP layout". The records end with the time, because the events
//! ask for it (`sample_id_all` with `PERF_SAMPLE_TIME`). The kernel writes them, but the paths and
//! addresses are the target's.

use std::sync::Arc;

use aya_obj::generated::perf_event_type::{PERF_RECORD_COMM, PERF_RECORD_LOST, PERF_RECORD_MMAP2};

use super::mappings::{Backing, DELETED_SUFFIX, FileId, Mapping};
use crate::identity::{Nanoseconds, Pid};

/// Bytes of a record before its body: type, flags, size.
pub const HEADER_BYTES: usize = 8;

/// Flag of a `PERF_RECORD_COMM`: the name is that of a program the process becomes.
const EXEC: u16 = 1 << 13;
/// Flag of a `PERF_RECORD_MMAP2`: build id instead of device and inode, which nobody asked for.
const BUILD_ID: u16 = 1 << 14;
/// Bits of a mapping's protection, as in `mmap(2)`.
const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;

/// What happened to the code of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeEvent {
    /// When.
    pub time: Nanoseconds,
    /// To whom.
    pub pid: Pid,
    /// What.
    pub change: CodeChange,
}

/// A change of a process's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeChange {
    /// An executable mapping is there, in place of whatever was there before.
    Mapped(Mapping),
    /// The old program is gone. What is mapped from here on is the new one's.
    Replaced,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something to act on.
    Code(CodeEvent),
    /// So many records found no room.
    Lost(u64),
    /// Something else.
    Other,
}

/// The size that a record's header gives, header included; `None` if there is no whole header or
/// the size is none.
pub fn record_size(header: &[u8]) -> Option<usize> {
    let size = usize::from(u16_at(header, 6)?);
    (size >= HEADER_BYTES).then_some(size)
}

/// Takes a whole record apart; `None` if it is not what its type says.
pub fn decode(record: &[u8]) -> Option<Record> {
    let (kind, flags) = (u32_at(record, 0)?, u16_at(record, 4)?);
    if kind == PERF_RECORD_MMAP2 as u32 {
        mapped(record, flags).map(Record::Code)
    } else if kind == PERF_RECORD_COMM as u32 && flags & EXEC != 0 {
        Some(Record::Code(CodeEvent {
            time: time(record)?,
            pid: Pid(u32_at(record, 8)?),
            change: CodeChange::Replaced,
        }))
    } else if kind == PERF_RECORD_LOST as u32 {
        Some(Record::Lost(u64_at(record, 16)?))
    } else {
        Some(Record::Other)
    }
}

fn mapped(record: &[u8], flags: u16) -> Option<CodeEvent> {
    let start = u64_at(record, 16)?;
    let end = start.checked_add(u64_at(record, 24)?)?;
    if flags & BUILD_ID != 0 || start >= end {
        return None;
    }
    let protection = u32_at(record, 64)?;
    let path = record.get(72..record.len().checked_sub(8)?)?;
    let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
    let id = FileId {
        major: u32_at(record, 40)?,
        minor: u32_at(record, 44)?,
        inode: u64_at(record, 48)?,
    };
    let change = CodeChange::Mapped(Mapping {
        start,
        end,
        file_offset: u64_at(record, 32)?,
        readable: protection & PROT_READ != 0,
        writable: protection & PROT_WRITE != 0,
        executable: protection & PROT_EXEC != 0,
        backing: backing(id, &String::from_utf8_lossy(path)),
    });
    Some(CodeEvent {
        time: time(record)?,
        pid: Pid(u32_at(record, 8)?),
        change,
    })
}

fn backing(id: FileId, path: &str) -> Backing {
    if id.inode != 0 {
        let name = path.strip_suffix(DELETED_SUFFIX);
        Backing::File {
            id,
            path: Arc::from(name.unwrap_or(path)),
            deleted: name.is_some(),
        }
    } else if path == "[vdso]" {
        Backing::Vdso
    } else {
        Backing::Anonymous
    }
}

fn time(record: &[u8]) -> Option<Nanoseconds> {
    u64_at(record, record.len().checked_sub(8)?)
}

fn u16_at(record: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*record.get(at..)?.first_chunk()?))
}

fn u32_at(record: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?))
}

fn u64_at(record: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*record.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 123_456_789;

    fn record(kind: u32, flags: u16, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let size = (HEADER_BYTES + body.len() + 8) as u16;
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(size.to_ne_bytes());
        bytes.extend(body);
        bytes.extend(TIME.to_ne_bytes());
        bytes
    }

    fn mmap2(start: u64, length: u64, inode: u64, path: &[u8]) -> Vec<u8> {
        let mut name = path.to_vec();
        name.resize((path.len() + 1).next_multiple_of(8), 0);
        record(
            PERF_RECORD_MMAP2 as u32,
            2,
            &[
                &[7_u32, 8].map(u32::to_ne_bytes).concat(),
                &[start, length, 0x2000].map(u64::to_ne_bytes).concat(),
                &[0xfe_u32, 1].map(u32::to_ne_bytes).concat(),
                &[inode, 99].map(u64::to_ne_bytes).concat(),
                &[5_u32, 2].map(u32::to_ne_bytes).concat(),
                &name,
            ],
        )
    }

    fn mapping(bytes: &[u8]) -> Mapping {
        match decode(bytes) {
            Some(Record::Code(CodeEvent {
                time: TIME,
                pid: Pid(7),
                change: CodeChange::Mapped(mapping),
            })) => mapping,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mapped_library_is_told_with_its_file_and_place() {
        let bytes = mmap2(0x7000, 0x3000, 42, b"/usr/lib/a.so");
        assert_eq!(record_size(&bytes), Some(bytes.len()));
        assert_eq!(
            mapping(&bytes),
            Mapping {
                start: 0x7000,
                end: 0xa000,
                file_offset: 0x2000,
                readable: true,
                writable: false,
                executable: true,
                backing: Backing::File {
                    id: FileId {
                        major: 0xfe,
                        minor: 1,
                        inode: 42
                    },
                    path: Arc::from("/usr/lib/a.so"),
                    deleted: false,
                },
            }
        );
    }

    #[test]
    fn deleted_files_the_vdso_and_code_without_a_file_are_told_apart() {
        let backing = |inode, path: &[u8]| mapping(&mmap2(0x7000, 0x1000, inode, path)).backing;
        assert!(
            matches!(backing(5, b"/memfd:jit (deleted)"), Backing::File { path, deleted: true, .. }
                if &*path == "/memfd:jit")
        );
        assert_eq!(backing(0, b"[vdso]"), Backing::Vdso);
        for path in [&b"//anon"[..], b"[stack]", b"//enomem", b""] {
            assert_eq!(backing(0, path), Backing::Anonymous);
        }
    }

    #[test]
    fn a_program_that_is_replaced_is_told_from_a_thread_that_is_renamed() {
        let body = [7_u32, 7].map(u32::to_ne_bytes).concat();
        let comm = PERF_RECORD_COMM as u32;
        let exec = decode(&record(comm, EXEC, &[&body, b"name\0\0\0\0"]));
        let event = CodeEvent {
            time: TIME,
            pid: Pid(7),
            change: CodeChange::Replaced,
        };
        assert_eq!(exec, Some(Record::Code(event)));
        let renamed = decode(&record(comm, 0, &[&body, b"name\0\0\0\0"]));
        assert_eq!(renamed, Some(Record::Other));
    }

    #[test]
    fn lost_records_are_told_by_their_number() {
        let body = [1_u64, 12].map(u64::to_ne_bytes).concat();
        let lost = decode(&record(PERF_RECORD_LOST as u32, 0, &[&body]));
        assert_eq!(lost, Some(Record::Lost(12)));
    }

    #[test]
    fn a_record_that_is_cut_short_or_contradicts_itself_is_none() {
        let whole = mmap2(0x7000, 0x3000, 42, b"/usr/lib/a.so");
        for length in 0..72 {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
        assert_eq!(decode(&mmap2(0x7000, 0, 42, b"/empty")), None);
        assert_eq!(decode(&mmap2(u64::MAX, 2, 42, b"/beyond the end")), None);
        let mut flagged = whole;
        flagged[5] |= 0x40;
        assert_eq!(decode(&flagged), None);
        assert_eq!(record_size(&[0; 8]), None);
        assert_eq!(record_size(&[0xff; 7]), None);
    }

    #[test]
    fn a_path_without_an_end_and_not_in_unicode_is_taken_as_it_is() {
        let bytes = record(
            PERF_RECORD_MMAP2 as u32,
            0,
            &[
                &[7_u32, 8].map(u32::to_ne_bytes).concat(),
                &[1_u64, 2, 3].map(u64::to_ne_bytes).concat(),
                &[0_u32; 2].map(u32::to_ne_bytes).concat(),
                &[1_u64, 0].map(u64::to_ne_bytes).concat(),
                &[4_u32, 0].map(u32::to_ne_bytes).concat(),
                b"/\xff\xfe",
            ],
        );
        let Backing::File { path, .. } = mapping(&bytes).backing else {
            panic!("no file");
        };
        assert_eq!(&*path, "/\u{fffd}\u{fffd}");
    }

    #[test]
    fn random_bytes_are_no_trouble() {
        let mut state = 1_u64;
        for length in 0..4096 {
            let bytes: Vec<u8> = (0..length % 160)
                .map(|index| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    // Mostly the types that are taken apart.
                    if index == 0 {
                        [2, 3, 10][length % 3]
                    } else if index < 4 {
                        0
                    } else {
                        (state >> 56) as u8
                    }
                })
                .collect();
            let _ = (decode(&bytes), record_size(&bytes));
        }
    }
}
