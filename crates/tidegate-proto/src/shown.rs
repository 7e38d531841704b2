//! Escapes text from a peer (names, reasons, addresses, errors) before it is shown. Unescaped, it could forge lines of
//! a log, move the cursor of a terminal, or look different from what it is.

use std::fmt::{self, Write as _};

/// Characters of a text that are shown by default. Reasons and names have at most 256 bytes (OC-7, HS-10).
const MAX_SHOWN: usize = 512;
/// Consecutive combining marks that are shown on one letter. Some languages need two or three.
const MAX_MARKS: usize = 4;

/// A text from a peer that can be shown safely; see [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    text: &'a str,
    max: usize,
}

/// Escapes a text from a peer, so that it is safe to show in a log or a terminal: as one line of at most 512
/// characters.
///
/// Characters that a terminal or a log would act on, and invisible ones, become Rust escapes such as `\n` or
/// `\u{202e}`. These are control characters, line ends of all kinds, characters that change the writing direction,
/// spaces other than U+0020, characters without a width, and private or unassigned ones. All other characters,
/// including backslashes, are shown unchanged. Escaping an escaped text changes nothing, so that a text can be composed
/// of escaped ones.
///
/// ```
/// use tidegate_proto::shown;
/// assert_eq!(shown("café \"x\"").to_string(), "café \"x\"");
/// assert_eq!(shown("ok\nERROR: \u{202e}").to_string(), "ok\\nERROR: \\u{202e}");
/// ```
#[must_use]
pub fn shown(text: &str) -> Shown<'_> {
    Shown { text, max: MAX_SHOWN }
}

impl Shown<'_> {
    /// Sets the limit to `characters` instead of 512, for a text that is composed of several.
    #[must_use]
    pub fn at_most(self, characters: usize) -> Self {
        Self { max: characters, ..self }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut marks = 0;
        for (index, (at, c)) in self.text.char_indices().enumerate() {
            if index == self.max {
                return write!(f, "… ({} more bytes)", self.text.len() - at);
            }
            let kind = kind(c);
            marks = if kind == CharKind::Mark { marks + 1 } else { 0 };
            match kind {
                CharKind::Plain => f.write_char(c)?,
                // At the beginning of the text, a mark would combine with the character before it.
                CharKind::Mark if index > 0 && marks <= MAX_MARKS => f.write_char(c)?,
                CharKind::Mark => write!(f, "{}", c.escape_unicode())?,
                CharKind::Escaped => write!(f, "{}", c.escape_debug())?,
                CharKind::Invisible => write!(f, "{}", c.escape_unicode())?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CharKind {
    Plain,
    /// Combines with the character before it.
    Mark,
    /// Not printable, according to the standard library.
    Escaped,
    /// Printable according to the standard library, but invisible.
    Invisible,
}

fn kind(c: char) -> CharKind {
    if c.is_ascii_graphic() || c == ' ' {
        return CharKind::Plain;
    }
    if is_invisible(c) {
        return CharKind::Invisible;
    }
    if c.escape_debug().len() == 1 {
        return CharKind::Plain;
    }
    // `escape_debug` escapes a mark only if no character is before it. All other escapes do not depend on that.
    let letter_and_mark = String::from_iter(['a', c]);
    if letter_and_mark.escape_debug().nth(1) == Some(c) { CharKind::Mark } else { CharKind::Escaped }
}

/// Whether `c` is a letter or a mark without a visible shape.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_text_is_shown_unchanged() {
        for text in [
            "",
            "OK",
            "a b",
            "it's \"fine\" & <b>",
            "C:\\n",
            "grüße, 世界, ไทย, हिन्दी, עברית, 🎉",
            "e\u{301}",
        ] {
            assert_eq!(shown(text).to_string(), text);
        }
    }

    #[test]
    fn control_characters_line_ends_direction_changes_and_invisible_ones_are_escaped() {
        let bidi =
            "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}";
        let ends = "\n\r\u{b}\u{c}\u{85}\u{2028}\u{2029}";
        let hidden = "\u{0}\u{7}\u{8}\u{1b}\u{7f}\u{9b}\u{ad}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{fe0f}\u{3164}\u{e0041}\u{a0}\t";
        for c in bidi.chars().chain(ends.chars()).chain(hidden.chars()) {
            let text = format!("a{c}b");
            let out = shown(&text).to_string();
            assert!(!out.contains(c) && out.starts_with("a\\") && out.ends_with('b'), "{c:?}: {out}");
        }
        for code in (0..=0x10_ffff).filter_map(char::from_u32) {
            let out = shown(&code.to_string()).to_string();
            assert!(!out.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')), "{code:?}");
        }
    }

    #[test]
    fn an_escaped_text_is_not_escaped_again() {
        let once = shown("a\nb\u{202e}c\u{200b}\\d").to_string();
        assert_eq!(shown(&once).to_string(), once);
    }

    #[test]
    fn at_most_four_marks_are_shown_on_one_letter() {
        assert_eq!(shown("\u{301}x").to_string(), "\\u{301}x", "it would combine with the text before it");
        let piled = format!("a{}", "\u{301}".repeat(7));
        assert_eq!(shown(&piled).to_string(), format!("a{}{}", "\u{301}".repeat(4), "\\u{301}".repeat(3)));
    }

    #[test]
    fn a_long_text_is_truncated_and_its_other_bytes_are_counted() {
        let text = "é".repeat(600);
        assert_eq!(shown(&text).to_string(), format!("{}… (176 more bytes)", "é".repeat(512)));
        assert_eq!(shown(&"x".repeat(512)).to_string(), "x".repeat(512));
        assert_eq!(shown("abc").at_most(2).to_string(), "ab… (1 more bytes)");
    }
}
