//! `cargo xtask mutants`: breaks rules on purpose in a copy of the tree, and checks that the tests of each
//! rule fail.
//!
//! ```text
//! tests/mutations.toml ──► copy of the tracked files ──► each test command once, unchanged: must pass
//!                                     │
//!                                     └─► one mutation at a time: must build, and then its command must fail
//! ```

mod list;
mod tree;
mod trial;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{
    list::Mutation,
    tree::Tree,
    trial::{Ended, Trial},
};
use crate::workspace::Workspace;

/// Which mutations to try.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The mutations with these ids.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) only: Option<Vec<String>>,
    /// The mutations that break this rule.
    #[arg(long)]
    pub(crate) rule: Option<String>,
}

impl Choice {
    fn of(&self, all: Vec<Mutation>) -> Result<Vec<Mutation>> {
        for id in self.only.iter().flatten() {
            if all.iter().all(|mutation| mutation.id != *id) {
                bail!("--only: there is no mutation `{id}` in {}", list::FILE);
            }
        }
        let wanted = |mutation: &Mutation| {
            self.only.as_ref().is_none_or(|ids| ids.contains(&mutation.id))
                && self.rule.as_ref().is_none_or(|rule| *rule == mutation.rule)
        };
        let chosen: Vec<_> = all.into_iter().filter(wanted).collect();
        if chosen.is_empty() {
            bail!("no mutation in {} matches --only and --rule", list::FILE);
        }
        Ok(chosen)
    }
}

/// Tries the selected mutations. The last line of the output has the numbers of caught and uncaught
/// mutations.
///
/// # Errors
/// If the list is invalid, the tree cannot be copied, or a test command fails on the unchanged tree.
pub(crate) fn run(workspace: &Workspace, choice: &Choice) -> Result<ExitCode> {
    let mutations = choice.of(list::read(workspace)?)?;
    let tree = Tree::copy(workspace)?;
    let trial = Trial::new(workspace, &tree)?;
    let mut out = io::stdout();
    let limits = as_it_is(&trial, &mutations)?;
    writeln!(out, "\n{:<32}{:<8}{:>8}  caught by", "mutation", "rule", "seconds")?;
    let (mut caught, mut not) = (0, 0);
    for mutation in &mutations {
        let started = Instant::now();
        let limit = limits.get(mutation.caught_by.as_str()).copied().unwrap_or_default();
        let (good, text) = match attempt(&tree, &trial, mutation, limit) {
            Ok(Ended::Failed(tests)) => (true, tests),
            Ok(Ended::Hung) => (true, format!("the time-out of {} s", limit.as_secs())),
            Ok(Ended::Passed) => {
                (false, format!("SURVIVED `cargo test {}`: {}", mutation.caught_by, mutation.what))
            }
            Err(error) => (false, format!("ERROR: {error:#}")),
        };
        *(if good { &mut caught } else { &mut not }) += 1;
        let seconds = started.elapsed().as_secs_f64();
        writeln!(out, "{:<32}{:<8}{seconds:>8.1}  {text}", mutation.id, mutation.rule)?;
        out.flush()?;
    }
    writeln!(out, "\n{caught} passed, {not} failed")?;
    Ok(if not == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs each test command once on the unchanged tree. Returns the time limit of each command on a broken
/// tree.
fn as_it_is<'a>(trial: &Trial, mutations: &'a [Mutation]) -> Result<BTreeMap<&'a str, Duration>> {
    let mut limits = BTreeMap::new();
    for mutation in mutations {
        let command = mutation.caught_by.as_str();
        if limits.contains_key(command) {
            continue;
        }
        writeln!(io::stdout(), "unchanged: cargo test {command}")?;
        let run = || {
            trial.build("as-it-is", command)?;
            let started = Instant::now();
            match trial.test("as-it-is", command, trial::MAX_CLEAN_TIME)? {
                Ended::Passed => Ok(started.elapsed()),
                Ended::Failed(tests) => bail!("it fails: {tests}"),
                Ended::Hung => bail!("it does not end within {} s", trial::MAX_CLEAN_TIME.as_secs()),
            }
        };
        let took = run().with_context(|| format!("cargo test {command}, on the unchanged tree"))?;
        limits.insert(command, trial::limit(took));
    }
    Ok(limits)
}

fn attempt(tree: &Tree, trial: &Trial, mutation: &Mutation, limit: Duration) -> Result<Ended> {
    let _restored_when_dropped = tree.replace(&mutation.file, &mutation.find, &mutation.replace)?;
    trial.build(&mutation.id, &mutation.caught_by)?;
    trial.test(&mutation.id, &mutation.caught_by, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(id: &str, rule: &str) -> Mutation {
        Mutation { id: id.into(), rule: rule.into(), ..Mutation::default() }
    }

    #[test]
    fn mutations_are_selected_by_id_and_rule_and_an_empty_selection_is_an_error() {
        let all = || vec![mutation("a", "CR-1"), mutation("b", "CR-2"), mutation("c", "CR-2")];
        let ids = |only: Option<&[&str]>, rule: Option<&str>| {
            let only = only.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
            let choice = Choice { only, rule: rule.map(str::to_owned) };
            choice.of(all()).map(|chosen| chosen.into_iter().map(|m| m.id).collect::<String>())
        };
        assert_eq!(ids(None, None).unwrap(), "abc");
        assert_eq!(ids(None, Some("CR-2")).unwrap(), "bc");
        assert_eq!(ids(Some(&["c", "a"]), Some("CR-2")).unwrap(), "c");
        assert!(ids(Some(&["d"]), None).unwrap_err().to_string().contains("`d`"));
        assert!(ids(None, Some("CR-9")).is_err());
    }
}
