//! Making text fit: how many columns it takes, and how to shorten it.

use unicode_width::UnicodeWidthChar;

/// The columns that `text` takes on a terminal.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `text`, filled with spaces on the right.
pub(super) fn pad_right(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// `text`, filled with spaces on the left.
pub(super) fn pad_left(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{}{text}", " ".repeat(missing))
}

/// The longest start of `text` within `width` columns.
pub(super) fn start_within(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_columns(c);
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// The longest end of `text` within `width` columns.
fn end_within(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices().rev() {
        used += char_columns(c);
        if used > width {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

/// `text` within `width` columns, its beginning left out if need be: for paths, which tell most
/// at their end.
pub(super) fn keep_end(text: &str, width: usize, ellipsis: &str) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(columns(ellipsis));
    if room == 0 {
        return start_within(ellipsis, width).to_owned();
    }
    format!("{ellipsis}{}", end_within(text, room))
}

/// `text` within `width` columns, its middle left out if need be: for function names, where the
/// namespace is in front and the name itself behind.
pub(super) fn keep_both_ends(text: &str, width: usize, ellipsis: &str) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(columns(ellipsis));
    if room == 0 {
        return start_within(ellipsis, width).to_owned();
    }
    let start = start_within(text, room / 2);
    let end = end_within(text, room - columns(start));
    format!("{start}{ellipsis}{end}")
}

/// The words of a sentence, for [`wrap`].
pub(super) fn words(sentence: &str) -> Vec<String> {
    sentence
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A list of facts with commas between them, for [`wrap`]: lines break between facts only.
pub(super) fn comma_separated(mut facts: Vec<String>) -> Vec<String> {
    let last = facts.len().saturating_sub(1);
    for fact in &mut facts[..last] {
        fact.push(',');
    }
    facts
}

/// `parts` with spaces between them on lines of at most `width` columns. What is longer than a
/// line is broken at its own spaces; a longer word stays whole.
pub(super) fn wrap(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut add = |part: &str| {
        if !line.is_empty() && columns(&line) + 1 + columns(part) > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part);
    };
    for part in parts {
        if columns(part) <= width {
            add(part);
        } else {
            words(part).iter().for_each(|word| add(word));
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_text_takes_no_more_than_its_columns() {
        for text in [
            "",
            "short",
            "a::very::long<T>::name",
            "内存分配器を割り当てる",
        ] {
            for width in 0..30 {
                for ellipsis in ["…", "..."] {
                    assert!(columns(&keep_end(text, width, ellipsis)) <= width);
                    assert!(columns(&keep_both_ends(text, width, ellipsis)) <= width);
                }
            }
        }
    }

    #[test]
    fn paths_keep_their_end_and_names_both_ends() {
        assert_eq!(keep_end("/usr/src/server.c:145", 13, "…"), "…server.c:145");
        assert_eq!(
            keep_both_ends("namespace::function", 11, "…"),
            "names…ction"
        );
        assert_eq!(keep_both_ends("内存分配", 5, "…"), "内…配");
    }

    #[test]
    fn lines_break_between_words_and_facts_stay_together() {
        assert_eq!(wrap(&words("one two  three"), 7), ["one two", "three"]);
        assert_eq!(wrap(&words("unbreakable a"), 3), ["unbreakable", "a"]);
        assert!(wrap(&words("  "), 3).is_empty());
        let facts = || comma_separated(vec!["1.0 MiB".to_owned(), "2 blocks".to_owned()]);
        assert_eq!(wrap(&facts(), 12), ["1.0 MiB,", "2 blocks"]);
        assert_eq!(wrap(&facts(), 7), ["1.0", "MiB, 2", "blocks"]);
        assert!(comma_separated(Vec::new()).is_empty());
    }
}
