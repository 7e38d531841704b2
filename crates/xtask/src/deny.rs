//! `cargo xtask deny`: licences, bans and sources of every dependency, as `deny.toml` has them.
//!
//! cargo-deny does it. It is installed once, into `target/tools`, with a quick build: what it does takes a second.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{process, workspace::Workspace};

/// Pinned, so that a new one with new opinions is a change that somebody makes.
const VERSION: &str = "0.20.2";

/// Checks, and tells what it found.
///
/// # Errors
/// When cargo-deny cannot be installed, or says no.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    check(workspace)?;
    Ok(ExitCode::SUCCESS)
}

/// The same, for a step.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let tool = installed(workspace)?;
    // Advisories are not among these: their database is on the network (docs/SUPPLY-CHAIN.md).
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
    // Without its default features it needs no TLS library of the system.
    command.args(["--no-default-features", "--force", "--root"]).arg(&root);
    // It is built far more often than it is waited for.
    for (name, value) in
        [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0"), ("STRIP", "none")]
    {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    process::run(&mut command).context("cannot install cargo-deny")?;
    fs::write(&stamp, VERSION).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(tool)
}
