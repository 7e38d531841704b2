//! The list of mutations: what to break, and which tests must fail then.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

/// The path of the list, below the root.
pub(super) const FILE: &str = "tests/mutations.toml";

/// One way to break a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutation {
    pub(super) id: String,
    /// The rule that it breaks.
    pub(super) rule: String,
    /// A description of the fault.
    pub(super) what: String,
    pub(super) file: String,
    /// The text to replace, which occurs exactly once in the file.
    pub(super) find: String,
    pub(super) replace: String,
    /// The arguments of `cargo test`.
    pub(super) caught_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

/// Reads the list.
///
/// # Errors
/// If the list cannot be read, has an invalid entry, or has an id twice.
pub(super) fn read(workspace: &Workspace) -> Result<Vec<Mutation>> {
    let text = fs::read_to_string(workspace.path(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    parse(&text).with_context(|| format!("{FILE} is not valid"))
}

fn parse(text: &str) -> Result<Vec<Mutation>> {
    let list: List = toml::from_str(text)?;
    let mut ids = BTreeSet::new();
    for mutation in &list.mutation {
        if !ids.insert(mutation.id.as_str()) {
            bail!("the id `{}` occurs twice", mutation.id);
        }
        // The id is a part of file names.
        if mutation.id.is_empty() || !mutation.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            bail!("the id `{}` must consist of letters, digits and hyphens", mutation.id);
        }
    }
    Ok(list.mutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[mutation]]\nid = 'a'\nrule = 'CR-1'\nwhat = 'w'\nfile = 'f'\nfind = 'x'\n\
        replace = 'y'\ncaught_by = '-p z'\n";

    #[test]
    fn a_list_is_parsed_and_its_errors_are_named() {
        assert_eq!(parse(ONE).unwrap()[0].caught_by, "-p z");
        for (text, word) in [
            (format!("{ONE}{ONE}"), "`a`"),
            (ONE.replace("'a'", "'a/b'"), "`a/b`"),
            (format!("{ONE}more = 'z'\n"), "more"),
            (ONE.replace("rule = 'CR-1'\n", ""), "rule"),
        ] {
            let wrong = format!("{:#}", parse(&text).unwrap_err());
            assert!(wrong.contains(word), "{wrong}");
        }
    }
}
