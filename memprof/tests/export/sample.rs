//! A report made by hand: a small server with a leak in its order book.

use memprof::report::*;

pub(crate) const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const LIBSTDCPP: &str = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30";
const SERVER: &str = "/usr/bin/server";

fn named(function: &str, module: &str, source: Option<(&str, u32)>) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        file: source.map(|(file, _)| file.to_owned()),
        line: source.map(|(_, line)| line),
        directory: source.map(|_| "/src".to_owned()),
        module: Some(module.to_owned()),
        address: Some(HexAddress(0x7f12_3456_7000)),
        offset: Some(HexAddress(0x98930)),
        elf_address: Some(HexAddress(0x9_992f)),
        build_id: Some("8a1fdead".to_owned()),
        inlined: false,
        unknown: None,
    }
}

fn unnamed(module: Option<&str>, offset: u64, why: &str) -> Frame {
    Frame {
        module: module.map(str::to_owned),
        address: Some(HexAddress(0x5500_0000_0000 + offset)),
        offset: module.map(|_| HexAddress(offset)),
        elf_address: module.map(|_| HexAddress(0x40_0000 + offset - 1)),
        build_id: module.map(|_| "8a1fdead".to_owned()),
        unknown: Some(why.to_owned()),
        ..Frame::default()
    }
}

/// An allocator whose guilty frame is the one of this index.
fn allocator(rank: u32, bytes: u64, count: u64, guilty: usize, stack: Vec<Frame>) -> TopAllocator {
    let frame = stack.get(guilty).cloned().unwrap_or_default();
    TopAllocator {
        rank,
        pid: 1234,
        processes: 1,
        group: None,
        stack_id: HexStackId(0x9f1c_0000_0000_0000 + u64::from(rank)),
        kind: AllocatorKind::Malloc,
        mapping: None,
        outstanding_bytes: bytes,
        outstanding_count: count,
        shown_bytes: bytes,
        shown_count: count,
        allocated_bytes: bytes * 3,
        allocated_count: count * 3,
        freed_bytes: bytes * 2,
        freed_count: count * 2,
        outstanding_bytes_ci95: None,
        oldest_age_seconds: Some(59.2),
        verdict: Verdict::InsufficientData,
        confidence: None,
        rate_bytes_per_second: None,
        rate_ci95_bytes_per_second: None,
        left_bytes: None,
        severity: None,
        function: frame.function,
        file: frame.file,
        line: frame.line,
        directory: frame.directory.clone(),
        module: frame.module,
        stack,
        touched_bytes: None,
        untouched_bytes: None,
        kept_free_bytes: None,
        first_touched_by: Vec::new(),
    }
}

fn order_book() -> TopAllocator {
    let mut one = allocator(
        1,
        10_592_256,
        10_344,
        2,
        vec![
            named("malloc", LIBC, None),
            named("operator new(unsigned long)", LIBSTDCPP, None),
            named("order_book_add", SERVER, Some(("src/order_book.c", 145))),
            Frame {
                inlined: true,
                ..named("handle_order", SERVER, Some(("src/server.c", 88)))
            },
            named("handle_request", SERVER, Some(("src/server.c", 131))),
            unnamed(Some(SERVER), 0x1a2b, "stripped"),
            named("main", SERVER, Some(("src/server.c", 201))),
            named("__libc_start_main", LIBC, None),
            named("_start", SERVER, None),
        ],
    );
    one.freed_bytes = 0;
    one.freed_count = 0;
    one.allocated_bytes = one.outstanding_bytes;
    one.allocated_count = one.outstanding_count;
    one
}

fn deep_cache() -> TopAllocator {
    let mut stack = vec![
        named("malloc", LIBC, None),
        named("operator new(unsigned long)", LIBSTDCPP, None),
        Frame {
            inlined: true,
            ..named(
                "std::_Hashtable<std::__cxx11::basic_string<char>, std::pair<std::__cxx11::basic_string<char> const, \
                 session::Entry>>::_M_allocate_node",
                SERVER,
                Some(("/usr/include/c++/12/bits/hashtable_policy.h", 2010)),
            )
        },
        named(
            "session::Cache::insert(std::__cxx11::basic_string<char> const&, session::Entry&&)",
            SERVER,
            Some(("/home/build/server-2.4/src/session/cache.cc", 77)),
        ),
    ];
    for depth in 0..24 {
        stack.push(named(
            &format!("visit_node_{depth}"),
            SERVER,
            Some(("src/tree.c", 300 + depth)),
        ));
    }
    stack.push(named("main", SERVER, Some(("src/server.c", 201))));
    stack.push(named("_start", SERVER, None));
    allocator(2, 1_153_434, 2_201, 3, stack)
}

fn plugin() -> TopAllocator {
    let mut one = allocator(
        3,
        524_288,
        1,
        1,
        vec![
            named("calloc", LIBC, None),
            unnamed(Some("/opt/plugin.so"), 0x4f10, "stripped"),
            unnamed(None, 0, "jit"),
        ],
    );
    one.allocated_count = 40;
    one.shown_bytes = 262_144;
    one.outstanding_count = 2;
    one
}

/// The report at the run's end.
pub(crate) fn report() -> Report {
    Report {
        schema: Schema::V1,
        memprof: Memprof {
            version: "0.1.0".to_owned(),
        },
        host: Host {
            kernel: "6.18.44".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
        },
        target: Target {
            kind: TargetKind::Pid,
            names: Vec::new(),
            cgroups: Vec::new(),
            processes_met: Some(1),
            processes: vec![Process {
                pid: 1234,
                comm: Some("server".to_owned()),
                exe: Some(SERVER.to_owned()),
                cmdline: Some(vec![
                    SERVER.to_owned(),
                    "--listen".to_owned(),
                    "80".to_owned(),
                    "--name".to_owned(),
                    "order book".to_owned(),
                ]),
                exit_status: None,
                exit_signal: None,
            }],
        },
        started_at: "2026-11-20T12:00:00Z".to_owned(),
        duration_seconds: 60.0,
        events: vec![EventKind::Malloc],
        summary: Summary {
            allocated_bytes: 325_058_560,
            allocated_count: 1_300_211,
            freed_bytes: 312_056_102,
            freed_count: 1_287_190,
            outstanding_bytes: 13_002_458,
            outstanding_count: 13_021,
            peak_outstanding_bytes: 13_526_630,
            peak_at_seconds: Some(58.0),
            rss_start_bytes: Some(31_561_728),
            rss_end_bytes: Some(44_879_872),
            rss_peak_bytes: Some(45_088_768),
            unattributed_bytes: Some(315_686),
            ..Summary::default()
        },
        leak_detection: LeakDetection::not_judged("this version does not judge growth"),
        top_allocators: vec![order_book(), deep_cache(), plugin()],
        top_touchers: Vec::new(),
        processes: Vec::new(),
        group_by: GroupBy::Process,
        groups: Vec::new(),
        marks: Vec::new(),
        windows: Vec::new(),
        cycles: None,
        reconciliation: None,
        reconciliation_unknown: None,
        timeline: vec![TimelinePoint {
            at_seconds: 5.0,
            outstanding_bytes: 1_000_000,
            outstanding_count: 1000,
            touched_resident_bytes: None,
            rss_bytes: Some(32_000_000),
        }],
        quality: quality(),
        check: None,
    }
}

fn quality() -> Quality {
    let functions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Quality {
        complete: true,
        unknown_frees: 121,
        frames_total: 310,
        frames_unsymbolized: 12,
        coverage: vec![Coverage {
            module: LIBC.to_owned(),
            allocator: "glibc".to_owned(),
            attached: functions(&["malloc", "calloc", "realloc", "free"]),
            missing: Vec::new(),
        }],
        overhead: Overhead {
            probe_hits: Some(2_587_522),
            estimated_target_seconds: Some(2.91),
            estimated_target_seconds_error: Some(0.12),
            collector_cpu_seconds: Some(0.42),
            collector_rss_bytes: Some(32_505_856),
            ring_bytes: Some(25_165_824),
            collector_threads: Some(1),
        },
        ..Quality::default()
    }
}

/// The report of the interval before `report`'s end.
pub(crate) fn earlier() -> Report {
    let mut report = report();
    report.duration_seconds = 55.0;
    report.summary.outstanding_bytes = 12_000_000;
    report.summary.outstanding_count = 12_100;
    report.summary.rss_end_bytes = Some(44_000_000);
    report.top_allocators[0].outstanding_bytes = 9_700_000;
    report.top_allocators[0].shown_bytes = 9_700_000;
    report.top_allocators.truncate(2);
    report
}

/// A run that followed mappings too, some of whose ends were lost.
pub(crate) fn mapped() -> Report {
    let mut report = report();
    report.events.push(EventKind::Mmap);
    let summary = &mut report.summary;
    summary.mapped_bytes = Some(3_178_496);
    summary.mapped_count = Some(17);
    summary.heap_bytes = Some(135_168);
    summary.thread_stack_bytes = Some(2_105_344);
    summary.allocator_mapped_bytes = Some(14_680_064);
    summary.file_mapped_bytes = Some(4_194_304);
    let pool = &mut report.top_allocators[1];
    pool.kind = AllocatorKind::Mmap;
    pool.mapping = Some(MappingKind::Anonymous);
    let partly = &mut report.top_allocators[2];
    partly.kind = AllocatorKind::Mmap;
    partly.mapping = Some(MappingKind::ThreadStack);
    partly.freed_count = 0;
    report.quality.complete = false;
    report.quality.lost.map = 2;
    report.quality.lost.unmap = 1;
    report.quality.unknown_unmaps = 5;
    report
}

/// What the order book's and the plugin's call paths touched first.
fn touchers() -> Vec<TopToucher> {
    let of = |rank: u32, one: TopAllocator, kinds: [u64; 3]| TopToucher {
        rank,
        pid: one.pid,
        stack_id: one.stack_id,
        resident_bytes: kinds.iter().sum(),
        touched_bytes: kinds.iter().sum(),
        anonymous_bytes: kinds[0],
        file_bytes: kinds[1],
        shared_bytes: kinds[2],
        function: one.function,
        file: one.file,
        line: one.line,
        directory: one.directory,
        module: one.module,
        stack: one.stack,
        ..TopToucher::default()
    };
    let mut book = of(1, order_book(), [10_485_760, 0, 0]);
    book.huge_bytes = 8_388_608;
    book.touched_bytes += 4_194_304;
    book.given_back_bytes = 4_194_304;
    let mut plugin = of(2, plugin(), [327_680, 65_536, 131_072]);
    plugin.by_kernel_bytes = 65_536;
    plugin.inherited_bytes = 262_144;
    plugin.copied_bytes = 4_096;
    plugin.touched_bytes -= 266_240;
    vec![book, plugin]
}

/// What of the blocks was touched: of the second the process had run before, of the third no page was.
fn join(allocators: &mut [TopAllocator]) {
    let toucher = |rank: u64, bytes, place: Option<(&str, &str, u32)>| FirstToucher {
        stack_id: HexStackId(0x9f1c_0000_0000_0000 + rank),
        bytes,
        function: place.map(|place| place.0.to_owned()),
        file: place.map(|place| place.1.to_owned()),
        line: place.map(|place| place.2),
    };
    let fill = Some(("fill_cache", "cache.c", 88));
    let joined = [
        (
            8_388_608,
            Some(2_203_648),
            Some(393_216),
            vec![
                toucher(1, 8_000_000, fill),
                toucher(2, 300_000, Some(("order_book_add", "order_book.c", 145))),
                toucher(3, 80_000, None),
            ],
        ),
        (1_000_000, None, None, vec![toucher(1, 1_000_000, fill)]),
        (0, Some(524_288), Some(0), Vec::new()),
    ];
    for (one, joined) in allocators.iter_mut().zip(joined) {
        one.touched_bytes = Some(joined.0);
        one.untouched_bytes = joined.1;
        one.kept_free_bytes = joined.2;
        one.first_touched_by = joined.3;
    }
}

/// What was touched first, beside what a report says of it otherwise.
pub(crate) fn with_faults(mut report: Report) -> Report {
    report.events.push(EventKind::Faults);
    report.top_touchers = touchers();
    let summary = &mut report.summary;
    summary.touched_bytes = Some(15_728_640);
    summary.given_back_bytes = Some(4_194_304);
    summary.touched_resident_bytes = Some(11_800_576);
    summary.touched_ended_bytes = Some(524_288);
    summary.touched_anonymous_bytes = Some(11_603_968);
    summary.touched_file_bytes = Some(65_536);
    summary.touched_shared_bytes = Some(131_072);
    summary.touched_huge_bytes = Some(8_388_608);
    summary.touched_by_kernel_bytes = Some(65_536);
    summary.touched_inherited_bytes = Some(262_144);
    summary.touched_copied_bytes = Some(4_096);
    summary.held_touched_bytes = Some(9_000_000);
    summary.held_untouched_bytes = Some(3_270_000);
    summary.kept_free_bytes = Some(402_000);
    join(&mut report.top_allocators);
    for process in &mut report.processes {
        process.touched_bytes = Some(9_437_184);
        process.touched_resident_bytes = Some(5_242_880);
        process.touched_anonymous_bytes = Some(5_242_880);
        process.touched_file_bytes = Some(0);
        process.touched_shared_bytes = Some(0);
    }
    report.timeline[0].touched_resident_bytes = Some(900_000);
    report.quality.faults = Some(FaultQuality {
        lost_changes: 2,
        placeless_changes: 5,
        guessed_pages: 3,
        around_pages: 1_204,
        populated_bytes: 1_048_576,
        unplaced_bytes: 8_192,
        superseded_pages: 17,
        found_gone_pages: 1,
        pages_not_followed: 0,
        stacks_not_followed: 0,
    });
    report
}

/// A run of which page faults alone were followed.
pub(crate) fn faulted() -> Report {
    let mut report = with_faults(report());
    report.events = vec![EventKind::Faults];
    report.top_allocators.clear();
    report.summary = Summary {
        allocated_bytes: 0,
        allocated_count: 0,
        freed_bytes: 0,
        freed_count: 0,
        outstanding_bytes: 0,
        outstanding_count: 0,
        peak_outstanding_bytes: 0,
        peak_at_seconds: None,
        held_touched_bytes: None,
        held_untouched_bytes: None,
        kept_free_bytes: None,
        unattributed_bytes: None,
        ..report.summary
    };
    report.quality.coverage.clear();
    report.leak_detection = LeakDetection {
        verdict: Verdict::Growing,
        confidence: Some(0.9),
        severity: Some(Severity::Moderate),
        rate_bytes_per_second: Some(174_762.0),
        reasons: vec![
            "resident memory grew from 32.0 MiB to 42.8 MiB".to_owned(),
            "page faults say who touched memory first, not who holds it: run `memprof trace --pid \
             1234` or `memprof hunt` for the path that holds it"
                .to_owned(),
        ],
        ..report.leak_detection
    };
    report
}

/// Processes of a machine, by their cgroups.
pub(crate) fn grouped() -> Report {
    let mut report = troubled();
    report.target.kind = TargetKind::Cgroup;
    report.target.names = vec!["server".to_owned(), "worker".to_owned()];
    report.target.cgroups = vec!["/docker".to_owned()];
    report.target.processes_met = Some(1_317);
    report.group_by = GroupBy::Cgroup;
    let container = format!("/docker/{}", "1f2e3d4c5b6a7988".repeat(4));
    for process in &mut report.processes {
        process.cgroup = Some(container.clone());
        process.container = Some("docker:1f2e3d4c5b6a".to_owned());
    }
    let server = &mut report.processes[1];
    server.pss_bytes = Some(24_000_000);
    server.verdict = Some(Verdict::Leak);
    server.confidence = Some(0.52);
    server.rate_bytes_per_second = Some(15_360.0);
    server.rate_ci95_bytes_per_second = Some([15_000.0, 15_700.0]);
    server.coverage = Some(vec![ProcessCoverage {
        module: LIBC.to_owned(),
        allocator: "glibc".to_owned(),
    }]);
    report.processes.swap(0, 1);
    report.groups = vec![
        Group {
            name: Some(container.clone()),
            container: Some("docker:1f2e3d4c5b6a".to_owned()),
            processes: 1_312,
            living: 2,
            outstanding_bytes: 12_000_000,
            outstanding_count: 12_900,
            rss_bytes: Some(30_000_000),
            pss_bytes: Some(24_000_000),
            verdict: Some(Verdict::Leak),
            confidence: Some(0.52),
            rate_bytes_per_second: Some(15_360.0),
            ..Group::default()
        },
        Group {
            processes: 5,
            outstanding_bytes: 1_002_458,
            outstanding_count: 121,
            ..Group::default()
        },
    ];
    let first = &mut report.top_allocators[0];
    first.processes = 1_312;
    first.group = Some(container);
    report
}

/// A run of several processes in which much went wrong.
pub(crate) fn troubled() -> Report {
    let mut report = report();
    report.target.kind = TargetKind::Command;
    report.target.processes[0].exit_status = Some(1);
    report.target.processes.push(Process {
        pid: 1250,
        comm: Some("worker".to_owned()),
        exe: Some("/usr/bin/worker".to_owned()),
        exit_signal: Some(9),
        ..Process::default()
    });
    report.processes = vec![
        ProcessTotals {
            pid: 1234,
            comm: Some("server".to_owned()),
            outstanding_bytes: 1_677_722,
            outstanding_count: 2_202,
            rss_bytes: Some(30_000_000),
            ..ProcessTotals::default()
        },
        ProcessTotals {
            pid: 1250,
            outstanding_bytes: 11_324_736,
            outstanding_count: 10_819,
            ended: true,
            coverage: Some(Vec::new()),
            ..ProcessTotals::default()
        },
    ];
    report.processes.reverse();
    report.summary.inherited_bytes = 1_048_576;
    report.summary.inherited_count = 900;
    report.summary.discarded_bytes = 4096;
    report.summary.discarded_count = 1;
    report.summary.outstanding_bytes_ci95 = Some([12_100_000, 13_900_000]);
    report.summary.rss_end_bytes = None;
    report.summary.unattributed_bytes = None;
    report.top_allocators.truncate(1);
    report.top_allocators[0].pid = 1250;
    report.top_allocators[0].outstanding_bytes_ci95 = Some([9_000_000, 10_400_000]);
    report.top_allocators[0].verdict = Verdict::Leak;
    report.top_allocators[0].confidence = Some(0.93);
    report.top_allocators[0].rate_bytes_per_second = Some(176_538.0);
    report.top_allocators[0].rate_ci95_bytes_per_second = Some([170_000.0, 180_000.1]);
    report.top_allocators[0].left_bytes = Some(10_250_000);
    report.top_allocators[0].severity = Some(Severity::Moderate);
    report.leak_detection = LeakDetection {
        verdict: Verdict::Leak,
        leak_detected: true,
        confidence: Some(0.93),
        severity: Some(Severity::Moderate),
        rate_bytes_per_second: Some(176_538.0),
        rate_ci95_bytes_per_second: Some([170_000.0, 180_000.1]),
        r_squared: Some(0.99),
        projected_24h_bytes: Some(15_252_883_200),
        limit_bytes: Some(1 << 30),
        projected_oom_seconds: Some(6000.5),
        reasons: vec!["every generation leaves survivors".to_owned()],
    };
    report.marks = vec![Mark {
        at_seconds: 12.5,
        label: "request 7".to_owned(),
    }];
    report.windows = vec![Window {
        from: "start".to_owned(),
        to: "request 7".to_owned(),
        left_bytes: 1_258_291,
        left_count: 300,
        top_allocators: vec![order_book()],
    }];
    let quality = &mut report.quality;
    quality.complete = false;
    quality.lost = Lost {
        alloc: 12,
        free: 1,
        stack: 3,
        process: 1,
        ..Lost::default()
    };
    quality.superseded = 4;
    quality.stacks = StackWays {
        total: 400,
        by_tables: 380,
        by_frame_pointer: 12,
        by_copy: 8,
        copies_refused: 3,
    };
    quality.truncated_stacks = 7;
    quality.unwind_errors = 2;
    quality.sampling = Sampling {
        mode: SamplingMode::Poisson,
        mean_bytes: Some(524_288),
    };
    quality.governor = vec![GovernorStep {
        at_seconds: 12.0,
        action: GovernorAction::Sample,
        share: 0.12,
    }];
    quality.coverage.push(Coverage {
        module: "/opt/app/lib/libjemalloc.so.2".to_owned(),
        allocator: "jemalloc".to_owned(),
        attached: vec!["malloc".to_owned()],
        missing: vec!["mallocx".to_owned(), "sdallocx".to_owned()],
    });
    quality.overhead.estimated_target_seconds = None;
    quality.overhead.estimated_target_seconds_error = None;
    quality.notes = vec![
        "the target replaced its program at 12s: what it held until then is discarded".to_owned(),
    ];
    report
}

/// A run of an action again and again, which leaks.
pub(crate) fn cycled() -> Report {
    let mut report = report();
    let cycle = |number: u32| Cycle {
        number,
        at_seconds: f64::from(number) * 0.25,
        command_seconds: 0.012,
        exit_status: (number != 24).then_some(i32::from(number == 9)),
        left_bytes: if number < 3 { 32_512 } else { 1024 },
        left_count: if number < 3 { 501 } else { 1 },
        outstanding_bytes: 65_000 + 1024 * u64::from(number),
        outstanding_count: 1002 + u64::from(number),
    };
    let path = |allocator: TopAllocator, leaks: bool| LeftPerCycle {
        left_bytes_per_cycle: if leaks { 1024.0 } else { 0.0 },
        left_count_per_cycle: if leaks { 1.0 } else { 0.0 },
        cycles: if leaks { 20 } else { 1 },
        leaks: Some(leaks),
        allocator,
    };
    report.cycles = Some(Cycles {
        kind: CycleKind::Action,
        command: vec!["curl".to_owned(), "http://localhost:8080/".to_owned()],
        requested: 30,
        completed: 25,
        failed: 2,
        warm_up: 5,
        left_bytes_per_cycle: Some(1024.0),
        left_count_per_cycle: Some(1.5),
        growth_bytes_per_cycle: Some(1024.0),
        growth_bytes_per_cycle_ci95: Some([1000.0, 1100.4]),
        leaks: Some(true),
        reasons: vec!["nearly every cycle left blocks at the same call path".to_owned()],
        cycles: (1..=25).map(cycle).collect(),
        top_allocators: vec![path(order_book(), true), path(deep_cache(), false)],
    });
    report
}

/// A check that failed by a leak and by its resident memory, and let two call paths pass.
pub(crate) fn checked() -> Report {
    let mut report = troubled();
    let leak = report.top_allocators[0].clone();
    let failure = |criterion, reason: &str, allocator: Option<TopAllocator>| Failure {
        criterion,
        reason: reason.to_owned(),
        allocator,
    };
    report.check = Some(Check {
        outcome: Outcome::Failed,
        exit_code: 3,
        judged_seconds: Some(58.2),
        failures: vec![
            failure(
                Criterion::Leak,
                "leaks, +172.4 KiB/s (95 % +166.0 KiB/s to +175.8 KiB/s), confidence 0.93",
                Some(leak.clone()),
            ),
            failure(
                Criterion::MaxRss,
                "43.0 MiB were resident at once, more than the 40.0 MiB of --max-rss",
                None,
            ),
        ],
        suppressed: vec![Excused {
            failure: failure(Criterion::Leak, "leaks, +1.0 KiB/s", Some(deep_cache())),
            because: "fills once, see #412".to_owned(),
        }],
        in_baseline: vec![Excused {
            failure: failure(Criterion::Growing, "grows", Some(plugin())),
            because: "the baseline grew as fast".to_owned(),
        }],
        unused_suppressions: vec!["function \"old_*\" (it was slow)".to_owned()],
        not_judged: vec!["--max-growth: how fast it grows is not known".to_owned()],
        criteria: Criteria {
            fail_on: FailOn::Growing,
            confidence: 0.4,
            severity: Severity::Minor,
            max_growth_bytes_per_second: Some(2777.8),
            max_outstanding_bytes: Some(1 << 24),
            max_rss_bytes: Some(40 << 20),
            max_lost: 0.001,
        },
    });
    report
}

/// A check that passed.
pub(crate) fn passed() -> Report {
    let mut report = report();
    let criteria = checked().check.map(|check| check.criteria);
    report.check = criteria.map(|criteria| Check {
        outcome: Outcome::Passed,
        exit_code: 0,
        judged_seconds: Some(60.0),
        failures: Vec::new(),
        suppressed: Vec::new(),
        in_baseline: Vec::new(),
        unused_suppressions: Vec::new(),
        not_judged: Vec::new(),
        criteria,
    });
    report
}

/// A run of which most memory is not explained.
pub(crate) fn reconciled() -> Report {
    let part = |part, bytes: Option<u64>, known_by| Part {
        part,
        bytes,
        share: bytes.map(|bytes| bytes as f64 / 40_000_000.0),
        known_by,
    };
    let parts = vec![
        part(PartKind::Held, Some(6_000_000), PartKnownBy::Pages),
        part(
            PartKind::SlackWithSurvivors,
            Some(500_000),
            PartKnownBy::Pages,
        ),
        part(PartKind::SlackFree, Some(1_500_000), PartKnownBy::Shape),
        part(PartKind::MappedByProgram, None, PartKnownBy::Unknown),
        part(PartKind::BeforeAttaching, None, PartKnownBy::Unknown),
        part(PartKind::Stacks, Some(4_096), PartKnownBy::Name),
        part(PartKind::MappedFiles, Some(3_000_000), PartKnownBy::Name),
        part(PartKind::Shared, Some(0), PartKnownBy::Name),
        part(PartKind::Unexplained, Some(28_995_904), PartKnownBy::Rest),
    ];
    let unexplained_share = parts[8].share.unwrap_or(0.0);
    Report {
        reconciliation: Some(Reconciliation {
            at_seconds: 12.0,
            rss_bytes: 40_000_000,
            rss_counter_bytes: Some(39_000_000),
            parts: parts.clone(),
            unexplained_share,
            reasons: vec![
                "27.6 MiB in 3 private mappings without a name, on pages without any block that was seen, \
                 the largest with 16.0 MiB"
                    .to_owned(),
                "try --events malloc,mmap: it tells who maps memory past malloc".to_owned(),
            ],
            processes: vec![ReconciledProcess {
                pid: 4242,
                comm: Some("server".to_owned()),
                rss_bytes: 40_000_000,
                rss_counter_bytes: Some(39_000_000),
                parts,
                unexplained_share,
            }],
            processes_left_out: 2,
        }),
        ..report()
    }
}
