//! Unwind tables in the kernel, put there from real files by the real loader.

use std::fs::{self, File};
use std::path::Path;

use memmap2::{Mmap, MmapOptions};
use memprof::identity::{Pid, SpaceId};
use memprof::probes::kernel_side::{Beside, KernelSide};
use memprof::probes::offsets::{KERNEL_BTF, kernel_offsets};
use memprof::target::modules::AddressSpaces;
use memprof::unwind::loader::{LoaderStats, UnwindLoader};
use memprof::unwind::mapped::{Code, choose};
use memprof_common::settings::WideScope;

use crate::harness::{Stage, plugin_library};

const SPACE: SpaceId = SpaceId(1);

fn map(path: &Path) -> Mmap {
    let file = File::open(path).expect("it is there");
    // SAFETY: nobody writes to the file from here on.
    unsafe { MmapOptions::new().map_exec(&file) }.expect("a mapping")
}

/// Loads those files, which this process maps for that long.
fn load(files: &[&Path]) -> LoaderStats {
    let mapped: Vec<Mmap> = files.iter().map(|file| map(file)).collect();
    let offsets = kernel_offsets(Path::new(KERNEL_BTF)).expect("the kernel has BTF");
    let loaded = KernelSide::load(offsets, 1 << 16, WideScope::default(), Beside::default())
        .expect("root may load programs");
    let mut loader = UnwindLoader::new(loaded.unwind);
    let mut spaces = AddressSpaces::default();
    let pid = Pid(std::process::id());
    spaces.observe(SPACE, pid).expect("it is ours");
    let (code, left_out) = choose(spaces.regions(SPACE), spaces.modules());
    loader.publish(SPACE, &code, left_out);
    for one in &code {
        if let Code::File { module, handle, .. } = &one.code
            && files
                .iter()
                .any(|file| file.to_str() == Some(handle.path()))
        {
            assert!(!loader.is_loaded(*module));
            loader.load(*module, handle);
            assert!(loader.is_loaded(*module));
        }
    }
    loader.publish(SPACE, &code, left_out);
    drop(mapped);
    loader.stats()
}

#[test]
fn equal_libraries_share_their_tables_and_liars_about_their_build_id_do_not() {
    let Some(stage) = Stage::with_bpf("tables") else {
        return;
    };
    let library = plugin_library();
    let [first, second, forged, text] =
        ["first.so", "second.so", "forged.so", "text"].map(|name| stage.path(name));
    for copy in [&first, &second, &forged] {
        fs::copy(&library, copy).expect("a copy can be made");
    }
    // The same build id, and other unwind information: the offset of a saved register.
    let mut bytes = fs::read(&forged).expect("it is there");
    let rule = [0x0e, 16, 0x86, 2];
    let at = bytes.windows(4).position(|window| window == rule);
    bytes[at.expect("a function that saves rbp") + 3] = 3;
    fs::write(&forged, bytes).expect("it can be written");
    fs::write(&text, "no code at all").expect("it can be written");

    // The vdso's tables are one of the executables.
    let alone = load(&[&first]);
    assert_eq!((alone.executables, alone.shared), (2, 0), "{alone:?}");
    let equal = load(&[&first, &second]);
    assert_eq!((equal.executables, equal.shared), (2, 1), "{equal:?}");
    assert_eq!(equal.rows, alone.rows);
    let lied = load(&[&first, &forged]);
    assert_eq!((lied.executables, lied.shared), (3, 0), "{lied:?}");
    let no_code = load(&[&text]);
    assert_eq!(
        (no_code.executables, no_code.without),
        (1, 1),
        "{no_code:?}"
    );
    assert_eq!((no_code.refused, no_code.unreadable), (0, 0), "{no_code:?}");
}
