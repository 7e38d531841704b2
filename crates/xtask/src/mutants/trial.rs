//! Builds and runs tests in the copy of the tree, with a time limit, and with the output in a file.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::tree::Tree;
use crate::{counts::Counts, workspace::Workspace};

/// Time limit of a test command on the unchanged tree.
pub(super) const MAX_CLEAN_TIME: Duration = Duration::from_secs(1_800);
/// Time limit of a build.
const MAX_BUILD_TIME: Duration = Duration::from_secs(3_600);
/// How often to check whether a command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Time limit of a test command on a broken tree, if it takes `clean` on the unchanged one.
pub(super) fn limit(clean: Duration) -> Duration {
    Duration::from_secs(60) + clean * 5
}

/// How a test command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    /// Tests failed; the text names them.
    Failed(String),
    /// It was stopped at the time limit.
    Hung,
}

/// Where and how commands run.
#[derive(Debug)]
pub(super) struct Trial {
    cargo: OsString,
    tree: PathBuf,
    target: PathBuf,
    logs: PathBuf,
}

impl Trial {
    /// # Errors
    /// If the directory for the output cannot be created.
    pub(super) fn new(workspace: &Workspace, tree: &Tree) -> Result<Self> {
        let logs = workspace.built("mutants/logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self {
            cargo: workspace.cargo_program().to_owned(),
            tree: tree.root().to_owned(),
            target: workspace.built("mutants/target"),
            logs,
        })
    }

    /// Builds what a test command needs, so that a later failure is a failure of tests.
    ///
    /// # Errors
    /// If it does not compile.
    pub(super) fn build(&self, id: &str, arguments: &str) -> Result<()> {
        let log = self.logs.join(format!("{id}.build.txt"));
        let words = arguments.split_whitespace().take_while(|word| *word != "--");
        match self.run(["test", "--locked", "--no-run"].into_iter().chain(words), &log, MAX_BUILD_TIME)? {
            Some(status) if status.success() => Ok(()),
            Some(_) => bail!("it does not compile: {}", log.display()),
            None => bail!("the build takes longer than {} s: {}", MAX_BUILD_TIME.as_secs(), log.display()),
        }
    }

    /// Runs a test command.
    ///
    /// # Errors
    /// If it fails without a failed test, or passes without any test.
    pub(super) fn test(&self, id: &str, arguments: &str, limit: Duration) -> Result<Ended> {
        let log = self.logs.join(format!("{id}.test.txt"));
        let words = arguments.split_whitespace();
        let status = self.run(["test", "--locked"].into_iter().chain(words), &log, limit)?;
        let Some(status) = status else { return Ok(Ended::Hung) };
        let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        judge(status.success(), &String::from_utf8_lossy(&output))
            .with_context(|| format!("{status}: {}", log.display()))
    }

    fn run<'a>(
        &self,
        words: impl Iterator<Item = &'a str>,
        log: &Path,
        limit: Duration,
    ) -> Result<Option<ExitStatus>> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot write to one file from two streams")?;
        let mut command = Command::new(&self.cargo);
        command.args(words).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        // These variables change what tests do, so the caller's values are removed.
        command.env_remove("TIDEGATE_SOAK_SECONDS").env_remove("TIDEGATE_SEED");
        // A separate process group, because a process that a test has started may hang.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let mut child = command.spawn().context("cannot start cargo")?;
        let ended = wait(&mut child, limit);
        if !matches!(ended, Ok(Some(_))) {
            let group = format!("-{}", child.id());
            // This fails if the group has ended meanwhile.
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.wait();
        }
        ended
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo")? {
            return Ok(Some(status));
        }
        if started.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What the output of a test command means.
fn judge(success: bool, output: &str) -> Result<Ended> {
    let mut counts = Counts::default();
    output.lines().for_each(|line| counts.read_rust(line.trim_end()));
    if success {
        if counts.passed == 0 {
            bail!("no test ran");
        }
        return Ok(Ended::Passed);
    }
    let failed: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    match failed.as_slice() {
        [one] => Ok(Ended::Failed((*one).to_owned())),
        [first, others @ ..] => Ok(Ended::Failed(format!("{first} and {} more", others.len()))),
        [] if counts.failed > 0 => Ok(Ended::Failed(format!("{} tests", counts.failed))),
        // A test program that crashes does not print the names of its tests.
        [] if output.contains("process didn't exit successfully") => {
            Ok(Ended::Failed("a test program that crashed".into()))
        }
        [] => bail!("it fails, but no test failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_test_catches_a_mutation() {
        let failed =
            "test a ... FAILED\ntest b ... ok\ntest c ... FAILED\ntest result: FAILED. 1 passed; 2 failed";
        assert_eq!(judge(false, failed).unwrap(), Ended::Failed("a and 1 more".into()));
        assert_eq!(judge(true, "test result: ok. 2 passed; 0 failed").unwrap(), Ended::Passed);
        assert!(judge(true, "test result: ok. 0 passed; 0 failed").is_err(), "a filter that matches nothing");
        assert!(judge(false, "error: could not compile").is_err());
        let died = "error: process didn't exit successfully: `x` (signal: 6, SIGABRT)";
        assert!(matches!(judge(false, died).unwrap(), Ended::Failed(_)));
    }

    #[test]
    fn a_command_is_stopped_at_its_time_limit() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::ZERO).unwrap(), None);
        child.kill().unwrap();
        assert!(wait(&mut child, Duration::from_secs(60)).unwrap().is_some());
    }
}
