//! The end of the final report: how far the numbers can be trusted, and what limits them.

use std::collections::HashSet;
use std::io;

use super::fit::{comma_separated, keep_end, words};
use super::page::{Page, Paint};
use super::{labelled, plural};
use crate::report::{Coverage, EventKind, FaultQuality, Overhead, Quality, Report, SamplingMode};
use crate::units::{format_count, format_seconds, format_size};

/// Files without symbols that are listed.
const LISTED_STRIPPED: usize = 5;

pub(super) fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let quality = &report.quality;
    let (judgement, paint) = judgement(report);
    page.paragraph(
        vec![("Trust: ".to_owned(), Paint::Strong)],
        &words(&judgement),
        paint,
    )?;
    for (label, text) in limits(quality) {
        labelled(page, label, &words(&text))?;
    }
    for text in quality.faults.iter().flat_map(of_faults) {
        labelled(page, "page faults", &words(&text))?;
    }
    for (index, file) in stripped(page, report).iter().enumerate() {
        let label = if index == 0 { "stripped" } else { "" };
        labelled(page, label, &words(file))?;
    }
    for (index, coverage) in quality.coverage.iter().enumerate() {
        let label = if index == 0 { "probed" } else { "" };
        let text = describe_coverage(page, coverage);
        labelled(page, label, &words(&text))?;
    }
    if quality.coverage.is_empty() && report.events.contains(&EventKind::Malloc) {
        labelled(page, "probed", &words("no allocator"))?;
    }
    let cost = cost(&quality.overhead);
    if !cost.is_empty() {
        labelled(page, "cost", &comma_separated(cost))?;
    }
    for note in &quality.notes {
        labelled(page, "note", &words(note))?;
    }
    Ok(())
}

/// Whether the totals are exact, in one sentence.
fn judgement(report: &Report) -> (String, Paint) {
    let quality = &report.quality;
    let lost = quality.lost.total();
    let missing: usize = quality.coverage.iter().map(|one| one.missing.len()).sum();
    if quality.complete {
        let mut text = match quality.sampling.mode {
            SamplingMode::All if report.follows_allocations() => "exact".to_owned(),
            // Beside what is said below, a fault is counted when the kernel has counted it.
            SamplingMode::All => "complete".to_owned(),
            SamplingMode::Poisson => "estimated from a sample".to_owned(),
        };
        text.push_str(&match lost {
            0 => ": no event lost".to_owned(),
            _ => format!(": the {} could be reconciled", plural(lost, "lost event")),
        });
        if missing > 0 {
            let functions = plural(missing as u64, "allocator function");
            text.push_str(&format!("; but {functions} could not be probed"));
            return (text, Paint::Warning);
        }
        return (text, Paint::Good);
    }
    let text = match lost {
        0 => "incomplete: see below".to_owned(),
        _ => format!("incomplete: {} lost", plural(lost, "event")),
    };
    (text, Paint::Warning)
}

/// What limits the numbers, each with its label; only what there is.
fn limits(quality: &Quality) -> Vec<(&'static str, String)> {
    let lost = &quality.lost;
    let mut limits = Vec::new();
    let mut limit = |label, count, text: String| {
        if count > 0 {
            limits.push((label, text));
        }
    };
    limit(
        "lost",
        lost.alloc,
        format!(
            "{}: more is outstanding than shown",
            plural(lost.alloc, "allocation")
        ),
    );
    limit(
        "lost",
        lost.free,
        format!(
            "{}: some blocks may look outstanding that are not",
            plural(lost.free, "free")
        ),
    );
    limit(
        "lost",
        lost.map,
        format!(
            "{}: more is outstanding than shown",
            plural(lost.map, "mapping")
        ),
    );
    limit(
        "lost",
        lost.unmap,
        format!(
            "{}: some mappings may look outstanding that are not",
            plural(lost.unmap, "unmapping")
        ),
    );
    limit(
        "lost",
        lost.stack,
        format!(
            "{}: their allocations count under an unknown one",
            plural(lost.stack, "stack")
        ),
    );
    limit(
        "lost",
        lost.process,
        format!(
            "{} (fork, exec, exit)",
            plural(lost.process, "process event")
        ),
    );
    limit(
        "abandoned",
        quality.abandoned_calls,
        format!(
            "{} left without returning",
            plural(quality.abandoned_calls, "allocator call")
        ),
    );
    limit(
        "unlisted",
        quality.unlisted_processes,
        format!(
            "{} that ended are in the totals only",
            match quality.unlisted_processes {
                1 => "1 process".to_owned(),
                count => format!("{} processes", format_count(count)),
            }
        ),
    );
    limit(
        "reconciled",
        quality.superseded,
        format!(
            "{}: the address was allocated anew",
            plural(quality.superseded, "missed free")
        ),
    );
    limit(
        "unknown frees",
        quality.unknown_frees,
        format!(
            "{}, of blocks from before tracing began or in an allocator's own cache",
            format_count(quality.unknown_frees)
        ),
    );
    limit(
        "unknown unmaps",
        quality.unknown_unmaps,
        format!(
            "{}, of mappings from before tracing began",
            format_count(quality.unknown_unmaps)
        ),
    );
    let stacks = &quality.stacks;
    limit(
        "stacks",
        quality
            .truncated_stacks
            .saturating_add(quality.unwind_errors)
            .saturating_add(stacks.by_frame_pointer)
            .saturating_add(stacks.by_copy),
        describe_stacks(quality),
    );
    limit(
        "stacks",
        stacks.copies_refused,
        format!(
            "copying put off {}: too many broke down at once",
            plural(stacks.copies_refused, "time")
        ),
    );
    limit(
        "frames",
        quality.frames_unsymbolized,
        format!(
            "{} of {} without a name",
            format_count(quality.frames_unsymbolized),
            format_count(quality.frames_total)
        ),
    );
    if let (SamplingMode::Poisson, Some(mean)) =
        (quality.sampling.mode, quality.sampling.mean_bytes)
    {
        limits.push(("sampled", format!("every {} on average", format_size(mean))));
    }
    limits
}

/// What limits the figures of pages, a sentence each; only what there is.
fn of_faults(faults: &FaultQuality) -> Vec<String> {
    let pages = |count: u64| plural(count, "page");
    let changes = |count: u64| plural(count, "change");
    let all = [
        (
            faults.pages_not_followed,
            format!(
                "{} found no room here: more is resident than shown",
                pages(faults.pages_not_followed)
            ),
        ),
        (
            faults.stacks_not_followed,
            format!(
                "{} of call paths that found no room: they are one without a stack",
                match faults.stacks_not_followed {
                    1 => "1 touch".to_owned(),
                    count => format!("{} touches", format_count(count)),
                }
            ),
        ),
        (
            faults.lost_changes,
            format!(
                "{} of resident pages lost on their way: what was touched is missing, what was given \
                 back looks resident",
                changes(faults.lost_changes)
            ),
        ),
        (
            faults.placeless_changes,
            format!(
                "{} of resident memory by system calls that don't say where",
                changes(faults.placeless_changes)
            ),
        ),
        (
            faults.guessed_pages,
            format!(
                "{} guessed: the kernel did not tell how many became resident",
                pages(faults.guessed_pages)
            ),
        ),
        (
            faults.around_pages,
            format!(
                "{} around touched ones: the kernel does not tell which, the next ones were taken",
                pages(faults.around_pages)
            ),
        ),
        (
            faults.populated_bytes,
            format!(
                "{} at most by mlock, MAP_POPULATE and the like",
                format_size(faults.populated_bytes)
            ),
        ),
        (
            faults.unplaced_bytes,
            format!(
                "{} became resident nobody knows where, and nothing can give it back here",
                format_size(faults.unplaced_bytes)
            ),
        ),
        (
            faults.superseded_pages,
            format!(
                "{} touched first again: nobody saw them given back",
                pages(faults.superseded_pages)
            ),
        ),
        (
            faults.found_gone_pages,
            format!(
                "{} found to be gone: nobody saw them given back",
                pages(faults.found_gone_pages)
            ),
        ),
    ];
    let there_is = all.into_iter().filter(|(amount, _)| *amount > 0);
    there_is.map(|(_, text)| text).collect()
}

/// What became of the stacks, and which way they were walked where it was not one way for all.
fn describe_stacks(quality: &Quality) -> String {
    let mut text = format!(
        "{} cut short, {}",
        format_count(quality.truncated_stacks),
        plural(quality.unwind_errors, "unwind error")
    );
    let ways = &quality.stacks;
    if ways.by_frame_pointer.saturating_add(ways.by_copy) > 0 {
        text.push_str(&format!(
            "; of {}, {} walked by unwind tables, {} by frame pointer, {} from a copy",
            format_count(ways.total),
            format_count(ways.by_tables),
            format_count(ways.by_frame_pointer),
            format_count(ways.by_copy),
        ));
    }
    text
}

/// The files without symbols that shown frames are in, by the build ids that their symbols can be
/// found by.
fn stripped(page: &Page<'_>, report: &Report) -> Vec<String> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let of_touchers = report.top_touchers.iter().flat_map(|one| &one.stack);
    let of_allocators = report.top_allocators.iter().flat_map(|one| &one.stack);
    let frames = of_allocators.chain(of_touchers);
    for frame in frames.filter(|frame| frame.unknown.as_deref() == Some("stripped")) {
        let file = (
            frame.module.as_deref().unwrap_or("?"),
            frame.build_id.as_deref(),
        );
        if seen.insert(file) {
            files.push(file);
        }
    }
    let more = files.len().saturating_sub(LISTED_STRIPPED);
    let listed = files.iter().take(LISTED_STRIPPED);
    let mut lines: Vec<String> = listed
        .map(|(module, build_id)| match build_id {
            Some(id) => format!("{} (build id {})", page.clean(module), page.clean(id)),
            None => format!("{} (no build id)", page.clean(module)),
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {}", plural(more as u64, "more file")));
    }
    lines
}

fn describe_coverage(page: &Page<'_>, coverage: &Coverage) -> String {
    let module = keep_end(
        &page.clean(&coverage.module),
        page.width() / 2,
        page.ellipsis(),
    );
    let attached = coverage.attached.len();
    let all = attached + coverage.missing.len();
    let mut text = format!("{module} ({}): ", coverage.allocator);
    if coverage.missing.is_empty() {
        text.push_str(&plural(all as u64, "function"));
    } else {
        text.push_str(&format!(
            "{attached} of {}, missing {}",
            plural(all as u64, "function"),
            coverage.missing.join(", ")
        ));
    }
    text
}

/// What tracing cost the target and the machine, as far as it is known.
fn cost(overhead: &Overhead) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(seconds) = overhead.collector_cpu_seconds {
        facts.push(format!(
            "{} of CPU time in memprof",
            format_seconds(seconds)
        ));
    }
    if let Some(threads @ 2..) = overhead.collector_threads {
        facts.push(format!("{threads} threads for the events"));
    }
    if let Some(bytes) = overhead.collector_rss_bytes {
        facts.push(format!("{} of memory", format_size(bytes)));
    }
    if let Some(bytes) = overhead.ring_bytes {
        facts.push(format!("{} of rings", format_size(bytes)));
    }
    if let Some(hits) = overhead.probe_hits {
        facts.push(plural(hits, "probe hit"));
    }
    if let Some(seconds) = overhead.estimated_target_seconds {
        let error = overhead.estimated_target_seconds_error;
        facts.push(format!(
            "about {}{} in the target",
            format_seconds(seconds),
            error.map_or_else(String::new, |error| format!(
                " (± {})",
                format_seconds(error)
            ))
        ));
    }
    facts
}
