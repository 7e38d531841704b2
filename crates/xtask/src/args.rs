//! The command line.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use crate::{fuzz::Plan, mutants::Choice, soak::Part, steps::Step};

pub(crate) const HELP: &str = "\
Runs the tasks of this project.

Usage:
  cargo xtask test [--only STEP[,STEP]...]
      Runs all checks, and stops at the first step that fails.
  cargo xtask soak --minutes N [--only PART[,PART]...]
      Runs the randomised tests and more for N minutes, in release mode.
  cargo xtask mutants [--only ID[,ID]...] [--rule RULE]
      Breaks one rule at a time, and checks that its tests fail.
  cargo xtask fuzz [--minutes N] [--keep] [TARGET]...
      Runs the targets of tests/fuzz with cargo-fuzz, for 10 minutes in total by default.
      --keep adds inputs that reach new code to tests/fuzz/corpus.
  cargo xtask deny
      Checks the licences, bans and sources of the dependencies as deny.toml says.
  cargo xtask sbom
      Writes target/sbom/tidegate.cdx.json, the list of the packages in the binary.
  cargo xtask descriptor
      Writes proto/tidegate.binpb from the .proto file.
  cargo xtask rules
      Writes crates/tidegate-proto/src/rule/list.rs from SPEC.md and docs/IMPLEMENTATION.md.
  cargo xtask --help

Steps of `test`, in this order:
  fmt      formatting: cargo fmt --check
  clippy   lints of all targets; warnings are errors
  doc      documentation; warnings are errors
  deny     `cargo xtask deny` (installs cargo-deny in target/tools)
  test     all Rust tests, including the examples in the documentation
  python   the tests of the Python peer
  instructions   instructions per message, compared with the expected numbers (needs valgrind)

Parts of `soak`, which share its time, in this order:
SOAKS
`mutants` works in a copy of the tracked files in target/mutants. The mutations are in tests/mutations.toml.
The steps `test` and `python` need python3 with its venv module. They create an environment in target/python
and install examples/python/requirements.txt in it. The last line of the output is `N passed, N failed`.

Exit codes: 0 all passed, 1 a failure, 2 usage error, 3 `fuzz` needs a nightly compiler or cargo-fuzz.
";

/// All tasks, for the error about an unknown one.
const TASKS: &str = "`test`, `soak`, `mutants`, `fuzz`, `deny`, `sbom`, `descriptor` or `rules`";

/// The selected task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    /// Runs these steps, in the order of [`Step::ALL`].
    Test(Vec<Step>),
    /// Runs these parts for `minutes` in total, in the order of [`Part::ALL`].
    Soak {
        minutes: u64,
        parts: Vec<&'static Part>,
    },
    Mutants(Choice),
    Fuzz(Plan),
    Deny,
    Sbom,
    Descriptor,
    Rules,
}

/// Prints the help.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn help() -> anyhow::Result<ExitCode> {
    io::stdout().write_all(help_text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// [`HELP`] with the parts of a soak, which are defined in `soak.rs`.
pub(crate) fn help_text() -> String {
    let parts = Part::ALL.iter().map(|part| format!("  {:<12}{}\n", part.name, part.what));
    HELP.replace("SOAKS\n", &parts.collect::<String>())
}

/// Parses the command line, without the name of the program.
///
/// # Errors
/// A sentence that names the argument and the valid ones.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Task, String> {
    let words = arguments
        .map(|word| word.into_string().map_err(|word| format!("argument {word:?} is not UTF-8")))
        .collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.iter().any(|word| matches!(*word, "--help" | "-h" | "help")) {
        return Ok(Task::Help);
    }
    match words.as_slice() {
        [] => Err(format!("no task was given; expected {TASKS}")),
        ["test"] => Ok(Task::Test(Step::ALL.to_vec())),
        ["test", "--only"] => Err(format!("--only needs at least one step; the steps are {}", names())),
        ["test", "--only", list] => chosen(list).map(Task::Test),
        ["test", word] if word.starts_with("--only=") => {
            chosen(word.trim_start_matches("--only=")).map(Task::Test)
        }
        ["test", "--only", _, word, ..] | ["test", word, ..] => {
            Err(format!("`test` takes only `--only STEP,...`, not `{word}`"))
        }
        ["soak", rest @ ..] => soak(rest),
        ["mutants", rest @ ..] => mutants(rest),
        ["fuzz", rest @ ..] => fuzz(rest),
        ["deny"] => Ok(Task::Deny),
        ["sbom"] => Ok(Task::Sbom),
        ["descriptor"] => Ok(Task::Descriptor),
        ["rules"] => Ok(Task::Rules),
        [task @ ("deny" | "sbom" | "descriptor" | "rules"), word, ..] => {
            Err(format!("`{task}` takes no arguments, not `{word}`"))
        }
        [word, ..] => Err(format!("there is no task `{word}`; expected {TASKS}")),
    }
}

/// `--minutes N`, `--keep`, and targets.
fn fuzz(words: &[&str]) -> Result<Task, String> {
    let mut plan = Plan::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--minutes" => plan.minutes = Some(minutes(words.next().copied().unwrap_or_default())?),
            "--keep" => plan.keep = true,
            target if !target.starts_with('-') => plan.targets.push(target.to_owned()),
            _ => return Err(format!("`fuzz` takes `--minutes N`, `--keep` and targets, not `{word}`")),
        }
    }
    Ok(Task::Fuzz(plan))
}

fn minutes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(minutes @ 1..=10_000) => Ok(minutes),
        _ => Err(format!("--minutes is `{text}`; it must be a whole number from 1 to 10,000")),
    }
}

/// `--minutes N`, and `--only PART,...` to select parts.
fn soak(words: &[&str]) -> Result<Task, String> {
    let (minutes, only) = match words {
        ["--minutes", minutes] => (minutes, None),
        ["--minutes", minutes, "--only", list] | ["--only", list, "--minutes", minutes] => {
            (minutes, Some(list))
        }
        _ => {
            return Err("`soak` takes `--minutes N`, and `--only PART,...` to select parts".into());
        }
    };
    let minutes = self::minutes(minutes)?;
    let Some(list) = only else { return Ok(Task::Soak { minutes, parts: Part::ALL.iter().collect() }) };
    let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
    let names = || Part::ALL.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = wanted.iter().find(|name| Part::ALL.iter().all(|part| part.name != **name)) {
        return Err(format!("--only: there is no part `{unknown}`; the parts are {}", names()));
    }
    Ok(Task::Soak { minutes, parts: Part::ALL.iter().filter(|part| wanted.contains(&part.name)).collect() })
}

/// `--only ID,...` and `--rule RULE`, each at most once.
fn mutants(words: &[&str]) -> Result<Task, String> {
    let mut choice = Choice::default();
    let mut rest = words;
    while let [option, value, after @ ..] = rest {
        match *option {
            "--only" if choice.only.is_none() => {
                choice.only = Some(value.split(',').map(|id| id.trim().to_owned()).collect());
            }
            "--rule" if choice.rule.is_none() => choice.rule = Some((*value).to_owned()),
            _ => break,
        }
        rest = after;
    }
    match rest {
        [] => Ok(Task::Mutants(choice)),
        [word, ..] => Err(format!("`mutants` takes `--only ID,...` and `--rule RULE`, not `{word}`")),
    }
}

/// The steps of a comma-separated list, in the order in which they run.
fn chosen(list: &str) -> Result<Vec<Step>, String> {
    let wanted: Vec<&str> = list.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted.iter().find(|name| Step::ALL.iter().all(|step| step.name() != **name)) {
        return Err(format!("--only: there is no step `{unknown}`; the steps are {}", names()));
    }
    Ok(Step::ALL.into_iter().filter(|step| wanted.contains(&step.name())).collect())
}

fn names() -> String {
    Step::ALL.map(Step::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn tasks_are_parsed() {
        assert_eq!(read("test"), Ok(Task::Test(Step::ALL.to_vec())));
        assert_eq!(read("descriptor"), Ok(Task::Descriptor));
        assert_eq!(read("rules"), Ok(Task::Rules));
        assert_eq!(read("deny"), Ok(Task::Deny));
        assert_eq!(read("sbom"), Ok(Task::Sbom));
        let plan = Plan { minutes: Some(3), targets: vec!["pair".into()], keep: true };
        assert_eq!(read("fuzz pair --minutes 3 --keep"), Ok(Task::Fuzz(plan)));
        assert_eq!(read("fuzz"), Ok(Task::Fuzz(Plan::default())));
        assert_eq!(read("--help"), Ok(Task::Help));
        assert_eq!(read("test --help"), Ok(Task::Help));
    }

    #[test]
    fn mutations_can_be_selected_by_id_and_by_rule() {
        let rule = Some("RC-1".to_owned());
        let only = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read("mutants"), Ok(Task::Mutants(Choice::default())));
        assert_eq!(read("mutants --only a,b --rule RC-1"), Ok(Task::Mutants(Choice { only, rule })));
    }

    #[test]
    fn selected_steps_run_in_their_fixed_order() {
        assert_eq!(read("test --only clippy,fmt"), Ok(Task::Test(vec![Step::Fmt, Step::Clippy])));
        assert_eq!(read("test --only=python"), Ok(Task::Test(vec![Step::Python])));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("", "no task"),
            ("tset", "`tset`"),
            ("test --only", "--only"),
            ("test --only fmt,lint", "`lint`"),
            ("test --only=", "``"),
            ("test fmt", "`fmt`"),
            ("mutants --only", "`--only`"),
            ("mutants --rule CR-1 --rule CR-2", "`--rule`"),
            ("mutants all", "`all`"),
            ("test --only fmt clippy", "`clippy`"),
            ("soak", "--minutes"),
            ("soak --minutes 0", "`0`"),
            ("soak --minutes 5 --only sea", "`sea`"),
            ("fuzz --minutes", "``"),
            ("fuzz --seconds 3", "`--seconds`"),
            ("deny all", "`all`"),
            ("sbom now", "`sbom`"),
            ("descriptor now", "`now`"),
            ("rules now", "`now`"),
        ] {
            let wrong = read(line).unwrap_err();
            assert!(wrong.contains(word), "{line}: {wrong}");
        }
    }

    #[test]
    fn the_help_names_every_step() {
        for step in Step::ALL {
            assert!(HELP.contains(&format!("\n  {} ", step.name())), "{}", step.name());
        }
    }
}
