//! memprof's JSON report, as a script would read it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Counts, Sites, Truth};

/// A report of the schema `memprof/report/v1`.
#[derive(Debug)]
pub(crate) struct Report(Value);

impl Report {
    /// Reads and checks what every report must be.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the report was written");
        Self::parse(&text)
    }

    /// The same from text.
    pub(crate) fn parse(text: &str) -> Self {
        let report: Value = serde_json::from_str(text).expect("the report is JSON");
        assert_eq!(report["schema"], "memprof/report/v1");
        Self(report)
    }

    /// The value at a JSON pointer; fails if it is not there.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0
            .pointer(pointer)
            .unwrap_or_else(|| panic!("the report has no {pointer}"))
    }

    /// The count at a JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.at(pointer)
            .as_u64()
            .unwrap_or_else(|| panic!("{pointer} is no count: {}", self.at(pointer)))
    }

    /// The summary's totals.
    pub(crate) fn summary(&self) -> Counts {
        counts(self.at("/summary"))
    }

    /// The rows of `top_allocators`.
    pub(crate) fn rows(&self) -> &[Value] {
        self.at("/top_allocators")
            .as_array()
            .expect("top_allocators is a list")
    }

    /// The rows' totals by function, over all processes.
    pub(crate) fn sites(&self) -> Sites {
        self.sites_where(|_| true)
    }

    /// The rows' totals by function, of one process.
    pub(crate) fn sites_of(&self, pid: u32) -> Sites {
        self.sites_where(|row| row["pid"] == pid)
    }

    fn sites_where(&self, belongs: impl Fn(&Value) -> bool) -> Sites {
        let mut sites = Sites::new();
        for row in self.rows().iter().filter(|row| belongs(row)) {
            let name = row["function"].as_str().unwrap_or("(unnamed)").to_owned();
            let site = sites.entry(name).or_default();
            *site = site.and(counts(row));
        }
        sites
    }

    /// Fails unless nothing was lost and every call site of the program holds what it says.
    pub(crate) fn assert_sites(&self, truth: &Truth) {
        self.assert_nothing_lost();
        let seen = self.sites();
        for (name, expected) in &truth.sites {
            assert_eq!(
                seen.get(name),
                Some(expected),
                "{name}; the report names {:?}",
                seen.keys()
            );
        }
    }

    /// Fails unless nothing was lost and memprof says so.
    pub(crate) fn assert_nothing_lost(&self) {
        for kind in ["alloc", "free", "stack", "process"] {
            assert_eq!(
                self.number(&format!("/quality/lost/{kind}")),
                0,
                "lost {kind} events: {}",
                self.at("/quality")
            );
        }
        assert_eq!(
            self.at("/quality/complete"),
            &Value::Bool(true),
            "not complete: {}",
            self.at("/quality")
        );
    }
}

fn counts(value: &Value) -> Counts {
    let [
        allocated_bytes,
        allocated_count,
        freed_bytes,
        freed_count,
        outstanding_bytes,
        outstanding_count,
    ] = [
        "allocated_bytes",
        "allocated_count",
        "freed_bytes",
        "freed_count",
        "outstanding_bytes",
        "outstanding_count",
    ]
    .map(|field| {
        value[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field} is no count: {value}"))
    });
    Counts {
        allocated_bytes,
        allocated_count,
        freed_bytes,
        freed_count,
        outstanding_bytes,
        outstanding_count,
    }
}
