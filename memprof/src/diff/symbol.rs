//! The part of a name that a rebuild leaves alone: compilers append to a function's name what they
//! did to it, and that may differ from one build to the next.

/// What gcc and LLVM append before a number: copies for constant arguments, of parts, of private
/// functions (gcc's `clone_function_name`, LLVM's `getUniqueModuleId`).
const NUMBERED: [&str; 6] = [
    ".constprop",
    ".isra",
    ".part",
    ".lto_priv",
    ".llvm",
    ".cold",
];
/// The same without a number.
const PLAIN: [&str; 2] = [".cold", ".localalias"];
/// How cpp_demangle and c++filt show such a copy.
const DEMANGLED_COPY: &str = " [clone ";
/// Digits of the hash that ends a Rust symbol, behind `::h`.
const RUST_HASH_DIGITS: usize = 16;

/// A function's name without what differs between builds.
pub(super) fn function(name: &str) -> &str {
    let mut name = match name.find(DEMANGLED_COPY) {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    };
    while let Some(shorter) = without_suffix(name).filter(|shorter| !shorter.is_empty()) {
        name = shorter;
    }
    name
}

fn without_suffix(name: &str) -> Option<&str> {
    if let Some(stem) = PLAIN.iter().find_map(|plain| name.strip_suffix(plain)) {
        return Some(stem);
    }
    if let Some((stem, hash)) = name.rsplit_once("::h")
        && hash.len() == RUST_HASH_DIGITS
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Some(stem);
    }
    let (stem, number) = name.rsplit_once('.')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    NUMBERED.iter().find_map(|kind| stem.strip_suffix(kind))
}

/// The name of a file without the directories that it lies in.
pub(super) fn module(path: &str) -> &str {
    match path.rsplit('/').next() {
        Some("") | None => path,
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compilers_append_is_no_part_of_a_name() {
        for (full, bare) in [
            ("order_add", "order_add"),
            ("order_add.constprop.0", "order_add"),
            ("order_add.part.0.isra.12", "order_add"),
            ("order_add.cold", "order_add"),
            ("order_add.llvm.1234567890", "order_add"),
            (
                "cache::insert(int) [clone .constprop.0]",
                "cache::insert(int)",
            ),
            ("app::run::h0123456789abcdef", "app::run"),
            ("app::run::home", "app::run::home"),
            ("main.main.func1", "main.main.func1"),
            ("version.2", "version.2"),
            (".cold", ".cold"),
            ("", ""),
        ] {
            assert_eq!(function(full), bare);
        }
    }

    #[test]
    fn a_file_is_known_by_its_name_wherever_it_lies() {
        assert_eq!(module("/opt/app-2.1/bin/server"), "server");
        assert_eq!(module("[vdso]"), "[vdso]");
        assert_eq!(module("/"), "/");
        assert_eq!(module(""), "");
    }
}
