//! Which frame of a stack a person would go and fix: the innermost that is not plumbing.

use wildmatch::WildMatch;

use super::demangle::demangle;
use super::frame::{Frame, Unknown};
use super::plumbing::{Role, is_plumbing_module};

/// What else to pass over: patterns on function names and module paths.
#[derive(Clone, Debug, Default)]
pub struct Skips {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Whole(WildMatch),
    Part(String),
}

impl Skips {
    /// A pattern with `*` or `?` matches a whole function name or module path; any other, a part
    /// of one. An empty pattern matches nothing.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let patterns = patterns.into_iter().filter(|pattern| !pattern.is_empty());
        let patterns = patterns.map(|pattern| {
            if pattern.contains(['*', '?']) {
                Pattern::Whole(WildMatch::new(pattern))
            } else {
                Pattern::Part(pattern.to_owned())
            }
        });
        Self {
            patterns: patterns.collect(),
        }
    }

    /// The same, and the functions of these symbols.
    pub fn and_functions<'a>(mut self, symbols: impl IntoIterator<Item = &'a str>) -> Self {
        let names = symbols.into_iter().map(demangle);
        self.patterns
            .extend(names.map(|name| Pattern::Exact(name.to_string())));
        self
    }

    fn skips(&self, frame: &Frame) -> bool {
        let texts = [frame.name(), frame.module_path.as_deref()];
        texts.into_iter().flatten().any(|text| {
            self.patterns.iter().any(|pattern| match pattern {
                Pattern::Exact(name) => text == name,
                Pattern::Whole(whole) => whole.matches(text),
                Pattern::Part(part) => text.contains(part.as_str()),
            })
        })
    }
}

/// The index of the frame to name, of frames that go innermost first.
///
/// If all are plumbing, it is the innermost that is not an allocator's function and not skipped;
/// if there is none such, one that is skipped; else `None`. A frame without a name in somebody's
/// file counts (its place is known); one that is in no mapping is the last resort.
pub fn guilty_frame(frames: &[Frame], skips: &Skips) -> Option<usize> {
    let first = |wanted: &dyn Fn(&Frame) -> bool| frames.iter().position(wanted);
    let not_skipped = |frame: &Frame| !skips.skips(frame);
    first(&|frame| role(frame) == Role::Own && is_somewhere(frame) && not_skipped(frame))
        .or_else(|| first(&|frame| role(frame) == Role::Own && not_skipped(frame)))
        .or_else(|| first(&|frame| role(frame) != Role::Allocator && not_skipped(frame)))
        .or_else(|| first(&|frame| role(frame) != Role::Allocator))
}

fn is_somewhere(frame: &Frame) -> bool {
    !matches!(frame.function, Err(Unknown::NoMapping | Unknown::Gone))
}

fn role(frame: &Frame) -> Role {
    let of_function = match &frame.function {
        Ok(function) => function.role,
        Err(_) => Role::Own,
    };
    let module = frame.module_path.as_deref();
    if module.is_some_and(is_plumbing_module) {
        of_function.min(Role::Library)
    } else {
        of_function
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::demangle::demangle;
    use super::super::frame::Function;
    use super::super::plumbing::role_of;
    use super::*;

    const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    const SERVER: &str = "/usr/bin/server";

    fn frame(raw: &str, module: &str) -> Frame {
        let name = demangle(raw);
        Frame {
            pc: 0,
            module: None,
            module_path: Some(Arc::from(module)),
            file_offset: None,
            elf_address: None,
            function: Ok(Function {
                role: role_of(raw, &name, None, false),
                name: Arc::from(name),
                file: None,
                line: None,
                inlined: false,
            }),
        }
    }

    fn unknown(why: Unknown, module: Option<&str>) -> Frame {
        Frame {
            module_path: module.map(Arc::from),
            function: Err(why),
            ..frame("x", "")
        }
    }

    fn guilty(frames: &[Frame], skips: &[&str]) -> Option<usize> {
        guilty_frame(frames, &Skips::new(skips.iter().copied()))
    }

    #[test]
    fn an_allocators_function_is_passed_over_by_its_whole_name() {
        let skips = || Skips::default().and_functions(["pool_get", "_Z9arena_getm"]);
        let frames = [
            frame("pool_get", "/usr/bin/server"),
            frame("pool_get_order", "/usr/bin/server"),
        ];
        assert_eq!(guilty_frame(&frames, &skips()), Some(1));
        let frames = [
            frame("_Z9arena_getm", "/usr/bin/server"),
            frame("main", "/usr/bin/server"),
        ];
        assert_eq!(guilty_frame(&frames, &skips()), Some(1));
    }

    #[test]
    fn the_caller_of_the_allocator_is_named() {
        let stack = [
            frame("malloc", LIBC),
            frame("order_book_add", SERVER),
            frame("main", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(1));
    }

    #[test]
    fn shims_containers_and_the_c_library_are_passed_over() {
        let stack = [
            frame("malloc", LIBC),
            frame("_Znwm", "/usr/lib/libstdc++.so.6"),
            frame("_ZNSt6vectorIiSaIiEE9push_backERKi", SERVER),
            frame("_Z11fill_vectorRSt6vectorIiSaIiEE", SERVER),
            frame("main", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(3));
        let stack = [
            frame("malloc", LIBC),
            frame("getdelim", LIBC),
            unknown(Unknown::Stripped, Some(LIBC)),
            frame("read_config", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(3));
    }

    #[test]
    fn a_nameless_frame_of_the_program_counts() {
        let stack = [
            frame("malloc", LIBC),
            unknown(Unknown::Stripped, Some(SERVER)),
            frame("main", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(1));
        let stack = [
            frame("malloc", LIBC),
            unknown(Unknown::Jit, None),
            frame("main", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(1));
    }

    #[test]
    fn a_frame_in_no_mapping_is_the_last_resort() {
        let stack = [
            frame("malloc", LIBC),
            unknown(Unknown::NoMapping, None),
            frame("order_book_add", SERVER),
        ];
        assert_eq!(guilty(&stack, &[]), Some(2));
        assert_eq!(guilty(&stack[..2], &[]), Some(1));
    }

    #[test]
    fn a_stack_of_plumbing_names_the_innermost_that_is_no_allocator() {
        let stack = [
            frame("malloc", LIBC),
            frame("strdup", LIBC),
            frame("_dl_init", "/lib64/ld-linux-x86-64.so.2"),
        ];
        assert_eq!(guilty(&stack, &[]), Some(1));
        assert_eq!(guilty(&stack[..1], &[]), None);
        assert_eq!(guilty(&[], &[]), None);
    }

    #[test]
    fn skip_patterns_match_parts_or_wholes_of_functions_and_modules() {
        let stack = [
            frame("malloc", LIBC),
            frame("pool_take", "/opt/lib/libpool.so"),
            frame("order_book_add", SERVER),
            frame("main", SERVER),
        ];
        for (pattern, expected) in [
            ("pool_take", 2),
            ("ool_ta", 2),
            ("libpool", 2),
            ("pool_*", 2),
            ("*/libpool.so", 2),
            ("pool_tak?", 2),
            // A wildcard pattern must match the whole.
            ("ool_*", 1),
            ("other", 1),
            ("", 1),
        ] {
            assert_eq!(guilty(&stack, &[pattern]), Some(expected), "{pattern}");
        }
        assert_eq!(guilty(&stack, &["pool", "order"]), Some(3));
        // With everything skipped, a skipped frame is better than none.
        assert_eq!(guilty(&stack, &["*"]), Some(1));
    }
}
