//! The command line.

use clap::{Parser, Subcommand, builder::PossibleValuesParser};

use crate::{fuzz::Plan, mutants::Choice, soak::Part, steps::Step};

/// What follows the help.
const AFTER: &str = "\
The steps `test` and `python` need python3 with its venv module. They create an environment in target/python
and install examples/python/requirements.txt in it. The last line of the output is `N passed, N failed`.

Exit codes: 0 all passed, 1 a failure, 2 usage error, 3 `fuzz` needs a nightly compiler or cargo-fuzz.";

/// Runs the tasks of this project.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", after_help = AFTER, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The selected task.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Task {
    /// Runs all checks, and stops at the first step that fails.
    Test {
        /// The steps to run. They run in the order of this list.
        #[arg(long, value_name = "STEP", value_delimiter = ',', value_enum)]
        only: Vec<Step>,
    },
    /// Runs the randomised tests and more, in release mode.
    #[command(after_help = parts())]
    Soak {
        /// The time of all parts together.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
        minutes: u64,
        /// The parts to run. They share the time, and run in the order of this list.
        #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = part_names())]
        only: Vec<String>,
    },
    /// Breaks one rule at a time, and checks that its tests fail.
    ///
    /// It works in a copy of the tracked files in target/mutants. The mutations are in tests/mutations.toml.
    Mutants(Choice),
    /// Runs the targets of tests/fuzz with cargo-fuzz.
    Fuzz(Plan),
    /// Checks the licences, bans and sources of the dependencies as deny.toml says.
    Deny,
    /// Writes target/sbom/tidegate.cdx.json, the list of the packages in the binary.
    Sbom,
    /// Writes proto/tidegate.binpb from the .proto file.
    Descriptor,
    /// Writes crates/tidegate-proto/src/rule/list.rs from SPEC.md and docs/IMPLEMENTATION.md.
    Rules,
}

fn part_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Part::ALL.iter().map(|part| part.name))
}

fn parts() -> String {
    let parts = Part::ALL.iter().map(|part| format!("  {:<12}{}\n", part.name, part.what));
    format!("Parts:\n{}", parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        let words = ["xtask"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.task).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn tasks_are_parsed() {
        assert_eq!(read("test"), Ok(Task::Test { only: Vec::new() }));
        let only = vec![Step::Clippy, Step::Fmt];
        assert_eq!(read("test --only clippy,fmt"), Ok(Task::Test { only }));
        let only = vec!["chaos".to_owned(), "model".to_owned()];
        assert_eq!(read("soak --only chaos,model --minutes 5"), Ok(Task::Soak { minutes: 5, only }));
        let plan = Plan { minutes: Some(3), targets: vec!["pair".into()], keep: true };
        assert_eq!(read("fuzz pair --minutes 3 --keep"), Ok(Task::Fuzz(plan)));
        assert_eq!(read("fuzz"), Ok(Task::Fuzz(Plan::default())));
        let (only, rule) = (Some(vec!["a".to_owned(), "b".to_owned()]), Some("RC-1".to_owned()));
        assert_eq!(read("mutants"), Ok(Task::Mutants(Choice::default())));
        assert_eq!(read("mutants --only a,b --rule RC-1"), Ok(Task::Mutants(Choice { only, rule })));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("tset", "'tset'"),
            ("test --only", "--only"),
            ("test --only fmt,lint", "'lint'"),
            ("mutants --rule CR-1 --rule CR-2", "'--rule <RULE>'"),
            ("soak", "--minutes"),
            ("soak --minutes 0", "'0'"),
            ("soak --minutes 5 --only sea", "'sea'"),
            ("fuzz --minutes", "--minutes"),
            ("fuzz --minutes 0", "'0'"),
            ("deny all", "'all'"),
        ] {
            let wrong = read(line).unwrap_err();
            assert!(wrong.contains(word), "{line}: {wrong}");
        }
    }
}
