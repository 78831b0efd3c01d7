use super::*;

const PAGE: u64 = 4096;

fn owner(site: u32) -> Owner {
    Owner {
        account: Account::Site(site),
        kind: MappingKind::Anonymous,
        birth: u64::from(site),
    }
}

/// Mappings by pages, and what was said of them.
#[derive(Default)]
struct Table {
    mappings: Mappings,
    changes: Vec<(u32, u64, u64)>,
}

impl Table {
    fn note(changes: &mut Vec<(u32, u64, u64)>) -> impl FnMut(Change) {
        |change| {
            let Account::Site(site) = change.owner.account else {
                panic!("{change:?}");
            };
            changes.push((site, change.before / PAGE, change.after / PAGE));
        }
    }

    fn map(&mut self, site: u32, start: u64, end: u64) {
        let changed = &mut Self::note(&mut self.changes);
        let (start, end) = (start * PAGE, end * PAGE);
        self.mappings.map(start, end, owner(site), changed);
    }

    fn unmap(&mut self, start: u64, end: u64) -> Vec<Part> {
        let changed = &mut Self::note(&mut self.changes);
        self.mappings.unmap(start * PAGE, end * PAGE, changed)
    }

    fn restore(&mut self, parts: &[Part], end: u64) {
        let changed = &mut Self::note(&mut self.changes);
        self.mappings.restore(parts, end * PAGE, changed);
    }

    /// Pages and number of mappings by site.
    fn held(&self) -> Vec<(u32, u64)> {
        let mut held: Vec<_> = self
            .mappings
            .iter()
            .map(|(owner, bytes)| match owner.account {
                Account::Site(site) => (site, bytes / PAGE),
                other => panic!("{other:?}"),
            })
            .collect();
        held.sort_unstable();
        held
    }
}

#[test]
fn a_mapping_that_loses_head_tail_and_middle_counts_until_its_last_page_is_gone() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    table.unmap(10, 12);
    table.unmap(18, 25);
    table.unmap(14, 15);
    assert_eq!(table.held(), [(1, 5)]);
    assert_eq!(table.changes, [(1, 10, 8), (1, 8, 6), (1, 6, 5)]);
    table.unmap(0, 15);
    assert_eq!(table.held(), [(1, 3)]);
    table.unmap(15, 18);
    assert_eq!(table.changes.last(), Some(&(1, 3, 0)));
    assert_eq!((table.held(), table.mappings.pieces()), (vec![], 0));
}

#[test]
fn what_is_mapped_over_others_takes_their_place() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    table.map(2, 20, 30);
    table.map(3, 15, 25);
    assert_eq!(table.held(), [(1, 5), (2, 5), (3, 10)]);
    table.map(4, 0, 100);
    assert_eq!(table.held(), [(4, 100)]);
}

#[test]
fn what_was_taken_away_in_vain_comes_back_with_its_age() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    table.map(2, 20, 30);
    let parts = table.unmap(5, 25);
    assert_eq!(table.held(), [(2, 5)]);
    table.restore(&parts, u64::MAX / PAGE);
    assert_eq!(table.held(), [(1, 10), (2, 10)]);
    let births: Vec<_> = table
        .mappings
        .iter()
        .map(|(owner, _)| owner.birth)
        .collect();
    assert!(births.contains(&1) && births.contains(&2));
}

#[test]
fn what_comes_back_gives_way_to_what_has_been_mapped_there_since() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    let parts = table.unmap(10, 20);
    table.map(2, 12, 14);
    table.map(3, 19, 25);
    table.restore(&parts, u64::MAX / PAGE);
    assert_eq!(table.held(), [(1, 7), (2, 2), (3, 6)]);
}

#[test]
fn of_a_mapping_that_shrinks_in_place_the_head_comes_back() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    let parts = table.unmap(10, 20);
    table.restore(&parts, 13);
    assert_eq!(table.held(), [(1, 3)]);
}

#[test]
fn the_heap_gives_back_first_what_it_got_last() {
    let mut table = Table::default();
    table.map(1, 100, 110);
    table.map(2, 110, 130);
    table.map(3, 130, 131);
    table.unmap(120, 131);
    assert_eq!(table.held(), [(1, 10), (2, 10)]);
    table.map(4, 120, 121);
    assert_eq!(table.held(), [(1, 10), (2, 10), (4, 1)]);
}

#[test]
fn the_owner_of_a_range_is_that_of_its_first_mapping() {
    let mut table = Table::default();
    table.map(1, 10, 20);
    table.map(2, 30, 40);
    let owner_in = |start: u64, end: u64| {
        let found = table.mappings.owner_in(start * PAGE, end * PAGE);
        found.map(|owner| owner.birth)
    };
    assert_eq!(owner_in(15, 16), Some(1));
    assert_eq!(owner_in(20, 30), None);
    assert_eq!(owner_in(25, 50), Some(2));
    assert_eq!(owner_in(39, 45), Some(2));
}

/// Against a list of single pages, each with the number of its mapping: random calls of all kinds.
#[test]
fn any_sequence_of_calls_gives_each_page_its_last_mapping() {
    const PAGES: u64 = 48;
    let mut state = 7_u64;
    let mut random = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for _ in 0..300 {
        let mut table = Table::default();
        let mut model = [None::<u32>; PAGES as usize];
        let mut taken: Option<(Vec<Part>, u64, Vec<Option<u32>>)> = None;
        for site in 0..60 {
            let start = random(PAGES - 1);
            let end = start + 1 + random(PAGES - start);
            let range = start as usize..end as usize;
            match random(4) {
                0 | 1 => {
                    table.map(site, start, end);
                    model[range].fill(Some(site));
                }
                2 => {
                    let before = model[range.clone()].to_vec();
                    let parts = table.unmap(start, end);
                    taken = Some((parts, start, before));
                    model[range].fill(None);
                }
                _ => {
                    let Some((parts, start, before)) = taken.take() else {
                        continue;
                    };
                    // A call that failed, or a range that shrank in place.
                    let kept = random(before.len() as u64 + 1);
                    table.restore(&parts, start + kept);
                    for (page, site) in (start..start + kept).zip(before) {
                        let place = &mut model[page as usize];
                        *place = place.or(site);
                    }
                }
            }
            let mut expected: Vec<(u32, u64)> = Vec::new();
            for site in model.iter().flatten() {
                match expected.iter_mut().find(|(one, _)| one == site) {
                    Some((_, pages)) => *pages += 1,
                    None => expected.push((*site, 1)),
                }
            }
            expected.sort_unstable();
            assert_eq!(table.held(), expected);
            for page in 0..PAGES {
                let found = table.mappings.owner_in(page * PAGE, (page + 1) * PAGE);
                let found = found.map(|owner| owner.birth as u32);
                assert_eq!(found, model[page as usize], "page {page}");
            }
        }
        // What was said of each mapping follows from what was said of it before.
        let mut pages = std::collections::HashMap::new();
        for (site, before, after) in table.changes {
            if let Some(known) = pages.insert(site, after) {
                assert_eq!(known, before, "site {site}");
            }
        }
    }
}
