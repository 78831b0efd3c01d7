//! C++ and Rust symbol names as people write them, in bounded space.
//!
//! A short mangled name can stand for an enormous one (substitutions that double), and the target
//! chooses its names; so the output is cut, rather than made whole and cut then.

use std::fmt::{self, Write};

/// Names longer than this are cut and end in `…`.
pub const MAX_NAME_BYTES: usize = 2048;
/// Mangled names longer than this are not demangled.
const MAX_MANGLED_BYTES: usize = 64 << 10;
/// How deep the C++ demangler may recurse; its default is meant for main threads.
const MAX_DEPTH: u32 = 96;

/// The demangled name; a name that is not mangled comes back as it is. Rust names lose their
/// hash. Control characters are kept: escaping is for whoever prints.
pub(super) fn demangle(name: &str) -> String {
    let name = without_version(name);
    if name.len() <= MAX_MANGLED_BYTES {
        if let Ok(rust) = rustc_demangle::try_demangle(name) {
            let mut out = Cut::default();
            // An error means that the cut was reached.
            let _ = write!(out, "{rust:#}");
            return out.finish();
        }
        if let Some(cpp) = demangle_cpp(name) {
            return cpp;
        }
    }
    cut(name)
}

/// A name that needs no demangling.
pub(super) fn cut(name: &str) -> String {
    let mut out = Cut::default();
    let _ = out.write_str(name);
    out.finish()
}

/// Of `malloc@@GLIBC_2.2.5` what stands before the version.
fn without_version(name: &str) -> &str {
    match name.split_once('@') {
        Some((plain, _)) if !plain.is_empty() => plain,
        _ => name,
    }
}

fn demangle_cpp(name: &str) -> Option<String> {
    // Anything else would be read as a type: `i` as `int`.
    if !name.starts_with("_Z") && !name.starts_with("__Z") {
        return None;
    }
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(MAX_DEPTH);
    let symbol = cpp_demangle::Symbol::new_with_options(name, &parse).ok()?;
    let print = cpp_demangle::DemangleOptions::default().recursion_limit(MAX_DEPTH);
    let mut out = Cut::default();
    match symbol.structured_demangle(&mut out, &print) {
        Ok(()) => Some(out.finish()),
        Err(_) if out.full => Some(out.finish()),
        Err(_) => None,
    }
}

/// A string that refuses to grow beyond [`MAX_NAME_BYTES`].
#[derive(Default)]
struct Cut {
    text: String,
    full: bool,
}

impl Cut {
    fn finish(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl Write for Cut {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = MAX_NAME_BYTES.saturating_sub('…'.len_utf8() + self.text.len());
        if !self.full && part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        if !self.full {
            let end = part.floor_char_boundary(room);
            self.text.push_str(part.get(..end).unwrap_or_default());
        }
        self.full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_people_write_them() {
        for (mangled, plain) in [
            ("_Znwm", "operator new(unsigned long)"),
            ("_ZN5boost3fooEi", "boost::foo(int)"),
            // Rust's legacy and v0 manglings: without the hash.
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_RNvCsbDqzXfLQacH_7example3foo", "example::foo"),
            ("malloc@@GLIBC_2.2.5", "malloc"),
            ("_Z3barv.cold", "bar() [clone .cold]"),
            ("_Z3barv.isra.0.cold", "bar() [clone .isra.0] [clone .cold]"),
            ("main", "main"),
            ("i", "i"),
            ("", ""),
            ("_Z", "_Z"),
            ("Größe", "Größe"),
        ] {
            assert_eq!(demangle(mangled), plain, "{mangled}");
        }
    }

    #[test]
    fn a_name_that_expands_without_end_is_cut() {
        // Each S<n>_ stands for a pair of the one before: 2^60 characters when written out.
        let mut bomb = String::from("_Z1fSt4pairIiiE");
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for digit in &digits[..34] {
            let last = char::from(*digit);
            bomb.push_str(&format!("St4pairIS{last}_S{last}_E"));
        }
        let started = std::time::Instant::now();
        for name in [
            bomb,
            format!("_Z{}", "N".repeat(60_000)),
            "P".repeat(1 << 20),
        ] {
            assert!(demangle(&name).len() <= MAX_NAME_BYTES);
        }
        assert!(started.elapsed().as_secs() < 5);
    }

    #[test]
    fn a_cut_name_is_whole_utf8() {
        let name = "ä".repeat(MAX_NAME_BYTES);
        let cut = demangle(&name);
        assert!(cut.ends_with('…') && cut.len() <= MAX_NAME_BYTES);
    }
}
