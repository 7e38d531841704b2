//! Text for users: lines on stderr, and untrusted text made harmless.

use std::fmt;

use tidegate::shown;

pub(crate) use crate::numbers::{count, thousands};
use crate::stderr;

/// Queues one line for stderr, without waiting. There is no way to report a failed write, so failures are
/// ignored.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    stderr::tell(format!("{line}\n").into_bytes());
}

/// Queues one line for stderr, unless `quiet`.
pub(crate) fn note(quiet: bool, line: fmt::Arguments<'_>) {
    if !quiet {
        say(line);
    }
}

/// Maximum number of characters of an error; a path may be this long.
const MAX_ERROR: usize = 4_096;

/// `text` as one line. Control characters and invisible characters are escaped, because reasons, names and
/// parts of errors come from untrusted peers.
pub(crate) fn visible(text: &str) -> String {
    shown(text).at_most(MAX_ERROR).to_string()
}

/// An error and its causes, for a terminal. A cause that the error before it already ends with is left out.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_is_part_of_its_error_is_shown_once() {
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
