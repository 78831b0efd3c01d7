//! From the symbols that a file defines to the sites to probe: pure, so that tests need no kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use memprof_common::allocator::{Arguments, Leaving, RUST_DEFAULT, Shape};

use super::{
    families::{Demand, Families, Family, MARKS, Sign, Standing, Wanted},
    inner::InnerSite,
    placement::{Function, Placement},
    usdt::UsdtSite,
    ways::{Exit, Handing, Target},
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

/// How a function's blocks are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It gives none.
    None,
    /// By a return probe.
    Return,
    /// On its way out, at these instructions (by bytes from the start of the file), by the size that
    /// was noted at the entry. What the function calls counts by itself.
    Noted(Vec<Exit>),
    /// On its way out; what the function calls counts as its own doing.
    Awaited(Vec<Exit>),
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
    /// Which arguments it reads.
    pub arguments: Arguments,
    /// How its blocks are seen.
    pub end: End,
    /// The function's names: aliases share one site.
    pub symbols: Vec<String>,
}

/// What will be probed in one file, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Which allocators the file holds, as far as its symbols tell.
    pub allocators: Vec<String>,
    /// What the user asked for and it has.
    pub met: Vec<Demand>,
    /// The sites, by offset.
    pub sites: Vec<Site>,
    /// USDT probes that tell of blocks.
    pub usdt: Vec<UsdtSite>,
    /// Functions whose calls are seen at another one, which they call first thing.
    pub seen_elsewhere: Vec<String>,
    /// Functions of the family that the file has not, or not in a way that can be probed.
    pub missing: Vec<String>,
    /// Why functions that are there can't be probed.
    pub refusals: Vec<String>,
}

/// What a plan needs to know of a file's code; all by offsets in the file.
pub trait Anatomy {
    /// Where to probe the entry of a function.
    fn place(&self, function: Function, arguments: Arguments) -> Placement;
    /// Whom a function hands every call to, if that is all it does at first.
    fn hands_to(&self, start: u64) -> Option<Handing>;
    /// Where a function's result is at hand on each way out of it. `drops_null`: NULL is passed over
    /// there, and the call goes on.
    ///
    /// # Errors
    /// Why that can't be known.
    fn exits_of(&self, function: Function, drops_null: bool) -> Result<Vec<Exit>, String>;
    /// Whether the file's code knows of exceptions.
    fn may_throw(&self) -> bool;
}

/// Plans the probes of one file; `None` if it is no allocator: it must define both a function that
/// gives blocks and one that takes them back, or one that was asked for.
pub fn plan(
    families: &Families,
    definitions: &[Definition],
    anatomy: &dyn Anatomy,
) -> Option<Plan> {
    let mut planner = Planner::new(families, definitions, anatomy);
    if planner.wanted.is_empty() {
        return None;
    }
    planner.make();
    Some(planner.plan)
}

/// A function that is looked for, and is there.
#[derive(Clone, Copy)]
struct Present<'a> {
    wanted: &'a Wanted,
    definition: &'a Definition,
    asked: bool,
}

struct Planner<'a> {
    families: &'a Families,
    anatomy: &'a dyn Anatomy,
    wanted: Vec<Present<'a>>,
    /// The first function at each offset.
    by_offset: HashMap<u64, Present<'a>>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(
        families: &'a Families,
        definitions: &'a [Definition],
        anatomy: &'a dyn Anatomy,
    ) -> Self {
        let defined: HashMap<&str, &Definition> = definitions
            .iter()
            .rev()
            .filter(|definition| !definition.indirect)
            .map(|definition| (&*definition.symbol, definition))
            .collect();
        let mut plan = Plan::default();
        let mut wanted: Vec<Present<'a>> = Vec::new();
        let is_whole = |family: &Family| {
            let has = |gives: bool| {
                let mut functions = family.functions.iter();
                functions.any(|one| {
                    one.shape.returns_block() == gives && defined.contains_key(&*one.symbol)
                })
            };
            has(true) && has(false)
        };
        let any_of = |family: &Family| {
            let mut functions = family.functions.iter();
            functions.any(|one| defined.contains_key(&*one.symbol))
        };
        let has_other = families.iter().any(|family| match family.standing {
            Standing::Own => is_whole(family),
            Standing::Asked | Standing::Named => any_of(family),
            Standing::Last | Standing::Beside => false,
        });
        for family in families.iter() {
            let counts = match family.standing {
                Standing::Own => is_whole(family),
                Standing::Last => {
                    !has_other && is_whole(family) && !defined.contains_key(RUST_DEFAULT)
                }
                Standing::Beside => !wanted.is_empty(),
                Standing::Asked | Standing::Named => any_of(family),
            };
            if !counts {
                continue;
            }
            let asked = matches!(family.standing, Standing::Asked | Standing::Named);
            plan.met
                .extend(family.demands().into_iter().filter(|demand| match demand {
                    Demand::Prefix(_) => true,
                    Demand::Symbol(symbol) => defined.contains_key(&**symbol),
                    Demand::Provider(_) => false,
                }));
            if family.standing == Standing::Last {
                plan.refusals.push(format!(
                    "{}: calls that the compiler has inlined are not seen; name the allocator's own \
                     functions with --probe",
                    family.name
                ));
            }
            if family.standing != Standing::Beside {
                let name = allocator_of(family, &defined);
                if !plan.allocators.contains(&name) {
                    plan.allocators.push(name);
                }
            }
            for one in &family.functions {
                match defined.get(&*one.symbol) {
                    Some(definition) => wanted.push(Present {
                        wanted: one,
                        definition,
                        asked,
                    }),
                    None if one.usual => plan.missing.push(one.symbol.clone()),
                    None => {}
                }
            }
        }
        let mut by_offset = HashMap::new();
        for present in &wanted {
            by_offset
                .entry(present.definition.offset)
                .or_insert(*present);
        }
        Self {
            families,
            anatomy,
            wanted,
            by_offset,
            plan,
        }
    }

    fn make(&mut self) {
        let mut sites: BTreeMap<u64, Site> = BTreeMap::new();
        let mut refused: BTreeSet<u64> = BTreeSet::new();
        for present in self.wanted.clone() {
            let Present {
                wanted, definition, ..
            } = present;
            let symbol = wanted.symbol.clone();
            let at = match self.stands_for(present) {
                Stands::Itself => definition.offset,
                Stands::Other(offset) => offset,
                Stands::Seen => {
                    self.plan.seen_elsewhere.push(symbol);
                    continue;
                }
                // The other file's coverage tells of it.
                Stands::OtherFile => continue,
            };
            if let Some(site) = sites.get_mut(&at) {
                if !site.symbols.contains(&symbol) {
                    site.symbols.push(symbol);
                }
                continue;
            }
            if refused.contains(&at) {
                self.plan.missing.push(symbol);
                continue;
            }
            let main = self.by_offset.get(&at).copied().unwrap_or(present);
            match self.site(main) {
                Ok(mut site) => {
                    site.symbols.push(symbol);
                    sites.insert(at, site);
                }
                Err(why) => {
                    refused.insert(at);
                    self.plan.refusals.push(format!("{symbol}: {why}"));
                    self.plan.missing.push(symbol);
                }
            }
        }
        share_exits(&mut sites);
        self.plan.sites = sites.into_values().collect();
    }

    /// Whether another function's probes see all calls of this one.
    fn stands_for(&self, present: Present<'a>) -> Stands {
        let gives = present.wanted.shape.returns_block();
        let mut at = present.definition.offset;
        if present.asked {
            return Stands::Itself;
        }
        // A name of a name of a name at the most.
        for _ in 0..3 {
            let (target, calls) = match self.anatomy.hands_to(at) {
                Some(Handing::Forwards(target)) => (target, false),
                Some(Handing::Calls(target)) => (target, true),
                None => break,
            };
            match target {
                // What is called counts as the caller's doing where that has a return probe.
                _ if calls && present.wanted.leaving == Leaving::Returns => break,
                Target::Here(to) => match self.by_offset.get(&to) {
                    Some(other) if other.wanted.shape.returns_block() == gives && to != at => {
                        if calls {
                            return Stands::Seen;
                        }
                        at = to;
                    }
                    _ => break,
                },
                Target::Named(name) if self.families.has(&name) => return Stands::OtherFile,
                Target::Named(_) => break,
            }
        }
        if at == present.definition.offset {
            Stands::Itself
        } else {
            Stands::Other(at)
        }
    }

    fn site(&self, present: Present<'_>) -> Result<Site, String> {
        let Present {
            wanted, definition, ..
        } = present;
        let function = Function {
            start: definition.offset,
            size: definition.size,
            shape: wanted.shape,
        };
        let end = match wanted.leaving {
            _ if !wanted.shape.returns_block() => End::None,
            Leaving::Returns => End::Return,
            Leaving::Throws => End::Noted(self.exits_of(function, true)?),
            Leaving::Unknown if !self.anatomy.may_throw() => End::Return,
            Leaving::Unknown => End::Awaited(self.exits_of(function, false)?),
        };
        Ok(Site {
            offset: definition.offset,
            size: definition.size,
            placement: self.anatomy.place(function, wanted.arguments),
            inner: Vec::new(),
            shape: wanted.shape,
            arguments: wanted.arguments,
            end,
            symbols: Vec::new(),
        })
    }

    fn exits_of(&self, function: Function, drops_null: bool) -> Result<Vec<Exit>, String> {
        let exits = self.anatomy.exits_of(function, drops_null);
        exits.map_err(|why| {
            format!(
                "an exception may leave it, so it can't have a return probe, and its returns are not \
                 all known: {why}"
            )
        })
    }
}

/// Where the calls of a function are seen.
enum Stands {
    /// At itself.
    Itself,
    /// It is another name of the function at this offset.
    Other(u64),
    /// At what it calls, in this file.
    Seen,
    /// At what it calls, in whatever file has that.
    OtherFile,
}

/// Functions that end in the same code share its instructions: each is probed once. What was noted
/// is gone with the first that is passed, so that one more on the way does no harm.
fn share_exits(sites: &mut BTreeMap<u64, Site>) {
    let (mut noted, mut awaited) = (BTreeSet::new(), BTreeSet::new());
    for site in sites.values_mut() {
        match &mut site.end {
            End::Noted(exits) => exits.retain(|exit| noted.insert(exit.at)),
            End::Awaited(exits) => exits.retain(|exit| awaited.insert(exit.at)),
            End::None | End::Return => {}
        }
    }
}

/// The name of the allocator that has a family in a file; empty if its symbols don't tell.
fn allocator_of(family: &Family, defined: &HashMap<&str, &Definition>) -> String {
    let offset = |symbol: &str| defined.get(symbol).map(|definition| definition.offset);
    match (family.standing, &*family.name) {
        (Standing::Own, "") => MARKS
            .iter()
            .find(|mark| match mark.sign {
                Sign::SameAsMalloc => {
                    offset(mark.symbol).is_some() && offset(mark.symbol) == offset("malloc")
                }
                Sign::IsThere => offset(mark.symbol).is_some(),
            })
            .map_or(String::new(), |mark| mark.allocator.to_owned()),
        (Standing::Own, "mi_") => "mimalloc".to_owned(),
        (Standing::Own, "tc_") => "tcmalloc".to_owned(),
        (Standing::Own, prefix) => format!("jemalloc, {prefix}"),
        (_, name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
