//! `cargo xtask fuzz`: runs the targets of `tests/fuzz` under libFuzzer, one after another.
//!
//! libFuzzer stores useful inputs for the next run in `target/fuzz/corpus`. `--keep` selects a few of them
//! that reach code that no kept input reaches, and copies them to `tests/fuzz/corpus`, which every `cargo
//! test` runs.

mod keep;

use std::{
    fs,
    io::{self, Write},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{process, workspace::Workspace};

/// Exit code if a required tool is missing, which is neither a success nor a failure.
pub(crate) const MISSING: u8 = 3;
/// The default of `--minutes`, for all targets together.
const DEFAULT_MINUTES: u64 = 10;
/// Maximum size of an input, in bytes. Longer inputs find nothing more, and take longer.
const MAX_INPUT_BYTES: u32 = 4_096;
/// Time limit of one input, in seconds, for a build with checks on a busy machine.
const MAX_INPUT_SECONDS: u32 = 30;
/// Memory limit of a target, in MiB. No target needs a tenth of it.
const MAX_MEMORY_MIB: u32 = 2_048;

/// What to run.
#[derive(Args, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The time of all targets together; 10 by default.
    // In a soak: the time that the soak sets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) minutes: Option<u64>,
    /// The targets; all of them by default.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// Adds inputs that reach new code to tests/fuzz/corpus.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Runs the targets. After a failure, the other targets still run. `soak_seconds`: the time that a soak sets.
///
/// # Errors
/// If there is no target with a given name, or files cannot be read or written.
pub(crate) fn run(workspace: &Workspace, plan: &Plan, soak_seconds: Option<u64>) -> Result<ExitCode> {
    let targets = chosen(targets(workspace)?, &plan.targets)?;
    let mut out = io::stdout();
    if let Some(missing) = missing() {
        writeln!(out, "cannot fuzz: {missing}")?;
        writeln!(
            out,
            "`cargo test -p tidegate-tests --test fuzz_corpus` runs the kept inputs without a fuzzer"
        )?;
        return Ok(ExitCode::from(MISSING));
    }
    // The same versions of all dependencies as in other builds.
    let lock = "tests/fuzz/Cargo.lock";
    fs::copy(workspace.path("Cargo.lock"), workspace.path(lock))
        .with_context(|| format!("cannot write {lock}"))?;
    let seconds = plan.minutes.map(|minutes| minutes * 60).or(soak_seconds).unwrap_or(DEFAULT_MINUTES * 60);
    let each = (seconds / targets.len() as u64).max(1);
    let mut failed = Vec::new();
    for target in &targets {
        writeln!(out, "\n== {target}: {each} s ==")?;
        let ended = fuzz(workspace, target, each)
            .and_then(|()| if plan.keep { keep::choose(workspace, target) } else { Ok(()) });
        if let Err(error) = ended {
            crate::complain(&format!("target `{target}`: {error:#}\n"));
            failed.push(target.as_str());
        }
    }
    writeln!(out, "\n{} targets passed, {} failed", targets.len() - failed.len(), failed.len())?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names = failed.join(", ");
    crate::complain(&format!(
        "{names}: the inputs are in tests/fuzz/artifacts; fix the fault, and add them to tests/fuzz/corpus \
         under descriptive names\n"
    ));
    Ok(ExitCode::FAILURE)
}

/// The names of all targets, sorted.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.path("tests/fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

fn chosen(all: Vec<String>, wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        anyhow::bail!("there is no target `{unknown}`; the targets are {}", all.join(", "));
    }
    Ok(if wanted.is_empty() { all } else { wanted.to_vec() })
}

/// Which tool is missing, and how to install it.
fn missing() -> Option<&'static str> {
    let works = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works(&["--version"]) {
        return Some("there is no nightly compiler; `rustup toolchain install nightly` installs one");
    }
    (!works(&["fuzz", "--version"]))
        .then_some("there is no cargo-fuzz; `cargo install cargo-fuzz --locked` installs it")
}

fn cargo_fuzz(workspace: &Workspace, what: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", what, "--fuzz-dir", "tests/fuzz"]);
    // This workspace has no unsafe code, and a sanitizer would halve the number of inputs that are tried.
    command.args(["--sanitizer", "none", "--target-dir"]);
    command.arg(workspace.built("fuzz/build")).current_dir(workspace.path("")).stdin(Stdio::null());
    // The settings of the outer build do not apply.
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    command
}

fn fuzz(workspace: &Workspace, target: &str, seconds: u64) -> Result<()> {
    let found = workspace.built("fuzz/corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let mut command = cargo_fuzz(workspace, "run");
    command.arg(target).arg(found).arg(workspace.path("tests/fuzz/corpus").join(target)).arg("--");
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_INPUT_BYTES}")]);
    command.args([format!("-timeout={MAX_INPUT_SECONDS}"), format!("-rss_limit_mb={MAX_MEMORY_MIB}")]);
    command.args(["-print_final_stats=1", "-verbosity=0"]);
    process::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_unknown_target_names_the_known_ones() {
        let all = targets(&Workspace::new()).unwrap();
        assert!(all.iter().any(|name| name == "frames") && all.len() > 5, "{all:?}");
        assert_eq!(chosen(all.clone(), &[]).unwrap(), all);
        assert_eq!(chosen(all.clone(), &["pair".into()]).unwrap(), ["pair"]);
        let wrong = chosen(all, &["pear".into()]).unwrap_err().to_string();
        assert!(wrong.contains("`pear`") && wrong.contains("pair"), "{wrong}");
    }
}
