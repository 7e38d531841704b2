//! Words to people: stderr lines, and text from strangers made harmless.

use std::fmt;

use tidegate::shown;

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

/// Characters of an error: a path may have as many.
const MAX_ERROR: usize = 4_096;

/// `text` as one line, with everything escaped that a terminal or a log would obey, or that cannot be seen: reasons and names come from
/// strangers, and so may a part of any error.
pub(crate) fn visible(text: &str) -> String {
    shown(text).at_most(MAX_ERROR).to_string()
}

/// An error and its causes, for a terminal. A cause that the error before it has told already is left out.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut all = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if all.is_empty() {
            all = cause;
        } else if !all.ends_with(&cause) {
            all = format!("{all}: {cause}");
        }
    }
    visible(&all)
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
    fn a_cause_that_is_part_of_its_error_is_told_once() {
        use anyhow::Context as _;
        let refused = || std::io::Error::other("in use");
        let told: anyhow::Result<()> = Err(anyhow::Error::from(refused()).context("cannot bind: in use"));
        assert_eq!(causes(&told.context("--bind").unwrap_err()), "--bind: cannot bind: in use");
        let apart = anyhow::Error::from(refused()).context("cannot bind");
        assert_eq!(causes(&apart), "cannot bind: in use");
    }

    #[test]
    fn control_characters_are_escaped_and_text_is_kept() {
        assert_eq!(visible("a\x1b[2Jb\u{7}\u{9b}c é"), "a\\u{1b}[2Jb\\u{7}\\u{9b}c é");
        assert_eq!(visible("two\nlines \u{202e}\u{2028}"), "two\\nlines \\u{202e}\\u{2028}");
        assert!(visible(&"x".repeat(10_000)).len() < 5_000);
    }
}
