//! One test's stage: a directory of its own, and the machine's probes to itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Held for the length of one test.
pub(crate) struct Stage {
    dir: PathBuf,
    /// Locked: the next test waits for it, in this process or another, unless both can share it.
    _turn: File,
}

impl Stage {
    /// A stage for a test that needs no BPF.
    pub(crate) fn new(test: &str) -> Self {
        let turn = Self::turn();
        turn.lock().expect("the lock can be taken");
        Self::set(test, turn)
    }

    /// A stage for a test that traces; `None`, said loudly, where BPF is not to be had.
    pub(crate) fn with_bpf(test: &str) -> Option<Self> {
        can_trace(test).then(|| Self::new(test))
    }

    /// The same for a test that traces one process only and mostly waits: others like it may run
    /// beside it.
    pub(crate) fn shared(test: &str) -> Option<Self> {
        can_trace(test).then(|| {
            let turn = Self::turn();
            turn.lock_shared().expect("the lock can be taken");
            Self::set(test, turn)
        })
    }

    fn turn() -> File {
        let base = Self::base();
        fs::create_dir_all(&base).expect("the temporary directory can be made");
        File::create(base.join("turn")).expect("the lock file can be made")
    }

    fn base() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e")
    }

    fn set(test: &str, turn: File) -> Self {
        let dir = Self::base().join(test);
        if let Err(error) = fs::remove_dir_all(&dir) {
            // What a run that was killed left mounted would be taken for this one's.
            let is_busy = error.kind() == std::io::ErrorKind::ResourceBusy;
            assert!(!is_busy, "{} holds a mount: umount it", dir.display());
        }
        fs::create_dir_all(&dir).expect("the stage's directory can be made");
        Self { dir, _turn: turn }
    }

    /// A path in the stage's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Whether `test` can trace here; said loudly if not.
fn can_trace(test: &str) -> bool {
    if !is_root() {
        missing(test, "needs root");
    } else if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing(test, "the kernel has no BTF (/sys/kernel/btf/vmlinux)");
    } else {
        return true;
    }
    false
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says that `test` can't run here; fails it instead if everything is required to run.
pub(crate) fn missing(test: &str, why: &str) {
    assert!(
        std::env::var_os("MEMPROF_REQUIRE_BPF").is_none_or(|required| required != "1"),
        "{test} must run (MEMPROF_REQUIRE_BPF=1) and can't: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
}
