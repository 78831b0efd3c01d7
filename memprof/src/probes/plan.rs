//! From the symbols that a file defines to the sites to probe: pure, so that tests need no kernel.

use std::collections::BTreeMap;

use memprof_common::allocator::{AllocatorFunction, LIBC, Shape};

use super::{
    inner::InnerSite,
    placement::{Function, Placement},
};

/// A function that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, without a version.
    pub symbol: String,
    /// Where its first instruction is in the file, bytes.
    pub offset: u64,
    /// Its size in bytes; 0 is unknown.
    pub size: u64,
    /// Whether it is chosen at run time (`STT_GNU_IFUNC`): what is at `offset` is the chooser.
    pub indirect: bool,
}

/// One function to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its first instruction, bytes from the start of the file.
    pub offset: u64,
    /// Its size in bytes; 0 is unknown.
    pub size: u64,
    /// Which of its instructions is probed for its entry, and why.
    pub placement: Placement,
    /// Probes that see all of its blocks, in place of entry and return; empty if there are none.
    pub inner: Vec<InnerSite>,
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

/// Plans the probes of one file, each where `place` says; `None` if it is no allocator: it must
/// define both a function that gives blocks and one that takes them back.
pub fn plan(definitions: &[Definition], place: impl Fn(Function) -> Placement) -> Option<Plan> {
    let mut sites: BTreeMap<u64, Site> = BTreeMap::new();
    let mut missing = Vec::new();
    for AllocatorFunction { symbol, shape } in LIBC {
        let definition = definitions
            .iter()
            .find(|definition| definition.symbol == symbol && !definition.indirect);
        match definition {
            Some(definition) => sites
                .entry(definition.offset)
                .or_insert_with(|| Site {
                    offset: definition.offset,
                    size: definition.size,
                    inner: Vec::new(),
                    placement: place(Function {
                        start: definition.offset,
                        size: definition.size,
                        shape,
                    }),
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
    use memprof_common::placement::EntryPlace;

    use super::*;

    fn defines(symbol: &str, offset: u64) -> Definition {
        Definition {
            symbol: symbol.to_owned(),
            offset,
            size: 16,
            indirect: false,
        }
    }

    fn plain(_: Function) -> Placement {
        Placement::plain("a test")
    }

    #[test]
    fn aliases_share_one_site() {
        let plan = plan(
            &[
                defines("malloc", 16),
                defines("free", 32),
                defines("memalign", 48),
                defines("aligned_alloc", 48),
            ],
            plain,
        )
        .unwrap();
        let site = plan.sites.iter().find(|site| site.offset == 48).unwrap();
        assert_eq!(site.symbols, ["aligned_alloc", "memalign"]);
        assert_eq!(plan.sites.len(), 3);
        assert!(plan.missing.contains(&"calloc"));
    }

    #[test]
    fn a_file_that_only_gives_or_only_takes_is_no_allocator() {
        assert_eq!(plan(&[defines("malloc", 16)], plain), None);
        assert_eq!(plan(&[defines("free", 16)], plain), None);
        assert_eq!(plan(&[], plain), None);
    }

    #[test]
    fn a_function_chosen_at_run_time_is_not_probed_at_its_chooser() {
        let mut indirect = defines("calloc", 64);
        indirect.indirect = true;
        let plan = plan(
            &[defines("malloc", 16), defines("free", 32), indirect],
            plain,
        )
        .unwrap();
        assert!(plan.sites.iter().all(|site| site.offset != 64));
        assert!(plan.missing.contains(&"calloc"));
    }

    #[test]
    fn each_function_is_placed_by_what_it_is() {
        let place = |function: Function| Placement {
            place: EntryPlace {
                offset: function.start as u16 / 16,
                restarts: function.shape == Shape::Free,
                ..EntryPlace::default()
            },
            emulated: true,
            reason: format!("{} bytes", function.size),
        };
        let plan = plan(&[defines("malloc", 16), defines("free", 32)], place).unwrap();
        let [malloc, free] = &plan.sites[..] else {
            panic!("{plan:?}");
        };
        assert_eq!((malloc.offset, malloc.placement.place.offset), (16, 1));
        assert_eq!((free.offset, free.placement.place.offset), (32, 2));
        assert!(free.placement.place.restarts && !malloc.placement.place.restarts);
        assert_eq!(free.placement.reason, "16 bytes");
    }
}
