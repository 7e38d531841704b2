//! Starting the running program again, as another process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use crate::args::Verbosity;
use crate::exit::Exit;
use crate::program;

/// The path of the running program, which the benchmarks and the demo start again.
///
/// # Errors
/// If the operating system does not know the path.
pub(crate) fn path() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the path of this program, which is needed to start it again")
}

/// The first argument of the internal subcommands.
pub(crate) const INTERNAL: &str = "internal";

/// The arguments that make this program run internal subcommand `name`.
pub(crate) fn internal(name: &str) -> Vec<OsString> {
    vec![INTERNAL.into(), name.into()]
}

/// Runs the internal subcommand that the arguments of this process name, and returns its exit code. `None` if
/// they name another subcommand.
///
/// Internal subcommands have a parser of their own, so that help and completions do not show them. Such a
/// process ends when its stdin ends.
pub fn serve<C: Parser>(run: impl FnOnce(C) -> anyhow::Result<()>) -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_none_or(|first| first != INTERNAL) {
        return None;
    }
    let command = C::parse_from(std::env::args_os().skip(1));
    Some(program::run(Verbosity::default(), || {
        end_with_parent();
        run(command).map(|()| Exit::Success)
    }))
}

/// Ends this process when its stdin ends. A helper process must not outlive the process that started it, even
/// if that was killed.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(Exit::Error.code().into());
    });
}
