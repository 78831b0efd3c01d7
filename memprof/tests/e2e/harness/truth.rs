//! What the test programs say about themselves (`tests/programs/truth.h`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The books of one call site, or of a whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) allocated_bytes: u64,
    pub(crate) allocated_count: u64,
    pub(crate) freed_bytes: u64,
    pub(crate) freed_count: u64,
    pub(crate) outstanding_bytes: u64,
    pub(crate) outstanding_count: u64,
}

impl Counts {
    /// The sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            allocated_bytes: self.allocated_bytes + other.allocated_bytes,
            allocated_count: self.allocated_count + other.allocated_count,
            freed_bytes: self.freed_bytes + other.freed_bytes,
            freed_count: self.freed_count + other.freed_count,
            outstanding_bytes: self.outstanding_bytes + other.outstanding_bytes,
            outstanding_count: self.outstanding_count + other.outstanding_count,
        }
    }
}

/// Call sites by the name of their function.
pub(crate) type Sites = BTreeMap<String, Counts>;

/// What one process told at its end.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) pid: u32,
    /// Sites that were used at all.
    pub(crate) sites: Sites,
    /// Frees of blocks from before the go.
    pub(crate) unknown_frees: u64,
    /// Allocations by the program's libraries that are no site's; `None` if it can't know.
    pub(crate) other_allocations: Option<u64>,
    whole: Value,
}

impl Truth {
    /// Every process's truth in the file, in the order in which they ended.
    pub(crate) fn read_all(path: &Path) -> Vec<Self> {
        fs::read_to_string(path)
            .expect("the program told its truth")
            .lines()
            .map(Self::parse)
            .collect()
    }

    /// The truth of a program that was one process.
    pub(crate) fn read(path: &Path) -> Self {
        let mut all = Self::read_all(path);
        assert_eq!(all.len(), 1, "one process tells one truth");
        all.remove(0)
    }

    fn parse(line: &str) -> Self {
        let whole: Value = serde_json::from_str(line).expect("the truth is JSON");
        let number = |value: &Value| value.as_u64().expect("a count");
        let sites = whole["sites"].as_object().expect("sites by name");
        let sites = sites
            .iter()
            .map(|(name, site)| {
                let [allocated_bytes, allocated_count, freed_bytes, freed_count] = [
                    "allocated_bytes",
                    "allocated_count",
                    "freed_bytes",
                    "freed_count",
                ]
                .map(|field| number(&site[field]));
                let counts = Counts {
                    allocated_bytes,
                    allocated_count,
                    freed_bytes,
                    freed_count,
                    outstanding_bytes: allocated_bytes - freed_bytes,
                    outstanding_count: allocated_count - freed_count,
                };
                (name.clone(), counts)
            })
            .filter(|(_, counts)| *counts != Counts::default())
            .collect();
        Self {
            pid: u32::try_from(number(&whole["pid"])).expect("a pid"),
            sites,
            unknown_frees: number(&whole["unknown_frees"]),
            other_allocations: whole["other_allocations"].as_u64(),
            whole,
        }
    }

    /// The sum over its sites.
    pub(crate) fn total(&self) -> Counts {
        self.sites
            .values()
            .fold(Counts::default(), |sum, &site| sum.and(site))
    }

    /// Something else that the program counted.
    pub(crate) fn fact(&self, name: &str) -> u64 {
        self.optional_fact(name).expect("the program tells this")
    }

    /// Something else that the program may have counted.
    pub(crate) fn optional_fact(&self, name: &str) -> Option<u64> {
        self.whole[name].as_u64()
    }
}
