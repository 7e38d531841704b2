//! The private Python environment, which is created again when its requirements have changed.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{process, workspace::Workspace};

const REQUIREMENTS: &str = "examples/python/requirements.txt";

/// Creates the environment in `target/python` if there is none for these requirements and this Python, and
/// returns the path of its interpreter.
///
/// # Errors
/// If there is no `python3` with a working `venv` module, or the requirements cannot be installed.
pub(crate) fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.path(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let home = workspace.built("python");
    let python = home.join("bin/python");
    let stamp = home.join("tidegate.stamp");
    let made_from = format!("{}\n{wanted}", version()?);

    if fs::read_to_string(&stamp).is_ok_and(|old| old == made_from) && starts(&python) {
        return Ok(python);
    }
    writeln!(io::stdout(), "creating a Python environment in {}", home.display())?;
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    process::run(plain(Command::new("python3").args(["-m", "venv"]).arg(&home)))
        .context("cannot create a Python environment (on Debian and Ubuntu, install python3-venv)")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    process::run(plain(install.arg(&requirements)))
        .with_context(|| format!("cannot install {REQUIREMENTS}"))?;
    // Written last, so that an incomplete environment is not used.
    fs::write(&stamp, made_from).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// The path and version of `python3`.
fn version() -> Result<String> {
    let mut command = Command::new("python3");
    command.args(["-c", "import sys; print(sys.executable, sys.version)"]).stdin(Stdio::null());
    let output = command.output().context("cannot start `python3`, which the Python peer needs")?;
    if !output.status.success() {
        bail!("`python3` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether an interpreter can be started. It cannot if the Python that it was created from is gone.
fn starts(python: &PathBuf) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", ""]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Removes stdin, and settings of the caller's Python that would affect the private one.
fn plain(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if matches!(name.to_str(), Some("PYTHONPATH" | "PYTHONHOME" | "VIRTUAL_ENV")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null())
}

/// The command that runs the tests of the Python peer.
pub(crate) fn tests(workspace: &Workspace, python: &PathBuf) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "unittest"]).current_dir(workspace.path("examples/python"));
    plain(&mut command);
    command
}
