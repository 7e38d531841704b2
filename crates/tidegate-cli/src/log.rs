//! The log goes to stderr and shows warnings by default. If stderr is not read, lines are dropped and
//! counted.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::filter::EnvFilter;

use crate::args::Verbosity;
use crate::stderr;

/// The variable with a filter such as `tidegate=debug`. It overrides `-v` and `-q`.
const VARIABLE: &str = "TIDEGATE_LOG";

/// Starts logging to stderr, with colours if stderr is a terminal.
///
/// # Errors
/// If the filter in `TIDEGATE_LOG` cannot be parsed.
pub(crate) fn start(verbosity: Verbosity) -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).with_context(|| {
            format!("{VARIABLE}={text}: expected a filter such as `info` or `tidegate=debug`")
        })?,
        _ => EnvFilter::new(level(verbosity)),
    };
    tracing_subscriber::fmt()
        .with_writer(|| stderr::Log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        // They would be printed with a macro that panics, in any task that logs.
        .log_internal_errors(false)
        .init();
    stderr::take_over_panics();
    Ok(())
}

fn level(verbosity: Verbosity) -> &'static str {
    match (verbosity.quiet, verbosity.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_the_flags() {
        let of = |quiet, verbose| level(Verbosity { quiet, verbose });
        assert_eq!(of(false, 0), "warn");
        assert_eq!(of(false, 1), "info");
        assert_eq!(of(false, 2), "debug");
        assert_eq!(of(false, 9), "trace");
        assert_eq!(of(true, 0), "error");
    }
}
