//! Processes that are found by what they are: by name, by cgroup, all of them; in containers too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Counts, PATIENCE, Process, Report, Stage, Trace, Truth, build_with, furnish, missing,
    patched_bytes, program, wait_attached, wait_probed, wait_until,
};

/// A `holder` that does as it is told.
struct Holder {
    process: Process,
    pid: u32,
    answered: usize,
}

impl Holder {
    /// Starts `command`, which becomes a holder.
    fn start(stage: &Stage, name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped());
        // Another root has no such file: the truth is told to standard output there.
        if command.get_envs().all(|(name, _)| name != "TRUTH_FILE") {
            command.env("TRUTH_FILE", stage.path("truth"));
        }
        let mut process = Process::start(stage, name, command);
        let pid = process.wait_ready();
        Self {
            process,
            pid,
            answered: 0,
        }
    }

    /// Tells it something, and waits until it is done.
    fn tell(&mut self, line: &str) {
        self.process.tell(line);
        self.answered += 1;
        wait_until(line, PATIENCE, || {
            self.process.stdout().matches("done\n").count() >= self.answered
        });
    }

    fn end(&mut self) {
        self.process.tell("end");
        self.process.must_exit(0);
    }
}

/// A copy of the holder under another name.
fn renamed(stage: &Stage, name: &str) -> PathBuf {
    let path = stage.path(name);
    fs::copy(program("holder"), &path).expect("it can be copied");
    path
}

fn rows(report: &Report) -> &[Value] {
    let rows = report.at("/processes").as_array();
    rows.expect("processes is a list")
}

fn row(report: &Report, pid: u32) -> Option<&Value> {
    rows(report).iter().find(|row| row["pid"] == pid)
}

/// What each process holds at its end is what it says.
fn assert_exact(report: &Report, truths: &[Truth]) {
    for truth in truths {
        let seen = report.sites_of(truth.pid);
        for (name, expected) in &truth.sites {
            let seen = seen.get(name).copied().unwrap_or_default();
            assert_eq!(
                (seen.outstanding_bytes, seen.outstanding_count),
                (expected.outstanding_bytes, expected.outstanding_count),
                "{name} of {}: {:?}",
                truth.pid,
                rows(report)
            );
        }
    }
}

#[test]
fn processes_of_a_name_are_followed_now_and_as_they_come() {
    let Some(stage) = Stage::with_bpf("scope_comm") else {
        return;
    };
    let mut early = Holder::start(&stage, "early", &mut Command::new(program("holder")));
    early.tell("hold 10");
    let other = renamed(&stage, "outsider");
    let mut outsider = Holder::start(&stage, "outsider", &mut Command::new(&other));
    let mut trace = Trace::of_scope(&stage, &["--comm", "holder"]);
    // What it held before is not in the books of either.
    early.tell("hold 7");
    early.tell("fork");
    outsider.tell("hold 100");
    let mut late = Holder::start(&stage, "late", &mut Command::new(program("holder")));
    late.tell("hold 5");
    early.end();
    late.end();
    outsider.end();
    wait_until("the child tells its truth", PATIENCE, || {
        Truth::read_all(&stage.path("truth")).len() == 4
    });
    let report = trace.stop();
    report.assert_nothing_lost();
    assert_eq!(report.at("/target/kind"), "comm");
    assert_eq!(report.at("/target/names/0"), "holder");
    assert_eq!(report.number("/target/processes_met"), 3);
    assert!(row(&report, outsider.pid).is_none());
    let held = |pid| report.sites_of(pid)["hold_block"].outstanding_count;
    assert_eq!((held(early.pid), held(late.pid)), (7, 5));
    let child = rows(&report)
        .iter()
        .find(|row| row["pid"] != early.pid && row["pid"] != late.pid)
        .expect("the child");
    assert_eq!(child["outstanding_count"], 7 + 3, "a copy, and its own");
    assert_eq!(report.number("/quality/unknown_frees"), 0);
}

#[test]
fn a_process_enters_and_leaves_a_name_by_exec() {
    let Some(stage) = Stage::with_bpf("scope_exec") else {
        return;
    };
    let [entering, leaving] = held_before_and_after_exec(&stage, &["--comm", "holder"]);
    assert_eq!((entering, leaving), (6, 4));
}

#[test]
fn a_process_that_leaves_a_name_stays_if_children_are_wanted() {
    let Some(stage) = Stage::with_bpf("scope_exec_children") else {
        return;
    };
    let scope = ["--comm", "holder", "--children"];
    let [entering, leaving] = held_before_and_after_exec(&stage, &scope);
    assert_eq!((entering, leaving), (6, 4 + 60));
}

/// Blocks seen of a process that becomes a `holder` and of one that was one.
fn held_before_and_after_exec(stage: &Stage, scope: &[&str]) -> [u64; 2] {
    let other = renamed(stage, "outsider");
    let holder = program("holder");
    let mut trace = Trace::of_scope(stage, scope);
    let mut entering = Holder::start(stage, "entering", &mut Command::new(&other));
    entering.tell("hold 50");
    let mut leaving = Holder::start(stage, "leaving", &mut Command::new(&holder));
    leaving.tell("hold 4");
    let become_it = |one: &mut Holder, path: &Path| {
        let before = one.process.stdout().matches("ready").count();
        one.process.tell(&format!("exec {}", path.display()));
        wait_until("it is another program", PATIENCE, || {
            one.process.stdout().matches("ready").count() > before
        });
    };
    become_it(&mut entering, &holder);
    entering.tell("hold 6");
    become_it(&mut leaving, &other);
    leaving.tell("hold 60");
    entering.end();
    leaving.end();
    let report = trace.stop();
    report.assert_nothing_lost();
    [entering.pid, leaving.pid].map(|pid| report.sites_of(pid)["hold_block"].allocated_count)
}

#[test]
fn an_allocator_that_is_loaded_later_is_probed_as_it_is_mapped() {
    let Some(stage) = Stage::with_bpf("late_allocator") else {
        return;
    };
    let flags = ["-shared", "-fPIC", "-O2", "-fno-builtin"];
    let library = build_with(&["late_allocator.c"], "late_allocator.so", &flags);
    let mut holder = Holder::start(&stage, "holder", &mut Command::new(program("holder")));
    let mut trace = Trace::attach(&stage, &[holder.pid], &[]);
    wait_attached(&mut trace, holder.pid);
    let before = patched_bytes(holder.pid);
    holder.tell(&format!("open {}", library.display()));
    wait_until("the library is probed", PATIENCE, || {
        patched_bytes(holder.pid) >= before + 2
    });
    holder.tell("hold 33");
    holder.end();
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(report.sites()["hold_block"].outstanding_count, 33);
    let allocators = report.at("/processes/0/coverage").as_array();
    let allocators = allocators.expect("it was looked at").iter();
    let mut names: Vec<&str> = allocators
        .filter_map(|one| one["allocator"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["glibc", "late_allocator.so"]);
}

#[test]
fn the_whole_machine_is_followed_while_it_compiles() {
    let Some(stage) = Stage::with_bpf("scope_all") else {
        return;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/sites.c");
    let mut early = Holder::start(&stage, "early", &mut Command::new(program("holder")));
    let static_one = program("holder_static");
    let mut trace = Trace::of_scope(&stage, &["--all", "--group-by", "comm"]);
    let mut compiling = Process::start(
        &stage,
        "compiling",
        Command::new("sh").arg("-c").arg(format!(
            "for n in 1 2 3; do gcc -O2 -c -o /dev/null {} & gcc -O1 -c -o /dev/null {}; wait; \
             done",
            source.display(),
            source.display()
        )),
    );
    early.tell("hold 20");
    let mut late = Holder::start(&stage, "late", &mut Command::new(program("holder")));
    late.tell("hold 30");
    late.tell("fork");
    // Its allocator is no other's: it is probed when it is mapped.
    let mut unknown = Holder::start(&stage, "unknown", &mut Command::new(static_one));
    wait_probed(unknown.pid);
    unknown.tell("hold 40");
    // Everybody's calls are traced, whoever else works here.
    let status = compiling.wait(Duration::from_secs(120));
    assert!(status.success(), "{}", compiling.stderr());
    early.end();
    late.end();
    unknown.end();
    let report = trace.stop();
    report.assert_nothing_lost();
    assert_eq!(report.at("/target/kind"), "all");
    // Each compilation is gcc, cc1 and as.
    assert!(report.number("/target/processes_met") > 18);
    let groups = report.at("/groups").as_array().expect("groups");
    let group = |name: &str| groups.iter().find(|group| group["name"] == name);
    assert_eq!(group("cc1").expect("the compiler")["processes"], 6);
    assert_eq!(group("holder").expect("the holders")["processes"], 3);
    assert!(row(&report, trace.process.pid()).is_none(), "never itself");
    let path = report
        .rows()
        .iter()
        .find(|row| row["function"] == "hold_block" && row["group"] == "holder")
        .expect("the path of the holders");
    assert_eq!(path["processes"], 3, "two and a child with copies");
    assert_eq!(path["outstanding_count"], 20 + 30 + 30);
    let alone = report
        .rows()
        .iter()
        .find(|row| row["group"] == "holder_static" && row["function"] == "hold_block");
    assert_eq!(alone.expect("the static one")["outstanding_count"], 40);
}

/// A mount that goes with the test.
struct Mount(PathBuf);

impl Mount {
    fn new(stage: &Stage, name: &str, kind: &str, options: &str) -> Option<Self> {
        let place = stage.path(name);
        fs::create_dir_all(&place).expect("a directory");
        let mut command = Command::new("mount");
        command.args(["-t", kind, "none"]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        let mounted = command.arg(&place).status().is_ok_and(|it| it.success());
        mounted.then_some(Self(place))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A cgroup that goes with the test.
struct Group(PathBuf);

impl Group {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a cgroup can be made");
        Self(path)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it can be moved");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn processes_of_a_cgroup_are_followed_wherever_below_it_they_are() {
    let Some(stage) = Stage::with_bpf("scope_cgroup") else {
        return;
    };
    let Some(root) = Mount::new(&stage, "cgroup", "cgroup2", "") else {
        missing("scope_cgroup", "cgroup2 can't be mounted");
        return;
    };
    let id = std::process::id();
    let group = Group::new(root.0.join(format!("memprof-{id}")));
    let container = format!("{:064x}", 0x1f2e_3d4c_5b6a_u64);
    let inner = Group::new(group.0.join(format!("docker-{container}.scope")));
    let other = Group::new(root.0.join(format!("memprof-{id}-other")));
    let start = |name: &str| Holder::start(&stage, name, &mut Command::new(program("holder")));
    let (mut early, mut outside, mut below) = (start("early"), start("outside"), start("below"));
    early.tell("hold 1");
    group.take(early.pid);
    other.take(outside.pid);
    inner.take(below.pid);
    let path = group.0.to_str().expect("a path in UTF-8").to_owned();
    let mut trace = Trace::of_scope(&stage, &["--cgroup", &path, "--group-by", "cgroup"]);
    early.tell("hold 11");
    below.tell("hold 12");
    outside.tell("hold 13");
    // Known as an outsider by now, and then moved.
    group.take(outside.pid);
    outside.tell("hold 14");
    for one in [&mut early, &mut below, &mut outside] {
        one.end();
    }
    let report = trace.stop();
    report.assert_nothing_lost();
    assert_eq!(report.at("/target/kind"), "cgroup");
    assert_eq!(
        report.at("/target/cgroups/0"),
        &Value::from(format!("/memprof-{id}"))
    );
    let held = |pid| report.sites_of(pid)["hold_block"].outstanding_count;
    let by_group = |name: String| {
        let groups = report.at("/groups").as_array().expect("groups");
        let found = groups.iter().find(|group| group["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {groups:?}"))
            .clone()
    };
    assert_eq!(held(below.pid), 12);
    let outer = by_group(format!("/memprof-{id}"));
    assert_eq!(outer["outstanding_count"], 11 + 14);
    let inside = by_group(format!("/memprof-{id}/docker-{container}.scope"));
    assert_eq!(inside["container"], "docker:000000000000");
    assert_eq!(inside["outstanding_count"], 12);
}

/// A root directory with the holder and what it is linked to, all copied.
fn make_root(stage: &Stage, name: &str) -> PathBuf {
    let root = stage.path(name);
    furnish(&root, "holder");
    root
}

/// A holder in namespaces of its own, with `root` for a root; its first `ready` tells its id in there.
fn contained(stage: &Stage, name: &str, root: &Path) -> (Holder, u32) {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "chroot"])
        .arg(root)
        .arg("/holder");
    command.env_remove("TRUTH_FILE");
    let holder = Holder::start(stage, name, &mut command);
    // Its id outside: the one child of what was started.
    let unshare = holder.process.pid();
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
    let pid = children.expect("children are listed").trim().to_owned();
    (holder, pid.parse().expect("one child"))
}

/// What holders hold, by their ids outside.
fn held(report: &Report) -> BTreeMap<u32, Counts> {
    let pids = rows(report).iter().filter_map(|row| row["pid"].as_u64());
    let holding = pids.filter_map(|pid| {
        let pid = u32::try_from(pid).ok()?;
        Some((pid, *report.sites_of(pid).get("hold_block")?))
    });
    holding.collect()
}

#[test]
fn a_container_has_a_c_library_of_its_own() {
    let Some(stage) = Stage::with_bpf("scope_container") else {
        return;
    };
    let root = make_root(&stage, "root");
    let (mut inside, pid) = contained(&stage, "inside", &root);
    assert_eq!(inside.pid, 1, "it is in a namespace of its own");
    let mut outside = Holder::start(&stage, "outside", &mut Command::new(program("holder")));
    let mut trace = Trace::of_scope(&stage, &["--comm", "holder"]);
    inside.tell("hold 21");
    outside.tell("hold 22");
    // This container comes when memprof runs, with another copy of the library.
    let late_root = make_root(&stage, "late_root");
    let (mut late, late_pid) = contained(&stage, "late", &late_root);
    wait_probed(late_pid);
    late.tell("hold 23");
    let outside_pid = outside.pid;
    for one in [&mut inside, &mut outside, &mut late] {
        one.process.tell("end");
        one.process.must_exit(0);
    }
    let report = trace.stop();
    report.assert_nothing_lost();
    let held = held(&report);
    let counts: Vec<(u32, u64)> = held
        .iter()
        .map(|(pid, site)| (*pid, site.outstanding_count))
        .collect();
    let mut expected = [(pid, 21), (outside_pid, 22), (late_pid, 23)];
    expected.sort_unstable();
    assert_eq!(counts, expected);
    let coverage = &row(&report, pid).expect("the contained one")["coverage"];
    assert_eq!(coverage[0]["allocator"], "glibc");
}

#[test]
fn a_library_that_two_overlays_show_is_probed_once() {
    let Some(stage) = Stage::with_bpf("scope_overlay") else {
        return;
    };
    let lower = make_root(&stage, "lower");
    let overlay = |name: &str| {
        for part in ["upper", "work"] {
            fs::create_dir_all(stage.path(&format!("{name}_{part}"))).expect("a directory");
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            stage.path(&format!("{name}_upper")).display(),
            stage.path(&format!("{name}_work")).display()
        );
        Mount::new(&stage, name, "overlay", &options)
    };
    let (Some(first), Some(second)) = (overlay("first"), overlay("second")) else {
        missing("scope_overlay", "overlays can't be mounted here");
        return;
    };
    let (mut one, one_pid) = contained(&stage, "one", &first.0);
    let (mut two, two_pid) = contained(&stage, "two", &second.0);
    let mut trace = Trace::of_scope(&stage, &["--comm", "holder"]);
    one.tell("hold 31");
    two.tell("hold 32");
    for holder in [&mut one, &mut two] {
        holder.process.tell("end");
        holder.process.must_exit(0);
    }
    let report = trace.stop();
    report.assert_nothing_lost();
    let held = held(&report);
    assert_eq!(held[&one_pid].allocated_count, 31);
    assert_eq!(held[&two_pid].allocated_count, 32);
    assert_eq!(report.number("/quality/superseded"), 0);
}

#[test]
fn truths_of_all_processes_are_met_under_a_tree_of_them() {
    let Some(stage) = Stage::with_bpf("scope_tree") else {
        return;
    };
    let mut trace = Trace::of_scope(&stage, &["--comm", "fork", "--comm", "threads"]);
    let mut running = Vec::new();
    for name in ["fork", "threads"] {
        let mut command = Command::new(program(name));
        command
            .stdin(Stdio::null())
            .env("TRUTH_FILE", stage.path("truth"));
        running.push(Process::start(&stage, name, &mut command));
    }
    for process in &mut running {
        process.must_exit(0);
    }
    let report = trace.stop();
    report.assert_nothing_lost();
    let truths = Truth::read_all(&stage.path("truth"));
    assert_eq!(truths.len(), 6, "five of the forks, and one with threads");
    assert_exact(&report, &truths);
}
