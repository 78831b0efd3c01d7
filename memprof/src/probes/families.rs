//! The allocators that are looked for: families of functions, those that are known and those that
//! the user names.

use memprof_common::allocator::{
    AllocatorFunction, Arguments, CPP, IN_ORDER, LIBC, LIBC_EXTRAS, Leaving, MIMALLOC,
    MIMALLOC_PREFIX, PREFIXES, RUST, RUST_DEFAULT, Shape,
};

use super::usdt::OTEL_MEMORY;

/// An allocator of the user's own, as `--probe` names its functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeMade {
    /// Gives a block of the size that this argument says.
    pub alloc: NamedArgument,
    /// Takes back the block that this argument points at.
    pub free: NamedArgument,
    /// `f(pointer, size)`.
    pub realloc: Option<String>,
    /// `f(count, size)`.
    pub calloc: Option<String>,
}

/// A function, and the one of its arguments that matters: 0 to 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedArgument {
    /// The function's symbol.
    pub symbol: String,
    /// Which argument.
    pub argument: u8,
}

/// One function that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its symbol.
    pub symbol: String,
    /// What its arguments are.
    pub shape: Shape,
    /// Which they are.
    pub arguments: Arguments,
    /// How it may be left.
    pub leaving: Leaving,
    /// Whether its lack is worth a word.
    pub usual: bool,
}

/// Where a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In a file that has a giver and a taker of it.
    Own,
    /// The same, and only where nothing else is: what others are called by.
    Last,
    /// In a file that has another one.
    Beside,
    /// Wherever one of its functions is: the user gave its prefix.
    Asked,
    /// The same: the user gave each of its functions.
    Named,
}

/// Functions that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// What it is called where its file says no more: `je_`, `pool_alloc`; empty for the C names.
    pub name: String,
    /// Where it counts.
    pub standing: Standing,
    /// Its functions.
    pub functions: Vec<Wanted>,
}

/// What the user asked for, and what some file of the target must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// Any function of an allocator with this prefix.
    Prefix(String),
    /// A function of this name.
    Symbol(String),
    /// A USDT probe of this provider's.
    Provider(String),
}

impl Family {
    /// What of it must be there.
    pub fn demands(&self) -> Vec<Demand> {
        match self.standing {
            Standing::Asked => vec![Demand::Prefix(self.name.clone())],
            Standing::Named => {
                let functions = self.functions.iter();
                functions
                    .map(|function| Demand::Symbol(function.symbol.clone()))
                    .collect()
            }
            Standing::Own | Standing::Last | Standing::Beside => Vec::new(),
        }
    }
}

/// Every family that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Families {
    all: Vec<Family>,
    /// Providers of USDT probes, and whether the user named them.
    providers: Vec<(String, bool)>,
}

/// A symbol that tells whose allocator has the C names in a file.
pub struct Mark {
    /// The symbol.
    pub symbol: &'static str,
    /// What it must be.
    pub sign: Sign,
    /// The allocator.
    pub allocator: &'static str,
}

/// When a mark tells.
#[derive(Clone, Copy)]
pub enum Sign {
    /// It is defined.
    IsThere,
    /// It is another name of `malloc`.
    SameAsMalloc,
}

/// The marks, the surest first: tcmalloc and mimalloc have glibc's as well.
pub const MARKS: [Mark; 6] = [
    mark("mi_malloc", Sign::SameAsMalloc, "mimalloc"),
    mark("tc_malloc", Sign::SameAsMalloc, "tcmalloc"),
    mark("__libc_malloc", Sign::SameAsMalloc, "glibc"),
    mark("__libc_malloc_impl", Sign::IsThere, "musl"),
    mark("__malloc_donate", Sign::IsThere, "musl"),
    mark("mallocx", Sign::IsThere, "jemalloc"),
];

const fn mark(symbol: &'static str, sign: Sign, allocator: &'static str) -> Mark {
    Mark {
        symbol,
        sign,
        allocator,
    }
}

/// What a file defines that has C++ or Rust in it: code that throws, or lets exceptions pass.
pub const OF_EXCEPTIONS: [&str; 3] = ["__cxa_throw", "__gxx_personality_v0", "rust_eh_personality"];

impl Families {
    /// Those that are known, those with the prefixes that the user gave, and the user's own.
    pub fn new(prefixes: &[String], home_made: &[HomeMade]) -> Self {
        let mut all = vec![Family {
            name: String::new(),
            standing: Standing::Own,
            functions: known(&LIBC, "", true)
                .chain(known(&LIBC_EXTRAS, "", false))
                .collect(),
        }];
        all.extend(PREFIXES.into_iter().map(|prefix| {
            let mut family = with_prefix(prefix, Standing::Own);
            if prefix == MIMALLOC_PREFIX {
                family.functions.extend(known(&MIMALLOC, prefix, false));
            }
            family
        }));
        all.push(Family {
            name: "C++".to_owned(),
            standing: Standing::Beside,
            functions: known(&CPP, "", false).collect(),
        });
        all.push(Family {
            name: "Rust's global allocator".to_owned(),
            standing: Standing::Last,
            functions: known(&RUST, "", true).collect(),
        });
        for prefix in prefixes {
            if let Some(known) = all.iter_mut().find(|family| family.name == *prefix) {
                known.standing = Standing::Asked;
            } else {
                let mut family = with_prefix(prefix, Standing::Asked);
                for function in &mut family.functions {
                    function.leaving = Leaving::Unknown;
                }
                all.push(family);
            }
        }
        all.extend(home_made.iter().map(home_made_family));
        Self {
            all,
            providers: vec![(OTEL_MEMORY.to_owned(), false)],
        }
    }

    /// The same, and the USDT probes of these providers.
    pub fn and_providers(mut self, named: &[String]) -> Self {
        for name in named {
            self.providers.retain(|(known, _)| known != name);
            self.providers.push((name.clone(), true));
        }
        self
    }

    /// Providers of USDT probes, and whether the user named them.
    pub fn providers(&self) -> &[(String, bool)] {
        &self.providers
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.all.iter()
    }

    /// The symbols to look for in a file: theirs, and those that tell what it is.
    pub fn symbols(&self) -> Vec<&str> {
        let functions = self.all.iter().flat_map(|family| &family.functions);
        let own = functions.map(|function| &*function.symbol);
        own.chain(MARKS.map(|mark| mark.symbol))
            .chain(OF_EXCEPTIONS)
            .chain([RUST_DEFAULT])
            .collect()
    }

    /// What the user asked for.
    pub fn demands(&self) -> impl Iterator<Item = Demand> {
        let named = self.providers.iter().filter(|(_, asked)| *asked);
        let named = named.map(|(provider, _)| Demand::Provider(provider.clone()));
        self.all.iter().flat_map(Family::demands).chain(named)
    }

    /// The symbols of what the user asked for.
    pub fn asked_symbols(&self) -> impl Iterator<Item = &str> {
        let asked = |family: &&Family| matches!(family.standing, Standing::Asked | Standing::Named);
        let asked = self.all.iter().filter(asked);
        let functions = asked.flat_map(|family| &family.functions);
        functions.map(|function| &*function.symbol)
    }

    /// Whether a function of this name is looked for.
    pub fn has(&self, symbol: &str) -> bool {
        let mut functions = self.all.iter().flat_map(|family| &family.functions);
        functions.any(|function| function.symbol == symbol)
    }
}

impl Default for Families {
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

fn known<const N: usize>(
    table: &'static [AllocatorFunction; N],
    prefix: &str,
    usual: bool,
) -> impl Iterator<Item = Wanted> {
    table.iter().map(move |function| Wanted {
        symbol: format!("{prefix}{}", function.symbol),
        shape: function.shape,
        arguments: function.arguments,
        leaving: function.leaving,
        usual,
    })
}

/// The C names behind a prefix.
fn with_prefix(prefix: &str, standing: Standing) -> Family {
    let functions = known(&LIBC, prefix, false).chain(known(&LIBC_EXTRAS, prefix, false));
    Family {
        name: prefix.to_owned(),
        standing,
        functions: functions.collect(),
    }
}

fn home_made_family(one: &HomeMade) -> Family {
    let wanted = |symbol: &str, shape, arguments| Wanted {
        symbol: symbol.to_owned(),
        shape,
        arguments,
        leaving: Leaving::Unknown,
        usual: false,
    };
    let first = |argument: u8| [argument, IN_ORDER[1], IN_ORDER[2]];
    let mut functions = vec![
        wanted(&one.alloc.symbol, Shape::Size, first(one.alloc.argument)),
        wanted(&one.free.symbol, Shape::Free, first(one.free.argument)),
    ];
    let resize = one.realloc.as_deref();
    functions.extend(resize.map(|symbol| wanted(symbol, Shape::Resize, IN_ORDER)));
    let product = one.calloc.as_deref();
    functions.extend(product.map(|symbol| wanted(symbol, Shape::Product, IN_ORDER)));
    Family {
        name: one.alloc.symbol.clone(),
        standing: Standing::Named,
        functions,
    }
}
