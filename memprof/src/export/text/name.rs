//! Shortening function names so that the name itself stays.
//!
//! A demangled C++ or Rust name is mostly template arguments and parameters; the part that one
//! looks for stands between them. They go first.

use super::fit::{columns, keep_both_ends};

/// `name` within `width` columns: without its parameters and template arguments if it is too long,
/// then without its middle.
pub(super) fn shorten(name: &str, width: usize, ellipsis: &str) -> String {
    if columns(name) <= width {
        return name.to_owned();
    }
    let outline = outline(name, ellipsis).unwrap_or_else(|| name.to_owned());
    keep_both_ends(&outline, width, ellipsis)
}

/// `name` with an ellipsis for whatever stands inside its outermost brackets; `None` if the
/// brackets don't match.
fn outline(name: &str, ellipsis: &str) -> Option<String> {
    let mut outline = String::new();
    let mut open: Vec<char> = Vec::new();
    let mut rest = name;
    let mut before: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let kept = unit_length(rest, before);
        if kept > 0 {
            if open.is_empty() {
                outline.push_str(&rest[..kept]);
            }
            before = None;
            rest = &rest[kept..];
            continue;
        }
        before = Some(c);
        rest = &rest[c.len_utf8()..];
        match c {
            '(' | '<' => {
                if open.is_empty() {
                    outline.push(c);
                    let is_empty = rest.starts_with([')', '>']);
                    outline.push_str(if is_empty { "" } else { ellipsis });
                }
                open.push(c);
            }
            ')' | '>' => {
                let opening = if c == ')' { '(' } else { '<' };
                if open.pop() != Some(opening) {
                    return None;
                }
                if open.is_empty() {
                    outline.push(c);
                }
            }
            _ if open.is_empty() => outline.push(c),
            _ => {}
        }
    }
    open.is_empty().then_some(outline)
}

/// The length of what `rest` begins with, if its brackets open or close nothing; `before` is the
/// character in front of it.
fn unit_length(rest: &str, before: Option<char>) -> usize {
    const UNITS: [&str; 10] = [
        "(anonymous namespace)",
        "operator()",
        "operator<=>",
        "operator<<=",
        "operator>>=",
        "operator<<",
        "operator>>",
        "operator->",
        "operator<",
        "operator>",
    ];
    // `my_operator<int>` is a name with arguments.
    let inside_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("->") {
        return 2;
    }
    UNITS
        .iter()
        .find(|unit| rest.starts_with(**unit) && !inside_name)
        .map_or(0, |unit| unit.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_template_arguments_go_before_the_name_does() {
        for (name, short) in [
            ("cache::insert(std::string const&)", "cache::insert(…)"),
            ("std::map<int, std::pair<a, b> >::find", "std::map<…>::find"),
            ("<alloc::vec::Vec<T> as Extend<T>>::extend", "<…>::extend"),
            (
                "(anonymous namespace)::f(int)",
                "(anonymous namespace)::f(…)",
            ),
            (
                "stream& operator<< <char>(stream&)",
                "stream& operator<< <…>(…)",
            ),
            (
                "lambda::operator()(int) const",
                "lambda::operator()(…) const",
            ),
            ("call<auto () -> int>()", "call<…>()"),
            ("my_operator<int>(x)", "my_operator<…>(…)"),
            ("f<my_operator<int> >::g", "f<…>::g"),
        ] {
            assert_eq!(outline(name, "…").as_deref(), Some(short), "{name}");
        }
    }

    #[test]
    fn what_fits_is_not_touched_and_what_does_not_match_is_cut_in_the_middle() {
        assert_eq!(shorten("f(int)", 6, "…"), "f(int)");
        assert_eq!(shorten("broken(name>_goes_on", 9, "…"), "brok…s_on");
        assert_eq!(shorten("a_function(with, parameters)", 8, "…"), "a_f…n(…)");
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let name = format!("f{}{}", "<".repeat(100_000), ">".repeat(100_000));
        assert_eq!(shorten(&name, 10, "…"), "f<…>");
    }
}
