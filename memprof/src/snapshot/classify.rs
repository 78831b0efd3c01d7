//! What a mapping is for, and how that is known. Pure.
//!
//! The kernel names few mappings. Which memory is a thread's stack or one of glibc's arenas it does not
//! say; these are told by what a thread's stack pointer points into, else by their shape, which is a
//! guess and is called one.

use super::model::{KnownBy, MappingKind};
use super::smaps::Region;

/// The size and alignment of the heaps that glibc maps for further threads (`HEAP_MAX_SIZE` on 64 bits).
const ARENA_BYTES: u64 = 64 << 20;
/// The largest mapping without access that passes for a stack's guard. The C libraries take a page.
const MAX_GUARD_BYTES: u64 = 1 << 20;
/// The smallest stack that a thread can have (`PTHREAD_STACK_MIN`).
const MIN_STACK_BYTES: u64 = 16 << 10;

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub kind: MappingKind,
    pub known_by: KnownBy,
}

const fn class(kind: MappingKind, known_by: KnownBy) -> Class {
    Class { kind, known_by }
}

/// What each of the regions is for, in their order, which is by address. `stack_pointers`: those of the
/// threads, sorted.
pub(crate) fn classify(regions: &[Region], stack_pointers: &[u64]) -> Vec<Class> {
    let mut classes: Vec<Class> = regions.iter().map(by_itself).collect();
    for at in 0..regions.len() {
        if classes[at] == ANONYMOUS && regions[at].is_writable() {
            by_surroundings(regions, at, stack_pointers, &mut classes);
        }
    }
    classes
}

const ANONYMOUS: Class = class(MappingKind::Anonymous, KnownBy::Name);

impl Region {
    fn is_executable(&self) -> bool {
        self.permissions[2] == b'x'
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.permissions[1] == b'w'
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }

    fn is_without_access(&self) -> bool {
        self.permissions[..3] == *b"---"
    }

    /// Private memory that nobody may touch, which follows on `before` without a gap.
    fn is_reserve_behind(&self, before: &Region) -> bool {
        self.start == before.end && self.is_without_access() && !self.has_inode && !self.is_shared()
    }
}

/// What is told by the name and the permissions alone.
fn by_itself(region: &Region) -> Class {
    use KnownBy::{Name, Permissions};
    use MappingKind::{Arena, Code, File, Heap, Jit, Kernel, Reserved, Shared, Stack, ThreadStack};
    let name = &*region.name;
    match name {
        "[heap]" => return class(Heap, Name),
        "[stack]" => return class(Stack, Name),
        "[vdso]" | "[vsyscall]" | "[uprobes]" => return class(Kernel, Name),
        _ if name.starts_with("[vvar") => return class(Kernel, Name),
        _ => {}
    }
    // The name of a file begins with a slash or is in no brackets: a target can't make it one of these.
    if !region.has_inode {
        if name.starts_with("[stack:") || name.starts_with("[anon: glibc: pthread stack") {
            return class(ThreadStack, Name);
        }
        if name.starts_with("[anon: glibc: malloc arena") {
            return class(Arena, Name);
        }
        if name.starts_with("[anon_shmem:") {
            return class(Shared, Name);
        }
    }
    // System V's segments may have the number 0.
    let is_memory = is_shared_memory(name);
    if region.has_inode || is_memory || name.starts_with('/') {
        return match (region.is_executable(), is_memory) {
            (true, _) => class(Code, Permissions),
            (false, true) => class(Shared, Name),
            (false, false) => class(File, Name),
        };
    }
    if region.is_shared() {
        return class(Shared, Permissions);
    }
    if region.is_executable() {
        return class(Jit, Permissions);
    }
    if region.is_without_access() {
        return class(Reserved, Permissions);
    }
    ANONYMOUS
}

/// Memory that the kernel shows as a file.
fn is_shared_memory(name: &str) -> bool {
    ["/SYSV", "/memfd:", "/dev/shm/", "/anon_hugepage"]
        .iter()
        .any(|start| name.starts_with(start))
        || name == "/dev/zero (deleted)"
}

/// What is told by what lies beside it and points into it.
fn by_surroundings(regions: &[Region], at: usize, stack_pointers: &[u64], classes: &mut [Class]) {
    use KnownBy::{Guard, Shape, StackPointer};
    use MappingKind::{Arena, Reserved, ThreadStack};
    let region = &regions[at];
    let before = at.checked_sub(1);
    // The guard below, if it has one; of an arena the reserve is no guard.
    let guard = before.filter(|&before| {
        let guard = &regions[before];
        region.start == guard.end
            && guard.end - guard.start <= MAX_GUARD_BYTES
            && classes[before].kind == Reserved
    });
    let first = stack_pointers.partition_point(|pointer| *pointer < region.start);
    if stack_pointers
        .get(first)
        .is_some_and(|pointer| *pointer < region.end)
    {
        classes[at] = class(ThreadStack, StackPointer);
        if let Some(guard) = guard {
            classes[guard] = class(ThreadStack, Guard);
        }
        return;
    }
    let reserve = regions
        .get(at + 1)
        .filter(|next| next.is_reserve_behind(region));
    if is_arena(region, reserve) {
        classes[at] = class(Arena, Shape);
        if reserve.is_some() {
            classes[at + 1] = class(Arena, Shape);
        }
        return;
    }
    if region.amounts.size_bytes < MIN_STACK_BYTES {
        return;
    }
    if let Some(guard) = guard {
        classes[guard] = class(ThreadStack, Guard);
        classes[at] = class(ThreadStack, Guard);
    } else if region.has_guards {
        classes[at] = class(ThreadStack, Guard);
    }
}

/// Whether it lies as glibc's heaps do: at a multiple of their size, without memory set aside for it,
/// which tells it from Go's heap, and reserved up to the next multiple, unless it is full.
fn is_arena(region: &Region, reserve: Option<&Region>) -> bool {
    let Some(end) = region.end.checked_next_multiple_of(ARENA_BYTES) else {
        return false;
    };
    let is_whole = region.end == end || reserve.is_some_and(|reserve| reserve.end >= end);
    region.start.is_multiple_of(ARENA_BYTES) && region.is_noreserve && is_whole
}

#[cfg(test)]
mod tests {
    use super::super::smaps::parse;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn line(start: u64, size: u64, rest: &str) -> String {
        format!("{start:x}-{:x} {rest}\n", start + size)
    }

    fn classes(text: &str, stack_pointers: &[u64]) -> Vec<(MappingKind, KnownBy)> {
        let regions = parse(text.as_bytes()).unwrap();
        assert_eq!(regions.beyond_count, 0);
        classify(&regions.kept, stack_pointers)
            .iter()
            .map(|class| (class.kind, class.known_by))
            .collect()
    }

    fn kind(rest: &str) -> MappingKind {
        classes(&line(0x7f00_0000_1000, MIB, rest), &[])[0].0
    }

    #[test]
    fn names_and_permissions_tell_most() {
        use MappingKind::*;
        for (rest, expected) in [
            ("rw-p 0 0:0 0 [heap]", Heap),
            ("rw-p 0 0:0 0 [stack]", Stack),
            ("r-xp 0 0:0 0 [vdso]", Kernel),
            ("r--p 0 0:0 0 [vvar]", Kernel),
            ("r--p 0 0:0 0 [vvar_vclock]", Kernel),
            ("--xp 0 0:0 0 [vsyscall]", Kernel),
            ("r-xp 0 fe:0 5 /usr/bin/a", Code),
            ("r--p 0 fe:0 5 /usr/bin/a", File),
            ("rw-p 0 fe:0 5 /usr/bin/a", File),
            ("rw-s 0 fe:0 5 /var/lib/data", File),
            ("---p 0 fe:0 5 /usr/lib/gap.so", File),
            ("r-xp 0 0:1 5 /memfd:jit (deleted)", Code),
            ("rw-s 0 0:1 5 /memfd:pool (deleted)", Shared),
            ("rw-s 0 0:1 5 /dev/zero (deleted)", Shared),
            ("rw-s 0 0:1 0 /SYSV00000000 (deleted)", Shared),
            ("rw-s 0 0:1 5 /dev/shm/x", Shared),
            ("rw-s 0 0:0 0 ", Shared),
            ("rw-p 0 0:0 0 ", Anonymous),
            ("r--p 0 0:0 0 ", Anonymous),
            ("rw-p 0 0:0 0 [anon:pool]", Anonymous),
            ("rw-p 0 0:0 0 [anon: glibc: malloc arena]", Arena),
            ("rw-p 0 0:0 0 [anon: glibc: pthread stack: 17]", ThreadStack),
            ("rw-s 0 0:0 0 [anon_shmem:x]", Shared),
            ("rwxp 0 0:0 0 ", Jit),
            ("---p 0 0:0 0 ", Reserved),
            ("rw-s 0 0:e 9 anon_inode:[perf_event]", File),
        ] {
            assert_eq!(kind(rest), expected, "{rest}");
        }
    }

    #[test]
    fn a_file_with_the_name_of_something_else_is_a_file() {
        for name in [
            "/[heap]",
            "/x/[stack]",
            "/tmp/memfd:x",
            "/tmp/[anon: glibc: malloc arena]",
        ] {
            assert_eq!(
                kind(&format!("rw-p 0 fe:0 5 {name}")),
                MappingKind::File,
                "{name}"
            );
        }
    }

    const NORESERVE: &str = "VmFlags: rd wr nr \n";

    #[test]
    fn an_arena_is_told_by_where_it_lies_and_what_is_reserved_behind_it() {
        use MappingKind::*;
        let base = 0x7f00_0400_0000;
        let arena = |start: u64, used: u64, reserved: u64, flags: &str| {
            let text = line(start, used, "rw-p 0 0:0 0 ")
                + flags
                + &line(start + used, reserved, "---p 0 0:0 0 ");
            let classes = classes(&text, &[]);
            [classes[0], classes[1]].map(|class| class.0)
        };
        let tail = 64 * MIB - 132 * 1024;
        let found = arena(base, 132 * 1024, tail, NORESERVE);
        assert_eq!(found, [Arena, Arena]);
        // Merged with what is reserved above.
        assert_eq!(
            arena(base, 132 * 1024, tail + MIB, NORESERVE),
            [Arena, Arena]
        );
        // Go's heap has the same shape, but its memory is set aside.
        assert_eq!(arena(base, 4 * MIB, 60 * MIB, ""), [Anonymous, Reserved]);
        // Elsewhere, or reserved too little.
        let beside = arena(base + 4096, MIB, 63 * MIB, NORESERVE);
        assert_eq!(beside, [Anonymous, Reserved]);
        let short = arena(base, MIB, 62 * MIB, NORESERVE);
        assert_eq!(short, [Anonymous, Reserved]);
        // One that is full has nothing behind it.
        let full = line(base, 64 * MIB, "rw-p 0 0:0 0 ") + NORESERVE;
        assert_eq!(classes(&full, &[]), [(Arena, KnownBy::Shape)]);
    }

    #[test]
    fn a_threads_stack_is_told_by_its_pointer_else_by_its_guard() {
        use MappingKind::*;
        let base = 0x7f00_0000_0000;
        let text = line(base, 4096, "---p 0 0:0 0 ")
            + &line(base + 4096, 8 * MIB, "rw-p 0 0:0 0 ")
            + &line(base + 16 * MIB, 4096, "---p 0 0:0 0 ")
            + &line(base + 16 * MIB + 4096, 8 * MIB, "rw-p 0 0:0 0 ")
            + &line(base + 32 * MIB, 8 * MIB, "rw-p 0 0:0 0 ");
        let pointers = [base + 4096 + 5, base + 39 * MIB];
        assert_eq!(
            classes(&text, &pointers),
            [
                (ThreadStack, KnownBy::Guard),
                (ThreadStack, KnownBy::StackPointer),
                (ThreadStack, KnownBy::Guard),
                (ThreadStack, KnownBy::Guard),
                (ThreadStack, KnownBy::StackPointer),
            ]
        );
        // A pointer just outside tells nothing.
        let alone = line(base, 8 * MIB, "rw-p 0 0:0 0 ");
        for pointer in [base - 1, base + 8 * MIB] {
            assert_eq!(
                classes(&alone, &[pointer]),
                [(Anonymous, KnownBy::Name)],
                "{pointer:x}"
            );
        }
        // What is too small, or behind too large a gap, is no stack.
        let small = line(base, 4096, "---p 0 0:0 0 ") + &line(base + 4096, 8192, "rw-p 0 0:0 0 ");
        assert_eq!(classes(&small, &[])[1].0, Anonymous);
        let wide =
            line(base, 2 * MIB, "---p 0 0:0 0 ") + &line(base + 2 * MIB, MIB, "rw-p 0 0:0 0 ");
        assert_eq!(classes(&wide, &[])[1].0, Anonymous);
        let inside = alone + "VmFlags: rd wr gu \n";
        assert_eq!(classes(&inside, &[]), [(ThreadStack, KnownBy::Guard)]);
    }

    #[test]
    fn a_stack_pointer_in_a_heap_or_file_changes_nothing() {
        let base = 0x7f00_0000_0000;
        for rest in [
            "rw-p 0 0:0 0 [heap]",
            "rw-p 0 fe:0 5 /lib/a",
            "r--p 0 0:0 0 ",
        ] {
            let text = line(base, MIB, rest);
            assert_eq!(classes(&text, &[base + 1]), classes(&text, &[]), "{rest}");
        }
    }

    #[test]
    fn addresses_at_the_end_of_all_addresses_do_no_harm() {
        let text = format!(
            "{:x}-{:x} rw-p 0 0:0 0 \n{NORESERVE}",
            u64::MAX - 4095,
            u64::MAX
        );
        assert_eq!(classes(&text, &[u64::MAX])[0].0, MappingKind::Anonymous);
        assert!(classify(&[], &[1, 2]).is_empty());
    }
}
