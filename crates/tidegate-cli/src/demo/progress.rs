//! A bar on a terminal; nothing elsewhere, except for what happens once.

use indicatif::{ProgressBar, ProgressStyle};

use crate::{stderr, text};

/// How far it is. The bar is drawn on stderr, and only if that is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    /// Counts up to `files`, saying `what` is done with them; in silence if `quiet`.
    pub(crate) fn new(files: usize, what: &'static str, quiet: bool) -> Self {
        let bar =
            if quiet { ProgressBar::hidden() } else { ProgressBar::new(files as u64).with_message(what) };
        // The template is right; should it ever not be, the plain style does.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} files {msg}") {
            bar.set_style(style);
        }
        Self { bar, quiet }
    }

    /// So many are done.
    pub(crate) fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Says something that stays.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            text::note(self.quiet, format_args!("{line}"));
            // Before the bar is drawn again.
            stderr::finish();
        });
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
