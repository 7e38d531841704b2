//! Words to people: stderr lines, and text from strangers made harmless.

use std::fmt;

use crate::stderr;

/// Writes one line to stderr, without waiting for it. Nobody can be told when that fails, so a failure is ignored.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    stderr::tell(format!("{line}\n").into_bytes());
}

/// Writes one line to stderr, unless the user wants to hear of errors only.
pub(crate) fn note(quiet: bool, line: fmt::Arguments<'_>) {
    if !quiet {
        say(line);
    }
}

/// `text` with control characters escaped: reasons and names come from strangers, and a terminal obeys such characters.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `1 message`, `2 messages`: a count and its noun, with thousands set apart.
pub(crate) fn count(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(n))
}

/// A number with its thousands set apart by commas.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "message"), "1 message");
        assert_eq!(count(1_000, "file"), "1,000 files");
    }

    #[test]
    fn control_characters_are_escaped_and_text_is_kept() {
        assert_eq!(visible("a\x1b[2Jb\u{7}\u{9b}c é"), "a\\u{1b}[2Jb\\u{7}\\u{9b}c é");
        assert_eq!(visible("two\nlines"), "two\nlines");
    }
}
