//! Against our own process, a child, and made-up mappings.

use super::*;
use crate::target::elf::ElfError;

const SPACE: SpaceId = SpaceId(1);

fn own_pid() -> Pid {
    Pid(std::process::id())
}

fn here() -> u64 {
    here as fn() -> u64 as usize as u64
}

/// Mappings that stand in no real process; no file of theirs can be opened.
fn made_up(text: &str) -> Mappings {
    Mappings::parse(text.as_bytes()).unwrap()
}

impl AddressSpaces {
    /// As `observe`, of mappings that were made up.
    fn update(
        &mut self,
        space: SpaceId,
        pid: Pid,
        mappings: &Mappings,
        executable: Option<(u64, u64)>,
    ) {
        if self.take_in(space, pid, mappings, executable, Reading::Whole) == Observed::Departed {
            self.abandon(space);
        }
    }
}

const BEFORE: &str = "\
1000-2000 r-xp 00005000 fe:01 4294967001 /no/such/a
2000-3000 rwxp 00000000 00:00 0 
3000-4000 r-xp 00000000 fe:01 4294967002 /no/such/b
8000-9000 r-xp 00000000 00:00 0          [vdso]
";

#[test]
fn our_own_code_is_in_our_executable_whatever_happens_later() {
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, own_pid()).unwrap();
    let resolved = spaces.resolve(SPACE, &[here(), here() + 1]);
    assert_eq!(resolved.missed, 0);
    let (module, offset) = resolved.frames[0].in_file().unwrap();
    assert_eq!(resolved.frames[1].in_file(), Some((module, offset + 1)));
    let module = spaces.modules().get(module).unwrap();
    let exe = std::fs::read_link("/proc/self/exe").unwrap();
    assert_eq!(module.path(), exe.to_str().unwrap());
    assert!(module.facts().unwrap().is_ok() && !module.is_changed());
}

#[test]
fn processes_share_modules() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, own_pid()).unwrap();
    let ours = spaces.modules().iter().count();
    // Wait for the exec: until then the child has our own image.
    let exe = format!("/proc/{}/exe", child.id());
    while !std::fs::read_link(&exe).unwrap().ends_with("sleep") {
        std::thread::yield_now();
    }
    let libc_loaded = || {
        let mappings = Mappings::read(Pid(child.id())).unwrap();
        mappings.iter().any(|m| match &m.backing {
            Backing::File { path, .. } => m.executable && path.contains("libc.so"),
            _ => false,
        })
    };
    while !libc_loaded() {
        std::thread::yield_now();
    }
    spaces.observe(SpaceId(2), Pid(child.id())).unwrap();
    let libcs = spaces
        .modules()
        .iter()
        .filter(|(_, m)| m.path().contains("libc.so"));
    assert_eq!(libcs.count(), 1);
    assert!(spaces.modules().iter().count() > ours);
    child.kill().unwrap();
    child.wait().unwrap();
    // Dead by now, and still known; new addresses are `Gone`, not worth another look.
    spaces.observe(SpaceId(2), Pid(child.id())).unwrap();
    let resolved = spaces.resolve(SpaceId(2), &[0x10]);
    assert_eq!(
        (resolved.frames[0].place, resolved.missed),
        (Place::Gone, 0)
    );
}

#[test]
fn places_are_told_apart_and_misses_counted() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    let resolved = spaces.resolve(SPACE, &[0x2000, 0x8010, 0x5000, 0x2000]);
    let places: Vec<Place> = resolved.frames.iter().map(|f| f.place).collect();
    assert_eq!(places[..3], [Place::Jit, Place::Vdso, Place::NoMapping]);
    assert_eq!(resolved.missed, 1);
    // A return address just behind a mapping belongs to the call at that mapping's end.
    let (module, offset) = resolved.frames[3].in_file().unwrap();
    assert_eq!(offset, 0x6000);
    let module = spaces.modules().get(module).unwrap();
    assert_eq!(module.path(), "/no/such/a");
    assert!(module.open_error().is_some() && module.build_id().is_none());
}

#[test]
fn an_unknown_space_is_a_miss() {
    let resolved = AddressSpaces::default().resolve(SPACE, &[1, 2]);
    assert_eq!(resolved.missed, 2);
}

#[test]
fn a_forked_child_starts_with_its_parents_mappings_and_keeps_them() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    spaces.inherit(SpaceId(2), SPACE);
    spaces.forget(SPACE);
    assert_eq!(spaces.resolve(SpaceId(2), &[0x1000]).missed, 0);
    assert_eq!(spaces.resolve(SPACE, &[0x1000]).missed, 1);
}

#[test]
fn a_library_unloaded_a_moment_ago_is_still_known() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    let unloaded: String = BEFORE.lines().skip(1).map(|l| format!("{l}\n")).collect();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(&unloaded), None);
    assert_eq!(spaces.resolve(SPACE, &[0x1000, 0x2001]).missed, 0);
}

#[test]
fn a_re_read_after_an_exec_does_not_put_the_new_program_into_the_old_space() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), Some((1, 10)));
    let before = spaces.resolve(SPACE, &[0x1000]);
    let moved = BEFORE
        .replace("8000-9000", "a000-b000")
        .replace("/a", "/other");
    spaces.update(SPACE, Pid(u32::MAX), &made_up(&moved), Some((1, 10)));
    assert_eq!(spaces.resolve(SPACE, &[0x1000]), before);
    let replaced = BEFORE.replace("/a", "/other");
    spaces.update(SPACE, Pid(u32::MAX), &made_up(&replaced), Some((1, 11)));
    assert_eq!(spaces.resolve(SPACE, &[0x1000]), before);
    assert_eq!(
        spaces.resolve(SPACE, &[0x7000]).frames[0].place,
        Place::Gone
    );
}

#[test]
fn the_number_of_modules_is_bounded() {
    let text: String = (1..=MAX_MODULES + 3)
        .map(|n| {
            format!(
                "{:x}-{:x} r-xp 0 fe:01 {} /no/{n}\n",
                n << 12,
                (n + 1) << 12,
                1_u64 << 40 | n as u64
            )
        })
        .collect();
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(&text), None);
    assert_eq!(spaces.modules().iter().count(), MAX_MODULES);
    let last = (MAX_MODULES as u64 + 2) << 12;
    assert_eq!(
        spaces.resolve(SPACE, &[last]).frames[0].place,
        Place::TooManyModules
    );
}

#[test]
fn a_file_written_to_since_is_known_as_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "one").unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let line = format!("1000-2000 r-xp 0 fe:01 {inode} {}\n", path.display());
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, own_pid(), &made_up(&line), None);
    let (_, module) = spaces.modules().iter().next().unwrap();
    assert!(matches!(module.facts(), Some(Err(ElfError::NotElf))) && !module.is_changed());
    std::fs::write(&path, "longer").unwrap();
    assert!(module.is_changed());
}

/// The paths of the files that addresses are in, and the offsets in them.
fn files(spaces: &AddressSpaces, addresses: &[u64]) -> Vec<Option<(String, u64)>> {
    let resolved = spaces.resolve(SPACE, addresses);
    let frames = resolved.frames.iter();
    frames
        .map(|frame| {
            let (module, offset) = frame.in_file()?;
            Some((spaces.modules().get(module)?.path().to_owned(), offset))
        })
        .collect()
}

fn mapped(line: &str) -> Mapping {
    made_up(line).iter().next().unwrap().clone()
}

#[test]
fn a_library_that_takes_the_place_of_another_is_told_from_it() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    let line = "1000-1800 r-xp 00007000 fe:01 4294967009 /no/such/new\n";
    assert!(spaces.map(SPACE, Pid(u32::MAX), &mapped(line)));
    let new = Some(("/no/such/new".to_owned(), 0x7100));
    // The rest of the old one may still be there.
    let old = Some(("/no/such/a".to_owned(), 0x5900));
    assert_eq!(files(&spaces, &[0x1100, 0x1900])[0], new);
    assert_eq!(files(&spaces, &[0x1900]), [old]);
    assert!(
        !spaces.map(SPACE, Pid(u32::MAX), &mapped(line)),
        "told twice"
    );
    assert!(
        !spaces.map(SpaceId(9), Pid(u32::MAX), &mapped(line)),
        "nobody's"
    );
}

/// What a process has mapped is read a moment after it was told of a change: by then it may have
/// made the next one, whose turn has not come.
#[test]
fn a_reading_adds_what_is_new_and_leaves_what_was_told_until_it_is_told_otherwise() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    let now = "\
1000-1400 r-xp 00005000 fe:01 4294967008 /no/such/later
8000-9000 r-xp 00000000 00:00 0          [vdso]
a000-b000 r-xp 00000000 fe:01 4294967007 /no/such/new
";
    let reading = Reading::Additions;
    let observed = spaces.take_in(SPACE, Pid(u32::MAX), &made_up(now), None, reading);
    assert_eq!(observed, Observed::Read);
    let names: Vec<_> = files(&spaces, &[0x1008, 0x3008, 0xa008])
        .into_iter()
        .map(|file| file.map(|(path, _)| path))
        .collect();
    let expected = ["/no/such/a", "/no/such/b", "/no/such/new"];
    assert_eq!(names, expected.map(|path| Some(path.to_owned())));
}

#[test]
fn what_was_unmapped_is_forgotten_when_it_is_more_than_what_is_there() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), None);
    for number in 0..10 * UNMAPPED_KEPT as u64 {
        let start = 0x10_0000 + 0x1000 * number;
        let line = format!("{start:x}-{:x} rwxp 0 00:00 0 \n", start + 0x1000);
        assert!(spaces.map(SPACE, Pid(u32::MAX), &mapped(&line)));
    }
    assert!(spaces.regions(SPACE).count() > 9 * UNMAPPED_KEPT);
    let reading = Reading::Additions;
    spaces.take_in(SPACE, Pid(u32::MAX), &made_up(BEFORE), None, reading);
    assert_eq!(spaces.regions(SPACE).count(), 4);
    // A stack through it may still be on its way.
    assert_eq!(spaces.resolve(SPACE, &[0x10_0000]).missed, 0);
}

#[test]
fn a_program_that_shares_its_space_can_leave_it_to_the_others() {
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, Pid(u32::MAX), &made_up(BEFORE), Some((1, 10)));
    let other = made_up(&BEFORE.replace("8000-9000", "a000-b000"));
    let observed = spaces.take_in(SPACE, Pid(5), &other, Some((1, 10)), Reading::Whole);
    assert_eq!(observed, Observed::Departed);
    let resolved = spaces.resolve(SPACE, &[0x8000, 0x7000]);
    assert_eq!(
        (resolved.frames[0].place, resolved.missed),
        (Place::Vdso, 1)
    );
}

#[test]
fn a_library_that_was_written_to_in_place_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "one").unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let line = format!("1000-2000 r-xp 0 fe:01 {inode} {}\n", path.display());
    let mut spaces = AddressSpaces::default();
    spaces.update(SPACE, own_pid(), &made_up(&line), None);
    assert!(!spaces.map(SPACE, own_pid(), &mapped(&line)));
    std::fs::write(&path, "longer").unwrap();
    assert!(spaces.map(SPACE, own_pid(), &mapped(&line)));
    assert_eq!(spaces.modules().iter().count(), 2);
}
#[test]
fn the_vdso_is_a_module_of_its_own_that_outlives_its_process() {
    // SAFETY: takes a number, and returns one.
    let start = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, own_pid()).unwrap();
    let resolved = spaces.resolve(SPACE, &[start + 0x10, start + 0x10]);
    let (module, offset) = resolved.frames[0].in_file().unwrap();
    assert_eq!(offset, 0x10);
    assert_eq!(resolved.frames[1].in_file(), Some((module, 0x10)));
    let module = spaces.modules().get(module).unwrap();
    assert_eq!(module.path(), "[vdso]");
    assert!(module.build_id().is_some() && !module.is_changed());
    let facts = module.facts().unwrap().as_ref().unwrap();
    assert!(!facts.segments.is_empty());
}

#[test]
fn a_process_with_code_of_no_file_has_a_place_for_its_perf_map_and_forks_share_it() {
    let mut spaces = AddressSpaces::default();
    let without: String = BEFORE
        .lines()
        .filter(|l| !l.contains("rwxp"))
        .map(|l| format!("{l}\n"))
        .collect();
    spaces.update(SPACE, own_pid(), &made_up(&without), None);
    assert_eq!(spaces.resolve(SPACE, &[0x1000]).frames[0].perf_map, None);
    assert!(spaces.take_new_perf_maps().is_empty());
    spaces.update(SPACE, own_pid(), &made_up(BEFORE), None);
    let own = spaces.resolve(SPACE, &[0x2000]).frames[0].perf_map;
    assert_eq!(own, Some(PerfMapIndex(0)));
    assert_eq!(spaces.take_new_perf_maps().len(), 1);
    // Looked at again: the same. A fork: its parent's, until it has one of its own.
    spaces.update(SPACE, own_pid(), &made_up(BEFORE), None);
    spaces.inherit(SpaceId(2), SPACE);
    assert_eq!(
        spaces.resolve(SpaceId(2), &[0x2000]).frames[0].perf_map,
        own
    );
    assert!(spaces.take_new_perf_maps().is_empty());
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    spaces.update(SpaceId(2), Pid(child.id()), &made_up(BEFORE), None);
    child.kill().unwrap();
    child.wait().unwrap();
    let found = spaces.take_new_perf_maps();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].inherited, own);
    assert_eq!(
        spaces.resolve(SpaceId(2), &[0x2000]).frames[0].perf_map,
        Some(PerfMapIndex(1))
    );
}
