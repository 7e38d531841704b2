//! Further processes of the running program.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

/// The running program, which the benchmarks and the demonstration start again.
///
/// # Errors
/// When the operating system cannot tell the path.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the path of this program, to start it again")
}

/// The first argument of the subcommands that are only for such processes.
pub(crate) const INTERNAL: &str = "internal";

/// The arguments that make this program run internal subcommand `name`.
pub(crate) fn internal(name: &str) -> Vec<OsString> {
    vec![INTERNAL.into(), name.into()]
}

/// Ends this process when its stdin does: a helper must not outlive the process that started it, even if that was killed.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(crate::exit::Exit::Error.code().into());
    });
}
