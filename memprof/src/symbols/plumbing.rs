//! Which functions and files are plumbing: allocators, the shims that languages put before them,
//! standard containers, the C library. A person who looks for a leak wants the line above those.
//!
//! C++ is judged by its mangled names, because a demangled one begins with the return type, and
//! Rust by the path of a function. The tables are plain lists, made from what real programs show
//! (gcc 12, Rust 1.95, glibc 2.36); names that only look alike must not match.

/// What kind of code a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It allocates or frees memory for others, and is never what one looks for.
    Allocator,
    /// Of a standard library or a wrapper around the allocator.
    Library,
    /// Anything else: what a person can fix.
    Own,
}

/// Allocation functions of C, whole names.
#[rustfmt::skip]
const ALLOCATORS: &[&str] = &[
    "malloc", "calloc", "realloc", "reallocarray", "free", "cfree", "posix_memalign",
    "aligned_alloc", "memalign", "valloc", "pvalloc", "malloc_usable_size", "free_sized",
    "free_aligned_sized", "mallocx", "rallocx", "dallocx", "sdallocx",
    // The inside of glibc's, as static programs and files with symbols show it.
    "_int_malloc", "_int_realloc", "_int_free", "_int_memalign", "_mid_memalign", "sysmalloc",
    "sysmalloc_mmap", "sysmalloc_mmap_fallback", "malloc_consolidate", "malloc_hook_ini",
    "ptmalloc_init", "tcache_init", "arena_get2", "realloc_hook_ini", "memalign_hook_ini",
    // The inside of musl's.
    "alloc_slot", "alloc_group", "__simple_malloc", "__malloc_alloc_meta", "default_malloc",
    "malloc_impl",
    // Straight from the kernel.
    "mmap", "mmap64", "mremap", "munmap", "brk", "sbrk",
];

/// What glibc and musl put before the names above.
const ALLOCATOR_PREFIXES: &[&str] = &["__GI___libc_", "__libc_", "__GI___", "__GI_", "___", "__"];

/// Rust's shims, without hash; `__rustc::` stands before them since 1.87.
const RUST_SHIMS: &[&str] = &["__rust_", "__rdl_", "__rg_"];

/// Wrappers that programs and libraries share by name, and functions of the C library that
/// return memory (for programs that contain the C library), whole names.
#[rustfmt::skip]
const WRAPPERS: &[&str] = &[
    "xmalloc", "xcalloc", "xrealloc", "xreallocarray", "xzalloc", "xstrdup", "xstrndup",
    "xmemdup", "xnmalloc", "xnrealloc", "x2realloc", "x2nrealloc", "xcharalloc", "xasprintf",
    "xvasprintf", "xpalloc", "xizalloc", "ximalloc",
    "strdup", "strndup", "asprintf", "vasprintf", "getline", "getdelim", "fopen", "fopen64",
    "fdopen", "fmemopen", "open_memstream", "opendir", "fdopendir", "realpath", "getcwd",
    "setvbuf", "scandir", "tempnam", "regcomp", "getaddrinfo", "setlocale", "pthread_create",
    "_IO_file_doallocate", "_IO_doallocbuf", "_IO_file_overflow", "_IO_file_underflow",
    "_IO_new_file_overflow", "_IO_new_file_underflow", "_IO_getdelim", "_IO_vasprintf",
    "fopen_internal", "__fopen_internal", "allocate_stack", "allocate_dtv",
    "_dl_allocate_tls", "_dl_map_object", "dlopen", "dlopen_doit",
    "pymalloc_alloc", "pymalloc_realloc", "new_arena", "PyObject_Malloc", "PyObject_Calloc",
    "PyObject_Realloc", "PyObject_Free", "_PyObject_Malloc", "_PyObject_Calloc",
    "_PyObject_Realloc", "_PyObject_Free", "_PyObject_New", "_PyObject_NewVar",
    "_PyObject_GC_New", "_PyObject_GC_NewVar", "_PyObject_GC_Resize", "PyType_GenericAlloc",
    // They touch memory for others.
    "memset", "memcpy", "memmove", "mempcpy", "memccpy", "wmemset", "wmemcpy", "wmemmove", "bzero",
    "bcopy", "explicit_bzero", "strcpy", "stpcpy", "strncpy", "stpncpy", "strcat", "strncat",
    "strlcpy", "strlcat",
    // Where programs and threads begin.
    "_start", "_init", "call_init", "_dl_init", "_dl_start_user", "start_thread", "clone",
    "clone3", "__clone3", "__libc_start_main", "__libc_start_call_main", "__libc_csu_init",
    "__libc_start_main_impl",
];

/// Beginnings of wrappers' names.
#[rustfmt::skip]
const WRAPPER_PREFIXES: &[&str] = &[
    "g_malloc", "g_try_malloc", "g_realloc", "g_try_realloc", "g_aligned_alloc", "g_slice_",
    "g_strdup", "g_strndup", "g_strconcat", "g_memdup", "PyMem_", "_PyMem_", "_PyObject_GC_Alloc",
    // What touches memory for others, by kind of processor, as static programs show it.
    "__memset_", "__memcpy_", "__memmove_", "__mempcpy_", "__bzero_", "__wmemset_", "__strcpy_",
    "__stpcpy_", "__strncpy_", "__stpncpy_", "__strcat_", "__strncat_",
    // Of Redis and Valkey.
    "zmalloc", "zcalloc", "zrealloc", "zstrdup", "ztrymalloc", "ztrycalloc", "ztryrealloc",
];

/// Words in the names of mimalloc's functions, after `mi_` or `_mi_`; the prefix alone is too
/// short to mean anything.
#[rustfmt::skip]
const MIMALLOC_WORDS: &[&str] = &["alloc", "free", "heap", "page", "segment", "new", "dup", "arena"];

/// C++ as mangled, after `_Z`: the whole of the standard library and its neighbours. `Sa`, `Sb`,
/// `Ss`, `Si`, `So`, `Sd` abbreviate `std::allocator`, `basic_string`, `string` and the streams
/// (Itanium C++ ABI, 5.1.2).
#[rustfmt::skip]
const CPP_LIBRARY: &[&str] = &["St", "Sa", "Sb", "Ss", "Si", "So", "Sd", "9__gnu_cxx", "10__cxxabiv1"];
/// `operator new`, `new[]`, `delete`, `delete[]`, outside of any class.
const CPP_ALLOCATORS: &[&str] = &["nw", "na", "dl", "da"];
const CPP_ALLOCATOR_NAMESPACES: &[&str] = &["8tcmalloc"];

/// Rust's standard library, and the hash table in it that is also a crate.
#[rustfmt::skip]
const RUST_LIBRARY: &[&str] = &["alloc", "core", "std", "hashbrown", "__rustc", "compiler_builtins"];
/// Paths in it that allocate and do nothing else.
const RUST_ALLOCATORS: &[&str] = &["alloc::alloc", "std::alloc", "hashbrown::raw::alloc"];
/// The trait of allocators: whoever implements it is one.
const RUST_ALLOCATOR_TRAIT: &str = "core::alloc::global::GlobalAlloc>";

/// Beginnings of file names of libraries that are plumbing as a whole.
#[rustfmt::skip]
const MODULE_PREFIXES: &[&str] = &[
    "libc.so", "libc-2.", "ld-linux", "ld-2.", "ld-musl", "libc.musl", "libstdc++.so", "libc++.so",
    "libc++abi.so", "libgcc_s", "libpthread.so", "libpthread-2.", "libdl.so", "libdl-2.",
    "librt.so", "libm.so", "libjemalloc", "libtcmalloc", "libmimalloc", "libhoard", "libsnmalloc",
];

/// Whether all of this file's functions are plumbing.
pub(super) fn is_plumbing_module(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    MODULE_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The role of a function: by its symbol as in the file (`raw`), its demangled name and, for an
/// inlined function whose full name is not on record, by the source file.
pub(super) fn role_of(raw: &str, name: &str, source: Option<&str>, inlined: bool) -> Role {
    if rustc_demangle::try_demangle(raw).is_ok() {
        return rust_role(name, source);
    }
    if let Some(mangled) = raw.strip_prefix("__Z").or_else(|| raw.strip_prefix("_Z")) {
        return cpp_role(mangled);
    }
    // `xmalloc.part.0`: a piece of `xmalloc` that the compiler made a function of its own.
    let plain = raw.split(['.', '@']).next().unwrap_or(raw);
    match c_role(plain) {
        // A plain name says nothing of the namespace. The line of a C function that was not
        // inlined may come from a header by way of code inlined into it, so it proves nothing;
        // a `<` is C++ whose full name the compiler left out.
        Role::Own if (inlined || raw.contains('<')) && source.is_some_and(is_library_source) => {
            Role::Library
        }
        role => role,
    }
}

fn c_role(name: &str) -> Role {
    let among = |list: &[&str]| list.contains(&name);
    let begins = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    let without_prefix = ALLOCATOR_PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    let is_allocator = |name: &str| ALLOCATORS.contains(&name);
    let tcmalloc = || name.strip_prefix("tc_");
    let mimalloc = || name.trim_start_matches('_').strip_prefix("mi_");
    if is_allocator(name)
        || without_prefix.is_some_and(is_allocator)
        || begins(RUST_SHIMS)
        || begins(&["je_", "_rjem_", "rjem_"])
        || tcmalloc().is_some_and(|rest| {
            is_allocator(rest) || rest.starts_with("new") || rest.starts_with("delete")
        })
        || mimalloc().is_some_and(|rest| MIMALLOC_WORDS.iter().any(|word| rest.contains(word)))
    {
        Role::Allocator
    } else if among(WRAPPERS)
        || begins(WRAPPER_PREFIXES)
        || without_prefix.is_some_and(|rest| WRAPPERS.contains(&rest))
    {
        Role::Library
    } else {
        Role::Own
    }
}

/// `mangled` without its `_Z`.
fn cpp_role(mangled: &str) -> Role {
    // `Z…`: something local to a function (a lambda, a static) counts as that function.
    let entity = mangled.trim_start_matches('Z');
    let begins = |text: &str, list: &[&str]| list.iter().any(|prefix| text.starts_with(prefix));
    if begins(entity, CPP_ALLOCATORS) {
        return Role::Allocator;
    }
    // `N` opens a qualified name; r, V, K, R and O are its qualifiers.
    let path = match entity.strip_prefix('N') {
        Some(nested) => nested.trim_start_matches(['r', 'V', 'K', 'R', 'O']),
        None => entity,
    };
    if begins(path, CPP_ALLOCATOR_NAMESPACES) {
        Role::Allocator
    } else if begins(path, CPP_LIBRARY) {
        Role::Library
    } else {
        Role::Own
    }
}

/// By the path of the function. In `<Type as Trait>::function` both count: the code is the
/// library's only if neither belongs to somebody else; a type parameter or a primitive is
/// nobody's.
fn rust_role(name: &str, source: Option<&str>) -> Role {
    let Some(inside) = name.strip_prefix('<') else {
        return rust_path_role(name);
    };
    let (of_type, of_trait) = match split_as(inside) {
        Some((_, of_trait)) if of_trait.starts_with(RUST_ALLOCATOR_TRAIT) => {
            return Role::Allocator;
        }
        Some((of_type, of_trait)) => (of_type, Some(rust_path_role(of_trait))),
        None => (inside, None),
    };
    let of_type = of_type.trim_start_matches(['<', '&', '*', '[', '(']);
    let of_type = ["mut ", "const ", "dyn "]
        .iter()
        .fold(of_type, |rest, word| {
            rest.strip_prefix(word).unwrap_or(rest)
        });
    let end = of_type.find(['<', '>', ' ', ',', ']', ')', ';']);
    let path = of_type
        .get(..end.unwrap_or(of_type.len()))
        .unwrap_or(of_type);
    match (path.contains("::").then(|| rust_path_role(path)), of_trait) {
        (Some(Role::Own), Some(Role::Library)) => {
            // Somebody's type in the library's trait: a derived `clone`, or the library's own
            // code for all types, which only its source tells.
            if source.is_some_and(is_library_source) {
                Role::Library
            } else {
                Role::Own
            }
        }
        (Some(of_type), None | Some(Role::Library | Role::Allocator)) => of_type,
        (None, Some(of_trait)) => of_trait,
        (_, Some(Role::Own)) => Role::Own,
        (None, None) => Role::Library,
    }
}

fn rust_path_role(path: &str) -> Role {
    let within = |list: &[&str]| {
        list.iter().any(|root| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || !rest.starts_with(is_identifier))
        })
    };
    let shim = path.strip_prefix("__rustc::").unwrap_or(path);
    if within(RUST_ALLOCATORS) || RUST_SHIMS.iter().any(|prefix| shim.starts_with(prefix)) {
        Role::Allocator
    } else if within(RUST_LIBRARY) {
        Role::Library
    } else {
        Role::Own
    }
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// `Type as Trait` at the outermost level, up to the closing bracket.
fn split_as(inside: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, character) in inside.char_indices() {
        match character {
            '<' | '(' | '[' => depth += 1,
            // Not the arrow of a function type.
            '>' if before == '-' => {}
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 1 => {
                let rest = inside.get(at..)?;
                if let Some(of_trait) = rest.strip_prefix(" as ") {
                    return Some((inside.get(..at)?, of_trait));
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
        before = character;
    }
    None
}

/// Source files of standard libraries, where compilers and distributions have them.
fn is_library_source(path: &str) -> bool {
    path.contains("/include/c++/")
        || path.contains("/rustlib/src/rust/library/")
        || path.starts_with("/rust/deps/")
        || ((path.starts_with("/rustc/") || path.starts_with("/usr/src/rustc-"))
            && path.contains("/library/"))
}

#[cfg(test)]
mod tests {
    use super::super::demangle::demangle;
    use super::*;

    fn role(raw: &str) -> Role {
        role_of(raw, &demangle(raw), None, false)
    }

    #[test]
    fn allocator_functions_of_c() {
        for name in [
            "malloc",
            "__libc_malloc",
            "__GI___libc_malloc",
            "_int_malloc",
            "calloc",
            "__libc_calloc",
            "reallocarray",
            "__libc_reallocarray",
            "posix_memalign",
            "__posix_memalign",
            "aligned_alloc",
            "je_malloc",
            "je_arena_malloc_hard",
            "_rjem_je_malloc_default",
            "_rjem_mallocx",
            "rjem_malloc",
            "sdallocx",
            "tc_malloc",
            "tc_newarray",
            "mi_malloc",
            "_mi_malloc_generic",
            "mi_heap_malloc_zero_aligned_at",
            "_int_malloc.constprop.0",
            "malloc@@GLIBC_2.2.5",
            "___mmap",
            "default_malloc",
            "__libc_malloc_impl",
        ] {
            assert_eq!(role(name), Role::Allocator, "{name}");
        }
    }

    #[test]
    fn whoever_implements_rusts_trait_of_allocators_is_one() {
        let name = "<server::Counting as core::alloc::global::GlobalAlloc>::alloc";
        assert_eq!(rust_role(name, None), Role::Allocator);
        let other = "<server::Counting as core::clone::Clone>::clone";
        assert_eq!(rust_role(other, None), Role::Own);
    }

    #[test]
    fn wrappers_and_beginnings_of_c() {
        for name in [
            "memset",
            "__memset_avx2_unaligned_erms",
            "__memmove_evex_unaligned_erms",
            "__memcpy_chk",
            "__GI_memcpy",
            "xmalloc",
            "xstrdup",
            "xmalloc.part.0",
            "g_malloc0",
            "g_malloc_n",
            "g_slice_alloc",
            "g_strdup_printf",
            "zmalloc_usable",
            "zrealloc_usable",
            "ztrymalloc",
            "strdup",
            "__strdup",
            "__GI___strdup",
            "getline",
            "__getdelim",
            "_IO_file_doallocate",
            "__fopen_internal",
            "PyMem_RawMalloc",
            "_PyMem_RawMalloc",
            "PyObject_Malloc",
            "_PyObject_GC_New",
            "PyType_GenericAlloc",
            "_start",
            "__libc_start_call_main",
        ] {
            assert_eq!(role(name), Role::Library, "{name}");
        }
    }

    #[test]
    fn names_that_only_look_alike_are_somebodys_own() {
        for name in [
            "main",
            "order_book_add",
            "my_malloc",
            "malloc_order",
            "free_list_push",
            "tc_handler",
            "mi_casa",
            "mi_row",
            "generic_alloc",
            "standard",
            "PyDict_New",
            "g_object_new",
            "strdup_all",
            "alloc_order",
            "",
            "_ZN5stdio4openEv",
            "_ZN6aStack4pushEi",
            "_ZN8MyVectorISt6vectorIiSaIiEEE4pushEv",
            "_ZN3FoonwEm",
        ] {
            assert_eq!(role(name), Role::Own, "{name}");
        }
    }

    #[test]
    fn cpp_operators_and_library() {
        for name in [
            "_Znwm",
            "_Znam",
            "_ZnwmRKSt9nothrow_t",
            "_ZnamSt11align_val_t",
            "_ZdlPv",
            "_ZdaPvm",
            "_ZN8tcmalloc17ThreadCache_allocEv",
        ] {
            assert_eq!(role(name), Role::Allocator, "{name}");
        }
        // As gcc 12 named them in the programs of the author, inlined and not.
        for name in [
            "_ZNSt15__new_allocatorIiE8allocateEmPKv",
            "_ZNSt16allocator_traitsISaIiEE8allocateERS0_m",
            "_ZNSt12_Vector_baseIiSaIiEE11_M_allocateEm",
            "_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJRKiEEEvN9__gnu_cxx17__normal_iteratorIPiS1_EEDpOT_",
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_mutateEmmPKcm",
            "_ZNSs12_S_constructEmcRKSaIcE",
            "_ZNSaIcEC1Ev",
            "_ZSt11make_sharedI5OrderJEESt10shared_ptrINSt9enable_ifIXntsrSt8is_arrayIT_E5valueES4_E4typeEEDpOT0_",
            "_ZSt11make_uniqueI5OrderJEENSt8__detail9_MakeUniqIT_E15__single_objectEDpOT0_",
            "_ZNSt8_Rb_treeIiSt4pairIKiiESt10_Select1stIS2_ESt4lessIiESaIS2_EE11_M_get_nodeEv",
            "_ZNSt8__detail16_Hashtable_allocISaINS_10_Hash_nodeIiLb0EEEEE19_M_allocate_bucketsEm",
            "_ZNKSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE6substrEmm",
            "_ZN9__gnu_cxx13new_allocatorIcE8allocateEmPKv",
            "_ZNSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEE6__initEPKcm",
            "_ZZNSt19_Sp_make_shared_tag5_S_tiEvE5__tag",
        ] {
            assert_eq!(role(name), Role::Library, "{name} {}", demangle(name));
        }
    }

    #[test]
    fn a_function_is_not_judged_by_what_it_takes_or_returns() {
        for name in [
            "_Z11fill_vectorRSt6vectorIiSaIiEE",
            "_Z4makeIiESt6vectorIT_SaIS1_EEi",
            "_ZN4book9OrderBook3addENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE",
            // A lambda in somebody's function.
            "_ZZ7fill_fnvENKUlvE_clEv",
            "_ZZN4book3runEvENKUlvE_clEv",
        ] {
            assert_eq!(role(name), Role::Own, "{name} {}", demangle(name));
        }
    }

    #[test]
    fn rust_shims_and_library() {
        let rust = |name: &str| rust_role(name, None);
        for name in [
            "__rust_alloc",
            "__rust_realloc",
            "__rdl_alloc",
            "__rg_alloc",
            "__rustc::__rust_alloc",
            "__rustc::__rdl_alloc_zeroed",
            "alloc::alloc::alloc",
            "alloc::alloc::exchange_malloc",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "<alloc::alloc::Global>::alloc_impl_runtime",
            "std::alloc::__default_lib_allocator::x",
            "hashbrown::raw::alloc::inner::do_alloc",
        ] {
            assert_eq!(rust(name), Role::Allocator, "{name}");
        }
        for name in [
            "alloc::raw_vec::RawVecInner<A>::finish_grow",
            "alloc::vec::Vec<T,A>::push",
            "<alloc::raw_vec::RawVec<u8>>::with_capacity_in",
            "<alloc::vec::Vec<T> as alloc::vec::spec_from_iter_nested::SpecFromIterNested<T,I>>::from_iter",
            "<alloc::vec::Vec<T,A> as core::clone::Clone>::clone",
            "<T as alloc::string::ToString>::to_string",
            "<str as alloc::borrow::ToOwned>::to_owned",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "<T as alloc::slice::<impl [T]>::to_vec_in::ConvertVec>::to_vec",
            "<&dyn core::ops::function::Fn<(), Output = i32> + core::marker::Sync as core::ops::function::FnOnce<()>>::call_once",
            "alloc::slice::<impl alloc::borrow::ToOwned for [T]>::to_owned",
            "alloc::boxed::Box<T>::new",
            "alloc::sync::Arc<T>::new",
            "alloc::fmt::format",
            "std::collections::hash::map::HashMap<K,V,S,A>::insert",
            "hashbrown::raw::RawTable<T,A>::reserve",
            "core::iter::traits::iterator::Iterator::collect",
            "std::fs::read",
            "std::panicking::catch_unwind::<isize, std::rt::lang_start_internal::{closure#0}>",
        ] {
            assert_eq!(rust(name), Role::Library, "{name}");
        }
    }

    #[test]
    fn somebodys_rust_is_told_from_the_librarys() {
        for name in [
            "r::fill_vec",
            "r::fill_map::{{closure}}",
            "stdx::go",
            "allocator_api2::vec::push",
            "<r::Order as core::clone::Clone>::clone",
            "<alloc::vec::Vec<T> as r::Fill>::fill",
            "<T as r::Fill>::fill",
            "<r::Order>::new",
            "<&mut r::Order as core::fmt::Debug>::fmt",
            "<alloc::boxed::Box<dyn core::ops::function::Fn() -> u32> as r::Call>::call",
        ] {
            assert_eq!(rust_role(name, None), Role::Own, "{name}");
        }
        // The library's code for all types bears the type's name (v0 mangling); the source tells.
        let blanket = "<r::Order as alloc::string::ToString>::to_string";
        let library = Some("/rustc/59807616e/library/alloc/src/string.rs");
        assert_eq!(rust_role(blanket, library), Role::Library);
        assert_eq!(rust_role(blanket, Some("/home/me/r.rs")), Role::Own);
        assert_eq!(rust_role("r::fill_vec", library), Role::Own);
    }

    #[test]
    fn mangled_rust_goes_by_its_path() {
        assert_eq!(
            role("_ZN5alloc7raw_vec20RawVecInner$LT$A$GT$11finish_grow17h0123456789abcdefE"),
            Role::Library
        );
        assert_eq!(role("_ZN1r8fill_vec17h0123456789abcdefE"), Role::Own);
    }

    #[test]
    fn inlined_functions_without_a_full_name_go_by_their_source() {
        let header = Some("/usr/include/c++/12/bits/std_function.h");
        let name = "_M_create<fill_fn()::<lambda()> >";
        assert_eq!(role_of(name, name, header, false), Role::Library);
        assert_eq!(role_of("call", "call", header, true), Role::Library);
        // Not so a real function: its line may be that of something inlined into it.
        assert_eq!(role_of("main", "main", header, false), Role::Own);
        assert_eq!(
            role_of(name, name, Some("/home/me/library/alloc/src/a.cpp"), true),
            Role::Own
        );
    }

    #[test]
    fn whole_libraries_by_file_name() {
        for path in [
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/x86_64-linux-gnu/libc-2.31.so",
            "/lib64/ld-linux-x86-64.so.2",
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
            "/usr/lib/libc++.so.1",
            "/lib/ld-musl-x86_64.so.1",
            "libjemalloc.so.2",
            "/opt/libtcmalloc_minimal.so.4",
            "/usr/lib/libmimalloc.so.2.0",
        ] {
            assert!(is_plumbing_module(path), "{path}");
        }
        for path in [
            "/usr/bin/server",
            "/usr/lib/libcurl.so.4",
            "/lib/libcrypto.so.3",
            "/libc.so/mine",
            "",
            "/usr/lib/libstdcxx.so",
            "/usr/lib/libmagic.so.1",
        ] {
            assert!(!is_plumbing_module(path), "{path}");
        }
    }
}
