//! The instruction counts of the hot path. They do not depend on the load of the machine, so they show a
//! slow-down exactly.

use std::{
    env,
    io::{self, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{counts::Counts, process, workspace::Workspace};

/// One measurement: instructions per message of both sides together, within one thread, over `mem://`.
struct Path {
    size: usize,
    links: usize,
    /// Messages of the shorter run. The longer run has twice as many, and the difference counts.
    messages: u64,
    /// The expected number of instructions per message. Lower it after an improvement.
    expected: u64,
}

const PATHS: [Path; 3] = [
    Path { size: 64, links: 1, messages: 40_000, expected: 1_450 },
    Path { size: 64, links: 10, messages: 40_000, expected: 1_840 },
    Path { size: 64, links: 1_000, messages: 200_000, expected: 2_100 },
];
/// Tolerance in percent, for other versions of the C library and the compiler.
const MAX_MARGIN_PERCENT: u64 = 15;

/// Counts, prints a line for each path, and fails if a path takes more than expected. Without `valgrind`
/// nothing is counted, which is an error only in CI.
///
/// # Errors
/// If `valgrind` is missing in CI, or the program cannot be built or run.
pub(crate) fn run(workspace: &Workspace) -> Result<Counts> {
    let mut out = io::stdout();
    if !valgrind_starts() {
        if env::var_os("CI").is_some() {
            bail!(
                "`valgrind` cannot be started (on Debian and Ubuntu, the package valgrind must be installed)"
            );
        }
        writeln!(out, "`valgrind` is not installed: no instructions are counted")?;
        return Ok(Counts { skipped: PATHS.len() as u64, ..Counts::default() });
    }
    process::run(&mut workspace.cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "tidegate-tests",
        "--bin",
        "hot-path",
    ]))?;
    let mut counts = Counts::default();
    for path in PATHS {
        let found = per_message(workspace, &path)?;
        let most = path.expected + path.expected * MAX_MARGIN_PERCENT / 100;
        let Path { size, links, expected, .. } = path;
        writeln!(
            out,
            "{size} B, {links} links: {found} instructions per message (expected {expected}, at most {most})"
        )?;
        if found > most {
            counts.failed += 1;
        } else {
            counts.passed += 1;
        }
    }
    if counts.failed > 0 {
        writeln!(out, "{counts}")?;
    }
    Ok(counts)
}

fn valgrind_starts() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn per_message(workspace: &Workspace, path: &Path) -> Result<u64> {
    let count = |messages: u64| -> Result<u64> {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(workspace.built("release/hot-path"))
            .args([messages.to_string(), path.size.to_string(), path.links.to_string()]);
        let output = command.output().context("cannot start `valgrind`")?;
        let text = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("the run under valgrind ended with {}:\n{text}", output.status);
        }
        collected(&text).with_context(|| format!("the output of valgrind has no count:\n{text}"))
    };
    Ok((count(path.messages * 2)?.saturating_sub(count(path.messages)?)) / path.messages)
}

/// The number of `==123== Collected : 456`.
fn collected(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Collected : ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_parsed_from_the_output_of_valgrind() {
        assert_eq!(collected("==1== \n==1== Collected : 620711118\n==1== I refs: 1"), Some(620_711_118));
        assert_eq!(collected("==1== nothing"), None);
    }
}
