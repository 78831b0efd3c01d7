//! Makes text from the target safe to show.
//!
//! Symbol names, paths and command lines are chosen by whoever wrote the target. Written as they
//! are, they could move the cursor, recolour the screen, start new lines, or reorder what stands
//! beside them (right-to-left overrides). What could is shown as `\u{…}` instead.

use std::borrow::Cow;

/// `text` on one line, with what could disturb the output as `\u{…}`. Without `unicode`,
/// everything outside of ASCII as well. Escaping twice changes nothing.
pub fn escape(text: &str, unicode: bool) -> Cow<'_, str> {
    if text.chars().all(|c| is_harmless(c, unicode)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c, unicode) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

/// Whether `c` shows as itself and nothing else, in place.
fn is_harmless(c: char, unicode: bool) -> bool {
    match c {
        ' '..='~' => true,
        _ => unicode && !disturbs(c),
    }
}

/// Whether `c` does something other than to show itself: controls, line separators and odd spaces,
/// bidirectional controls, and what is invisible.
pub(super) fn disturbs(c: char) -> bool {
    if c == ' ' {
        return false;
    }
    c.is_control()
        || c.is_whitespace()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark (bidi)
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and separator
            | '\u{200b}'..='\u{200f}' // zero width, direction marks (bidi)
            | '\u{202a}'..='\u{202e}' // embeddings and overrides (bidi)
            | '\u{2060}'..='\u{206f}' // joiners, isolates (bidi)
            | '\u{2800}' // braille blank
            | '\u{fe00}'..='\u{fe0f}' // variation selectors
            | '\u{feff}' // byte order mark
            | '\u{fff0}'..='\u{fffb}' // specials, interlinear annotation
            | '\u{1d173}'..='\u{1d17a}' // musical formatting
            | '\u{e0000}'..='\u{e0fff}' // tags, more variation selectors
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_disturb_a_terminal_is_shown_by_its_number() {
        for (text, shown) in [
            ("a\u{1b}[31mb", r"a\u{1b}[31mb"),
            ("a\nb\r\tc", r"a\u{a}b\u{d}\u{9}c"),
            ("\u{9b}2J\u{7f}", r"\u{9b}2J\u{7f}"),
            ("x\u{202e}y\u{2066}", r"x\u{202e}y\u{2066}"),
            ("x\u{2028}y\u{85}", r"x\u{2028}y\u{85}"),
        ] {
            assert_eq!(escape(text, true), shown);
            assert_eq!(escape(&escape(text, true), true), shown);
        }
    }

    #[test]
    fn readable_text_stays_as_it_is_and_ascii_is_kept_on_request() {
        assert_eq!(
            escape("Größe<T> 内存 \u{fffd}", true),
            "Größe<T> 内存 \u{fffd}"
        );
        assert_eq!(escape("Größe", false), r"Gr\u{f6}\u{df}e");
    }
}
