//! Several processes, and several lives of one: fork, exec, vfork, spawn, more than one target.

use crate::harness::{Counts, Report, Sites, Stage, Trace, Truth, start_waiting, wait_attached};

/// Sites that hold something, with what they hold: all that a process that was copied from
/// another can be held to.
fn holding(sites: Sites) -> Vec<(String, u64, u64)> {
    sites
        .into_iter()
        .filter(|(_, site)| site.outstanding_count > 0)
        .map(|(name, site)| (name, site.outstanding_bytes, site.outstanding_count))
        .collect()
}

fn assert_each_process_is_exact(report: &Report, truths: &[Truth]) {
    report.assert_nothing_lost();
    for truth in truths {
        assert_eq!(
            holding(report.sites_of(truth.pid)),
            holding(truth.sites.clone()),
            "what {} holds at its end",
            truth.pid
        );
    }
    let all = truths
        .iter()
        .fold(Counts::default(), |sum, truth| sum.and(truth.total()));
    assert_eq!(report.summary().outstanding_bytes, all.outstanding_bytes);
    assert_eq!(report.summary().outstanding_count, all.outstanding_count);
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn forked_children_start_with_what_their_parent_holds() {
    let Some(stage) = Stage::with_bpf("fork_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "fork", &[], &[]);
    let report = trace.finish();
    let truths = trace.truths();
    assert_eq!(truths.len(), 5, "a parent, three children, a grandchild");
    assert_each_process_is_exact(&report, &truths);
}

#[test]
fn no_children_means_the_launched_process_alone() {
    let Some(stage) = Stage::with_bpf("fork_no_children") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "fork", &[], &["--no-children"]);
    let report = trace.finish();
    assert_only_the_parent_is_followed(&report, trace.truths());
}

#[test]
fn an_attached_process_is_followed_alone() {
    let Some(stage) = Stage::with_bpf("fork_attached_alone") else {
        return;
    };
    let (report, truths) = attach_to_fork(&stage, &[]);
    assert_only_the_parent_is_followed(&report, truths);
}

#[test]
fn an_attached_process_is_followed_into_its_children_if_asked() {
    let Some(stage) = Stage::with_bpf("fork_attached") else {
        return;
    };
    let (report, truths) = attach_to_fork(&stage, &["--children"]);
    assert_each_process_is_exact(&report, &truths);
}

fn attach_to_fork(stage: &Stage, options: &[&str]) -> (Report, Vec<Truth>) {
    let mut target = start_waiting(stage, "fork", &[]);
    let mut trace = Trace::attach(stage, &[target.pid()], options);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    (trace.finish(), Truth::read_all(&stage.path("fork.truth")))
}

fn assert_only_the_parent_is_followed(report: &Report, mut truths: Vec<Truth>) {
    let parent = truths.pop().expect("the parent tells its truth last");
    report.assert_nothing_lost();
    assert_eq!(report.sites(), parent.sites);
    assert_eq!(report.summary(), parent.total());
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn exec_leaves_everything_behind() {
    let Some(stage) = Stage::with_bpf("exec_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "exec", &[], &[]);
    let report = trace.finish();
    assert_second_life_is_exact(&report, &trace.truth());
}

#[test]
fn exec_of_an_attached_process_leaves_everything_behind() {
    let Some(stage) = Stage::with_bpf("exec_attached") else {
        return;
    };
    let mut target = start_waiting(&stage, "exec", &[]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    assert_second_life_is_exact(&report, &Truth::read(&stage.path("exec.truth")));
}

fn assert_second_life_is_exact(report: &Report, truth: &Truth) {
    report.assert_nothing_lost();
    let seen = report.sites();
    assert_eq!(
        seen.get("after_exec"),
        truth.sites.get("after_exec"),
        "{:?}",
        seen.keys()
    );
    assert_eq!(holding(seen), holding(truth.sites.clone()));
    let total = truth.total();
    assert_eq!(
        report.summary().outstanding_bytes,
        total.outstanding_bytes,
        "what was held before the exec is gone"
    );
    assert_eq!(report.summary().outstanding_count, total.outstanding_count);
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn a_vforked_child_shares_its_parents_blocks() {
    let Some(stage) = Stage::with_bpf("vfork_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "vfork", &[], &[]);
    let report = trace.finish();
    assert_shared_memory_is_exact(&report, &trace.truth());
}

#[test]
fn a_vforked_child_shares_its_attached_parents_blocks() {
    let Some(stage) = Stage::with_bpf("vfork_attached") else {
        return;
    };
    attach_to_vfork(&stage, &["--children"]);
}

#[test]
fn a_vforked_child_shares_its_parents_blocks_even_if_children_are_not_followed() {
    let Some(stage) = Stage::with_bpf("vfork_attached_alone") else {
        return;
    };
    attach_to_vfork(&stage, &[]);
}

fn attach_to_vfork(stage: &Stage, options: &[&str]) {
    let mut target = start_waiting(stage, "vfork", &[]);
    let mut trace = Trace::attach(stage, &[target.pid()], options);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(0);
    let report = trace.finish();
    assert_shared_memory_is_exact(&report, &Truth::read(&stage.path("vfork.truth")));
}

fn assert_shared_memory_is_exact(report: &Report, truth: &Truth) {
    report.assert_sites(truth);
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn two_targets_do_not_mix() {
    let Some(stage) = Stage::with_bpf("two_targets") else {
        return;
    };
    let mut first = start_waiting(&stage, "sites", &[]);
    let mut second = start_waiting(&stage, "realloc_chain", &[]);
    let mut trace = Trace::attach(&stage, &[first.pid(), second.pid()], &[]);
    wait_attached(&mut trace, first.pid());
    wait_attached(&mut trace, second.pid());
    first.go();
    second.go();
    first.must_exit(7);
    second.must_exit(0);
    let report = trace.finish();
    report.assert_nothing_lost();
    for name in ["sites", "realloc_chain"] {
        let truth = Truth::read(&stage.path(&format!("{name}.truth")));
        assert_eq!(report.sites_of(truth.pid), truth.sites, "{name}");
    }
}
