//! One look at a process as text.

use std::io;

use super::fit::{comma_separated, words};
use super::page::{Page, Paint};
use super::table::{self, Row};
use super::{labelled, plural};
use crate::snapshot::{
    Amounts, CgroupMemory, Group, KnownBy, Mapping, Mappings, Memory, OpenFiles, PressureShares,
    Snapshot, SnapshotProcess, System, Threads,
};
use crate::units::{format_count, format_seconds, format_size};

/// The columns of every table of mappings.
const HEADS: [&str; 5] = ["RSS", "PSS", "USS", "swap", "virtual"];

/// Writes the whole look, with so many files.
pub(super) fn write(page: &mut Page<'_>, snapshot: &Snapshot, top: usize) -> io::Result<()> {
    let host = &snapshot.host;
    page.text(
        &format!(
            "memprof {} snapshot  Linux {} {}, {}",
            snapshot.memprof.version,
            host.kernel,
            host.arch,
            plural(u64::from(host.cpus), "CPU")
        ),
        Paint::Strong,
    )?;
    page.blank()?;
    labelled(page, "process", &words(&process_line(&snapshot.process)))?;
    if let Some(label) = &snapshot.label {
        labelled(page, "label", std::slice::from_ref(label))?;
    }
    let age = snapshot.process.age_seconds;
    let age = age.map(|age| format!("{} after its start", format_seconds(age)));
    let taken = [snapshot.taken_at.clone()].into_iter().chain(age);
    labelled(page, "taken", &comma_separated(taken.collect()))?;
    page.blank()?;

    write_memory(page, &snapshot.memory)?;
    write_threads(page, &snapshot.threads, snapshot.mappings.as_ref())?;
    if let Some(files) = &snapshot.open_files {
        labelled(page, "open files", &comma_separated(open_files(files)))?;
    }
    page.blank()?;

    if let Some(system) = &snapshot.system {
        write_system(page, system)?;
    }
    if let Some(cgroup) = &snapshot.cgroup {
        labelled(page, "cgroup", &comma_separated(cgroup_facts(cgroup)))?;
    }
    for note in &snapshot.notes {
        labelled(page, "note", &words(note))?;
    }
    if let Some(mappings) = &snapshot.mappings {
        page.blank()?;
        write_mappings(page, mappings, top)?;
    }
    Ok(())
}

/// `server (pid 7): /usr/bin/server`.
pub(super) fn process_line(process: &SnapshotProcess) -> String {
    let name = process.comm.as_deref().unwrap_or("?");
    let exe = process.exe.as_deref();
    let exe = exe.map(|exe| format!(": {exe}")).unwrap_or_default();
    format!("{name} (pid {}){exe}", process.pid)
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), format_size)
}

/// Facts of which nothing is said where there are none.
fn some(facts: &[(Option<u64>, &str)]) -> Vec<String> {
    facts
        .iter()
        .filter_map(|(bytes, what)| {
            let bytes = bytes.filter(|bytes| *bytes > 0)?;
            Some(format!("{what} {}", format_size(bytes)))
        })
        .collect()
}

fn write_memory(page: &mut Page<'_>, memory: &Memory) -> io::Result<()> {
    let rss = vec![
        size(memory.rss_bytes),
        format!("peak {}", size(memory.peak_rss_bytes)),
    ];
    labelled(page, "RSS", &comma_separated(rss))?;
    if memory.pss_bytes.is_some() {
        labelled(page, "PSS", &[size(memory.pss_bytes)])?;
        let mut uss = vec![size(memory.uss_bytes)];
        uss.extend(some(&[(memory.shared_bytes, "shared")]));
        labelled(page, "USS", &comma_separated(uss))?;
    }
    let of = some(&[
        (memory.rss_anonymous_bytes, "anonymous"),
        (memory.rss_file_bytes, "of files"),
        (memory.rss_shared_memory_bytes, "shared memory"),
        (memory.transparent_huge_bytes, "in huge pages"),
        (memory.lazily_freed_bytes, "given back lazily"),
    ]);
    if !of.is_empty() {
        labelled(page, "resident", &comma_separated(of))?;
    }
    labelled(page, "swap", &[size(memory.swap_bytes)])?;
    let mut mapped = vec![
        size(memory.virtual_bytes),
        format!("peak {}", size(memory.peak_virtual_bytes)),
    ];
    mapped.extend(some(&[
        (memory.page_tables_bytes, "page tables"),
        (memory.locked_bytes, "locked"),
        (memory.hugetlb_bytes, "hugetlb"),
    ]));
    labelled(page, "virtual", &comma_separated(mapped))
}

fn write_threads(
    page: &mut Page<'_>,
    threads: &Threads,
    mappings: Option<&Mappings>,
) -> io::Result<()> {
    let count = threads.count;
    let mut facts = vec![count.map_or_else(|| "?".to_owned(), format_count)];
    if let Some(known) = threads.stacks_known.filter(|known| *known > 0) {
        facts.push(format!("{} known", plural(known, "stack")));
    }
    if let Some(guessed) = threads.stacks_guessed.filter(|guessed| *guessed > 0) {
        facts.push(format!("{} guessed by a guard", plural(guessed, "stack")));
    }
    if let Some(arenas) = mappings.map(|mappings| mappings.arena_count)
        && arenas > 0
    {
        facts.push(format!("{} by shape", plural(arenas, "malloc arena")));
    }
    labelled(page, "threads", &comma_separated(facts))
}

fn open_files(files: &OpenFiles) -> Vec<String> {
    let limit = files.limit.map_or_else(
        || "no limit".to_owned(),
        |limit| format!("limit {}", format_count(limit)),
    );
    let mut facts = vec![format!("{} ({limit})", format_count(files.count))];
    for (count, noun) in [
        (files.files, "file"),
        (files.sockets, "socket"),
        (files.pipes, "pipe"),
        (files.memory, "memfd"),
    ] {
        if count > 0 {
            facts.push(plural(count, noun));
        }
    }
    if files.other > 0 {
        facts.push(format!("{} other", format_count(files.other)));
    }
    if files.deleted > 0 {
        facts.push(format!("{} deleted", format_count(files.deleted)));
    }
    facts
}

fn write_system(page: &mut Page<'_>, system: &System) -> io::Result<()> {
    let mut facts = vec![format_size(system.total_bytes)];
    let available = system.available_bytes;
    facts.extend(available.map(|bytes| format!("{} available", format_size(bytes))));
    facts.push(if system.swap_total_bytes == 0 {
        "no swap".to_owned()
    } else {
        format!(
            "{} of {} swap free",
            format_size(system.swap_free_bytes),
            format_size(system.swap_total_bytes)
        )
    });
    labelled(page, "machine", &comma_separated(facts))?;
    let Some(pressure) = &system.pressure else {
        return labelled(
            page,
            "pressure",
            &words("unknown: the kernel does not tell (PSI)"),
        );
    };
    let shares = |shares: &PressureShares| {
        format!(
            "{:.2} %, {:.2} %, {:.2} %",
            shares.percent_10s, shares.percent_60s, shares.percent_300s
        )
    };
    let facts = vec![
        format!("some wait for memory {}", shares(&pressure.some)),
        format!("all {}", shares(&pressure.full)),
        "of the last 10s, 1m, 5m".to_owned(),
    ];
    labelled(page, "pressure", &comma_separated(facts))
}

fn cgroup_facts(cgroup: &CgroupMemory) -> Vec<String> {
    let mut facts = vec![format!("{} (version {})", cgroup.path, cgroup.version)];
    facts.extend(cgroup.container.clone());
    facts.push(match cgroup.usage_bytes {
        Some(bytes) => format!("{} used", format_size(bytes)),
        None => "use unknown".to_owned(),
    });
    facts.push(match (cgroup.limit_bytes, cgroup.limit_usage_bytes) {
        (Some(limit), Some(used)) => {
            let of = cgroup.limit_path.as_ref();
            let of = of.filter(|path| **path != cgroup.path);
            let of = of.map(|path| format!(" of {path}")).unwrap_or_default();
            let left = format_size(limit.saturating_sub(used));
            format!("limit {}{of}, {left} left", format_size(limit))
        }
        _ => "no limit".to_owned(),
    });
    facts
}

/// The figures of some mappings, as in [`HEADS`].
fn figures(amounts: &Amounts) -> [String; 5] {
    [
        amounts.rss_bytes,
        amounts.pss_bytes,
        amounts.uss_bytes,
        amounts.swap_bytes,
        amounts.size_bytes,
    ]
    .map(|bytes| {
        if bytes == 0 {
            "0".to_owned()
        } else {
            format_size(bytes)
        }
    })
}

fn rows<K>(groups: &[Group<K>], name: impl Fn(&K) -> String) -> Vec<Row<5>> {
    let rows = groups.iter().map(|group| Row {
        figures: figures(&group.amounts),
        lead: String::new(),
        name: match group.mappings {
            1 => name(&group.name),
            count => format!("{} ({})", name(&group.name), format_count(count)),
        },
    });
    rows.collect()
}

fn write_mappings(page: &mut Page<'_>, mappings: &Mappings, top: usize) -> io::Result<()> {
    let by_kind = rows(&mappings.by_kind, |kind| kind.name().to_owned());
    let title = format!("By kind ({})", plural(mappings.count, "mapping"));
    table::write(page, &title, HEADS, &by_kind)?;

    let listed = &mappings.by_file[..mappings.by_file.len().min(top)];
    let mut by_file = rows(listed, Clone::clone);
    let unlisted = &mappings.by_file[listed.len()..];
    if !unlisted.is_empty() {
        let mut amounts = Amounts::default();
        unlisted
            .iter()
            .for_each(|group| amounts.add(&group.amounts));
        by_file.push(Row {
            figures: figures(&amounts),
            lead: String::new(),
            name: format!("{} more", format_count(unlisted.len() as u64)),
        });
    }
    table::write(page, "By file", HEADS, &by_file)?;
    let by_permissions = rows(&mappings.by_permissions, Clone::clone);
    table::write(page, "By permissions", HEADS, &by_permissions)?;

    let largest: Vec<Row<5>> = mappings.largest.iter().map(mapping_row).collect();
    table::write(page, "Largest mappings", HEADS, &largest)
}

fn mapping_row(mapping: &Mapping) -> Row<5> {
    let known_by = match mapping.known_by {
        KnownBy::Name | KnownBy::Permissions => "",
        KnownBy::StackPointer => " (by stack pointer)",
        KnownBy::Guard => " (by guard)",
        KnownBy::Shape => " (by shape)",
    };
    Row {
        figures: figures(&mapping.amounts),
        lead: format!(
            "{} {}  {}{known_by}  ",
            mapping.address,
            mapping.permissions,
            mapping.kind.name()
        ),
        name: mapping.file.clone().unwrap_or_default(),
    }
}
