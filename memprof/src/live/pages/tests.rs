//! The table against a plain map.

use std::collections::BTreeMap as Model;

use proptest::prelude::*;

use super::*;

fn page(site: u32) -> Page {
    Page {
        site,
        memory: PageMemory::Anonymous,
        is_huge: false,
        by_kernel: false,
    }
}

fn file(site: u32) -> Page {
    Page {
        memory: PageMemory::File,
        ..page(site)
    }
}

/// A table with the pages of some ranges of numbers, one site each, and its room.
fn table(ranges: &[Range<u64>]) -> (PageTable, usize) {
    let (mut table, mut room) = (PageTable::default(), MAX_PAGE_REGIONS);
    for (range, site) in ranges.iter().zip(0..) {
        for number in range.clone() {
            table.put(number, page(site), &mut room).expect("room");
        }
    }
    (table, room)
}

#[test]
fn a_page_comes_back_as_it_was() {
    for memory in [PageMemory::File, PageMemory::Anonymous, PageMemory::Shared] {
        for (is_huge, by_kernel) in [(false, true), (true, false)] {
            let page = Page {
                site: SITE_MASK,
                memory,
                is_huge,
                by_kernel,
            };
            assert_eq!(Page::unpack(page.pack()), Some(page));
        }
    }
    assert_eq!(Page::unpack(0), None);
}

#[test]
fn giving_back_many_terabytes_costs_no_more_than_what_is_there() {
    let (mut table, mut room) = table(&[10..20, 1 << 30..(1 << 30) + 3]);
    let mut gone = 0;
    table.remove(0..1 << 45, &mut room, &mut |_, count| gone += count);
    assert_eq!((gone, table.len(), table.regions()), (13, 0, 0));
    assert_eq!(room, MAX_PAGE_REGIONS);
}

#[test]
fn the_heap_is_given_back_up_to_the_next_large_gap() {
    let (mut table, mut room) = table(&[100..110, 400..410, 922..924, 2000..2010]);
    let mut gone = 0;
    table.remove_run_from(105, &mut room, &mut |_, count| gone += count);
    assert_eq!(gone, 5 + 10 + 2);
    assert_eq!(table.runs().collect::<Vec<_>>(), [100..105, 2000..2010]);
}

#[test]
fn pages_beyond_the_room_are_refused_and_the_rest_stays_usable() {
    let (mut table, mut room) = (PageTable::default(), 1);
    assert_eq!(table.put(0, page(1), &mut room), Ok(None));
    assert_eq!(table.put(REGION_PAGES, page(1), &mut room), Err(NoRoom));
    let put = table.put_all(500..600, page(1), &mut room, &mut |_, _| ());
    assert_eq!((put, table.len()), (12, 13));
    assert_eq!(table.put(1, page(1), &mut room), Ok(None));
    assert!(table.fork(&mut room).is_none());
    table.remove(0..512, &mut room, &mut |_, _| ());
    assert_eq!(table.put(REGION_PAGES, page(1), &mut room), Ok(None));
}

#[test]
fn a_child_has_the_anonymous_pages_and_a_write_makes_them_the_writers() {
    let (mut parent, mut room) = table(&[0..4, 600..1112]);
    parent.put(4, file(7), &mut room).expect("room");
    let mut child = parent.fork(&mut room).expect("room");
    assert_eq!((parent.len(), child.len()), (517, 516));
    assert_eq!(child.get(4), None);
    assert_eq!(parent.copy(4, 9, false), None, "a file's page");
    assert_eq!(child.copy(2, 9, true).map(|it| it.0), Some(page(0)));
    assert_eq!(child.get(2).map(|page| page.site), Some(9));
    assert_eq!(child.copy(2, 8, false), None, "it is the child's own");
    assert_eq!(parent.get(2), Some(page(0)));
    // Alone again, the parent writes to what is its own.
    child.clear(&mut room);
    assert_eq!(parent.copy(3, 9, false), None);
    assert_eq!(parent.get(3), Some(page(0)));
}

#[test]
fn a_range_of_addresses_is_told_by_who_touched_it() {
    let (table, _) = table(&[1..3, 3..5, 510..514]);
    let bytes = |start, length| table.sites_in(start, length);
    assert_eq!(bytes(0x1000, 0x4000), [(0, 0x2000), (1, 0x2000)]);
    assert_eq!(bytes(0x2f00, 0x200), [(0, 0x100), (1, 0x100)]);
    assert_eq!(bytes(0x1010, 1), [(0, 1)]);
    assert_eq!(bytes(0x5000, 0x1000), []);
    assert_eq!(bytes(0x1000, 0), []);
    let sum = |ranges: Vec<(u32, u64)>| ranges.iter().map(|one| one.1).sum::<u64>();
    assert_eq!(sum(bytes(0, u64::MAX)), 8 * PAGE_BYTES);
}

#[test]
fn what_the_kernel_no_longer_has_can_be_dropped() {
    let (mut table, mut room) = table(&[0..10, 508..516]);
    let mut gone = Vec::new();
    let even = |number: u64| !(4..6).contains(&number) && number < 510;
    table.retain(even, &mut room, &mut |page, count| {
        gone.push((page.site, count));
    });
    assert_eq!(gone, [(0, 2), (1, 2), (1, 4)]);
    let left: Vec<_> = table.runs().collect();
    assert_eq!(left, [0..4, 6..10, 508..510]);
}

#[test]
fn pages_that_move_stay_whose_they_were() {
    let (mut table, mut room) = table(&[0..10, 508..516]);
    let (pages, before) = (table.len(), room);
    let mut gone = Vec::new();
    // Over the edge of a region, to where one page is on record.
    table.shift(4..514, 1020, &mut room, &mut |page, count| {
        gone.push((page.site, count));
    });
    assert!(gone.is_empty());
    let left: Vec<_> = table.runs().collect();
    assert_eq!(left, [0..4, 514..516, 1020..1026, 1524..1530]);
    assert_eq!(table.get(1021).map(|page| page.site), Some(0));
    assert_eq!(table.get(1529).map(|page| page.site), Some(1));
    table.shift(514..516, 1525, &mut room, &mut |page, count| {
        gone.push((page.site, count));
    });
    assert_eq!(gone, [(1, 2)]);
    table.shift(0..1 << 40, 1 << 41, &mut room, &mut |_, _| {});
    assert_eq!(table.len(), pages - 2);
    table.shift(1 << 41..u64::MAX, 5, &mut room, &mut |_, _| {});
    table.clear(&mut room);
    assert_eq!(room, before + 2);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, Page),
    PutAll(Range<u64>, Page),
    Remove(Range<u64>),
    RemoveRun(u64),
    Retain(u64),
    Copy(u64, u32),
    Fork,
    Switch,
}

/// Pages at three places, each across the end of a region.
fn number() -> impl Strategy<Value = u64> {
    let place = prop_oneof![
        Just(500u64),
        Just(5 * REGION_PAGES - 10),
        Just((1 << 44) - 8)
    ];
    (place, 0u64..24).prop_map(|(place, number)| place + number)
}

fn some_page() -> impl Strategy<Value = Page> {
    let memory = prop_oneof![
        Just(PageMemory::File),
        Just(PageMemory::Anonymous),
        Just(PageMemory::Shared),
    ];
    (0u32..4, memory, any::<bool>(), any::<bool>()).prop_map(
        |(site, memory, is_huge, by_kernel)| Page {
            site,
            memory,
            is_huge,
            by_kernel,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        200 => (number(), some_page()).prop_map(|(number, page)| Step::Put(number, page)),
        10 => (number(), 0u64..30, some_page())
            .prop_map(|(first, count, page)| Step::PutAll(first..first + count, page)),
        20 => (number(), number()).prop_map(|(a, b)| Step::Remove(a.min(b)..a.max(b))),
        5 => number().prop_map(Step::RemoveRun),
        5 => (2u64..5).prop_map(Step::Retain),
        60 => (number(), 4u32..8).prop_map(|(number, site)| Step::Copy(number, site)),
        6 => Just(Step::Fork),
        12 => Just(Step::Switch),
    ];
    proptest::collection::vec(step, 0..400)
}

/// Each page, and whether a fork left it shared.
type Pages = Model<u64, (Page, bool)>;

fn gone_of(model: &mut Pages, is_gone: impl Fn(u64) -> bool) -> Vec<Page> {
    let gone = model.iter().filter(|page| is_gone(*page.0));
    let gone = gone.map(|page| page.1.0).collect();
    model.retain(|number, _| !is_gone(*number));
    gone
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_table_and_its_forks_behave_like_maps(steps in steps()) {
        let mut room = MAX_PAGE_REGIONS;
        let mut tables = vec![PageTable::default()];
        let mut models = vec![Pages::new()];
        let mut at = 0;
        for step in steps {
            let mut gone = Vec::new();
            let mut tell = |page, count| gone.extend((0..count).map(|_| page));
            let count = tables.len();
            let (table, model) = (&mut tables[at], &mut models[at]);
            match step {
                Step::Put(number, page) => {
                    let before = model.insert(number, (page, false)).map(|before| before.0);
                    prop_assert_eq!(table.put(number, page, &mut room), Ok(before));
                }
                Step::PutAll(range, page) => {
                    let put = table.put_all(range.clone(), page, &mut room, &mut tell);
                    prop_assert_eq!(put, range.end - range.start);
                    prop_assert_eq!(gone, gone_of(model, |number| range.contains(&number)));
                    model.extend(range.map(|number| (number, (page, false))));
                }
                Step::Remove(range) => {
                    table.remove(range.clone(), &mut room, &mut tell);
                    prop_assert_eq!(gone, gone_of(model, |number| range.contains(&number)));
                }
                Step::RemoveRun(first) => {
                    let mut end = first;
                    for (&number, _) in model.range(first..) {
                        if number > end + REGION_PAGES {
                            break;
                        }
                        end = number + 1;
                    }
                    table.remove_run_from(first, &mut room, &mut tell);
                    prop_assert_eq!(gone, gone_of(model, |number| (first..end).contains(&number)));
                }
                Step::Retain(divisor) => {
                    let goes = |number: u64| number.is_multiple_of(divisor);
                    table.retain(|number| !goes(number), &mut room, &mut tell);
                    prop_assert_eq!(gone, gone_of(model, goes));
                }
                Step::Copy(number, site) => {
                    let copied = table.copy(number, site, true).map(|copy| copy.0);
                    let before = model.get_mut(&number).filter(|page| page.1);
                    let before = before.filter(|page| page.0.is_anonymous());
                    // Nobody ends here: who ever forked has relatives.
                    let known = before.map(|known| {
                        let copy = Page { by_kernel: true, ..page(site) };
                        std::mem::replace(known, (copy, false)).0
                    });
                    prop_assert_eq!(copied, known);
                }
                Step::Fork => {
                    let child = table.fork(&mut room).expect("room");
                    for page in model.values_mut() {
                        page.1 = true;
                    }
                    let mut inherited = model.clone();
                    inherited.retain(|_, page| page.0.is_anonymous());
                    tables.push(child);
                    models.push(inherited);
                }
                Step::Switch => at = (at + 1) % count,
            }
            prop_assert_eq!(tables[at].len(), models[at].len() as u64);
        }
        let regions: usize = tables.iter().map(PageTable::regions).sum();
        prop_assert_eq!(room + regions, MAX_PAGE_REGIONS);
        for (table, model) in tables.iter_mut().zip(&models) {
            let numbers: Vec<u64> = table.runs().flatten().collect();
            prop_assert_eq!(&numbers, &model.keys().copied().collect::<Vec<_>>());
            for (number, page) in model {
                prop_assert_eq!(table.get(*number), Some(page.0));
            }
        }
    }
}
