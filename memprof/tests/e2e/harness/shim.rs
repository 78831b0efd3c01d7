//! Reads what the counting shim (`tests/programs/shim.c`) left behind.

use std::fs;
use std::path::Path;

use super::{Counts, Stage, shim_library};

/// One process's totals, one life of it.
#[derive(Debug)]
pub(crate) struct ShimTotals {
    pub(crate) program: String,
    pub(crate) pid: u32,
    /// How many programs the process had been before.
    pub(crate) life: u32,
    pub(crate) counts: Counts,
    pub(crate) peak_outstanding_bytes: u64,
    pub(crate) unknown_frees: u64,
}

impl ShimTotals {
    /// The environment that preloads the shim and has it write its totals onto the stage.
    pub(crate) fn environment(stage: &Stage) -> [(&'static str, std::path::PathBuf); 2] {
        [
            ("LD_PRELOAD", shim_library()),
            ("SHIM_OUT", stage.path("shim")),
        ]
    }

    /// Everything that was counted on this stage.
    pub(crate) fn read_all(stage: &Stage) -> Vec<Self> {
        let mut all = Vec::new();
        for entry in fs::read_dir(stage.path("")).expect("the stage is a directory") {
            let path = entry.expect("the stage can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some((pid, life)) = name
                .strip_prefix("shim.")
                .and_then(|numbers| numbers.split_once('.'))
                && let (Ok(pid), Ok(life)) = (pid.parse(), life.parse())
            {
                all.extend(Self::parse(&path, pid, life));
            }
        }
        all
    }

    /// The totals of the last life of `program`, of which there was one process.
    pub(crate) fn of_program(stage: &Stage, program: &str) -> Self {
        let mut all = Self::read_all(stage);
        all.retain(|totals| totals.program == program);
        all.sort_by_key(|totals| totals.life);
        assert!(
            all.windows(2).all(|pair| pair[0].pid == pair[1].pid),
            "more than one process of {program}"
        );
        all.pop()
            .unwrap_or_else(|| panic!("the shim did not count {program}"))
    }

    /// `None` for a process that ended before its library was ready.
    fn parse(path: &Path, pid: u32, life: u32) -> Option<Self> {
        let bytes = fs::read(path).expect("the shim's file can be read");
        let (words, program) = bytes.split_at_checked(9 * 8)?;
        let word = |index: usize| {
            let bytes = words[index * 8..][..8].try_into().expect("eight bytes");
            u64::from_ne_bytes(bytes)
        };
        if word(0) != 1 {
            return None;
        }
        Some(Self {
            program: String::from_utf8_lossy(program)
                .trim_end_matches('\0')
                .to_owned(),
            pid,
            life,
            counts: Counts {
                allocated_bytes: word(1),
                allocated_count: word(2),
                freed_bytes: word(3),
                freed_count: word(4),
                outstanding_bytes: word(5),
                outstanding_count: word(6),
            },
            peak_outstanding_bytes: word(7),
            unknown_frees: word(8),
        })
    }
}
