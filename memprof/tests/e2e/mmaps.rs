//! What programs map past malloc: every call site's books, what becomes of processes, and that
//! nothing counts twice.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Counts, Process, Report, Stage, Trace, Truth, program, start_waiting};

const MMAP: [&str; 2] = ["--events", "mmap"];
const BOTH: [&str; 2] = ["--events", "malloc,mmap"];

fn launched(
    test: &str,
    name: &str,
    arguments: &[&str],
    events: &[&str],
) -> Option<(Report, Truth)> {
    let stage = Stage::with_bpf(test)?;
    let mut trace = Trace::launch(&stage, name, arguments, events);
    let report = trace.finish();
    let truth = trace.truth();
    Some((report, truth))
}

/// Attaches without probes in the target, of which there would be none to wait for.
fn attached(
    test: &str,
    name: &str,
    arguments: &[&str],
    events: &[&str],
) -> Option<(Report, Truth)> {
    let stage = Stage::with_bpf(test)?;
    let mut target = start_waiting(&stage, name, arguments);
    let mut trace = Trace::attach(&stage, &[target.pid()], events);
    trace.wait_for_gate();
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    let truth = Truth::read(&stage.path(&format!("{name}.truth")));
    Some((report, truth))
}

fn mapping_of(report: &Report, function: &str) -> BTreeSet<String> {
    let rows = report
        .rows()
        .iter()
        .filter(|row| row["function"] == function);
    rows.map(|row| row["mapping"].as_str().unwrap_or("(none)").to_owned())
        .collect()
}

fn assert_kind(report: &Report, function: &str, kind: &str) {
    let kinds: Vec<_> = mapping_of(report, function).into_iter().collect();
    assert_eq!(kinds, [kind], "{function}");
}

fn assert_every_way_to_map(report: &Report, truth: &Truth) {
    report.assert_sites(truth);
    assert_eq!(report.summary(), truth.total());
    assert_eq!(report.at("/events"), &serde_json::json!(["mmap"]));
    assert!(report.rows().iter().all(|row| row["kind"] == "mmap"));
    assert_kind(report, "map_whole", "anonymous");
    assert_kind(report, "map_shared", "shared");
    assert_kind(report, "heap_first", "heap");
    assert_kind(report, "grow", "anonymous");
    let total = truth.total();
    assert_eq!(
        report.number("/summary/mapped_bytes"),
        total.outstanding_bytes
    );
    assert_eq!(
        report.number("/summary/mapped_count"),
        total.outstanding_count
    );
    let heap = truth.sites["heap_first"].and(truth.sites["heap_second"]);
    assert_eq!(report.number("/summary/heap_bytes"), heap.outstanding_bytes);
    assert_eq!(report.number("/quality/lost/map"), 0);
    assert_eq!(report.number("/quality/lost/unmap"), 0);
}

#[test]
fn every_way_to_map_counts_exactly_when_launched() {
    if let Some((report, truth)) = launched("mmaps_launched", "mmaps", &[], &MMAP) {
        assert_every_way_to_map(&report, &truth);
    }
}

#[test]
fn every_way_to_map_counts_exactly_when_attached_to() {
    if let Some((report, truth)) = attached("mmaps_attached", "mmaps", &[], &MMAP) {
        assert_every_way_to_map(&report, &truth);
        assert_eq!(report.number("/quality/unknown_unmaps"), 0);
        assert_eq!(report.number("/summary/allocator_mapped_bytes"), 0);
        assert!(
            report
                .at("/quality/coverage")
                .as_array()
                .is_some_and(Vec::is_empty)
        );
    }
}

#[test]
fn a_static_stripped_program_needs_no_allocator_to_be_followed() {
    if let Some((report, truth)) = launched("mmaps_stripped", "mmaps_stripped", &[], &MMAP) {
        report.assert_nothing_lost();
        // Its functions have no names; its C library may map for itself.
        let (seen, told) = (report.summary(), truth.total());
        assert!(
            seen.allocated_bytes >= told.allocated_bytes,
            "{seen:?} {told:?}"
        );
        assert!(
            seen.allocated_count - told.allocated_count < 5,
            "{seen:?} {told:?}"
        );
        assert_eq!(seen.freed_bytes, told.freed_bytes);
    }
}

#[test]
fn without_mmap_events_nothing_is_said_of_mappings() {
    if let Some((report, _)) = launched("mmaps_not_asked", "arena", &["0"], &[]) {
        report.assert_nothing_lost();
        for field in [
            "mapped_bytes",
            "allocator_mapped_bytes",
            "file_mapped_bytes",
        ] {
            assert_eq!(report.at(&format!("/summary/{field}")), &Value::Null);
        }
        assert!(report.rows().iter().all(|row| row["kind"] == "malloc"));
        assert!(!report.sites().contains_key("pool_page"));
    }
}

/// Large blocks of glibc's are mappings, one each, and its small ones are cut from others.
#[test]
fn what_an_allocator_maps_for_its_blocks_counts_once() {
    for (test, more) in [
        ("arena_once", &[][..]),
        ("arena_entry", &["--entry-probes"][..]),
    ] {
        let events = [&BOTH[..], more].concat();
        let Some((report, truth)) = launched(test, "arena", &["0"], &events) else {
            return;
        };
        report.assert_sites(&truth);
        let total = truth.total();
        assert_eq!(report.summary(), total);
        let pool = truth.sites["pool_page"];
        assert_eq!(
            report.number("/summary/mapped_bytes"),
            pool.outstanding_bytes
        );
        assert_eq!(
            report.number("/summary/mapped_count"),
            pool.outstanding_count
        );
        let of_blocks = total.outstanding_bytes - pool.outstanding_bytes;
        let own = report.number("/summary/allocator_mapped_bytes");
        assert!(own >= of_blocks, "{own} mapped for {of_blocks}");
        // Pages and arenas are larger than what is cut from them, by less than a small arena.
        assert!(own < of_blocks + (1 << 20), "{own} mapped for {of_blocks}");
        assert_kind(&report, "pool_page", "anonymous");
        assert_kind(&report, "keep_large", "(none)");
    }
}

/// The same is told without probes, from where the call was made.
#[test]
fn an_allocators_own_mappings_are_told_without_probes() {
    if let Some((report, truth)) = launched("arena_mmap_alone", "arena", &["0"], &MMAP) {
        report.assert_nothing_lost();
        let pool = truth.sites["pool_page"];
        assert_eq!(report.sites().get("pool_page"), Some(&pool));
        assert_eq!(report.summary(), pool);
        assert!(report.number("/summary/allocator_mapped_bytes") > 10 << 20);
    }
}

/// Of a program that is started later its allocator is not known at first; by the report it is.
#[test]
fn an_allocator_that_comes_by_exec_maps_nothing_twice() {
    for (library, fact) in [
        ("libjemalloc.so.2", "jemalloc"),
        ("libtcmalloc.so.4", "tcmalloc"),
    ] {
        let Some(stage) = Stage::with_bpf(&format!("mmaps_{fact}")) else {
            return;
        };
        let preload = format!("LD_PRELOAD=/usr/lib/x86_64-linux-gnu/{library}");
        let command = [
            "env".into(),
            preload.into(),
            program("arena").into_os_string(),
            "1".into(),
        ];
        let options = [&MMAP[..], &["--no-children"]].concat();
        let mut trace = Trace::launch_with(&stage, &options, &command, |command| {
            command.stdin(Stdio::null());
        });
        let report = trace.finish();
        let truth = trace.truth();
        let sites = report.sites();
        assert_eq!(sites["pool_page"], truth.sites["pool_page"], "{library}");
        for function in ["keep_small", "keep_large"] {
            assert!(!sites.contains_key(function), "{library}: {sites:?}");
        }
        let own = report.number("/summary/allocator_mapped_bytes");
        assert!(own > 10 << 20, "{library}: {own}");
        // What the loader maps for libraries' variables is all that is left.
        assert!(
            report.summary().outstanding_bytes < 4 << 20,
            "{library}: {sites:?}"
        );
    }
}

/// Addresses come back to other threads at once, and ends in two parts are one.
#[test]
fn threads_that_unmap_each_others_memory_count_exactly() {
    let arguments = ["4", "20000"];
    let Some((report, truth)) = launched("mmaps_churn", "mmap_churn", &arguments, &MMAP) else {
        return;
    };
    report.assert_sites(&truth);
    // The rest is the threads' stacks.
    let stacks = report.number("/summary/thread_stack_bytes");
    let total = truth.total();
    assert_eq!(
        report.summary().outstanding_bytes,
        total.outstanding_bytes + stacks
    );
    assert!(report.number("/quality/unknown_unmaps") <= 1);
}

#[test]
fn a_childs_unmappings_are_its_own() {
    let Some(stage) = Stage::with_bpf("mmaps_fork") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "mmap_lives", &[], &MMAP);
    let report = trace.finish();
    report.assert_nothing_lost();
    let page = 4096;
    let truths = trace.truths();
    let [child, parent] = &truths[..] else {
        panic!("{truths:?}");
    };
    let held = |pid: u32, site: &str| {
        let counts = report.sites_of(pid).get(site).copied().unwrap_or_default();
        (counts.outstanding_bytes / page, counts.outstanding_count)
    };
    assert_eq!(held(parent.pid, "map_in_parent"), (20, 1));
    assert_eq!(held(child.pid, "map_in_parent"), (9, 1));
    assert_eq!(held(child.pid, "map_in_child"), (3, 1));
    assert_eq!(report.summary().outstanding_bytes, 32 * page);
    assert_eq!(report.number("/summary/mapped_bytes"), 32 * page);
    assert_eq!(report.number("/summary/inherited_bytes"), 30 * page);
    // The loader's, of its cache, which it had mapped before the program was held.
    assert!(report.number("/quality/unknown_unmaps") <= 1);
}

#[test]
fn a_new_program_has_none_of_the_old_ones_mappings() {
    let Some(stage) = Stage::with_bpf("mmaps_exec") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "mmap_lives", &["exec"], &MMAP);
    let report = trace.finish();
    report.assert_nothing_lost();
    let seen = report.sites();
    assert_eq!(seen["map_after_exec"].outstanding_bytes, 7 * 4096);
    assert_eq!(seen["map_in_parent"].outstanding_bytes, 0);
    assert_eq!(report.number("/summary/discarded_bytes"), 30 * 4096);
    // The loader maps the program's libraries before its eyes.
    assert!(report.number("/summary/file_mapped_bytes") > 1 << 20);
}

#[test]
fn threads_stacks_are_called_so() {
    for (test, events) in [("mmap_threads", &MMAP), ("mmap_threads_both", &BOTH)] {
        let Some((report, truth)) = launched(test, "mmap_lives", &["threads"], events) else {
            return;
        };
        let stacks = truth.sites["start_threads"];
        let rows = report.rows().iter();
        let stacks_seen = rows.filter(|row| row["mapping"] == "thread_stack");
        let bytes: u64 = stacks_seen
            .clone()
            .filter_map(|row| row["outstanding_bytes"].as_u64())
            .sum();
        assert_eq!(bytes, stacks.outstanding_bytes);
        for row in stacks_seen {
            assert_eq!(row["function"], "start_threads", "{row}");
        }
        assert_eq!(report.number("/summary/thread_stack_bytes"), bytes);
        report.assert_nothing_lost();
    }
}

/// A pool on mmap that only grows is a leak, and the function that maps is named.
#[test]
fn a_pool_that_leaks_is_called_a_leak() {
    let Some(stage) = Stage::shared("mmaps_leak") else {
        return;
    };
    let options = [&BOTH[..], &["--no-children"]].concat();
    let mut trace = Trace::launch(&stage, "arena", &["12"], &options);
    let report = trace.finish();
    report.assert_sites(&trace.truth());
    let verdict = report.at("/leak_detection");
    assert_eq!(verdict["verdict"], "leak", "{verdict}");
    let row = report
        .rows()
        .iter()
        .find(|row| row["function"] == "pool_page");
    let row = row.expect("the pool has a row");
    assert_eq!(row["verdict"], "leak", "{row}");
    assert_eq!(row["kind"], "mmap");
    // 40 pages a second, a little fewer on a busy machine.
    let rate = row["rate_bytes_per_second"].as_f64().expect("a rate");
    assert!((80_000.0..180_000.0).contains(&rate), "{row}");
}

/// What lived before is not known, and its end is said to be.
#[test]
fn mappings_from_before_the_attach_are_unknown_unmaps() {
    let Some(stage) = Stage::with_bpf("mmaps_before") else {
        return;
    };
    let mut command = Command::new(program("mmaps_before"));
    command
        .stdin(Stdio::piped())
        .env("WAIT_FOR_GO", "1")
        .env("TRUTH_FILE", stage.path("truth"));
    let mut target = Process::start(&stage, "mmaps_before", &mut command);
    target.wait_ready();
    let mut trace = Trace::attach(&stage, &[target.pid()], &MMAP);
    trace.wait_for_gate();
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    report.assert_nothing_lost();
    let truth = Truth::read(&stage.path("truth"));
    assert_eq!(
        report.number("/quality/unknown_unmaps"),
        truth.fact("unknown_unmaps")
    );
    assert_eq!(report.sites(), truth.sites);
    assert_ne!(report.summary(), Counts::default());
}
