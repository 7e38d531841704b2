//! `proto/tidegate.binpb`: the compiled `.proto` file, for languages whose tools cannot compile it.

use std::{
    fs,
    io::{self, Write},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The path of the descriptor set, below the root.
const FILE: &str = "proto/tidegate.binpb";

/// Writes the descriptor set that the build of tidegate-proto has generated. An example of that crate prints it: if
/// this program contained the crate, `cargo xtask rules` could not run before the crate compiles.
///
/// # Errors
/// If the example fails, or the file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<ExitCode> {
    let mut command =
        workspace.cargo(["run", "--quiet", "--locked", "--package=tidegate-proto", "--example=descriptor"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the example `descriptor` of tidegate-proto ended with {}", output.status);
    }
    let set = output.stdout;
    fs::write(workspace.path(FILE), &set).with_context(|| format!("cannot write {FILE}"))?;
    writeln!(io::stdout(), "{FILE}: {} bytes", set.len())?;
    Ok(ExitCode::SUCCESS)
}
