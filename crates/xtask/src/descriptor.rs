//! `proto/tidegate.binpb`: the compiled `.proto` file, for languages whose tools cannot compile it.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The path of the descriptor set, below the root.
const FILE: &str = "proto/tidegate.binpb";

/// Writes the descriptor set that the build of tidegate-proto has generated.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<ExitCode> {
    let set = tidegate_proto::DESCRIPTOR_SET;
    fs::write(workspace.path(FILE), set).with_context(|| format!("cannot write {FILE}"))?;
    writeln!(io::stdout(), "{FILE}: {} bytes", set.len())?;
    Ok(ExitCode::SUCCESS)
}
