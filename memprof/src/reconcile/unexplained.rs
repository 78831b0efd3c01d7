//! What of a process's memory nobody explains: what it looks like, what it may be, what to try next.

use std::sync::Arc;

use crate::snapshot::Region;
use crate::units::{format_count, format_size};

/// Names of mappings of which the rest is added up; what has another name then counts as unnamed.
const MAX_NAMES: usize = 64;
/// Of a name in a sentence so many characters.
const MAX_NAME_CHARS: usize = 60;
/// Where Go's heap begins on 64 bits, as its runtime asks for it.
pub(crate) const GO_HEAP: u64 = 0xc0_0000_0000;

/// What an unexplained region is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestKind {
    /// Private memory of no file.
    Private,
    /// Executable, and of no file.
    Jit,
    /// Nobody may touch it any more.
    NoAccess,
    /// There was too much to look at.
    NotLookedAt,
}

/// A runtime that has its memory from the system directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runtime {
    Java,
    Node,
    Python,
    Go,
    DotNet,
    Ruby,
}

/// What is left, by what it looks like. Bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    private: u64,
    private_mappings: u64,
    largest_private: u64,
    jit: u64,
    no_access: u64,
    pub(crate) not_looked_at: u64,
    by_name: Vec<(Arc<str>, u64)>,
    runtimes: Vec<Runtime>,
}

impl Rest {
    /// Takes note of what a mapping says of the whole process.
    pub(crate) fn meet(&mut self, region: &Region) {
        if let Some(runtime) = runtime_of(region)
            && !self.runtimes.contains(&runtime)
        {
            self.runtimes.push(runtime);
        }
    }

    /// Adds what is left of a region.
    pub(crate) fn add(&mut self, kind: RestKind, region: &Region, bytes: u64) {
        match kind {
            RestKind::Private => {
                if !self.add_to_name(region, bytes) {
                    self.private += bytes;
                    self.private_mappings += 1;
                    self.largest_private = self.largest_private.max(bytes);
                }
            }
            RestKind::Jit => self.jit += bytes,
            RestKind::NoAccess => self.no_access += bytes,
            RestKind::NotLookedAt => self.not_looked_at += bytes,
        }
    }

    fn add_to_name(&mut self, region: &Region, bytes: u64) -> bool {
        if region.name.is_empty() {
            return false;
        }
        let known = self.by_name.iter_mut();
        if let Some((_, sum)) = known.into_iter().find(|(name, _)| *name == region.name) {
            *sum += bytes;
            return true;
        }
        let has_room = self.by_name.len() < MAX_NAMES;
        if has_room {
            self.by_name.push((Arc::clone(&region.name), bytes));
        }
        has_room
    }
}

fn runtime_of(region: &Region) -> Option<Runtime> {
    if region.start == GO_HEAP || region.name.starts_with("[anon: Go:") {
        return Some(Runtime::Go);
    }
    if !region.has_inode {
        return None;
    }
    let name = region.name.trim_end_matches(" (deleted)");
    let name = name.rsplit('/').next().unwrap_or(name);
    let begins = |start: &str| name.starts_with(start);
    match name {
        "libjvm.so" => Some(Runtime::Java),
        "node" | "nodejs" => Some(Runtime::Node),
        "libcoreclr.so" => Some(Runtime::DotNet),
        "ruby" => Some(Runtime::Ruby),
        _ if begins("libnode.so") => Some(Runtime::Node),
        _ if begins("python3") || begins("libpython3") => Some(Runtime::Python),
        _ if begins("libruby") => Some(Runtime::Ruby),
        _ => None,
    }
}

impl Runtime {
    fn sentence(self, pid: u32) -> String {
        match self {
            Self::Java => format!(
                "libjvm.so is mapped: the Java virtual machine has its heap, its code and its tables from the \
                 system directly; `jcmd {pid} VM.native_memory` tells more (-XX:NativeMemoryTracking=summary)"
            ),
            Self::Node => "this is Node.js: V8 has its heap from the system directly; \
                 process.memoryUsage() and heap snapshots (--heapsnapshot-signal=SIGUSR2) tell more"
                .to_owned(),
            Self::Python => "this is Python: it has small objects in arenas of its own, which it maps itself; \
                 with PYTHONMALLOC=malloc in its environment each object is seen"
                .to_owned(),
            Self::Go => "this is Go: its runtime has its heap from the system directly; its own profile tells \
                 more (`go tool pprof http://HOST/debug/pprof/heap`)"
                .to_owned(),
            Self::DotNet => "libcoreclr.so is mapped: .NET has its heap from the system directly; \
                 `dotnet-gcdump` tells more"
                .to_owned(),
            Self::Ruby => "this is Ruby: it has pages of small objects from the system directly; \
                 ObjectSpace tells more"
                .to_owned(),
        }
    }
}

/// What else bears on what is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances {
    /// The process.
    pub pid: u32,
    /// Some allocator of its is probed.
    pub is_probed: bool,
    /// Mappings are followed.
    pub follows_mappings: bool,
    /// Page faults are followed.
    pub follows_faults: bool,
    /// It had run before memprof came.
    pub is_attached: bool,
    /// What it had by then is known.
    pub before_is_known: bool,
    /// Events were lost.
    pub loses: bool,
}

/// What the rest may be, then what to try next, the likeliest first.
pub(crate) fn reasons(rest: &Rest, circumstances: &Circumstances) -> Vec<String> {
    let Circumstances {
        pid,
        is_probed,
        follows_mappings,
        follows_faults,
        is_attached,
        before_is_known,
        loses,
    } = *circumstances;
    let mut reasons = looks(rest);
    reasons.extend(rest.runtimes.iter().map(|runtime| runtime.sentence(pid)));
    let mut say = |holds: bool, sentence: &str| {
        if holds {
            reasons.push(sentence.to_owned());
        }
    };
    say(
        !follows_mappings,
        "try --events malloc,mmap: it tells who maps memory past malloc",
    );
    say(
        !follows_faults,
        "try --events malloc,faults: it tells who touches memory first",
    );
    say(
        !is_probed,
        "no allocator of this process is probed: name its functions by --allocator-prefix or --probe",
    );
    say(
        is_probed && rest.runtimes.is_empty(),
        "if it has an allocator of its own, name its functions by --allocator-prefix or --probe",
    );
    say(
        is_attached && !before_is_known,
        "what was there when memprof attached was too much to be noted: launch the program under memprof",
    );
    say(
        is_attached && before_is_known && follows_mappings,
        "what was mapped before memprof attached is not known: attach earlier, or launch the program under \
         memprof",
    );
    say(loses, "events were lost: some blocks are not known");
    reasons
}

/// What it looks like, the most first.
fn looks(rest: &Rest) -> Vec<String> {
    let mut looks = Vec::new();
    if rest.private > 0 {
        let mappings = match rest.private_mappings {
            1 => "1 private mapping".to_owned(),
            count => format!("{} private mappings", format_count(count)),
        };
        let largest = match rest.private_mappings {
            1 => String::new(),
            _ => format!(", the largest with {}", format_size(rest.largest_private)),
        };
        let sentence = format!(
            "{} in {mappings} without a name, on pages without any block that was seen{largest}",
            format_size(rest.private)
        );
        looks.push((rest.private, sentence));
    }
    for (name, bytes) in &rest.by_name {
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        looks.push((*bytes, format!("{} in {name}", format_size(*bytes))));
    }
    for (bytes, what) in [
        (
            rest.jit,
            "executable memory of no file: code made at run time",
        ),
        (rest.no_access, "memory that nobody may touch any more"),
        (
            rest.not_looked_at,
            "mappings that were too many, or too large, to be looked at page by page",
        ),
    ] {
        if bytes > 0 {
            looks.push((bytes, format!("{} in {what}", format_size(bytes))));
        }
    }
    looks.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    looks.truncate(3);
    looks.into_iter().map(|(_, sentence)| sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::parse_smaps;

    fn rest_of(lines: &str) -> Rest {
        let mut rest = Rest::default();
        for region in &parse_smaps(lines.as_bytes()).unwrap().kept {
            rest.meet(region);
            if !region.has_inode {
                rest.add(RestKind::Private, region, region.amounts.rss_bytes);
            }
        }
        rest
    }

    #[test]
    fn runtimes_are_told_by_their_files_and_go_by_where_its_heap_lies() {
        for (line, expected) in [
            (
                "1000-2000 r--p 0 fe:0 5 /usr/lib/jvm/lib/server/libjvm.so",
                Some(Runtime::Java),
            ),
            ("1000-2000 r--p 0 fe:0 5 /usr/bin/node", Some(Runtime::Node)),
            (
                "1000-2000 r--p 0 fe:0 5 /usr/bin/python3.11 (deleted)",
                Some(Runtime::Python),
            ),
            ("c000000000-c004000000 rw-p 0 0:0 0 ", Some(Runtime::Go)),
            ("1000-2000 r--p 0 fe:0 5 /usr/bin/python2x", None),
            ("1000-2000 r--p 0 fe:0 5 /tmp/node/server", None),
            ("1000-2000 rw-p 0 0:0 0 [anon:node]", None),
        ] {
            let rest = rest_of(line);
            assert_eq!(rest.runtimes.first().copied(), expected, "{line}");
        }
    }

    #[test]
    fn what_looks_largest_is_said_first_and_what_helps_after_it() {
        let rest = rest_of(
            "1000-9000 rw-p 0 0:0 0 \nRss: 8 kB\n\
             a000-c000 rw-p 0 0:0 0 \nRss: 4 kB\n\
             10000-90000 rw-p 0 0:0 0 [anon:pool]\nRss: 400 kB\n\
             90000-91000 r-xp 0 fe:0 5 /usr/bin/node\nRss: 4 kB\n",
        );
        let reasons = reasons(
            &rest,
            &Circumstances {
                pid: 7,
                is_probed: true,
                ..Circumstances::default()
            },
        );
        assert_eq!(reasons[0], "400.0 KiB in [anon:pool]");
        assert!(reasons[1].starts_with("12.0 KiB in 2 private mappings"));
        assert!(reasons[2].contains("V8"), "{reasons:?}");
        assert!(reasons[3].contains("--events malloc,mmap"));
        assert!(reasons[4].contains("--events malloc,faults"));
        assert_eq!(reasons.len(), 5);
    }

    #[test]
    fn what_is_followed_already_is_not_advised() {
        let circumstances = Circumstances {
            is_probed: true,
            follows_mappings: true,
            follows_faults: true,
            ..Circumstances::default()
        };
        let reasons = reasons(&Rest::default(), &circumstances);
        assert!(!reasons.concat().contains("--events"), "{reasons:?}");
    }

    #[test]
    fn names_of_the_target_take_bounded_room() {
        let mut lines = String::new();
        for at in 1..1000 {
            let name = "x".repeat(200);
            lines += &format!("{at}000-{at}800 rw-p 0 0:0 0 [anon:{at}{name}]\nRss: 4 kB\n");
        }
        let rest = rest_of(&lines);
        assert_eq!(rest.by_name.len(), MAX_NAMES);
        let sentences = looks(&rest);
        assert!(sentences.len() <= 3 && sentences.iter().all(|one| one.len() < 300));
    }
}
