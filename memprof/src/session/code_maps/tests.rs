//! Our own process is the followed one; what it is told to have mapped is made up.

use std::sync::Arc;

use super::*;
use crate::target::{
    mappings::{Backing, FileId, Mapping},
    modules::Place,
};

const SPACE: SpaceId = SpaceId(1);
/// No code of ours is here: far below where the kernel puts anything.
const ROOM: u64 = 0x10_0000_0000;

/// Takes down what is passed on.
#[derive(Default)]
struct Ledger {
    published: Vec<(SpaceId, usize)>,
    forgotten: Vec<SpaceId>,
}

impl Publisher for Ledger {
    fn publish(&mut self, space: SpaceId, mapped: Mapped) {
        self.published.push((space, mapped.code.len()));
    }

    fn forget(&mut self, space: SpaceId) {
        self.forgotten.push(space);
    }
}

fn own_pid() -> Pid {
    Pid(std::process::id())
}

fn followed() -> CodeMaps<Ledger> {
    let mut code = CodeMaps::new(Ledger::default(), None);
    code.add(SPACE, own_pid());
    code.tables.published.clear();
    code
}

fn event(time: Nanoseconds, pid: Pid, change: CodeChange) -> CodeEvent {
    CodeEvent { time, pid, change }
}

/// A library of that name is mapped at `start`.
fn library(start: u64, name: &str) -> CodeChange {
    CodeChange::Mapped(Mapping {
        start,
        end: start + 0x1000,
        file_offset: 0,
        readable: true,
        writable: false,
        executable: true,
        backing: Backing::File {
            id: FileId {
                major: 0,
                minor: 0,
                inode: 1 << 60 | name.len() as u64,
            },
            path: Arc::from(name),
            deleted: false,
        },
    })
}

fn hear(code: &mut CodeMaps<Ledger>, events: Vec<CodeEvent>) {
    code.hear(events, Look::default());
}

/// The name of the file at an address.
fn name_at(code: &mut CodeMaps<Ledger>, space: SpaceId, address: u64) -> Option<String> {
    let frames = code.resolve(space, &[address]);
    let (module, _) = frames[0].in_file()?;
    Some(code.modules().get(module)?.path().to_owned())
}

#[test]
fn a_stack_is_in_the_library_that_was_there_at_its_time() {
    let mut code = followed();
    let events = vec![
        event(10, own_pid(), library(ROOM, "/one")),
        event(30, own_pid(), library(ROOM, "/the other")),
    ];
    hear(&mut code, events);
    code.advance(20);
    assert_eq!(name_at(&mut code, SPACE, ROOM).as_deref(), Some("/one"));
    code.advance(30);
    assert_eq!(
        name_at(&mut code, SPACE, ROOM).as_deref(),
        Some("/the other")
    );
}

#[test]
fn several_changes_of_one_process_are_passed_on_together_and_once() {
    let mut code = followed();
    let library = |number: u64| library(ROOM + number * 0x1000, "/library");
    let events = (0..5).map(|number| event(number, own_pid(), library(number)));
    hear(&mut code, events.collect());
    code.advance(100);
    code.catch_up(monotonic());
    code.catch_up(monotonic());
    assert_eq!(code.tables.published.len(), 1);
    assert!(code.tables.published[0].1 > 5);
    // The same again is no change.
    hear(&mut code, vec![event(200, own_pid(), library(0))]);
    code.advance(200);
    code.catch_up(monotonic());
    assert_eq!(code.tables.published.len(), 1);
}

#[test]
fn what_a_process_maps_on_its_way_into_another_program_is_not_the_old_ones() {
    let mut code = followed();
    let events = vec![
        event(10, own_pid(), CodeChange::Replaced),
        event(20, own_pid(), library(ROOM, "/new program")),
        event(40, own_pid(), library(ROOM + 0x1000, "/library")),
    ];
    hear(&mut code, events);
    code.advance(30);
    assert_eq!(name_at(&mut code, SPACE, ROOM), None);
    code.executed(SPACE, SpaceId(2), own_pid());
    assert_eq!(code.tables.forgotten, [SPACE]);
    assert_eq!(code.tables.published[0].0, SpaceId(2));
    code.advance(40);
    let at = name_at(&mut code, SpaceId(2), ROOM + 0x1000);
    assert_eq!(at.as_deref(), Some("/library"));
}

#[test]
fn a_child_has_its_parents_code_and_then_its_own() {
    let mut code = followed();
    let child = Pid(u32::MAX);
    let events = vec![
        event(10, own_pid(), library(ROOM, "/before")),
        event(30, child, library(ROOM, "/after")),
        event(40, Pid(u32::MAX - 1), library(ROOM, "/nobody's")),
    ];
    hear(&mut code, events);
    code.advance(20);
    code.forked(SPACE, SpaceId(2), child);
    assert_eq!(
        code.tables.published.last().map(|one| one.0),
        Some(SpaceId(2))
    );
    code.advance(50);
    assert_eq!(name_at(&mut code, SPACE, ROOM).as_deref(), Some("/before"));
    assert_eq!(
        name_at(&mut code, SpaceId(2), ROOM).as_deref(),
        Some("/after")
    );
    code.exited(SpaceId(2), child);
    assert_eq!(code.tables.forgotten, [SpaceId(2)]);
}

#[test]
fn a_space_is_forgotten_when_the_last_one_in_it_has_left() {
    let mut code = followed();
    let child = Pid(u32::MAX);
    code.forked(SPACE, SPACE, child);
    assert!(code.tables.published.is_empty(), "nothing new");
    code.exited(SPACE, own_pid());
    assert!(code.tables.forgotten.is_empty());
    code.exited(SPACE, child);
    assert_eq!(code.tables.forgotten, [SPACE]);
}

#[test]
fn after_a_loss_everything_is_read_again() {
    let mut code = followed();
    hear(
        &mut code,
        vec![event(10, own_pid(), library(ROOM, "/gone by now"))],
    );
    code.advance(10);
    let look = Look {
        lost: 3,
        incomplete: true,
    };
    code.hear(Vec::new(), look);
    assert_eq!(code.lost(), 3);
    // Not while the last reading is so young.
    code.catch_up(0);
    assert!(code.missed.contains(&SPACE));
    code.catch_up(monotonic() + 1_000_000_000_000);
    assert!(code.missed.is_empty());
    let regions = code.spaces.regions(SPACE);
    assert!(regions.into_iter().all(|region| region.start != ROOM));
    // A stack that was on its way when it went.
    assert_eq!(
        name_at(&mut code, SPACE, ROOM).as_deref(),
        Some("/gone by now")
    );
}

#[test]
fn what_was_unmapped_does_not_pile_up() {
    let mut code = followed();
    let mut now = monotonic();
    for turn in 0..100 {
        let changes = (0..100).map(|number| {
            let start = ROOM + (turn * 100 + number) * 0x1000;
            let mapping = Mapping {
                start,
                end: start + 0x1000,
                file_offset: 0,
                readable: true,
                writable: true,
                executable: true,
                backing: Backing::Anonymous,
            };
            event(turn, own_pid(), CodeChange::Mapped(mapping))
        });
        hear(&mut code, changes.collect());
        code.advance(turn);
        now += 1_000_000_000;
        code.catch_up(now);
    }
    assert!(code.spaces.regions(SPACE).count() < 1000);
}

#[test]
fn changes_that_nobody_takes_are_not_kept_for_ever() {
    let mut code = followed();
    for time in 0..8 {
        let changes = (0..10_000).map(|_| event(time, own_pid(), library(ROOM, "/a")));
        hear(&mut code, changes.collect());
    }
    assert!(code.told.len() <= MAX_TOLD);
    assert!(code.lost() > 0 && code.missed.contains(&SPACE));
}

#[test]
fn code_without_a_file_is_code_made_at_run_time() {
    let mut code = followed();
    let mapping = Mapping {
        start: ROOM,
        end: ROOM + 0x1000,
        file_offset: 0,
        readable: true,
        writable: true,
        executable: true,
        backing: Backing::Anonymous,
    };
    hear(
        &mut code,
        vec![event(1, own_pid(), CodeChange::Mapped(mapping))],
    );
    code.advance(1);
    assert_eq!(code.resolve(SPACE, &[ROOM])[0].place, Place::Jit);
}
