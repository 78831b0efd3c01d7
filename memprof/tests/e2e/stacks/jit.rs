//! The stack matrix for code that is made at run time, as a program of JavaScript makes it when
//! nothing is asked of it: interpreted first, compiled as it gets hot, then again and better. The
//! truth is the script: what it keeps, and the names of its functions.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{LEAST_ALLOCATIONS, LONG, say};
use crate::harness::{Stage, Trace, missing};
use crate::names::installed;

/// Buffers that the script keeps, and the bytes of each.
const BUFFERS: u64 = 6_000;
const BUFFER_BYTES: u64 = 20_011;

/// Whether a frame is a compiled function of the script's. A name in the perf map has the kind of
/// code before the function's name, and the place in the source behind it.
fn is_of_the_script(frame: &Value) -> bool {
    let name = frame["function"].as_str().unwrap_or_default();
    name.starts_with("JS:") && name.contains("/orders.js:")
}

/// Whether a frame has a name, or is in a file that has no names for its functions.
fn is_known(frame: &Value) -> bool {
    frame["function"].is_string() || frame["unknown"] == "stripped"
}

#[test]
fn stacks_through_interpreted_and_compiled_javascript_are_whole_and_named() {
    let case = "stack_node";
    let Some(program) = installed("node").or_else(|| installed("nodejs")) else {
        missing(case, "node is not installed");
        return;
    };
    let Some(stage) = Stage::with_bpf(case) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/orders.js");
    let (buffers, bytes) = (BUFFERS.to_string(), BUFFER_BYTES.to_string());
    let target = [
        program.as_os_str(),
        "--perf-basic-prof".as_ref(),
        script.as_os_str(),
        buffers.as_ref(),
        bytes.as_ref(),
    ];
    let mut trace = Trace::launch_alone(&stage, 200, &target, |command| {
        command
            .stdin(Stdio::null())
            // It leaves a log where it runs.
            .current_dir(stage.path(""))
            .env_remove("NODE_OPTIONS")
            .env_remove("NODE_EXTRA_CA_CERTS");
    });
    trace.process.wait(LONG);
    let report = trace.finish();
    let pid = report.number("/target/processes/0/pid");
    // It leaves this behind; what memprof read of it shows in the names.
    let _ = fs::remove_file(format!("/tmp/perf-{pid}.map"));
    report.assert_nothing_lost();

    let (mut all, mut whole, mut named) = (0, 0, 0);
    for row in report.rows() {
        let count = |field: &str| row[field].as_u64().expect("a count");
        let buffers = count("allocated_count");
        if count("allocated_bytes") != BUFFER_BYTES * buffers {
            continue;
        }
        all += buffers;
        let stack = row["stack"].as_array().expect("a stack is a list");
        let outermost = stack.last().map(|frame| &frame["function"]);
        if stack.iter().all(is_known) && outermost.is_some_and(|name| name == "_start") {
            whole += buffers;
        }
        if stack.iter().any(is_of_the_script) {
            named += buffers;
        }
    }
    let share = |part: u64| part as f64 * 100.0 / all.max(1) as f64;
    say(&format!(
        "stacks of {case:20} {all:6} buffers: {:6.2} % whole with names, {:5.2} % by \
         functions of the script, the others while these were interpreted",
        share(whole),
        share(named)
    ));
    // A few may be in stacks that the report does not reach.
    assert!((BUFFERS * 99 / 100..=BUFFERS).contains(&all), "{all}");
    assert_eq!(whole, all, "buffers with whole stacks and names");
    // When it compiles, the machine decides. What is interpreted goes by the interpreter's name.
    assert!(named >= LEAST_ALLOCATIONS, "{named} of {all}");
}
