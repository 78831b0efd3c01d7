//! What is written of one look at a process, and of two compared.

use insta::assert_snapshot;
use memprof::export::{write_snapshot, write_snapshot_diff};
use memprof::report::{Host, Memprof};
use memprof::saved::{Pair, read_pair};
use memprof::snapshot::{
    Amounts, CgroupMemory, Group, KnownBy, Mapping, MappingKind, Mappings, Memory, MemorySource,
    OpenFiles, Pressure, PressureShares, Snapshot, SnapshotProcess, SnapshotSchema, System,
    Threads, compare,
};

use super::{plain, sample};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn amounts(rss: u64, size: u64) -> Amounts {
    Amounts {
        size_bytes: size,
        rss_bytes: rss,
        pss_bytes: rss * 3 / 4,
        uss_bytes: rss / 2,
        swap_bytes: 0,
    }
}

fn group<K>(name: K, mappings: u64, rss: u64, size: u64) -> Group<K> {
    Group {
        name,
        mappings,
        amounts: amounts(rss, size),
    }
}

/// A look that knows everything, with names that nobody should have.
fn whole() -> Snapshot {
    let text = |name: &str| name.to_owned();
    Snapshot {
        schema: SnapshotSchema::V1,
        memprof: Memprof {
            version: text("0.1.0"),
        },
        host: Host {
            kernel: text("6.18.44"),
            arch: text("x86_64"),
            cpus: 2,
        },
        taken_at: text("2026-11-21T12:00:00.25Z"),
        label: Some(text("after login \u{1b}[31m")),
        process: SnapshotProcess {
            pid: 1234,
            comm: Some(text("server")),
            exe: Some(text("/usr/bin/server")),
            cmdline: Some(vec![text("server"), text("--port"), text("8080")]),
            uid: Some(1000),
            state: Some(text("S")),
            started_seconds_after_boot: Some(12.5),
            age_seconds: Some(3725.0),
        },
        memory: Memory {
            source: MemorySource::Smaps,
            rss_bytes: Some(49 * MIB),
            pss_bytes: Some(40 * MIB),
            uss_bytes: Some(30 * MIB),
            shared_bytes: Some(19 * MIB),
            swap_bytes: Some(0),
            swap_pss_bytes: Some(0),
            peak_rss_bytes: Some(60 * MIB),
            virtual_bytes: Some(300 * MIB),
            peak_virtual_bytes: Some(310 * MIB),
            rss_anonymous_bytes: Some(41 * MIB),
            rss_file_bytes: Some(8 * MIB),
            rss_shared_memory_bytes: Some(0),
            page_tables_bytes: Some(200 * KIB),
            locked_bytes: Some(0),
            hugetlb_bytes: Some(0),
            transparent_huge_bytes: Some(4 * MIB),
            lazily_freed_bytes: Some(0),
        },
        mappings: Some(Mappings {
            count: 31,
            beyond_count: 0,
            arena_count: 2,
            by_kind: vec![
                group(MappingKind::Anonymous, 7, 40 * MIB, 128 * MIB),
                group(MappingKind::Code, 9, 8 * MIB, 12 * MIB),
                group(MappingKind::ThreadStack, 15, MIB, 80 * MIB),
            ],
            by_file: vec![
                group(text("[anonymous]"), 7, 40 * MIB, 128 * MIB),
                group(
                    text(
                        "/usr/lib/\u{1b}[2J\n/a/very/long/path/of/which/the/end/tells/the/most/libserver.so.1",
                    ),
                    9,
                    8 * MIB,
                    12 * MIB,
                ),
                group(text("[thread stack]"), 15, MIB, 80 * MIB),
            ],
            by_permissions: vec![group(text("rw-p"), 31, 49 * MIB, 220 * MIB)],
            largest: vec![
                Mapping {
                    address: text("0x7f0000000000"),
                    kind: MappingKind::ThreadStack,
                    known_by: KnownBy::StackPointer,
                    permissions: text("rw-p"),
                    file: None,
                    amounts: amounts(132 * KIB, 8 * MIB),
                },
                Mapping {
                    address: text("0x55d0c0a21000"),
                    kind: MappingKind::Code,
                    known_by: KnownBy::Permissions,
                    permissions: text("r-xp"),
                    file: Some(text("/usr/bin/server")),
                    amounts: amounts(64 * KIB, 128 * KIB),
                },
            ],
        }),
        threads: Threads {
            count: Some(5),
            stack_pointers_read: Some(4),
            stacks_known: Some(3),
            stacks_guessed: Some(1),
        },
        open_files: Some(OpenFiles {
            count: 12,
            limit: Some(1024),
            files: 5,
            deleted: 1,
            sockets: 4,
            pipes: 1,
            memory: 0,
            other: 2,
        }),
        system: Some(System {
            total_bytes: 24 << 30,
            free_bytes: 2 << 30,
            available_bytes: Some(20 << 30),
            cached_bytes: 15 << 30,
            swap_total_bytes: 2 << 30,
            swap_free_bytes: 1 << 30,
            pressure: Some(Pressure {
                some: PressureShares {
                    percent_10s: 0.5,
                    percent_60s: 1.25,
                    percent_300s: 0.0,
                    total_seconds: 4.2,
                },
                full: PressureShares::default(),
            }),
        }),
        cgroup: Some(CgroupMemory {
            path: text("/web/server"),
            version: 2,
            container: None,
            usage_bytes: Some(70 * MIB),
            limit_bytes: Some(512 * MIB),
            limit_usage_bytes: Some(112 * MIB),
            limit_path: Some(text("/web")),
        }),
        notes: Vec::new(),
    }
}

/// A look at somebody else's process.
fn refused() -> Snapshot {
    Snapshot {
        label: None,
        memory: Memory {
            source: MemorySource::Status,
            rss_bytes: Some(49 * MIB),
            virtual_bytes: Some(300 * MIB),
            ..Memory::default()
        },
        mappings: None,
        threads: Threads {
            count: Some(5),
            ..Threads::default()
        },
        open_files: None,
        system: None,
        cgroup: None,
        notes: vec!["mappings can't be read: permission denied: run memprof as root".to_owned()],
        ..whole()
    }
}

fn written(snapshot: &Snapshot, format: &str, width: usize) -> String {
    let mut written = Vec::new();
    let format = format.parse().unwrap();
    write_snapshot(snapshot, 2, format, plain(width), &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

fn differing(before: &Snapshot, after: &Snapshot, format: &str) -> String {
    let diff = compare(("before.json", before), ("after.json", after));
    let mut written = Vec::new();
    let format = format.parse().unwrap();
    write_snapshot_diff(&diff, 1, format, plain(100), &mut written).unwrap();
    String::from_utf8(written).unwrap()
}

/// The same process some time later: more private memory, the threads gone, a file mapped.
fn later() -> Snapshot {
    let mut later = whole();
    later.label = None;
    later.taken_at = "2026-11-21T12:05:00Z".to_owned();
    later.memory.rss_bytes = Some(57 * MIB);
    later.memory.pss_bytes = Some(47 * MIB);
    later.threads.count = Some(1);
    let mappings = later.mappings.as_mut().unwrap();
    mappings.by_kind[0].amounts.rss_bytes += 8 * MIB;
    mappings.by_kind[0].mappings += 1;
    mappings.by_kind.pop();
    mappings.by_file.pop();
    let new = group("/var/lib/data".to_owned(), 1, 3 * MIB, 3 * MIB);
    mappings.by_file.push(new);
    later
}

#[test]
fn text_of_a_look_at_width_100() {
    assert_snapshot!(written(&whole(), "text", 100));
}

#[test]
fn text_of_a_look_at_a_process_of_somebody_else() {
    assert_snapshot!(written(&refused(), "text", 80));
}

#[test]
fn the_json_of_a_look_has_the_fields_of_the_contract_in_its_order() {
    let json = written(&whole(), "json", 100);
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), whole());
    assert_snapshot!(json);
}

#[test]
fn text_of_two_looks() {
    assert_snapshot!(differing(&whole(), &later(), "text"));
    let same = differing(&whole(), &whole(), "text");
    assert!(same.contains("none of the figures changed"), "{same}");
}

#[test]
fn the_json_of_two_looks_has_the_fields_of_the_contract_in_its_order() {
    assert_snapshot!(differing(&whole(), &later(), "json"));
}

#[test]
fn no_line_is_wider_than_the_page_and_none_disturbs() {
    for width in [40, 60, 100, 200] {
        for snapshot in [whole(), refused()] {
            for line in written(&snapshot, "text", width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn a_report_and_a_snapshot_are_not_compared() {
    let file = |json: String| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        file
    };
    let report = file(serde_json::to_string(&sample::report()).unwrap());
    let snapshot = file(serde_json::to_string(&whole()).unwrap());
    for (one, other) in [(&report, &snapshot), (&snapshot, &report)] {
        let error = read_pair(one.path(), other.path()).unwrap_err();
        assert!(error.is::<memprof::failure::BadInput>());
        let line = error.to_string();
        assert!(line.contains("give two of one kind"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
    let pair = read_pair(snapshot.path(), snapshot.path()).unwrap();
    assert!(matches!(pair, Pair::Snapshots(looks) if looks[1] == whole()));
}
