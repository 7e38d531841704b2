//! `cargo xtask soak --minutes N`: runs the randomised tests of `cargo xtask test`, and more, for a given
//! time and in release mode.

use std::{
    env,
    io::{self, Write},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::Result;

use crate::{fuzz, process, workspace::Workspace};

/// The time for a randomised test, in seconds: see `tests/src/seeds.rs`.
const SECONDS: &str = "TIDEGATE_SOAK_SECONDS";

/// The time that a soak has set for the task that runs as a part of it, in seconds.
pub(crate) fn seconds() -> Option<u64> {
    env::var(SECONDS).ok()?.parse().ok()
}

/// One part of a soak.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    /// Its description for the help.
    pub(crate) what: &'static str,
    /// Its share of the time, relative to the sum of the shares of all selected parts.
    share: u64,
    work: Work,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Randomised tests, one after another, which share the time: the tests of these binaries whose names
    /// contain the filter.
    Tests { binaries: &'static [&'static str], filter: &'static str, count: u64 },
    /// Cargo with these arguments.
    Cargo(&'static [&'static str]),
}

impl Work {
    /// The command, and how many tests share its time.
    fn command(&self, workspace: &Workspace) -> (Command, u64) {
        let mut command = workspace.cargo([]);
        match self {
            Self::Cargo(arguments) => {
                command.args(*arguments);
                (command, 1)
            }
            Self::Tests { binaries, filter, count } => {
                command.args(["test", "--profile", "soak", "--locked", "-p", "tidegate-tests"]);
                for binary in *binaries {
                    command.args(["--test", binary]);
                }
                command.args(["--", "--test-threads=1", "--nocapture", filter]);
                (command, *count)
            }
        }
    }
}

impl Part {
    /// All parts, in the order in which they run.
    pub(crate) const ALL: &'static [Self] = &[
        Self {
            name: "simulation",
            what: "the library on a simulated network and clock",
            share: 3,
            work: Work::Tests { binaries: &["simulation"], filter: "nothing_is_lost", count: 1 },
        },
        Self {
            name: "computing",
            what: "applications that compute for a minute at a time",
            share: 1,
            work: Work::Tests { binaries: &["computing"], filter: "a_minute", count: 1 },
        },
        Self {
            name: "chaos",
            what: "faults inflicted on real processes by random schedules",
            share: 2,
            work: Work::Tests {
                binaries: &["chaos_schedule", "chaos_killed", "chaos_network"],
                filter: "",
                count: 4,
            },
        },
        Self {
            name: "mutations",
            what: "changed inputs of the fuzzer's corpora",
            share: 1,
            work: Work::Tests { binaries: &["fuzz_corpus"], filter: "mutations", count: 1 },
        },
        Self {
            name: "fuzz",
            what: "the fuzzer itself: cargo xtask fuzz",
            share: 3,
            work: Work::Cargo(&["xtask", "fuzz"]),
        },
        Self {
            name: "model",
            what: "the protocol state machines under the model checker, with larger bounds",
            share: 2,
            work: Work::Tests { binaries: &["model"], filter: "", count: 6 },
        },
        Self {
            name: "flood",
            what: "the cost of floods for a well-behaved link, in time and memory (docs/SECURITY.md)",
            share: 3,
            work: Work::Cargo(&["run", "--release", "--locked", "-p", "tidegate-tests", "--bin", "flood"]),
        },
    ];

    /// The parts with these names, or all if there are none, in the order in which they run.
    pub(crate) fn chosen(only: &[String]) -> Vec<&'static Self> {
        let all = Self::ALL.iter();
        all.filter(|part| only.is_empty() || only.iter().any(|name| name == part.name)).collect()
    }
}

/// Runs these parts one after another. After a failure, the other parts still run. The last line of the
/// output has the numbers of passed and failed parts.
///
/// # Errors
/// If the output cannot be written.
pub(crate) fn run(workspace: &Workspace, minutes: u64, parts: &[&'static Part]) -> Result<ExitCode> {
    let mut out = io::stdout();
    let shares: u64 = parts.iter().map(|part| part.share).sum();
    let started = Instant::now();
    let (mut passed, mut failed, mut skipped) = (0, 0, Vec::new());
    for part in parts {
        let seconds = minutes * 60 * part.share / shares.max(1);
        writeln!(out, "\n== {}: {}, {seconds} s ==", part.name, part.what)?;
        let (mut command, sharers) = part.work.command(workspace);
        command.env(SECONDS, (seconds / sharers.max(1)).max(1).to_string());
        let status = process::status(&mut command)?;
        if status.success() {
            passed += 1;
        } else if status.code() == Some(fuzz::MISSING.into()) {
            skipped.push(part.name); // it has reported what is missing
        } else {
            failed += 1;
            crate::complain(&format!("part `{}` failed: {status}\n", part.name));
        }
    }
    writeln!(out, "\n{:.1} minutes in all", started.elapsed().as_secs_f64() / 60.0)?;
    if !skipped.is_empty() {
        writeln!(out, "skipped: {}", skipped.join(", "))?;
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
