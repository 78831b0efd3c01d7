//! From the symbols that a file defines to the sites to probe: pure, so that tests need no kernel.

use std::collections::BTreeMap;

use memprof_common::allocator::{AllocatorFunction, LIBC, Shape};

/// A function that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, without a version.
    pub symbol: String,
    /// Where its first instruction is in the file, bytes.
    pub offset: u64,
    /// Whether it is chosen at run time (`STT_GNU_IFUNC`): what is at `offset` is the chooser.
    pub indirect: bool,
}

/// One place to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Which program reads the arguments.
    pub shape: Shape,
    /// The function's names: aliases share one site.
    pub symbols: Vec<&'static str>,
}

/// What will be probed in one file, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The sites, by offset.
    pub sites: Vec<Site>,
    /// Functions of the family that the file has not, or not in a way that can be probed.
    pub missing: Vec<&'static str>,
}

/// The symbols that a plan asks for.
pub fn wanted_symbols() -> impl Iterator<Item = &'static str> {
    LIBC.iter().map(|function| function.symbol)
}

/// Plans the probes of one file; `None` if it is no allocator: it must define both a function
/// that gives blocks and one that takes them back.
pub fn plan(definitions: &[Definition]) -> Option<Plan> {
    let mut sites: BTreeMap<u64, Site> = BTreeMap::new();
    let mut missing = Vec::new();
    for AllocatorFunction { symbol, shape } in LIBC {
        let definition = definitions
            .iter()
            .find(|definition| definition.symbol == symbol && !definition.indirect);
        match definition {
            Some(definition) => sites
                .entry(definition.offset)
                .or_insert(Site {
                    offset: definition.offset,
                    shape,
                    symbols: Vec::new(),
                })
                .symbols
                .push(symbol),
            None => missing.push(symbol),
        }
    }
    if missing.contains(&"malloc") || missing.contains(&"free") {
        return None;
    }
    Some(Plan {
        sites: sites.into_values().collect(),
        missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defines(symbol: &str, offset: u64) -> Definition {
        Definition {
            symbol: symbol.to_owned(),
            offset,
            indirect: false,
        }
    }

    #[test]
    fn aliases_share_one_site() {
        let plan = plan(&[
            defines("malloc", 16),
            defines("free", 32),
            defines("memalign", 48),
            defines("aligned_alloc", 48),
        ])
        .unwrap();
        let site = plan.sites.iter().find(|site| site.offset == 48).unwrap();
        assert_eq!(site.symbols, ["aligned_alloc", "memalign"]);
        assert_eq!(plan.sites.len(), 3);
        assert!(plan.missing.contains(&"calloc"));
    }

    #[test]
    fn a_file_that_only_gives_or_only_takes_is_no_allocator() {
        assert_eq!(plan(&[defines("malloc", 16)]), None);
        assert_eq!(plan(&[defines("free", 16)]), None);
        assert_eq!(plan(&[]), None);
    }

    #[test]
    fn a_function_chosen_at_run_time_is_not_probed_at_its_chooser() {
        let mut indirect = defines("calloc", 64);
        indirect.indirect = true;
        let plan = plan(&[defines("malloc", 16), defines("free", 32), indirect]).unwrap();
        assert!(plan.sites.iter().all(|site| site.offset != 64));
        assert!(plan.missing.contains(&"calloc"));
    }
}
