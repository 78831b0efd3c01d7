//! The two witnesses against each other, without memprof: what the programs say of themselves is
//! what the counting shim saw them do. Needs neither root nor BPF.

use std::process::Command;

use crate::harness::{Process, ShimTotals, Stage, Truth, program};

/// Runs a program under the shim; the truths of its processes and the shim's totals.
fn run(name: &str, arguments: &[&str], status: i32) -> (Vec<Truth>, Vec<ShimTotals>) {
    let stage = Stage::new(&format!("shim_{name}"));
    let truth = stage.path("truth");
    let mut command = Command::new(program(name));
    command
        .args(arguments)
        .env("TRUTH_FILE", &truth)
        .envs(ShimTotals::environment(&stage));
    Process::start(&stage, name, &mut command).must_exit(status);
    (Truth::read_all(&truth), ShimTotals::read_all(&stage))
}

#[test]
fn programs_agree_with_the_shim() {
    let programs: [(&str, &[&str], i32); 11] = [
        ("sites", &[], 7),
        ("threads", &[], 0),
        ("realloc_chain", &[], 0),
        ("realloc_fail", &[], 0),
        ("calloc_overflow", &[], 0),
        ("fork", &[], 0),
        ("vfork", &[], 0),
        ("midlife", &[], 0),
        ("longjmp", &[], 0),
        ("churn", &["2", "20000"], 0),
        ("deep", &["40"], 0),
    ];
    for (name, arguments, status) in programs {
        let (truths, shim) = run(name, arguments, status);
        for truth in truths {
            let seen = shim
                .iter()
                .find(|totals| totals.pid == truth.pid)
                .unwrap_or_else(|| panic!("{name}: the shim did not see {}", truth.pid));
            let told = truth.total();
            assert_eq!(seen.unknown_frees, 0, "{name}");
            match truth.other_allocations {
                Some(0) => assert_eq!(seen.counts, told, "{name}"),
                others => assert_eq!(
                    Some(seen.counts.allocated_count - told.allocated_count),
                    others,
                    "{name}"
                ),
            }
        }
    }
}

#[test]
fn the_second_life_after_exec_agrees_with_the_shim() {
    let (truths, shim) = run("exec", &[], 0);
    let second = shim
        .iter()
        .find(|totals| totals.life == 1)
        .expect("the shim saw a second life");
    assert_eq!(second.counts, truths[0].total());
}

#[test]
fn cpp_allocations_reach_the_shim_through_operator_new() {
    let (truths, shim) = run("bad_alloc", &[], 0);
    let told = truths[0].total();
    // The exceptions and the emergency pool of the C++ library come on top.
    assert!(shim[0].counts.allocated_count >= told.allocated_count);
    assert!(shim[0].counts.outstanding_bytes >= told.outstanding_bytes);
    assert_eq!(truths[0].fact("caught"), 300);
    assert_eq!(truths[0].fact("passed"), 300);
}
