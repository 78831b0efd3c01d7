//! The JSON is the contract `memprof/report/v1`: exactly its fields, in its order, and it reads
//! back into the same report.

use memprof::report::Report;
use serde_json::Value;

use super::{export, plain, sample};

/// Every field of the contract with the type of its value in the sample, and the added ones.
const FIELDS: &[&str] = &[
    "schema",
    "memprof.version",
    "host.kernel",
    "host.arch",
    "host.cpus",
    "target.kind",
    "target.names[]",
    "target.cgroups[]",
    "target.processes[].pid",
    "target.processes[].comm",
    "target.processes[].exe",
    "target.processes[].cmdline[]",
    "target.processes[].exit_status",
    "target.processes[].exit_signal",
    "target.processes_met",
    "started_at",
    "duration_seconds",
    "events[]",
    "summary.allocated_bytes",
    "summary.allocated_count",
    "summary.freed_bytes",
    "summary.freed_count",
    "summary.inherited_bytes",
    "summary.inherited_count",
    "summary.discarded_bytes",
    "summary.discarded_count",
    "summary.outstanding_bytes",
    "summary.outstanding_count",
    "summary.outstanding_bytes_ci95[]",
    "summary.peak_outstanding_bytes",
    "summary.peak_at_seconds",
    "summary.rss_start_bytes",
    "summary.rss_end_bytes",
    "summary.rss_peak_bytes",
    "summary.mapped_bytes",
    "summary.mapped_count",
    "summary.heap_bytes",
    "summary.thread_stack_bytes",
    "summary.allocator_mapped_bytes",
    "summary.file_mapped_bytes",
    "summary.touched_bytes",
    "summary.given_back_bytes",
    "summary.touched_resident_bytes",
    "summary.touched_ended_bytes",
    "summary.touched_anonymous_bytes",
    "summary.touched_file_bytes",
    "summary.touched_shared_bytes",
    "summary.touched_huge_bytes",
    "summary.touched_by_kernel_bytes",
    "summary.touched_inherited_bytes",
    "summary.touched_copied_bytes",
    "summary.held_touched_bytes",
    "summary.held_untouched_bytes",
    "summary.kept_free_bytes",
    "summary.unattributed_bytes",
    "leak_detection.verdict",
    "leak_detection.leak_detected",
    "leak_detection.confidence",
    "leak_detection.severity",
    "leak_detection.rate_bytes_per_second",
    "leak_detection.rate_ci95_bytes_per_second[]",
    "leak_detection.r_squared",
    "leak_detection.projected_24h_bytes",
    "leak_detection.limit_bytes",
    "leak_detection.projected_oom_seconds",
    "leak_detection.reasons[]",
    "top_allocators[].rank",
    "top_allocators[].pid",
    "top_allocators[].processes",
    "top_allocators[].group",
    "top_allocators[].stack_id",
    "top_allocators[].kind",
    "top_allocators[].mapping",
    "top_allocators[].outstanding_bytes",
    "top_allocators[].outstanding_count",
    "top_allocators[].outstanding_bytes_ci95[]",
    "top_allocators[].shown_bytes",
    "top_allocators[].shown_count",
    "top_allocators[].allocated_bytes",
    "top_allocators[].allocated_count",
    "top_allocators[].freed_bytes",
    "top_allocators[].freed_count",
    "top_allocators[].oldest_age_seconds",
    "top_allocators[].verdict",
    "top_allocators[].confidence",
    "top_allocators[].rate_bytes_per_second",
    "top_allocators[].rate_ci95_bytes_per_second[]",
    "top_allocators[].left_bytes",
    "top_allocators[].severity",
    "top_allocators[].function",
    "top_allocators[].file",
    "top_allocators[].line",
    "top_allocators[].directory",
    "top_allocators[].module",
    "top_allocators[].stack[].function",
    "top_allocators[].stack[].file",
    "top_allocators[].stack[].line",
    "top_allocators[].stack[].directory",
    "top_allocators[].stack[].module",
    "top_allocators[].stack[].address",
    "top_allocators[].stack[].offset",
    "top_allocators[].stack[].elf_address",
    "top_allocators[].stack[].build_id",
    "top_allocators[].stack[].inlined",
    "top_allocators[].stack[].unknown",
    "top_allocators[].touched_bytes",
    "top_allocators[].untouched_bytes",
    "top_allocators[].kept_free_bytes",
    "top_allocators[].first_touched_by[].stack_id",
    "top_allocators[].first_touched_by[].bytes",
    "top_allocators[].first_touched_by[].function",
    "top_allocators[].first_touched_by[].file",
    "top_allocators[].first_touched_by[].line",
    "top_touchers[].rank",
    "top_touchers[].pid",
    "top_touchers[].stack_id",
    "top_touchers[].resident_bytes",
    "top_touchers[].touched_bytes",
    "top_touchers[].given_back_bytes",
    "top_touchers[].anonymous_bytes",
    "top_touchers[].file_bytes",
    "top_touchers[].shared_bytes",
    "top_touchers[].huge_bytes",
    "top_touchers[].by_kernel_bytes",
    "top_touchers[].copied_bytes",
    "top_touchers[].inherited_bytes",
    "top_touchers[].function",
    "top_touchers[].file",
    "top_touchers[].line",
    "top_touchers[].directory",
    "top_touchers[].module",
    "top_touchers[].stack[]",
    "processes[].pid",
    "processes[].comm",
    "processes[].cgroup",
    "processes[].container",
    "processes[].ended",
    "processes[].allocated_bytes",
    "processes[].allocated_count",
    "processes[].freed_bytes",
    "processes[].freed_count",
    "processes[].outstanding_bytes",
    "processes[].outstanding_count",
    "processes[].touched_bytes",
    "processes[].touched_resident_bytes",
    "processes[].touched_anonymous_bytes",
    "processes[].touched_file_bytes",
    "processes[].touched_shared_bytes",
    "processes[].rss_bytes",
    "processes[].pss_bytes",
    "processes[].verdict",
    "processes[].confidence",
    "processes[].rate_bytes_per_second",
    "processes[].rate_ci95_bytes_per_second[]",
    "processes[].coverage[].module",
    "processes[].coverage[].allocator",
    "group_by",
    "groups[].name",
    "groups[].container",
    "groups[].processes",
    "groups[].living",
    "groups[].allocated_bytes",
    "groups[].allocated_count",
    "groups[].freed_bytes",
    "groups[].freed_count",
    "groups[].outstanding_bytes",
    "groups[].outstanding_count",
    "groups[].touched_resident_bytes",
    "groups[].rss_bytes",
    "groups[].pss_bytes",
    "groups[].verdict",
    "groups[].confidence",
    "groups[].rate_bytes_per_second",
    "marks[].at_seconds",
    "marks[].label",
    "windows[].from",
    "windows[].to",
    "windows[].left_bytes",
    "windows[].left_count",
    "windows[].top_allocators[]",
    "cycles.kind",
    "cycles.command[]",
    "cycles.requested",
    "cycles.completed",
    "cycles.failed",
    "cycles.warm_up",
    "cycles.left_bytes_per_cycle",
    "cycles.left_count_per_cycle",
    "cycles.growth_bytes_per_cycle",
    "cycles.growth_bytes_per_cycle_ci95[]",
    "cycles.leaks",
    "cycles.reasons[]",
    "cycles.cycles[].number",
    "cycles.cycles[].at_seconds",
    "cycles.cycles[].command_seconds",
    "cycles.cycles[].exit_status",
    "cycles.cycles[].left_bytes",
    "cycles.cycles[].left_count",
    "cycles.cycles[].outstanding_bytes",
    "cycles.cycles[].outstanding_count",
    "cycles.top_allocators[].left_bytes_per_cycle",
    "cycles.top_allocators[].left_count_per_cycle",
    "cycles.top_allocators[].cycles",
    "cycles.top_allocators[].leaks",
    "cycles.top_allocators[].allocator",
    "timeline[].at_seconds",
    "timeline[].outstanding_bytes",
    "timeline[].outstanding_count",
    "timeline[].touched_resident_bytes",
    "timeline[].rss_bytes",
    "reconciliation.at_seconds",
    "reconciliation.rss_bytes",
    "reconciliation.rss_counter_bytes",
    "reconciliation.parts[].part",
    "reconciliation.parts[].bytes",
    "reconciliation.parts[].share",
    "reconciliation.parts[].known_by",
    "reconciliation.unexplained_share",
    "reconciliation.reasons[]",
    "reconciliation.processes[].pid",
    "reconciliation.processes[].comm",
    "reconciliation.processes[].rss_bytes",
    "reconciliation.processes[].rss_counter_bytes",
    "reconciliation.processes[].parts[].part",
    "reconciliation.processes[].parts[].bytes",
    "reconciliation.processes[].parts[].share",
    "reconciliation.processes[].parts[].known_by",
    "reconciliation.processes[].unexplained_share",
    "reconciliation.processes_left_out",
    "reconciliation_unknown",
    "quality.complete",
    "quality.lost.alloc",
    "quality.lost.free",
    "quality.lost.stack",
    "quality.lost.map",
    "quality.lost.unmap",
    "quality.lost.process",
    "quality.unknown_frees",
    "quality.unknown_unmaps",
    "quality.abandoned_calls",
    "quality.unlisted_processes",
    "quality.superseded",
    "quality.faults.lost_changes",
    "quality.faults.placeless_changes",
    "quality.faults.guessed_pages",
    "quality.faults.around_pages",
    "quality.faults.populated_bytes",
    "quality.faults.unplaced_bytes",
    "quality.faults.superseded_pages",
    "quality.faults.found_gone_pages",
    "quality.faults.pages_not_followed",
    "quality.faults.stacks_not_followed",
    "quality.stacks.total",
    "quality.stacks.by_tables",
    "quality.stacks.by_frame_pointer",
    "quality.stacks.by_copy",
    "quality.stacks.copies_refused",
    "quality.truncated_stacks",
    "quality.unwind_errors",
    "quality.frames_total",
    "quality.frames_unsymbolized",
    "quality.sampling.mode",
    "quality.sampling.mean_bytes",
    "quality.governor[].at_seconds",
    "quality.governor[].action",
    "quality.governor[].share",
    "quality.coverage[].module",
    "quality.coverage[].allocator",
    "quality.coverage[].attached[]",
    "quality.coverage[].missing[]",
    "quality.overhead.probe_hits",
    "quality.overhead.estimated_target_seconds",
    "quality.overhead.estimated_target_seconds_error",
    "quality.overhead.collector_cpu_seconds",
    "quality.overhead.collector_rss_bytes",
    "quality.overhead.ring_bytes",
    "quality.overhead.collector_threads",
    "quality.notes[]",
];

/// The paths of all leaves of `value`, of a list its first element's.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        // As those of the report.
        _ if path == "cycles.top_allocators[].allocator" => found.push(path.to_owned()),
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(field, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(elements) => {
            let element = elements.first().expect("the sample has no empty list");
            // The allocators of a window are those of the report, and frames are frames.
            if ["windows[].top_allocators", "top_touchers[].stack"].contains(&path) {
                found.push(format!("{path}[]"));
            } else {
                leaves(element, &format!("{path}[]"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// A report in which no list is empty.
fn full_report() -> Report {
    let mut report = sample::with_faults(sample::grouped());
    report.quality.coverage.reverse();
    report.cycles = sample::cycled().cycles;
    report.reconciliation = sample::reconciled().reconciliation;
    report
}

#[test]
fn the_fields_are_exactly_those_of_the_contract() {
    let written = export("json", plain(80), &[], &full_report());
    let mut found = Vec::new();
    leaves(&serde_json::from_str(&written).unwrap(), "", &mut found);
    found.sort_unstable();
    let mut expected: Vec<_> = FIELDS.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn the_fields_stand_in_the_order_of_the_contract() {
    let written = export("json", plain(80), &[], &full_report());
    let mut rest = written.as_str();
    for path in FIELDS {
        let name = path.trim_end_matches("[]").rsplit('.').next().unwrap();
        let key = format!("\"{name}\":");
        let at = rest
            .find(&key)
            .unwrap_or_else(|| panic!("{path} is out of order"));
        rest = &rest[at + key.len()..];
    }
}

#[test]
fn a_report_reads_back_as_it_was() {
    for report in [
        sample::report(),
        sample::earlier(),
        sample::troubled(),
        sample::cycled(),
        sample::grouped(),
        sample::faulted(),
        sample::reconciled(),
    ] {
        let written = export("json", plain(80), &[], &report);
        let read: Report = serde_json::from_str(&written).unwrap();
        assert_eq!(read, report);
        assert_eq!(export("json", plain(80), &[], &read), written);
    }
}

#[test]
fn what_is_unknown_is_null_and_what_was_not_judged_has_no_figures() {
    let value = serde_json::to_value(sample::report()).unwrap();
    assert_eq!(
        value["leak_detection"],
        serde_json::json!({
            "verdict": "insufficient_data", "leak_detected": false, "confidence": null,
            "severity": null, "rate_bytes_per_second": null, "rate_ci95_bytes_per_second": null,
            "r_squared": null, "projected_24h_bytes": null, "limit_bytes": null,
            "projected_oom_seconds": null, "reasons": ["this version does not judge growth"],
        })
    );
    let first = &value["top_allocators"][0];
    assert_eq!(first["stack"][0]["file"], Value::Null);
    assert_eq!(first["stack"][0]["address"], "0x7f1234567000");
    assert_eq!(first["stack_id"], "9f1c000000000001");
}

#[test]
fn a_report_with_fields_of_a_later_version_still_reads() {
    let mut value = serde_json::to_value(sample::report()).unwrap();
    value["summary"]["added_later"] = 7.into();
    value["added_later"] = Value::Null;
    assert_eq!(
        serde_json::from_value::<Report>(value).unwrap(),
        sample::report()
    );
}

#[test]
fn another_schema_is_refused_by_name() {
    let mut value = serde_json::to_value(sample::report()).unwrap();
    value["schema"] = "memprof/report/v2".into();
    let error = serde_json::from_value::<Report>(value).unwrap_err();
    assert!(error.to_string().contains("memprof/report/v2"), "{error}");
}

#[test]
fn a_report_from_before_memory_was_taken_apart_still_reads() {
    let mut value = serde_json::to_value(sample::report()).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("reconciliation").unwrap();
    fields.remove("reconciliation_unknown").unwrap();
    assert_eq!(
        serde_json::from_value::<Report>(value).unwrap(),
        sample::report()
    );
}
