//! Mappings added up by kind, file and permissions, the largest first. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use super::classify::{Class, classify};
use super::model::{Amounts, Group, KnownBy, Mapping, MappingKind, Mappings, Threads};
use super::smaps::{Region, Regions};

/// Files that are listed; those that hold least are added up beyond that.
const MAX_FILES: usize = 4096;
/// What is only counted, among the names of files and permissions. No file is called so.
pub(super) const OTHERS: &str = "[others]";

/// Puts a process's mappings in order: the groups, the `top` largest, and what they say of its threads'
/// stacks. `stack_pointers`: those of the threads that could be read; `None` if that was not possible.
pub(super) fn group(
    regions: &Regions,
    stack_pointers: Option<&[u64]>,
    top: usize,
) -> (Mappings, Threads) {
    let mut pointers = stack_pointers.unwrap_or_default().to_vec();
    pointers.sort_unstable();
    let classes = classify(&regions.kept, &pointers);
    let classified = || regions.kept.iter().zip(&classes);

    let mut by_kind = Sums::default();
    let mut by_file = Sums::default();
    let mut by_permissions = Sums::default();
    for (region, class) in classified() {
        by_kind.add(class.kind, &region.amounts);
        by_file.add(file_name(region, class.kind), &region.amounts);
        by_permissions.add(permissions(region), &region.amounts);
    }
    let beyond = (regions.beyond_count, &regions.beyond);
    let mappings = Mappings {
        count: regions.kept.len() as u64 + regions.beyond_count,
        beyond_count: regions.beyond_count,
        arena_count: count(classified(), MappingKind::Arena, |_| true),
        by_kind: by_kind.listed(usize::MAX, MappingKind::Others, beyond),
        by_file: by_file.listed(MAX_FILES, OTHERS.to_owned(), beyond),
        by_permissions: by_permissions.listed(usize::MAX, OTHERS.to_owned(), beyond),
        largest: largest(&regions.kept, &classes, top),
    };
    let stacks =
        |is_one: fn(KnownBy) -> bool| count(classified(), MappingKind::ThreadStack, is_one);
    let threads = Threads {
        count: None,
        stack_pointers_read: stack_pointers.map(|pointers| pointers.len() as u64),
        stacks_known: Some(stacks(|known_by| known_by != KnownBy::Guard)),
        stacks_guessed: Some(stacks(|known_by| known_by == KnownBy::Guard)),
    };
    (mappings, threads)
}

/// How many there are of a kind that consists of memory and of what is kept free beside it.
fn count<'a>(
    classified: impl Iterator<Item = (&'a Region, &'a Class)>,
    kind: MappingKind,
    is_one: impl Fn(KnownBy) -> bool,
) -> u64 {
    classified
        .filter(|(region, class)| {
            class.kind == kind && region.permissions[..3] != *b"---" && is_one(class.known_by)
        })
        .count() as u64
}

fn permissions(region: &Region) -> String {
    String::from_utf8_lossy(&region.permissions).into_owned()
}

/// What a mapping is listed under: its name, else its kind.
fn file_name(region: &Region, kind: MappingKind) -> String {
    if region.name.is_empty() {
        format!("[{}]", kind.name())
    } else {
        region.name.to_string()
    }
}

/// The largest first; of those as large, by a name, so that the order is always the same.
fn rank<K>(amounts: &Amounts, name: K) -> (Reverse<u64>, Reverse<u64>, K) {
    let present = amounts.rss_bytes.saturating_add(amounts.swap_bytes);
    (Reverse(present), Reverse(amounts.size_bytes), name)
}

fn largest(regions: &[Region], classes: &[Class], top: usize) -> Vec<Mapping> {
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&at| rank(&regions[at].amounts, regions[at].start));
    order.truncate(top);
    let shown = order.into_iter().map(|at| {
        let (region, class) = (&regions[at], classes[at]);
        Mapping {
            address: format!("0x{:x}", region.start),
            kind: class.kind,
            known_by: class.known_by,
            permissions: permissions(region),
            file: (!region.name.is_empty()).then(|| region.name.to_string()),
            amounts: region.amounts,
        }
    });
    shown.collect()
}

/// Sums by what mappings have in common.
struct Sums<K>(HashMap<K, (u64, Amounts)>);

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Ord + Clone> Sums<K> {
    fn add(&mut self, name: K, amounts: &Amounts) {
        let (mappings, sum) = self.0.entry(name).or_default();
        *mappings += 1;
        sum.add(amounts);
    }

    /// The largest of them, at most so many, and the rest with what is `beyond` under the name `others`,
    /// which stands last.
    fn listed(self, most: usize, others: K, beyond: (u64, &Amounts)) -> Vec<Group<K>> {
        let mut groups: Vec<Group<K>> = self
            .0
            .into_iter()
            .map(|(name, (mappings, amounts))| Group {
                name,
                mappings,
                amounts,
            })
            .collect();
        groups.sort_by_key(|group| rank(&group.amounts, group.name.clone()));
        let mut rest = Group {
            name: others,
            mappings: beyond.0,
            amounts: *beyond.1,
        };
        for group in groups.drain(most.min(groups.len())..) {
            rest.mappings += group.mappings;
            rest.amounts.add(&group.amounts);
        }
        if rest.mappings > 0 {
            groups.push(rest);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::super::smaps::parse;
    use super::*;

    fn grouped(text: &str, stack_pointers: Option<&[u64]>, top: usize) -> (Mappings, Threads) {
        group(&parse(text.as_bytes()).unwrap(), stack_pointers, top)
    }

    const SMALL: &str = "\
1000-3000 r-xp 0 fe:0 5 /usr/bin/a
Rss: 8 kB
Private_Clean: 8 kB
3000-4000 r--p 0 fe:0 5 /usr/bin/a
Rss: 4 kB
5000-9000 rw-p 0 0:0 0 
Rss: 4 kB
Swap: 12 kB
a000-b000 ---p 0 0:0 0 
b000-10000 rw-p 0 0:0 0 
Rss: 4 kB
20000-90000 ---p 0 0:0 0 
a0000-b0000 rw-p 0 0:0 0 [heap]
Rss: 40 kB
";

    #[test]
    fn the_largest_come_first_and_nothing_is_left_out() {
        let (mappings, threads) = grouped(SMALL, Some(&[0xc000]), 3);
        let kinds: Vec<_> = mappings
            .by_kind
            .iter()
            .map(|group| (group.name, group.mappings, group.amounts.rss_bytes >> 10))
            .collect();
        use MappingKind::*;
        assert_eq!(
            kinds,
            [
                (Heap, 1, 40),
                (Anonymous, 1, 4),
                (Code, 1, 8),
                (ThreadStack, 2, 4),
                (File, 1, 4),
                (Reserved, 1, 0),
            ]
        );
        let files: Vec<_> = mappings.by_file.iter().map(|one| &*one.name).collect();
        assert_eq!(
            files,
            [
                "[heap]",
                "[anonymous]",
                "/usr/bin/a",
                "[thread stack]",
                "[reserved]"
            ]
        );
        let largest: Vec<_> = mappings.largest.iter().map(|one| &*one.address).collect();
        assert_eq!(largest, ["0xa0000", "0x5000", "0x1000"]);
        assert_eq!(mappings.count, 7);
        for sum in [
            sum(&mappings.by_kind),
            sum(&mappings.by_file),
            sum(&mappings.by_permissions),
        ] {
            assert_eq!(sum, (7, parse(SMALL.as_bytes()).unwrap().total));
        }
        assert_eq!(threads.stacks_known, Some(1));
        assert_eq!(threads.stacks_guessed, Some(0));
        assert_eq!(threads.stack_pointers_read, Some(1));
    }

    fn sum<K>(groups: &[Group<K>]) -> (u64, Amounts) {
        let mut total = Amounts::default();
        groups.iter().for_each(|group| total.add(&group.amounts));
        (groups.iter().map(|group| group.mappings).sum(), total)
    }

    #[test]
    fn without_stack_pointers_a_stack_is_guessed() {
        let (_, threads) = grouped(SMALL, None, 0);
        assert_eq!(threads.stacks_known, Some(0));
        assert_eq!(threads.stacks_guessed, Some(1));
        assert_eq!(threads.stack_pointers_read, None);
    }

    #[test]
    fn of_many_thousand_files_those_that_hold_least_are_added_up() {
        let mut text = String::new();
        for at in 0..70_000_u64 {
            let start = at * 8192;
            text += &format!("{start:x}-{:x} rw-p 0 fe:0 9 /f{at}\n", start + 4096);
            text += &format!("Rss: {} kB\n", if at == 60_000 { 4 } else { 0 });
        }
        let regions = parse(text.as_bytes()).unwrap();
        let (mappings, _) = group(&regions, None, 2);
        assert_eq!(mappings.count, 70_000);
        assert_eq!(mappings.beyond_count, 70_000 - 65_536);
        assert_eq!(mappings.by_file.len(), MAX_FILES + 1);
        assert_eq!(mappings.by_file[0].name, "/f60000");
        let others = mappings.by_file.last().unwrap();
        assert_eq!(others.name, OTHERS);
        assert_eq!(others.mappings, 70_000 - MAX_FILES as u64);
        assert_eq!(sum(&mappings.by_file), (70_000, regions.total));
        assert_eq!(mappings.by_kind[1].name, MappingKind::Others);
        assert_eq!(mappings.by_kind[1].mappings, mappings.beyond_count);
        assert_eq!(mappings.largest.len(), 2);
    }

    #[test]
    fn nothing_mapped_is_nothing_listed() {
        let (mappings, threads) = grouped("", Some(&[]), 10);
        assert_eq!(mappings, Mappings::default());
        assert_eq!(threads.stacks_known, Some(0));
    }
}
