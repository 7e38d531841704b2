//! `cargo xtask rules`: writes `enum Rule` of tidegate-proto from the documents.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Result, anyhow};
use tidegate_rules::FILE;

use crate::workspace::Workspace;

/// Writes the generated file.
///
/// # Errors
/// If the documents are ambiguous, or a file cannot be read or written.
pub(crate) fn write(workspace: &Workspace) -> Result<ExitCode> {
    let rules = tidegate_rules::write(&workspace.path("")).map_err(|error| anyhow!(error))?;
    writeln!(io::stdout(), "{FILE}: {rules} rules")?;
    Ok(ExitCode::SUCCESS)
}
