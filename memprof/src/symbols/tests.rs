//! Symbolizing real programs, and hostile ones.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::blazesym::ModuleSymbols;
use super::*;
use crate::events::event::{Pid, SpaceId};
use crate::target::elf::ElfReader;
use crate::target::modules::AddressSpaces;

const SPACE: SpaceId = SpaceId(1);

/// Prints the address to which a call returns that an inlined function makes, then the address
/// of the function that it was inlined into; then waits.
const SOURCE: &str = r#"#include <stdio.h>
__attribute__((noinline)) void *here(void) { return __builtin_return_address(0); }
static inline __attribute__((always_inline)) void *inner(void) {
    void *address = here();
    __asm__ volatile("");
    return address;
}
__attribute__((noinline)) void *outer(void) {
    __asm__ volatile("nop");
    void *address = inner();
    __asm__ volatile("");
    return address;
}
int main(void) {
    printf("%p\n%p\n", outer(), (void *)outer);
    fflush(stdout);
    return getchar();
}
"#;

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn compile(compiler: &str, folder: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let input = folder.join(name);
    std::fs::write(&input, source).unwrap();
    let output = folder.join("program");
    run(Command::new(compiler)
        .args(flags)
        .arg("-o")
        .args([&output, &input]));
    output
}

/// A running program and the addresses that it printed.
struct Running {
    child: Child,
    addresses: Vec<u64>,
}

impl Running {
    fn start(program: &Path, lines: usize) -> Self {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let addresses = output
            .lines()
            .take(lines)
            .map(|line| u64::from_str_radix(line.unwrap().trim_start_matches("0x"), 16).unwrap())
            .collect();
        Self { child, addresses }
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The places of `outer`'s entry and of the call in it.
    fn resolve(&self) -> (AddressSpaces, Vec<FrameAddress>) {
        let mut spaces = AddressSpaces::default();
        spaces.observe(SPACE, Pid(self.child.id())).unwrap();
        let resolved = spaces.resolve(SPACE, &[self.addresses[1], self.addresses[0]]);
        assert_eq!(resolved.missed, 0);
        (spaces, resolved.frames)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either may fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a frame shows: name, file name, line, inlined; or why it has no name.
type Shown<'a> = Result<(&'a str, &'a str, u32, bool), Unknown>;

fn shown(frame: &Frame) -> Shown<'_> {
    let function = frame.function.as_ref().map_err(|why| *why)?;
    let file = function.file.as_deref().unwrap_or("");
    let file = file.rsplit('/').next().unwrap_or("");
    Ok((
        &function.name,
        file,
        function.line.unwrap_or(0),
        function.inlined,
    ))
}

const FULL: [Shown<'static>; 3] = [
    Ok(("outer", "source.c", 9, false)),
    Ok(("inner", "source.c", 4, true)),
    Ok(("outer", "source.c", 10, false)),
];

#[test]
fn functions_lines_and_inlined_frames_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), FULL);
    let inlined = &frames[1];
    assert_eq!(inlined.pc, frames[2].pc);
    assert_eq!(inlined.module_path.as_deref(), program.to_str());
    let file = inlined.function.as_ref().unwrap().file.as_deref().unwrap();
    assert_eq!(Path::new(file), folder.path().join("source.c"));
}

#[test]
fn a_deleted_program_that_ended_keeps_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    let mut running = Running::start(&program, 2);
    std::fs::remove_file(&program).unwrap();
    let (spaces, addresses) = running.resolve();
    running.end();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), FULL);
    let module = spaces.modules().get(frames[0].module.unwrap()).unwrap();
    assert!(module.is_deleted() && module.path() == program.to_str().unwrap());
}

#[test]
fn a_stripped_program_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-s"]);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames.len(), 2);
    for frame in &frames {
        assert_eq!(frame.function, Err(Unknown::Stripped));
        assert!(frame.file_offset.is_some() && frame.module_path.is_some());
    }
}

#[test]
fn a_file_written_to_since_gives_no_wrong_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    let mut running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    running.end();
    File::options()
        .append(true)
        .open(&program)
        .unwrap()
        .write_all(b"x")
        .unwrap();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames[0].function, Err(Unknown::Changed));
}

#[test]
fn a_file_that_others_could_truncate_is_symbolized_from_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    run(Command::new("chmod").arg("o+w").arg(&program));
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let mut symbols = Symbols::default();
    let frames = symbols.symbolize(spaces.modules(), &addresses);
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), FULL);
    assert_eq!(
        symbols.copied_bytes,
        std::fs::metadata(&program).unwrap().len()
    );
}

/// Moves the debug information of `program` into a file of its own, that the program refers to.
fn split_debug(program: &Path) -> PathBuf {
    let debug = program.with_extension("debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .args([program, &debug]));
    run(Command::new("objcopy")
        .arg("--strip-all")
        .arg(format!("--add-gnu-debuglink={}", debug.display()))
        .arg(program));
    debug
}

#[test]
fn separate_debug_files_are_found_by_build_id_and_beside_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-O2", "-g", "-Wl,--build-id=sha1"];
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &flags);
    let debug = split_debug(&program);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let names = |dirs: &[PathBuf]| {
        let frames = Symbols::new(dirs).symbolize(spaces.modules(), &addresses);
        frames
            .iter()
            .map(|frame| shown(frame).map(|f| f.2))
            .collect::<Vec<_>>()
    };
    let lines = FULL.map(|frame| frame.map(|f| f.2));
    // Beside the program, where the link says.
    assert_eq!(names(&[]), lines);
    // By build id, in a system directory.
    let (_, module) = spaces
        .modules()
        .iter()
        .find(|(_, m)| m.path() == program.to_str().unwrap())
        .unwrap();
    let build_id: String = module
        .build_id()
        .unwrap()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let system = folder.path().join("system");
    let place = system.join(".build-id").join(&build_id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::rename(&debug, place.join(format!("{}.debug", &build_id[2..]))).unwrap();
    assert_eq!(names(&[]), [Err(Unknown::Stripped); 2]);
    assert_eq!(names(&[system]), lines);
}

/// The frames of [`SOURCE`], by what `SOURCE` is compiled with and what then happens to it.
fn frames_after(flags: &[&str], then: impl Fn(&Path)) -> Vec<Frame> {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, flags);
    then(&program);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    Symbols::default().symbolize(spaces.modules(), &addresses)
}

fn objcopy(arguments: &[&str], program: &Path) {
    run(Command::new("objcopy").args(arguments).arg(program));
}

#[test]
fn compressed_debug_sections_are_unpacked() {
    for packing in ["zlib", "zlib-gabi", "zstd"] {
        let option = format!("--compress-debug-sections={packing}");
        let frames = frames_after(&["-O2", "-g3"], |program| {
            let before = std::fs::metadata(program).unwrap().len();
            objcopy(&[&option], program);
            assert!(
                std::fs::metadata(program).unwrap().len() < before,
                "{packing}"
            );
        });
        assert_eq!(
            frames.iter().map(shown).collect::<Vec<_>>(),
            FULL,
            "{packing}"
        );
    }
}

/// The functions that the symbol table alone knows, without lines.
const NAMES: [Shown<'static>; 2] = [Ok(("outer", "", 0, false)); 2];

/// Sections as they were compressed before 2015 (`.zdebug_info`): blazesym does not read them.
#[test]
fn sections_packed_in_the_old_way_leave_the_names() {
    let frames = frames_after(&["-O2", "-g"], |program| {
        objcopy(&["--compress-debug-sections=zlib-gnu"], program);
    });
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), NAMES);
}

#[test]
fn a_section_that_lies_about_its_size_costs_the_lines_only() {
    let frames = frames_after(&["-O2", "-g"], |program| {
        objcopy(&["--compress-debug-sections=zlib"], program);
        let mut bytes = std::fs::read(program).unwrap();
        let file = File::open(program).unwrap();
        let facts = ElfReader::new(&file).facts().unwrap();
        assert!(!facts.debug.packed.is_empty());
        for section in facts.debug.packed {
            // The size stands 16 bytes before what is compressed.
            let place = usize::try_from(section.bytes.start).unwrap() - 16;
            bytes[place..place + 8].copy_from_slice(&7_u64.to_le_bytes());
        }
        std::fs::write(program, bytes).unwrap();
    });
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), NAMES);
}

/// The line tables stay in the program; what was inlined where is in the other files.
#[test]
fn split_dwarf_without_a_package_leaves_names_and_lines() {
    let frames = frames_after(&["-O2", "-g", "-gsplit-dwarf"], |_| {});
    let expected = [
        Ok(("outer", "source.c", 9, false)),
        Ok(("outer", "source.c", 4, false)),
    ];
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), expected);
}

/// Of DWARF 4: the `dwp` of binutils 2.40 crashes at that of version 5.
#[test]
fn a_dwarf_package_beside_the_program_is_used() {
    let frames = frames_after(&["-O2", "-gdwarf-4", "-gsplit-dwarf"], |program| {
        let package = program.with_extension("dwp");
        run(Command::new("dwp")
            .arg("-e")
            .arg(program)
            .arg("-o")
            .arg(package));
    });
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), FULL);
}

/// Replaces the symbol tables of `program` as distributions do (GDB manual, "MiniDebugInfo"):
/// what is exported stays, the rest goes into a compressed section, which `pack` makes.
fn leave_mini_debug_info(program: &Path, pack: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mini = program.with_extension("mini");
    let keep = program.with_extension("keep");
    std::fs::write(&keep, "outer\nmain\n").unwrap();
    let keep = format!("--keep-symbols={}", keep.display());
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .args([program, &mini]));
    objcopy(&["-S", &keep, "-R", ".comment"], &mini);
    objcopy(&["-S"], program);
    std::fs::write(&mini, pack(std::fs::read(&mini).unwrap())).unwrap();
    objcopy(
        &[
            "--add-section",
            &format!(".gnu_debugdata={}", mini.display()),
        ],
        program,
    );
}

/// Compressed by xz itself.
fn xz(bytes: Vec<u8>) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let output = Command::new("xz")
        .arg("-c")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_stripped_program_with_mini_debug_info_has_names() {
    // `here` is exported, and in no other table.
    let flags = ["-O2", "-Wl,--export-dynamic-symbol=here"];
    let folder = tempfile::tempdir().unwrap();
    let source = SOURCE.replace(
        "(void *)outer);",
        "(void *)outer);\n    printf(\"%p\\n\", here);",
    );
    let program = compile("gcc", folder.path(), "source.c", &source, &flags);
    leave_mini_debug_info(&program, xz);
    let running = Running::start(&program, 3);
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, Pid(running.child.id())).unwrap();
    let [call, outer, here] = running.addresses[..] else {
        panic!()
    };
    let places: Vec<FrameAddress> = [outer, call, here]
        .map(|pc| spaces.resolve(SPACE, &[pc]).frames[0])
        .to_vec();
    let frames = Symbols::default().symbolize(spaces.modules(), &places);
    let names: Vec<_> = frames.iter().map(Frame::name).collect();
    assert_eq!(names, [Some("outer"), Some("outer"), Some("here")]);
}

#[test]
fn mini_debug_info_that_is_a_bomb_or_broken_leaves_the_program_stripped() {
    let started = Instant::now();
    let pack: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] = [
        &|_| xz(vec![0; 256 << 20]),
        &|bytes| xz(bytes)[..100].to_vec(),
        &|bytes| bytes,
        &|_| xz(b"no ELF file".to_vec()),
    ];
    for pack in pack {
        let frames = frames_after(&["-O2"], |program| leave_mini_debug_info(program, pack));
        assert_eq!(
            frames.iter().map(shown).collect::<Vec<_>>(),
            [Err(Unknown::Stripped); 2]
        );
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn without_a_build_id_a_debug_link_counts_if_its_checksum_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-O2", "-g", "-Wl,--build-id=none"];
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &flags);
    let debug = split_debug(&program);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let frames = || Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames().iter().map(shown).collect::<Vec<_>>(), FULL);
    File::options()
        .append(true)
        .open(&debug)
        .unwrap()
        .write_all(b"x")
        .unwrap();
    assert_eq!(
        frames().iter().map(shown).collect::<Vec<_>>(),
        [Err(Unknown::Stripped); 2]
    );
}

#[test]
fn a_debug_file_with_nothing_but_symbols_gives_names() {
    let frames = frames_after(&["-O2", "-Wl,--build-id=sha1"], |program| {
        split_debug(program);
    });
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), NAMES);
}

#[test]
fn a_stripped_library_says_so_of_what_it_does_not_export() {
    let flags = ["-O2", "-s", "-Wl,--export-dynamic-symbol=here"];
    let frames = frames_after(&flags, |_| {});
    assert_eq!(
        frames.iter().map(shown).collect::<Vec<_>>(),
        [Err(Unknown::Stripped); 2]
    );
}

#[test]
fn a_frame_has_the_address_that_other_symbolizers_take() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    for frame in &frames {
        let Ok((name, _, line, _)) = shown(frame) else {
            panic!("{frame:?}")
        };
        let address = format!("{:#x}", frame.elf_address.unwrap());
        let mut command = Command::new("addr2line");
        command.args(["-f", "-i", "-e"]).arg(&program).arg(address);
        let answer = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let place = format!("source.c:{line}");
        let mut lines = answer.lines();
        let named = std::iter::from_fn(|| Some((lines.next()?, lines.next()?)))
            .any(|(function, at)| function == name && at.contains(&place));
        assert!(named, "{frame:?}: {answer}");
    }
}

#[test]
fn a_debug_link_to_a_pipe_or_to_another_build_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["-O2", "-g", "-Wl,--build-id=sha1"];
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &flags);
    let debug = split_debug(&program);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    std::fs::remove_file(&debug).unwrap();
    run(Command::new("mkfifo").arg(&debug));
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames[0].function, Err(Unknown::Stripped));
    std::fs::remove_file(&debug).unwrap();
    let other = tempfile::tempdir().unwrap();
    let source = SOURCE.replace("outer", "other");
    let other = compile("gcc", other.path(), "source.c", &source, &flags);
    std::fs::copy(other, &debug).unwrap();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames[0].function, Err(Unknown::Stripped));
}

#[test]
fn cpp_names_are_demangled_and_containers_passed_over() {
    let source = r#"#include <cstdio>
#include <vector>
namespace book {
struct Order { int id; };
static void *caller;
template <class T> struct Noting : std::allocator<T> {
    template <class U> struct rebind { using other = Noting<U>; };
    __attribute__((noinline)) T *allocate(size_t n) {
        caller = __builtin_return_address(0);
        return std::allocator<T>::allocate(n);
    }
};
__attribute__((noinline)) void add(std::vector<Order, Noting<Order>> &orders) {
    orders.push_back(Order{1});
    __asm__ volatile("");
}
}
int main() {
    std::vector<book::Order, book::Noting<book::Order>> orders;
    book::add(orders);
    printf("%p\n%p\n", book::caller, (void *)book::add);
    fflush(stdout);
    return getchar();
}
"#;
    for optimisation in ["-O0", "-O2"] {
        let folder = tempfile::tempdir().unwrap();
        let program = compile(
            "g++",
            folder.path(),
            "source.cc",
            source,
            &[optimisation, "-g"],
        );
        let running = Running::start(&program, 2);
        let (spaces, addresses) = running.resolve();
        let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
        let (name, file, line, _) = shown(&frames[0]).unwrap();
        assert!(
            name.starts_with("book::add(std::vector<book::Order, "),
            "{name}"
        );
        assert_eq!((file, line), ("source.cc", 13));
        // Above the allocator: only the container's functions, as far as this stack goes.
        for frame in &frames[1..] {
            let function = frame.function.as_ref().unwrap();
            let of_std = function.name.contains("std::") && function.role == Role::Library;
            assert!(
                of_std || &*function.name == name,
                "{optimisation}: {function:?}"
            );
        }
        assert_eq!(frames[1].function.as_ref().unwrap().role, Role::Library);
    }
}

#[test]
fn what_a_signal_interrupts_is_looked_up_where_it_was_and_not_before() {
    let restore = "__asm__(\".globl restore\\n nop\\nrestore:\\n mov $15, %rax\\n syscall\\n\");\n\
        extern char restore[];\n";
    let source = SOURCE.replace("int main(void) {", &format!("{restore}int main(void) {{"));
    let source = source.replace("fflush", "printf(\"%p\\n\", (void *)restore); fflush");
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", &source, &["-O2", "-g"]);
    let running = Running::start(&program, 3);
    let [call, outer, restore] = running.addresses[..] else {
        panic!()
    };
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, Pid(running.child.id())).unwrap();
    // A handler, what it returns to, a function interrupted at its first instruction, its caller.
    let places = spaces.resolve(SPACE, &[outer, restore, outer, call]).frames;
    let frames = Symbols::default().symbolize(spaces.modules(), &places);
    let names: Vec<_> = frames.iter().map(Frame::name).collect();
    let expected = ["outer", "restore", "outer", "inner", "outer"].map(Some);
    assert_eq!(names, expected);
    assert_eq!(shown(&frames[2]), FULL[0]);
}

#[inline(never)]
fn landmark() -> u32 {
    std::hint::black_box(7)
}

#[test]
fn our_own_rust_is_named_without_hash() {
    let mut spaces = AddressSpaces::default();
    spaces.observe(SPACE, Pid(std::process::id())).unwrap();
    let address = landmark as fn() -> u32 as usize as u64;
    let places = spaces.resolve(SPACE, &[address]).frames;
    let frames = Symbols::default().symbolize(spaces.modules(), &places);
    // What is inlined into it, if anything is, comes before.
    let function = frames.last().unwrap();
    let name = shown(function).map(|(name, file, _, inlined)| (name, file, inlined));
    let expected = ("memprof::symbols::tests::landmark", "tests.rs", false);
    assert_eq!(name, Ok(expected));
    let guilty = guilty::guilty_frame(&frames, &guilty::Skips::default());
    assert_eq!(guilty, Some(frames.len() - 1));
}

#[test]
fn places_without_a_file_say_why() {
    let spaces = AddressSpaces::default();
    let places = spaces.resolve(SPACE, &[0x10, 0x20]).frames;
    let frames = Symbols::default().symbolize(spaces.modules(), &places);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].function, Err(Unknown::NoMapping));
    assert_eq!(frames[1].pc, 0x20);
}

/// Looks up addresses of a file made of `bytes`: any answer will do.
fn survive(bytes: &[u8], file_offsets: &[u64]) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let module = Module::of_file("/nowhere/hostile", file);
    if let Ok(mut symbols) = ModuleSymbols::open(&module, &[]) {
        let facts = module.facts().unwrap().as_ref().unwrap();
        for &offset in file_offsets {
            if let Some(address) = facts.address_of(offset) {
                let _answer = symbols.find(address);
            }
        }
    }
}

#[test]
fn truncated_and_scrambled_files_do_not_stop_us() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    let good = std::fs::read(&program).unwrap();
    let file = File::open(program).unwrap();
    let functions = ElfReader::new(&file)
        .symbols(&["outer", "main", "here"])
        .unwrap();
    assert_eq!(functions.len(), 3);
    let mut offsets: Vec<u64> = functions.iter().map(|f| f.file_offset + 4).collect();
    offsets.extend([0, u64::MAX]);
    let started = Instant::now();
    for length in (0..good.len()).step_by(499) {
        survive(&good[..length], &offsets);
    }
    // The DWARF: from the first thing that only it has to the section headers at the end.
    let compilation = good.windows(7).position(|text| text == b"GNU C17");
    let dwarf = compilation.unwrap_or(good.len() / 4).min(good.len() / 4);
    // xorshift64 (Marsaglia 2003).
    let mut state = 0x0123_4567_89ab_cdef_u64;
    for round in 0..ROUNDS {
        let (start, span) = match round % 3 {
            0 => (0, 0x400),
            1 => (dwarf, good.len() - dwarf),
            _ => (good.len() - 0x900, 0x900),
        };
        let mut bad = good.clone();
        for _ in 0..=round % 12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = start + usize::try_from(state >> 16).unwrap() % span;
            bad[place] = (state >> 8) as u8;
        }
        survive(&bad, &offsets);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// Scrambled files of one test run.
const ROUNDS: usize = 300;

#[test]
fn a_broken_file_does_not_spoil_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("gcc", folder.path(), "source.c", SOURCE, &["-O2", "-g"]);
    survive(b"\x7fELF\x02\x01\x01 and nothing more", &[0]);
    let running = Running::start(&program, 2);
    let (spaces, addresses) = running.resolve();
    let frames = Symbols::default().symbolize(spaces.modules(), &addresses);
    assert_eq!(frames.iter().map(shown).collect::<Vec<_>>(), FULL);
}
