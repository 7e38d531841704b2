//! `cargo xtask test`: runs the steps, one after another, until one fails.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    counts::{Counts, PythonCounts},
    deny, instructions,
    process::{self, Stream},
    python,
    workspace::Workspace,
};

/// The path of the private Python interpreter, for the Rust tests that run Python against Rust.
const PYTHON_VARIABLE: &str = "TIDEGATE_PYTHON";

/// A step of `cargo xtask test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting: cargo fmt --check.
    Fmt,
    /// Lints of all targets; warnings are errors.
    Clippy,
    /// Documentation; warnings are errors.
    Doc,
    /// `cargo xtask deny` (installs cargo-deny in target/tools).
    Deny,
    /// All Rust tests, including the examples in the documentation.
    Test,
    /// The tests of the Python peer.
    Python,
    /// Instructions per message, compared with the expected numbers (needs valgrind).
    Instructions,
}

impl Step {
    /// All steps, in their order: steps that fail sooner come first.
    pub(crate) const ALL: [Self; 7] =
        [Self::Fmt, Self::Clippy, Self::Doc, Self::Deny, Self::Test, Self::Python, Self::Instructions];

    /// These steps, or all if there are none, in the order in which they run.
    pub(crate) fn chosen(only: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|step| only.is_empty() || only.contains(step)).collect()
    }

    /// Its name for `--only`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Test => "test",
            Self::Python => "python",
            Self::Instructions => "instructions",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Fmt => "formatting",
            Self::Clippy => "lints",
            Self::Doc => "documentation",
            Self::Deny => "dependencies",
            Self::Test => "Rust tests",
            Self::Python => "Python peer",
            Self::Instructions => "instruction counts",
        }
    }

    const fn counts_tests(self) -> bool {
        matches!(self, Self::Test | Self::Python | Self::Instructions)
    }
}

/// Runs these steps until one fails. If they include tests, the last line of the output has the numbers of
/// passed and failed tests.
///
/// # Errors
/// If the output cannot be written. A failed step is reported here, and by the exit code.
pub(crate) fn run(workspace: &Workspace, steps: &[Step]) -> Result<ExitCode> {
    let mut runner = Runner { workspace, counts: Counts::default(), python: None };
    let mut out = io::stdout();
    let started = Instant::now();
    let mut code = ExitCode::SUCCESS;
    for (at, &step) in steps.iter().enumerate() {
        if let Err(error) = runner.timed(step) {
            code = ExitCode::FAILURE;
            crate::complain(&failure(step, &error, steps.get(at + 1..).unwrap_or_default()));
            break;
        }
    }
    writeln!(out, "\n{:.1} s in all", started.elapsed().as_secs_f64())?;
    if runner.counts.skipped > 0 {
        writeln!(out, "skipped or ignored: {}", runner.counts.skipped)?;
    }
    if steps.iter().any(|step| step.counts_tests()) {
        writeln!(out, "{}", runner.counts)?;
    }
    Ok(code)
}

/// The message about a failed step.
fn failure(step: Step, error: &anyhow::Error, rest: &[Step]) -> String {
    let name = step.name();
    let mut text = format!("step `{name}` failed: {error:#}\n");
    if !rest.is_empty() {
        let rest: Vec<_> = rest.iter().map(|step| step.name()).collect();
        text += &format!("xtask: not run: {}\n", rest.join(", "));
    }
    text + &format!("xtask: to run this step alone: cargo xtask test --only {name}\n")
}

struct Runner<'a> {
    workspace: &'a Workspace,
    counts: Counts,
    /// The interpreter of the private environment, once a step has needed it.
    python: Option<PathBuf>,
}

impl Runner<'_> {
    /// Runs one step, with a header before and the time after it.
    fn timed(&mut self, step: Step) -> Result<()> {
        writeln!(io::stdout(), "\n== {}: {} ==", step.name(), step.title())?;
        let started = Instant::now();
        let ended = self.step(step);
        self.judge(step, ended)?;
        writeln!(io::stdout(), "{}: {:.1} s", step.name(), started.elapsed().as_secs_f64())?;
        Ok(())
    }

    /// Tests that did not build or that crashed count as one failed test.
    fn judge(&mut self, step: Step, ended: Result<()>) -> Result<()> {
        if ended.is_err() && step.counts_tests() {
            self.counts.failed = self.counts.failed.max(1);
        }
        ended
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let workspace = self.workspace;
        match step {
            Step::Fmt => process::run(&mut workspace.cargo(["fmt", "--all", "--check"])),
            Step::Clippy => {
                // The library alone is checked too, without TLS, which other members of the workspace enable.
                for what in ["--workspace", "--package=tidegate"] {
                    let args = ["clippy", what, "--all-targets", "--locked", "--", "-D", "warnings"];
                    process::run(&mut workspace.cargo(args))?;
                }
                Ok(())
            }
            Step::Doc => process::run(
                workspace
                    .cargo(["doc", "--workspace", "--no-deps", "--locked"])
                    .env("RUSTDOCFLAGS", "-Dwarnings"),
            ),
            Step::Deny => deny::check(workspace),
            Step::Test => {
                let python = self.python()?;
                let mut command = workspace.cargo(["test", "--workspace", "--locked", "--no-fail-fast"]);
                command.env(PYTHON_VARIABLE, python);
                self.counted(&mut command, Stream::Stdout, &mut io::stdout(), Counts::read_rust)
            }
            Step::Instructions => self.counted_instructions(),
            Step::Python => {
                let mut command = python::tests(workspace, &self.python()?);
                let mut python = PythonCounts::default();
                self.counted(&mut command, Stream::Stderr, &mut io::stderr(), |counts, line| {
                    if let Some(closing) = python.read(line) {
                        counts.add(closing);
                    }
                })
            }
        }
    }

    fn counted_instructions(&mut self) -> Result<()> {
        let counts = instructions::run(self.workspace)?;
        let slower = counts.failed;
        self.counts.add(counts);
        if slower > 0 {
            bail!("{slower} paths take more instructions than expected");
        }
        Ok(())
    }

    /// Runs tests, and adds the numbers in their output.
    fn counted(
        &mut self,
        command: &mut Command,
        stream: Stream,
        to: &mut dyn Write,
        mut read: impl FnMut(&mut Counts, &str),
    ) -> Result<()> {
        let mut counts = Counts::default();
        let ended = process::run_reading(command, stream, to, |line| read(&mut counts, line));
        self.counts.add(counts);
        ended?;
        if counts.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }

    fn python(&mut self) -> Result<PathBuf> {
        match &self.python {
            Some(python) => Ok(python.clone()),
            None => Ok(self.python.insert(python::environment(self.workspace)?).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn selected_steps_run_in_their_fixed_order() {
        assert_eq!(Step::chosen(&[]), Step::ALL);
        assert_eq!(Step::chosen(&[Step::Clippy, Step::Fmt]), [Step::Fmt, Step::Clippy]);
    }

    fn counted(script: &str) -> (bool, Counts) {
        let workspace = Workspace::new();
        let mut runner = Runner { workspace: &workspace, counts: Counts::default(), python: None };
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let ended = runner.counted(&mut command, Stream::Stdout, &mut io::sink(), Counts::read_rust);
        let ended = runner.judge(Step::Test, ended);
        (ended.is_ok(), runner.counts)
    }

    #[test]
    fn a_step_without_tests_fails() {
        let counts = |passed, failed| Counts { passed, failed, skipped: 0 };
        let ok = "echo 'test result: ok. 2 passed; 0 failed'";
        assert_eq!(counted(ok), (true, counts(2, 0)));
        assert_eq!(counted("true"), (false, counts(0, 1)));
        assert_eq!(counted("exit 101"), (false, counts(0, 1)));
        assert_eq!(counted(&format!("{ok}; exit 101")), (false, counts(2, 1)));
        assert_eq!(
            counted("echo 'test result: FAILED. 2 passed; 3 failed'; exit 101"),
            (false, counts(2, 3))
        );
    }

    #[test]
    fn a_failure_names_the_steps_that_were_not_run() {
        let text = failure(Step::Doc, &anyhow!("it broke"), &[Step::Test, Step::Python]);
        assert!(text.starts_with("step `doc` failed: it broke\n"), "{text}");
        assert!(text.contains("not run: test, python\n") && text.contains("--only doc\n"), "{text}");
        assert!(!failure(Step::Python, &anyhow!("it broke"), &[]).contains("not run"));
    }
}
