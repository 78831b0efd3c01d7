//! Names of frames, whatever becomes of the target and its files, wherever the symbols are: each
//! test traces a real program, and the report is made when it is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{MEMPROF, Process, Report, Stage, Trace, missing, program, wait_attached};

/// Node is a program of 100 MB, and the symbols of all of it are read.
const LONG: Duration = Duration::from_secs(120);

/// One frame as the report has it: function, source line or nothing, inlined; or why not.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Named(String, Option<u64>, bool),
    Unnamed(String),
}

fn named(function: &str, line: Option<u64>, inlined: bool) -> Shown {
    Shown::Named(function.to_owned(), line, inlined)
}

fn shown(frame: &Value) -> Shown {
    match (frame["function"].as_str(), frame["unknown"].as_str()) {
        (Some(function), None) => Shown::Named(
            function.to_owned(),
            frame["line"].as_u64(),
            frame["inlined"] == true,
        ),
        (None, Some(why)) => Shown::Unnamed(why.to_owned()),
        _ => panic!("neither name nor reason, or both: {frame}"),
    }
}

/// The line of a source with a remark on it: `/* line of NAME */`.
fn line_of(source: &str, name: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let text = fs::read_to_string(path.join(source)).expect("the source is there");
    let remark = format!("/* line of {name} */");
    let line = text.lines().position(|line| line.contains(&remark));
    line.expect("the line bears its remark") as u64 + 1
}

/// The stack of `names.c` from the caller of malloc to main.
fn whole_path() -> Vec<Shown> {
    let line = |name| Some(line_of("names.c", name));
    vec![
        named("keep_block", line("keep_block"), false),
        named("inlined_call", line("inlined_call"), true),
        named("handle_request", line("handle_request"), false),
        named("main", line("main"), false),
    ]
}

/// The same without lines, and so without what was inlined.
fn names_alone() -> Vec<Shown> {
    ["keep_block", "handle_request", "main"]
        .map(|name| named(name, None, false))
        .into()
}

/// The stack of `names.c` in a report, as far as its own file goes.
fn path_of(report: &Report, pid: u32) -> Vec<&Value> {
    let stacks: Vec<_> = report
        .rows()
        .iter()
        .filter(|row| row["pid"] == pid && row["allocated_bytes"] == 50_000)
        .collect();
    assert_eq!(stacks.len(), 1, "one stack of 50 blocks: {stacks:?}");
    let stack = stacks[0]["stack"].as_array().expect("a stack is a list");
    let module = stack[1]["module"].as_str().expect("the caller has a file");
    let own = stack.iter().filter(|frame| frame["module"] == module);
    own.take_while(|frame| frame["function"] != "_start")
        .take(4)
        .collect()
}

fn shown_path(report: &Report, pid: u32) -> Vec<Shown> {
    path_of(report, pid).into_iter().map(shown).collect()
}

/// Attaches to copies of `names` that `change` has been at, all at once, and lets them run to
/// their end; the report, and their pids.
fn trace_copies(stage: &Stage, copies: &[PathBuf], more: &[&str]) -> (Report, Vec<u32>) {
    let mut targets: Vec<Process> = copies
        .iter()
        .map(|copy| {
            let name = copy.file_name().unwrap_or_default().to_string_lossy();
            let mut command = Command::new(copy);
            command.env("WAIT_FOR_GO", "1").stdin(Stdio::piped());
            let mut target = Process::start(stage, &format!("run-{name}"), &mut command);
            target.wait_ready();
            target
        })
        .collect();
    let pids: Vec<u32> = targets.iter().map(Process::pid).collect();
    let mut trace = Trace::attach(stage, &pids, more);
    for target in &mut targets {
        wait_attached(&mut trace, target.pid());
    }
    for target in &mut targets {
        target.go();
        target.must_exit(0);
    }
    (trace.finish(), pids)
}

fn copy(stage: &Stage, name: &str) -> PathBuf {
    let copy = stage.path(name);
    fs::copy(program("names"), &copy).expect("the program can be copied");
    copy
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the tool is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output.stdout
}

fn objcopy(arguments: &[&str], file: &Path) {
    run(Command::new("objcopy").args(arguments).arg(file));
}

/// Takes the debug information of a program into a file of its own.
fn split_debug(program: &Path) -> PathBuf {
    let debug = program.with_extension("debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .args([program, &debug]));
    objcopy(&["--strip-all"], program);
    debug
}

fn build_id(program: &Path) -> String {
    let notes = run(Command::new("readelf").arg("-n").arg(program));
    let notes = String::from_utf8_lossy(&notes).into_owned();
    let (_, id) = notes.split_once("Build ID: ").expect("it has a build id");
    id.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_program_that_removes_itself_and_ends_or_becomes_another() {
    let Some(stage) = Stage::with_bpf("names_gone") else {
        return;
    };
    for end in ["unlink", "exec"] {
        let file = copy(&stage, end);
        let target = [file.as_os_str(), end.as_ref()];
        let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
            command.stdin(Stdio::null());
        });
        let report = trace.finish();
        assert!(!file.exists(), "it has removed itself");
        report.assert_nothing_lost();
        let pid = report.number("/target/processes/0/pid") as u32;
        assert_eq!(shown_path(&report, pid), whole_path(), "{end}");
    }
}

#[test]
fn a_library_that_another_version_replaces_keeps_its_own_names() {
    let Some(stage) = Stage::with_bpf("names_upgrade") else {
        return;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/renamed_plugin.c");
    let [first, second] = ["first", "second"].map(|version| {
        let library = stage.path(&format!("libplugin_{version}.so"));
        let define = format!("-DALLOCATE=allocate_in_{version}_version");
        run(Command::new("gcc")
            .args(["-shared", "-fPIC", "-O2", "-g", &define, "-o"])
            .args([&library, &source]));
        library
    });
    let host = program("plugin_host");
    let target = [host.as_os_str(), first.as_os_str(), second.as_os_str()];
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command.stdin(Stdio::null());
    });
    let report = trace.finish();
    assert!(!second.exists(), "it has taken the first one's name");
    let names: Vec<_> = report
        .rows()
        .iter()
        .filter(|row| row["allocated_bytes"] == 50_000)
        .map(|row| [1, 2].map(|depth| row["stack"][depth]["function"].as_str()))
        .collect();
    let expected = [Some("allocate_in_first_version"), Some("plugin_entry")];
    assert_eq!(names, [expected]);
}

#[test]
fn every_packing_of_debug_information() {
    let Some(stage) = Stage::with_bpf("names_packed") else {
        return;
    };
    let (mut copies, mut expected) = (Vec::new(), Vec::new());
    for (packing, shows) in [
        ("zlib", whole_path()),
        ("zstd", whole_path()),
        // As it was before 2015.
        ("zlib-gnu", names_alone()),
    ] {
        let file = copy(&stage, packing);
        objcopy(&[&format!("--compress-debug-sections={packing}")], &file);
        copies.push(file);
        expected.push(shows);
    }

    let mini = copy(&stage, "mini");
    let table = stage.path("table");
    run(Command::new("objcopy")
        .args(["--only-keep-debug", "--strip-debug"])
        .args([&mini, &table]));
    run(Command::new("xz").arg(&table));
    let section = format!(".gnu_debugdata={}.xz", table.display());
    objcopy(&["--strip-all", "--add-section", &section], &mini);
    copies.push(mini);
    expected.push(names_alone());

    // What was inlined where stands in the other files; with the package, in that.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/names.c");
    for name in ["split", "packaged"] {
        let file = stage.path(name);
        run(Command::new("gcc")
            .args(["-O2", "-gdwarf-4", "-gsplit-dwarf", "-fno-builtin", "-o"])
            .args([&file, &source]));
        copies.push(file);
    }
    let package = stage.path("packaged.dwp");
    let packaged = stage.path("packaged");
    run(Command::new("dwp")
        .arg("-e")
        .arg(packaged)
        .arg("-o")
        .arg(package));
    let mut split = whole_path();
    split.remove(1);
    split[1] = named(
        "handle_request",
        Some(line_of("names.c", "inlined_call")),
        false,
    );
    expected.push(split);
    expected.push(whole_path());

    let (report, pids) = trace_copies(&stage, &copies, &[]);
    for ((pid, expected), copy) in pids.iter().zip(expected).zip(copies) {
        assert_eq!(shown_path(&report, *pid), expected, "{}", copy.display());
    }
}

#[test]
fn a_stripped_program_says_where_its_names_can_be_had() {
    let Some(stage) = Stage::with_bpf("names_stripped") else {
        return;
    };
    let file = copy(&stage, "stripped");
    let debug = split_debug(&file);
    let (report, pids) = trace_copies(&stage, std::slice::from_ref(&file), &[]);
    let path = path_of(&report, pids[0]);
    let id = build_id(&file);
    let mut names = Vec::new();
    for frame in &path[..3] {
        assert_eq!(shown(frame), Shown::Unnamed("stripped".to_owned()));
        assert_eq!(frame["module"], file.to_str().unwrap_or_default());
        assert_eq!(frame["build_id"], id.as_str());
        assert!(frame["offset"].is_string());
        // Another symbolizer, another time, with the debug file alone.
        let address = frame["elf_address"].as_str().expect("it is known");
        let said = run(Command::new("addr2line")
            .args(["-f", "-e"])
            .args([&debug])
            .arg(address));
        names.extend(
            String::from_utf8_lossy(&said)
                .lines()
                .next()
                .map(str::to_owned),
        );
    }
    // Without -i it knows the inlined function as the innermost of its place.
    assert_eq!(names, ["keep_block", "inlined_call", "main"]);
    let offset = path[0]["offset"].as_str().unwrap_or_default().to_owned();

    for format in ["text", "folded"] {
        let (text, _) = export_of(&stage, &file, format);
        assert!(text.contains(&format!("stripped+{offset}")), "{text}");
        if format == "text" {
            let unbroken: Vec<_> = text.split_whitespace().collect();
            let unbroken = unbroken.join(" ");
            assert!(unbroken.contains(&format!("build id {id}")), "{text}");
        }
    }
}

/// A report of a launched program in another format, and what memprof said.
fn export_of(stage: &Stage, file: &Path, format: &str) -> (String, String) {
    let output = stage.path(format);
    let mut command = Command::new(MEMPROF);
    command
        .args(["trace", "--format", format, "--output"])
        .arg(&output)
        .arg("--")
        .arg(file)
        .stdin(Stdio::null());
    let mut process = Process::start(stage, "memprof", &mut command);
    process.must_exit(0);
    let text = fs::read_to_string(&output).expect("the report was written");
    (text, process.stderr())
}

#[test]
fn debug_files_are_found_where_the_user_says() {
    let Some(stage) = Stage::with_bpf("names_debug_dir") else {
        return;
    };
    let by_id = copy(&stage, "by_id");
    let id = build_id(&by_id);
    let debug = split_debug(&by_id);
    let symbols = stage.path("symbols");
    let place = symbols.join(".build-id").join(&id[..2]);
    fs::create_dir_all(&place).expect("a directory for the debug file");
    fs::rename(debug, place.join(format!("{}.debug", &id[2..]))).expect("it can be moved");

    // Another build, so that the build id does not lead to the first one's file.
    let by_link = stage.path("by_link");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/names.c");
    run(Command::new("gcc")
        .args([
            "-O2",
            "-g",
            "-fno-builtin",
            "-Wl,--build-id=sha1",
            "-DOTHER",
            "-o",
        ])
        .args([&by_link, &source]));
    let debug = split_debug(&by_link);
    objcopy(
        &[&format!("--add-gnu-debuglink={}", debug.display())],
        &by_link,
    );
    let linked = stage.path("linked");
    let folder = linked.join(stage.path("").strip_prefix("/").expect("an absolute path"));
    fs::create_dir_all(&folder).expect("a directory for the debug file");
    fs::rename(&debug, folder.join("by_link.debug")).expect("it can be moved");

    let options = [&symbols, &linked].map(|dir| dir.to_str().expect("a path in UTF-8"));
    let options = ["--debug-dir", options[0], "--debug-dir", options[1]];
    let copies = [by_id, by_link];
    for (options, expected) in [(&options[..], whole_path()), (&[][..], Vec::new())] {
        let (report, pids) = trace_copies(&stage, &copies, options);
        for pid in pids {
            let shown = shown_path(&report, pid);
            if options.is_empty() {
                assert_eq!(shown[0], Shown::Unnamed("stripped".to_owned()));
            } else {
                assert_eq!(shown, expected);
            }
        }
    }
}

#[test]
fn a_debug_directory_that_is_none_is_bad_input() {
    let stage = Stage::new("names_no_debug_dir");
    for nonsense in ["/no/such/directory", "/bin/true"] {
        let mut command = Command::new(MEMPROF);
        command.args(["trace", "--debug-dir", nonsense, "--", "/bin/true"]);
        let mut process = Process::start(&stage, "memprof", command.stdin(Stdio::null()));
        process.must_exit(2);
        let said = process.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(nonsense) && said.contains("directory"),
            "{said}"
        );
    }
}

#[test]
fn the_vdso_and_what_a_signal_interrupts_have_names() {
    let Some(stage) = Stage::with_bpf("names_vdso") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "clock_signal", &[], &[]);
    let report = trace.finish();
    let interrupted = report.rows().iter().filter(|row| {
        let stack = row["stack"].as_array().expect("a stack is a list");
        stack.iter().any(|frame| frame["function"] == "on_alarm")
    });
    let (mut in_vdso, mut all) = (0, 0);
    for row in interrupted {
        let count = row["allocated_count"].as_u64().expect("a count");
        let stack = row["stack"].as_array().expect("a stack is a list");
        all += count;
        // Where the C library's symbols are installed; else it is stripped.
        let handler = stack
            .iter()
            .position(|frame| frame["function"] == "on_alarm");
        let trampoline = &stack[handler.unwrap_or_default() + 1];
        let name = trampoline["function"].as_str();
        assert!(
            name.is_none_or(|name| name == "__restore_rt"),
            "{trampoline}"
        );
        let read_clock = stack.iter().find(|frame| frame["function"] == "read_clock");
        let read_clock = read_clock.expect("it was interrupted, or what it called");
        let line = read_clock["line"].as_u64().expect("its line is known");
        // The loop is one line further up.
        let last = line_of("clock_signal.c", "read_clock");
        assert!((last - 1..=last).contains(&line), "{row:#}");
        for frame in stack.iter().filter(|frame| frame["module"] == "[vdso]") {
            let name = frame["function"].as_str();
            assert!(frame["build_id"].is_string(), "{frame}");
            if name.is_some_and(|name| name.contains("clock_gettime")) {
                in_vdso += count;
            }
        }
    }
    assert_eq!(all, 200);
    assert!(in_vdso > 100, "most of the time is spent there: {in_vdso}");
}

/// The frame that called malloc in `jit.c`.
fn jit_frame(report: &Report) -> Value {
    let rows = report.rows().iter();
    let mut stacks = rows.filter(|row| row["allocated_bytes"] == 50_000);
    let stack = &stacks.next().expect("50 blocks of 1,000 bytes")["stack"];
    let callers = stack.as_array().expect("a stack is a list");
    assert!(
        callers.iter().any(|frame| frame["function"] == "main"),
        "the walk goes through the made function: {stack:#}"
    );
    callers[1].clone()
}

#[test]
fn functions_made_at_run_time_are_named_by_perf_maps_that_can_be_trusted() {
    let Some(stage) = Stage::with_bpf("names_jit") else {
        return;
    };
    for how in [
        "fine", "memfd", "deleted", "none", "fifo", "link", "stranger",
    ] {
        let mut trace = Trace::launch(&stage, "jit", &[how], &[]);
        let report = trace.finish();
        let pid = report.number("/target/processes/0/pid");
        let frame = jit_frame(&report);
        for file in ["perf-{}.map", "memprof-jit-{}"] {
            // Not every way of it makes both.
            let _ = fs::remove_file(format!("/tmp/{}", file.replace("{}", &pid.to_string())));
        }
        assert!(frame["address"].is_string() && frame["offset"].is_null());
        if ["fine", "memfd", "deleted"].contains(&how) {
            let expected = named("jit:make_order /srv/orders.js:7:13", None, false);
            assert_eq!(shown(&frame), expected, "{how}");
            assert_eq!(frame["module"], "[jit]");
        } else {
            assert_eq!(shown(&frame), Shown::Unnamed("jit".to_owned()), "{how}");
            assert!(frame["module"].is_null());
        }
        report.assert_nothing_lost();
    }
}

/// In a PID namespace it is process 1, and in a mount namespace its `/tmp` is another one.
#[test]
fn a_perf_map_is_read_where_the_target_sees_it() {
    let Some(stage) = Stage::with_bpf("names_jit_container") else {
        return;
    };
    let jit = program("jit");
    let script = "mount -t tmpfs none /tmp && exec \"$0\" fine";
    let mut target: Vec<_> = ["unshare", "--pid", "--fork", "--mount", "sh", "-c", script]
        .map(std::ffi::OsString::from)
        .into();
    target.push(jit.into_os_string());
    let mut trace = Trace::launch_with(&stage, &[], &target, |command| {
        command.stdin(Stdio::null());
    });
    let report = trace.finish();
    assert!(
        !Path::new("/tmp/perf-1.map").exists(),
        "it is in the other /tmp"
    );
    let expected = named("jit:make_order /srv/orders.js:7:13", None, false);
    assert_eq!(shown(&jit_frame(&report)), expected);
}

/// A program on the search path.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| {
        fs::metadata(place).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
    })
}

#[test]
fn node_shows_the_functions_of_javascript() {
    const REQUESTS: u64 = 1500;
    const SIZE: u64 = 70_001;
    let Some(node) = installed("node").or_else(|| installed("nodejs")) else {
        missing("names_node", "node is not installed");
        return;
    };
    let Some(stage) = Stage::with_bpf("names_node") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/orders.js");
    let (requests, size) = (REQUESTS.to_string(), SIZE.to_string());
    // Every function is compiled at once and none into another, so that each has its own frame.
    let target = [
        node.as_os_str(),
        "--perf-basic-prof".as_ref(),
        "--no-opt".as_ref(),
        "--always-sparkplug".as_ref(),
        script.as_os_str(),
        requests.as_ref(),
        size.as_ref(),
    ];
    let mut trace = Trace::launch_with(&stage, &["--no-children"], &target, |command| {
        command
            .stdin(Stdio::null())
            // It leaves a log where it runs.
            .current_dir(stage.path(""))
            .env_remove("NODE_EXTRA_CA_CERTS");
    });
    trace.process.wait(LONG);
    let report = trace.finish();
    let pid = report.number("/target/processes/0/pid");
    fs::remove_file(format!("/tmp/perf-{pid}.map")).expect("node has listed its functions");
    report.assert_nothing_lost();

    let path = ["keepOrder", "handleRequest", "serve"];
    let is = |frame: &Value, name: &str| {
        let function = frame["function"].as_str().unwrap_or_default();
        let (kind, rest) = function.split_at_checked(4).unwrap_or_default();
        let found = kind.starts_with("JS:") && rest.starts_with(&format!("{name} "));
        found && function.contains("orders.js:") && frame["module"] == "[jit]"
    };
    let (mut kept, mut elsewhere) = (0, 0);
    for row in report.rows() {
        let stack = row["stack"].as_array().expect("a stack is a list");
        let bytes = row["allocated_bytes"].as_u64().expect("a size");
        let on_the_path = stack
            .windows(path.len())
            .any(|frames| frames.iter().zip(path).all(|(frame, name)| is(frame, name)));
        if on_the_path {
            kept += bytes;
            let outermost = stack.last().and_then(|frame| frame["function"].as_str());
            assert_eq!(outermost, Some("_start"), "a whole stack: {row:#}");
        } else if bytes >= SIZE
            && row["allocated_count"]
                .as_u64()
                .is_some_and(|n| bytes / n == SIZE)
        {
            elsewhere += bytes;
        }
    }
    let all = REQUESTS * SIZE;
    assert!(kept >= all, "{kept} of {all} bytes");
    assert_eq!(
        elsewhere, 0,
        "buffers whose stack names no function of the script"
    );
}
