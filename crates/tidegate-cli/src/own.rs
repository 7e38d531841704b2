//! Starting the running program again, as another process.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

/// The path of the running program, which the benchmarks and the demo start again.
///
/// # Errors
/// If the operating system does not know the path.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the path of this program, which is needed to start it again")
}

/// The first argument of the internal subcommands.
pub(crate) const INTERNAL: &str = "internal";

/// The arguments that make this program run internal subcommand `name`.
pub(crate) fn internal(name: &str) -> Vec<OsString> {
    vec![INTERNAL.into(), name.into()]
}

/// Ends this process when its stdin ends. A helper process must not outlive the process that started it, even
/// if that was killed.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(crate::exit::Exit::Error.code().into());
    });
}
