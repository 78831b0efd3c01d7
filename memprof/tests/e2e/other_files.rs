//! Targets whose code is not where one would look first: inside the executable, in another root
//! directory, in files that were deleted since.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Process, Report, Stage, Trace, Truth, furnish, start_waiting, wait_attached};

fn assert_exact(report: &Report, truth: &Truth) {
    report.assert_nothing_lost();
    assert_eq!(report.sites(), truth.sites);
    assert_eq!(report.summary(), truth.total());
}

#[test]
fn an_allocator_inside_a_static_executable_when_launched() {
    let Some(stage) = Stage::with_bpf("static_launched") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "sites_static", &[], &[]);
    let report = trace.finish();
    assert_sites_are_exact(&report, &trace.truth());
}

#[test]
fn an_allocator_inside_a_static_executable_when_attached_to() {
    let Some(stage) = Stage::with_bpf("static_attached") else {
        return;
    };
    let mut target = start_waiting(&stage, "sites_static", &[]);
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(7);
    let report = trace.finish();
    assert_exact(&report, &Truth::read(&stage.path("sites_static.truth")));
}

/// Before `main` a static C library allocates the search paths of its loader.
fn assert_sites_are_exact(report: &Report, truth: &Truth) {
    report.assert_nothing_lost();
    let mut seen = report.sites();
    seen.retain(|name, _| truth.sites.contains_key(name));
    assert_eq!(seen, truth.sites);
}

/// `sites` in a root directory of its own, waiting for the go.
fn start_in_root(stage: &Stage, root: &Path) -> Process {
    furnish(root, "sites");
    let mut command = Command::new("/usr/sbin/chroot");
    command
        .arg(root)
        .arg("/sites")
        .env("WAIT_FOR_GO", "1")
        .env("TRUTH_FILE", "/truth")
        .stdin(Stdio::piped());
    let mut target = Process::start(stage, "sites", &mut command);
    target.wait_ready();
    target
}

#[test]
fn a_target_in_another_root_directory_is_found_there() {
    let Some(stage) = Stage::with_bpf("chroot") else {
        return;
    };
    let root = stage.path("root");
    let mut target = start_in_root(&stage, &root);
    let mut trace = Trace::attach(&stage, &[target.pid()], &["-v"]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(7);
    assert_exact(&trace.finish(), &Truth::read(&root.join("truth")));
    // It is the same code, but memprof does not run it, and so can't try inner probes of it.
    let said = trace.process.stderr();
    let malloc = said.lines().find(|line| line.contains(" malloc: "));
    assert!(
        malloc.is_some_and(|line| line.contains("not one trap: memprof runs on another file")),
        "{said}"
    );
}

#[test]
fn a_target_whose_files_were_deleted_is_still_traced() {
    let Some(stage) = Stage::with_bpf("deleted") else {
        return;
    };
    let root = stage.path("root");
    let mut target = start_in_root(&stage, &root);
    for entry in fs::read_dir(&root).expect("the root is a directory") {
        let path = entry.expect("the root can be listed").path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        removed.expect("its files can be deleted");
    }
    let mut trace = Trace::attach(&stage, &[target.pid()], &[]);
    wait_attached(&mut trace, target.pid());
    target.go();
    target.must_exit(7);
    assert_exact(&trace.finish(), &Truth::read(&root.join("truth")));
}
