use memprof_common::{
    allocator::IN_ORDER,
    placement::{EntryPlace, InnerPlace, PRESERVED_REGISTERS, SizeAt},
};

use super::*;
use crate::probes::families::{HomeMade, NamedArgument};

/// A file whose functions do what a test says.
#[derive(Default)]
struct File {
    handing: HashMap<u64, Handing>,
    returns: HashMap<u64, Vec<u64>>,
    may_throw: bool,
}

impl Anatomy for File {
    fn place(&self, function: Function, _: Arguments) -> Placement {
        Placement {
            place: EntryPlace {
                offset: function.start as u16 / 16,
                restarts: function.shape == Shape::Free,
                ..EntryPlace::default()
            },
            emulated: true,
            reason: format!("{} bytes", function.size),
        }
    }

    fn hands_to(&self, start: u64) -> Option<Handing> {
        self.handing.get(&start).cloned()
    }

    fn exits_of(&self, function: Function, _: bool) -> Result<Vec<Exit>, String> {
        let returns = self.returns.get(&function.start);
        let returns = returns.ok_or_else(|| "a test says so".to_owned())?;
        Ok(returns.iter().map(|at| exit(*at)).collect())
    }

    fn may_throw(&self) -> bool {
        self.may_throw
    }
}

fn exit(at: u64) -> Exit {
    Exit {
        at,
        emulated: false,
        place: InnerPlace {
            offset: 0,
            pushed_words: 0,
            result: 10,
            size: SizeAt::Noted,
            preserved: [None; PRESERVED_REGISTERS],
        },
    }
}

fn defines(symbol: &str, offset: u64) -> Definition {
    Definition {
        symbol: symbol.to_owned(),
        offset,
        size: 16,
        indirect: false,
    }
}

fn plan_of(definitions: &[(&str, u64)], file: &File) -> Option<Plan> {
    plan_with(&Families::default(), definitions, file)
}

fn plan_with(families: &Families, definitions: &[(&str, u64)], file: &File) -> Option<Plan> {
    let all: Vec<Definition> = definitions
        .iter()
        .map(|(symbol, offset)| defines(symbol, *offset))
        .collect();
    plan(families, &all, file)
}

fn pool() -> Families {
    let named = |symbol: &str, argument| NamedArgument {
        symbol: symbol.to_owned(),
        argument,
    };
    let home_made = HomeMade {
        alloc: named("pool_get", 1),
        free: named("pool_put", 0),
        realloc: Some("pool_resize".to_owned()),
        calloc: None,
    };
    Families::new(&["my_".to_owned()], &[home_made])
}

fn site<'a>(plan: &'a Plan, symbol: &str) -> &'a Site {
    let mut sites = plan.sites.iter();
    let found = sites.find(|site| site.symbols.iter().any(|one| one == symbol));
    found.unwrap_or_else(|| panic!("no site of {symbol}: {plan:?}"))
}

fn has_site(plan: &Plan, symbol: &str) -> bool {
    let mut symbols = plan.sites.iter().flat_map(|site| &site.symbols);
    symbols.any(|one| one == symbol)
}

#[test]
fn aliases_share_one_site() {
    let definitions = [
        ("malloc", 16),
        ("free", 32),
        ("memalign", 48),
        ("aligned_alloc", 48),
    ];
    let plan = plan_of(&definitions, &File::default()).unwrap();
    assert_eq!(
        site(&plan, "memalign").symbols,
        ["aligned_alloc", "memalign"]
    );
    assert_eq!(plan.sites.len(), 3);
    assert!(plan.missing.contains(&"calloc".to_owned()));
}

#[test]
fn a_file_that_only_gives_or_only_takes_is_no_allocator() {
    let file = File::default();
    assert_eq!(plan_of(&[("malloc", 16)], &file), None);
    assert_eq!(plan_of(&[("free", 16)], &file), None);
    assert_eq!(plan_of(&[("je_malloc", 16), ("free", 32)], &file), None);
    assert_eq!(plan_of(&[("_Znwm", 16), ("_ZdlPv", 32)], &file), None);
    assert_eq!(plan_of(&[], &file), None);
}

#[test]
fn a_function_chosen_at_run_time_is_not_probed_at_its_chooser() {
    let mut indirect = defines("calloc", 64);
    indirect.indirect = true;
    let all = [defines("malloc", 16), defines("free", 32), indirect];
    let plan = plan(&Families::default(), &all, &File::default()).unwrap();
    assert!(plan.sites.iter().all(|site| site.offset != 64));
    assert!(plan.missing.contains(&"calloc".to_owned()));
}

#[test]
fn each_function_is_placed_by_what_it_is() {
    let plan = plan_of(&[("malloc", 16), ("free", 32)], &File::default()).unwrap();
    let (malloc, free) = (site(&plan, "malloc"), site(&plan, "free"));
    assert_eq!((malloc.offset, malloc.placement.place.offset), (16, 1));
    assert_eq!((free.offset, free.placement.place.offset), (32, 2));
    assert!(free.placement.place.restarts && !malloc.placement.place.restarts);
    assert_eq!(free.placement.reason, "16 bytes");
    assert_eq!((&malloc.end, &free.end), (&End::Return, &End::None));
}

#[test]
fn a_prefixed_allocator_stands_beside_the_c_librarys() {
    let definitions = [
        ("malloc", 16),
        ("free", 32),
        ("__libc_malloc", 16),
        ("_rjem_malloc", 48),
        ("_rjem_mallocx", 64),
        ("_rjem_sdallocx", 80),
    ];
    let plan = plan_of(&definitions, &File::default()).unwrap();
    assert_eq!(plan.allocators, ["glibc", "jemalloc, _rjem_"]);
    assert_eq!(plan.sites.len(), 5);
    assert_eq!(site(&plan, "_rjem_sdallocx").shape, Shape::Free);
    assert!(!plan.missing.iter().any(|one| one.starts_with("_rjem_")));
}

#[test]
fn mimallocs_heaps_are_no_sizes() {
    let definitions = [
        ("mi_heap_malloc", 16),
        ("mi_heap_calloc", 32),
        ("mi_free", 48),
    ];
    let plan = plan_of(&definitions, &File::default()).unwrap();
    assert_eq!(plan.allocators, ["mimalloc"]);
    assert_eq!(site(&plan, "mi_heap_malloc").arguments, [1, 2, 3]);
    assert_eq!(site(&plan, "mi_free").arguments, IN_ORDER);
}

#[test]
fn operator_new_never_has_a_return_probe() {
    let definitions = [("malloc", 16), ("free", 32), ("_Znwm", 48), ("_Znam", 64)];
    let file = File {
        returns: HashMap::from([(48, vec![55, 59]), (64, vec![59, 71])]),
        ..File::default()
    };
    let plan = plan_of(&definitions, &file).unwrap();
    assert_eq!(
        site(&plan, "_Znwm").end,
        End::Noted(vec![exit(55), exit(59)])
    );
    // What it shares with the other is probed once.
    assert_eq!(site(&plan, "_Znam").end, End::Noted(vec![exit(71)]));
}

#[test]
fn operator_new_that_cant_be_probed_is_missing_and_says_why() {
    let definitions = [("malloc", 16), ("free", 32), ("_Znwm", 48), ("_ZdlPv", 64)];
    let plan = plan_of(&definitions, &File::default()).unwrap();
    assert!(!has_site(&plan, "_Znwm"));
    assert!(has_site(&plan, "_ZdlPv"));
    assert!(plan.missing.contains(&"_Znwm".to_owned()));
    assert!(plan.refusals[0].starts_with("_Znwm: an exception may leave it"));
}

#[test]
fn a_function_that_only_jumps_to_another_is_one_more_name_of_it() {
    let definitions = [
        ("malloc", 16),
        ("free", 32),
        ("_ZdlPv", 48),
        ("_ZdlPvm", 64),
        ("_Znwm", 80),
        ("_ZdaPv", 96),
    ];
    let forwards = |to| Handing::Forwards(Target::Here(to));
    let outside = Handing::Forwards(Target::Named("free".to_owned()));
    let file = File {
        handing: HashMap::from([
            (48, forwards(32)),
            (64, forwards(48)),
            (80, Handing::Calls(Target::Here(16))),
            (96, outside),
        ]),
        ..File::default()
    };
    let plan = plan_of(&definitions, &file).unwrap();
    assert_eq!(site(&plan, "free").symbols, ["free", "_ZdlPv", "_ZdlPvm"]);
    assert_eq!(plan.seen_elsewhere, ["_Znwm"]);
    assert_eq!(plan.sites.len(), 2);
    assert!(!plan.missing.iter().any(|one| one.starts_with("_Z")));
}

#[test]
fn a_function_that_calls_another_first_thing_counts_for_itself() {
    let file = File {
        handing: HashMap::from([(48, Handing::Calls(Target::Here(16)))]),
        ..File::default()
    };
    let definitions = [("malloc", 16), ("free", 32), ("valloc", 48)];
    let plan = plan_of(&definitions, &file).unwrap();
    assert_eq!(site(&plan, "valloc").end, End::Return);
}

#[test]
fn rusts_own_names_count_where_nothing_else_does() {
    let rust = [
        ("__rust_alloc", 16),
        ("__rust_dealloc", 32),
        ("__rust_realloc", 48),
    ];
    let file = File::default();
    let alone = plan_of(&rust, &file).unwrap();
    assert_eq!(site(&alone, "__rust_realloc").arguments, [0, 3, 2]);
    assert!(alone.refusals[0].contains("inlined"));
    let by_default = [&rust[..], &[(RUST_DEFAULT, 64)]].concat();
    assert_eq!(plan_of(&by_default, &file), None);
    let beside = [&rust[..], &[("mi_malloc", 64), ("mi_free", 80)]].concat();
    assert!(!has_site(&plan_of(&beside, &file).unwrap(), "__rust_alloc"));
}

#[test]
fn what_the_user_names_is_probed_wherever_it_is() {
    let (families, file) = (pool(), File::default());
    let symbol = |name: &str| Demand::Symbol(name.to_owned());
    let prefix = Demand::Prefix("my_".to_owned());
    let pool = ["pool_get", "pool_put", "pool_resize"].map(symbol);
    let demands: Vec<Demand> = families.demands().collect();
    assert_eq!(demands, [std::slice::from_ref(&prefix), &pool[..]].concat());
    let plan = plan_with(&families, &[("pool_get", 16)], &file).unwrap();
    assert_eq!(plan.met, [symbol("pool_get")]);
    let get = site(&plan, "pool_get");
    assert_eq!((get.arguments[0], &get.end), (1, &End::Return));
    let plan = plan_with(&families, &[("pool_resize", 16), ("my_free", 32)], &file).unwrap();
    assert_eq!(site(&plan, "pool_resize").shape, Shape::Resize);
    assert_eq!(plan.met, [prefix, symbol("pool_resize")]);
    assert_eq!(plan_with(&families, &[("your_malloc", 16)], &file), None);
}

#[test]
fn the_users_own_have_no_return_probe_where_exceptions_are_known() {
    let mut file = File {
        returns: HashMap::from([(16, vec![20])]),
        may_throw: true,
        ..File::default()
    };
    let definitions = [("pool_get", 16), ("pool_put", 32)];
    let plan = plan_with(&pool(), &definitions, &file).unwrap();
    assert_eq!(site(&plan, "pool_get").end, End::Awaited(vec![exit(20)]));
    file.returns.clear();
    let plan = plan_with(&pool(), &definitions, &file).unwrap();
    assert_eq!(plan.missing, ["pool_get"]);
    assert!(has_site(&plan, "pool_put"));
}

#[test]
fn the_allocator_of_the_c_names_is_known_by_its_marks() {
    let name = |more: &[(&str, u64)]| {
        let all = [&[("malloc", 16), ("free", 32)], more].concat();
        plan_of(&all, &File::default()).unwrap().allocators
    };
    assert_eq!(name(&[("__libc_malloc", 16)]), ["glibc"]);
    assert_eq!(
        name(&[("__libc_malloc", 16), ("tc_malloc", 16)]),
        ["tcmalloc"]
    );
    assert_eq!(name(&[("mallocx", 48)]), ["jemalloc"]);
    assert_eq!(name(&[("__libc_malloc_impl", 48)]), ["musl"]);
    assert_eq!(name(&[]), [""]);
}
