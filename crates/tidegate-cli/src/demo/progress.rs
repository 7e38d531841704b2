//! A progress bar on a terminal. Elsewhere only single events are printed.

use indicatif::{ProgressBar, ProgressStyle};

use crate::{stderr, text};

/// The progress. The bar is drawn on stderr, and only on a terminal.
pub(crate) struct ProgressDisplay {
    bar: ProgressBar,
    quiet: bool,
}

impl ProgressDisplay {
    /// Counts up to `files`. `what` says what is done with them. Draws nothing if `quiet`.
    pub(crate) fn new(files: usize, what: &'static str, quiet: bool) -> Self {
        let bar =
            if quiet { ProgressBar::hidden() } else { ProgressBar::new(files as u64).with_message(what) };
        // The template is valid; if it ever is not, the default style is used.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} files {msg}") {
            bar.set_style(style);
        }
        Self { bar, quiet }
    }

    /// Sets the number of files that are done.
    pub(crate) fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            text::note(self.quiet, format_args!("{line}"));
            // Written before the bar is drawn again.
            stderr::finish();
        });
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
