//! What memprof says that it took from the target, held against what the target says.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Process, Stage, Trace, Truth, program};

const PAIRS: &str = "300000";

/// Both times are of loads of one machine at different moments, so this holds the estimate to the
/// right size and no closer.
#[test]
fn the_estimated_cost_is_what_the_target_takes_longer() {
    let Some(stage) = Stage::with_bpf("overhead") else {
        return;
    };
    let untraced = stage.path("untraced");
    let mut command = Command::new(program("pairs"));
    command.arg(PAIRS).env("TRUTH_FILE", &untraced);
    Process::start(&stage, "pairs", &mut command).wait(Duration::from_secs(30));
    let untraced = Truth::read(&untraced).fact("cpu_ns") as f64 / 1e9;

    let mut trace = Trace::launch(&stage, "pairs", &[PAIRS], &["--no-children"]);
    let report = trace.finish();
    report.assert_nothing_lost();
    let longer = trace.truth().fact("cpu_ns") as f64 / 1e9 - untraced;
    let overhead = report.at("/quality/overhead");
    let seconds = |name: &str| overhead[name].as_f64().expect("it is known");
    let (estimated, error) = (
        seconds("estimated_target_seconds"),
        seconds("estimated_target_seconds_error"),
    );
    println!("{estimated:.3} ± {error:.3} s estimated, {longer:.3} s longer; {overhead}");
    assert!(
        (0.5 * longer..2.0 * longer).contains(&estimated),
        "{estimated} s of {longer}"
    );
    assert!(error > 0.0 && error < estimated, "{overhead}");
}
