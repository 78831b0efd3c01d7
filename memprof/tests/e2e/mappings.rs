//! Code that comes while a program runs: libraries that it loads, programs that it becomes, code
//! that it makes. The stacks through it are whole, and are those of the right file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Report, Stage, Trace, plugin_library};

/// Levels of calls in `tests/programs/plugin.c` and `execs.c`, innermost first.
const LEVELS: usize = 10;
/// Bits of a plugin's number in the stacks of `tests/programs/plugins.c`.
const BITS: usize = 10;

/// How many stacks of a kind there are, and how many are whole.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    whole: usize,
    all: usize,
}

impl Share {
    fn count(&mut self, whole: bool) {
        self.whole += usize::from(whole);
        self.all += 1;
    }

    fn percent(self) -> f64 {
        100.0 * self.whole as f64 / self.all.max(1) as f64
    }
}

/// The names of a row's frames that are not inlined, innermost first.
fn names(row: &Value) -> Vec<&str> {
    frames(row)
        .iter()
        .filter(|frame| frame["inlined"] == false)
        .map(|frame| frame["function"].as_str().unwrap_or("?"))
        .collect()
}

fn frames(row: &Value) -> &[Value] {
    row["stack"].as_array().expect("a stack is a list")
}

/// The frames above `malloc` and the ten levels, if they are all there and in order.
fn above_levels<'names, 'name>(
    names: &'names [&'name str],
) -> Option<(&'name str, &'names [&'name str])> {
    let first = names.iter().position(|&name| name == "level_9")?;
    let levels = names.get(first..=first + LEVELS)?;
    let whole = (0..LEVELS).all(|level| levels[level] == format!("level_{}", LEVELS - 1 - level));
    whole.then_some((levels[LEVELS], &names[first + LEVELS + 1..]))
}

/// What the stacks of `plugins` say, by the function of the plugin that was called.
#[derive(Debug, Default)]
struct Seen {
    whole: BTreeMap<String, Share>,
    /// Whole stacks whose plugin is not the one that the program called.
    wrong_file: usize,
}

fn look_at_plugins(report: &Report, plugins: usize) -> Seen {
    let mut seen = Seen::default();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for row in report.rows() {
        let names = names(row);
        let Some((called, callers)) = above_levels(&names) else {
            continue;
        };
        let number = callers.iter().skip(1).take(BITS).try_fold(0, |sum, &name| {
            // The innermost is the lowest bit.
            match name {
                "zero" => Some(sum >> 1),
                "one" => Some((sum >> 1) | (1 << (BITS - 1))),
                _ => None,
            }
        });
        let main = callers.iter().skip(1 + BITS).any(|&name| name == "main");
        let Some(number) = number.filter(|_| main && callers.first() == Some(&"load")) else {
            continue;
        };
        *found.entry(called).or_default() += 1;
        let level = names.iter().position(|&name| name == "level_9");
        let module = level.and_then(|level| frames(row)[level]["module"].as_str());
        let expected = format!("/plugin-{number}.so");
        seen.wrong_file += usize::from(!module.is_some_and(|path| path.ends_with(&expected)));
    }
    for kind in ["level_at_once", "level_later"] {
        let whole = found.get(kind).copied().unwrap_or(0);
        let share = Share {
            whole,
            all: plugins,
        };
        println!(
            "{kind}: {whole} of {plugins} stacks whole, {:.1} %",
            share.percent()
        );
        seen.whole.insert(kind.to_owned(), share);
    }
    println!("{} stacks in the wrong plugin", seen.wrong_file);
    seen
}

/// Copies of the plugin: equal code, different files.
fn copy_plugins(stage: &Stage, count: usize) -> String {
    let library = plugin_library();
    for number in 0..count {
        fs::copy(&library, stage.path(&format!("plugin-{number}.so"))).expect("a copy can be made");
    }
    let directory = stage.path("");
    directory.to_str().expect("a path in UTF-8").to_owned()
}

fn trace_plugins(test: &str, count: usize, keep: bool) -> Option<(Report, Seen)> {
    let stage = Stage::with_bpf(test)?;
    let directory = copy_plugins(&stage, count);
    let arguments = [
        directory.as_str(),
        &count.to_string(),
        if keep { "1" } else { "0" },
    ];
    // Its own allocations would be probed too, and naming a thousand files makes many.
    let mut trace = Trace::launch(&stage, "plugins", &arguments, &["--no-children"]);
    let report = trace.finish();
    report.assert_nothing_lost();
    assert_eq!(trace.truth().fact("plugins"), count as u64);
    let seen = look_at_plugins(&report, count);
    println!("{}", report.at("/quality/stacks"));
    println!(
        "{} truncated; {}",
        report.at("/quality/truncated_stacks"),
        report.at("/quality/notes")
    );
    Some((report, seen))
}

#[test]
fn a_plugin_that_takes_the_place_of_another_has_its_own_stacks() {
    let Some((_, seen)) = trace_plugins("plugins_in_turn", 1000, false) else {
        return;
    };
    assert!(seen.whole["level_later"].percent() > 99.0, "{seen:?}");
    assert_eq!(seen.wrong_file, 0, "{seen:?}");
}

#[test]
fn a_plugin_among_many_has_whole_stacks() {
    let Some((_, seen)) = trace_plugins("plugins_kept", 200, true) else {
        return;
    };
    assert!(seen.whole["level_later"].percent() > 99.0, "{seen:?}");
    assert_eq!(seen.wrong_file, 0, "{seen:?}");
}

#[test]
fn a_program_that_becomes_another_has_whole_stacks() {
    let Some(stage) = Stage::with_bpf("execs") else {
        return;
    };
    let mut trace = Trace::launch(&stage, "execs", &["100"], &[]);
    let report = trace.finish();
    report.assert_nothing_lost();
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for row in report.rows() {
        if row["allocated_bytes"] != 65536 {
            continue;
        }
        let names = names(row);
        match above_levels(&names) {
            Some((called, callers)) => shares
                .entry(called)
                .or_default()
                .count(callers.contains(&"main")),
            None => println!("{names:?}"),
        }
    }
    println!("{shares:?} of 101 each");
    println!("{}", report.at("/quality/stacks"));
    assert!(shares["level_later"].whole > 99, "{shares:?}");
}

fn _unused(_: &Path) {}
