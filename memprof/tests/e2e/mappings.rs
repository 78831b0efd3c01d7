//! Code that comes while a program runs: libraries that it loads, programs that it becomes, code
//! that it makes. The stacks through it are whole, and are those of the right file.
//!
//! How soon they are whole depends on what else the machine has to do, so what is said of the
//! first millisecond must be true of one of a few tries.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use memprof::target::mappings::Backing;
use memprof::target::mmap_events::MmapEvents;
use memprof::target::mmap_records::{CodeChange, CodeEvent};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::harness::{Report, Stage, Trace, plugin_library};

/// Levels of calls in `tests/programs/plugin.c` and `execs.c`.
const LEVELS: usize = 10;
/// Bits of a plugin's number in the stacks of `tests/programs/plugins.c`.
const BITS: usize = 10;
/// What each of their allocations has.
const BYTES: u64 = 65536;
/// A thousand files take their time to be read for names.
const LONG: Duration = Duration::from_secs(90);
const TRIES: usize = 4;
/// The share of stacks that are whole a millisecond after the code came, at least: of an
/// unoptimized memprof, on a machine that has other things to do.
const SOON: f64 = 0.6;
/// The same after twenty milliseconds.
const SETTLED: f64 = 0.99;

/// The frames of a row, innermost first, without those that were inlined: name and module.
fn frames(row: &Value) -> Vec<(&str, &str)> {
    let frames = row["stack"].as_array().expect("a stack is a list");
    frames
        .iter()
        .filter(|frame| frame["inlined"] == false)
        .map(|frame| (text(frame, "function"), text(frame, "module")))
        .collect()
}

fn text<'frame>(frame: &'frame Value, field: &str) -> &'frame str {
    frame[field].as_str().unwrap_or("?")
}

/// What called the ten levels above `malloc`, and its callers, if all ten are there and in order.
fn above_levels<'frames, 'text>(
    frames: &'frames [(&'text str, &'text str)],
) -> Option<(&'text str, &'frames [(&'text str, &'text str)])> {
    let first = frames.iter().position(|frame| frame.0 == "level_9")?;
    let (levels, above) = frames[first..].split_at_checked(LEVELS)?;
    let called = above.first()?.0;
    let in_order = (0..LEVELS)
        .rev()
        .zip(levels)
        .all(|(level, frame)| frame.0 == format!("level_{level}"));
    in_order.then_some((called, &above[1..]))
}

/// The number of the plugin that a stack of `plugins` says it is in.
fn plugin_number(callers: &[(&str, &str)]) -> Option<usize> {
    let path = callers.iter().skip_while(|frame| frame.0 != "load_plugin");
    let mut path = path.skip(1).map(|frame| frame.0);
    let mut number = 0;
    for bit in 0..BITS {
        match path.next()? {
            "zero" => {}
            "one" => number |= 1 << bit,
            _ => return None,
        }
    }
    path.next().filter(|&name| name == "main").map(|_| number)
}

fn is_whole(frames: &[(&str, &str)]) -> bool {
    frames.last().is_some_and(|frame| frame.0 == "_start")
}

/// The share of whole stacks, by the function that was called.
type Shares = BTreeMap<String, f64>;

/// Runs `plugins` with so many copies of the plugin, which are equal but for their names.
fn plugins(stage: &Stage, count: usize, keep: bool) -> Shares {
    let library = plugin_library();
    for number in 0..count {
        let copy = stage.path(&format!("plugin-{number}.so"));
        fs::copy(&library, copy).expect("a copy can be made");
    }
    let directory = stage.path("");
    let directory = directory.to_str().expect("a path in UTF-8");
    let arguments = [directory, &count.to_string(), if keep { "1" } else { "0" }];
    // Not with children: memprof's own allocations would be probed too, and it makes many when it
    // names the functions of so many files.
    let mut trace = Trace::launch(stage, "plugins", &arguments, &["--no-children"]);
    trace.process.wait(LONG);
    let report = trace.finish();
    report.assert_nothing_lost();
    let mut whole: BTreeMap<String, usize> = BTreeMap::new();
    for row in report.rows() {
        let frames = frames(row);
        let Some((called, callers)) = above_levels(&frames) else {
            continue;
        };
        let Some(number) = plugin_number(callers).filter(|_| is_whole(callers)) else {
            continue;
        };
        *whole.entry(called.to_owned()).or_default() += 1;
        let wrong = frames.iter().find(|(name, module)| {
            name.starts_with("level_") && !module.ends_with(&format!("/plugin-{number}.so"))
        });
        assert_eq!(wrong, None, "in a stack of plugin {number}");
    }
    shares(&report, whole, count)
}

fn shares(report: &Report, whole: BTreeMap<String, usize>, all: usize) -> Shares {
    println!("{whole:?} of {all} each; {}", report.at("/quality/stacks"));
    let whole = whole.into_iter();
    whole
        .map(|(called, whole)| (called, whole as f64 / all as f64))
        .collect()
}

/// Tries until the stacks of a millisecond after are as they should be, and holds all tries to
/// what must be so in any case.
fn assert_soon_whole(mut one_try: impl FnMut() -> Shares) {
    let mut best: f64 = 0.0;
    for _ in 0..TRIES {
        let shares = one_try();
        if let Some(settled) = shares.get("level_much_later") {
            assert!(*settled >= SETTLED, "{shares:?}");
        }
        best = best.max(shares.get("level_later").copied().unwrap_or(0.0));
        if best >= SOON {
            return;
        }
    }
    panic!("of stacks a millisecond after, {best} are whole at the best");
}

/// Equal code at equal addresses: only the order of events tells whose the stacks are.
#[test]
fn a_plugin_that_takes_the_place_of_another_has_its_own_stacks() {
    let Some(stage) = Stage::with_bpf("plugins_in_turn") else {
        return;
    };
    assert_soon_whole(|| plugins(&stage, 1000, false));
}

#[test]
fn a_plugin_among_many_has_whole_stacks() {
    let Some(stage) = Stage::with_bpf("plugins_kept") else {
        return;
    };
    assert_soon_whole(|| plugins(&stage, 200, true));
}

#[test]
fn a_program_that_becomes_another_has_whole_stacks() {
    let Some(stage) = Stage::with_bpf("execs") else {
        return;
    };
    assert_soon_whole(|| {
        let mut trace = Trace::launch(&stage, "execs", &["100"], &["--no-children"]);
        let report = trace.finish();
        report.assert_nothing_lost();
        let mut whole: BTreeMap<String, usize> = BTreeMap::new();
        let rows = report.rows().iter();
        for row in rows.filter(|row| row["allocated_bytes"] == BYTES) {
            let frames = frames(row);
            if let Some((called, callers)) = above_levels(&frames)
                && callers.first().is_some_and(|frame| frame.0 == "main")
                && is_whole(callers)
            {
                *whole.entry(called.to_owned()).or_default() += 1;
            }
        }
        shares(&report, whole, 101)
    });
}

#[test]
fn a_flood_of_code_neither_stalls_memprof_nor_makes_it_grow() {
    let Some(stage) = Stage::with_bpf("flood") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "flood", &["2"], &["--no-children"]);
    let report = trace.finish();
    let truth = trace.truth();
    println!(
        "{} mappings; {}",
        truth.fact("mapped"),
        report.at("/quality/notes")
    );
    assert!(truth.fact("mapped") > 50_000, "a trickle");
    report.assert_nothing_lost();
    assert_eq!(report.sites().get("steady"), truth.sites.get("steady"));
    let steady = report.rows().iter().find(|row| row["function"] == "steady");
    let steady = steady.expect("the site has a row");
    assert!(frames(steady).iter().any(|frame| frame.0 == "start_thread"));
    let resident = report.number("/quality/overhead/collector_rss_bytes");
    assert!(resident < 200 << 20, "{resident} bytes");
}

/// Nanoseconds of the clock that the events have.
fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

fn wait_for(
    events: &mut MmapEvents,
    mut wanted: impl FnMut(&CodeEvent) -> bool,
) -> Option<CodeEvent> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let (found, _) = events.read();
        if let Some(event) = found.into_iter().find(&mut wanted) {
            return Some(event);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

#[test]
fn executable_mappings_are_told_and_others_are_not() {
    let Some(stage) = Stage::with_bpf("told") else {
        return;
    };
    let path = stage.path("code");
    fs::write(&path, [0; 8192]).expect("a file can be written");
    let file = fs::File::open(&path).expect("it is there");
    let mut events = MmapEvents::open().expect("root may listen");
    let before = monotonic();
    // SAFETY: nobody writes to the file.
    let data = unsafe { MmapOptions::new().map(&file) }.expect("a mapping");
    // SAFETY: as above.
    let code = unsafe { MmapOptions::new().map_exec(&file) }.expect("a mapping");
    let at = |mapped: &[u8]| mapped.as_ptr() as u64;
    let mut told_of_data = false;
    let event = wait_for(&mut events, |event| {
        let CodeChange::Mapped(mapping) = &event.change else {
            return false;
        };
        told_of_data |= event.pid.0 == std::process::id() && mapping.start == at(&data);
        event.pid.0 == std::process::id() && mapping.start == at(&code)
    });
    let event = event.expect("it is told");
    let CodeChange::Mapped(mapping) = event.change else {
        panic!("{event:?}");
    };
    assert!(!told_of_data && mapping.executable && !mapping.writable);
    assert_eq!(mapping.end - mapping.start, 8192);
    let Backing::File { path: told, .. } = mapping.backing else {
        panic!("{mapping:?}");
    };
    assert!(told.ends_with("/told/code"), "{told}");
    assert!(before <= event.time && event.time <= monotonic());
}

#[test]
fn records_that_find_no_room_are_suspected_at_once_and_counted_with_the_next_one() {
    let Some(_stage) = Stage::with_bpf("lost_records") else {
        return;
    };
    let map = || {
        let code = MmapOptions::new().len(4096).map_anon().expect("memory");
        drop(code.make_exec().expect("it may be executable"));
    };
    let mut events = MmapEvents::open().expect("root may listen");
    for _ in 0..20_000 {
        map();
    }
    let (found, look) = events.read();
    assert!(look.incomplete && !found.is_empty());
    let mut lost = look.lost;
    let start = Instant::now();
    while lost == 0 && start.elapsed() < Duration::from_secs(5) {
        map();
        lost += events.read().1.lost;
    }
    assert!(lost > 0);
}
