//! `cargo xtask deny`: checks the licences, bans and sources of every dependency as `deny.toml` says.
//!
//! This runs cargo-deny, which is installed once, into `target/tools`. The build is optimised for build time,
//! because a check takes only a second.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{process, workspace::Workspace};

/// Pinned, so that an update with new checks is an explicit change.
const VERSION: &str = "0.20.2";

/// Runs the checks and prints the findings.
///
/// # Errors
/// If cargo-deny cannot be installed, or a check fails.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    check(workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the checks as a step of `test`.
///
/// # Errors
/// As for [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let tool = installed(workspace)?;
    // Advisories are not checked here: their database is on the network (docs/SUPPLY-CHAIN.md).
    let mut command = workspace.program(&tool);
    command.args(["--locked", "check", "--hide-inclusion-graph"]);
    command.args(["licenses", "bans", "sources"]);
    process::run(&mut command)
}

fn installed(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.built("tools");
    let tool = root.join("bin/cargo-deny");
    let stamp = root.join("cargo-deny.stamp");
    if tool.is_file() && fs::read_to_string(&stamp).is_ok_and(|version| version == VERSION) {
        return Ok(tool);
    }
    writeln!(io::stdout(), "installing cargo-deny {VERSION} into {}", root.display())?;
    let mut command = workspace.cargo(["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet"]);
    // Without its default features, it needs no system library for TLS.
    command.args(["--no-default-features", "--force", "--root"]).arg(&root);
    // These settings build faster.
    for (name, value) in
        [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0"), ("STRIP", "none")]
    {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    process::run(&mut command).context("cannot install cargo-deny")?;
    fs::write(&stamp, VERSION).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(tool)
}
