//! Checks that `cargo xtask mutants` can apply each mutation in the list.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at once

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize;
use tidegate_proto::Rule;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    id: String,
    rule: String,
    what: String,
    file: String,
    find: String,
    replace: String,
    caught_by: String,
}

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn list() -> Vec<Mutation> {
    toml::from_str::<List>(&read("tests/mutations.toml")).unwrap().mutation
}

#[test]
fn each_mutation_names_a_rule_and_breaks_one_place() {
    let mut ids = BTreeSet::new();
    for mutation in list() {
        let Mutation { id, rule, what, file, find, replace, caught_by } = mutation;
        assert!(ids.insert(id.clone()), "{id} is listed twice");
        rule.parse::<Rule>().unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(!what.is_empty() && find != replace, "{id}");
        assert!(caught_by.starts_with("-p "), "{id}: `{caught_by}` does not select a package");
        assert_eq!(read(&file).matches(&find).count(), 1, "{id}: `{find}` must occur once in {file}");
    }
}

#[test]
fn each_group_of_rules_is_broken_somewhere() {
    let groups: BTreeSet<String> =
        list().iter().map(|mutation| mutation.rule.chars().take_while(|c| *c != '-').collect()).collect();
    for group in ["FR", "HS", "CR", "RR", "DL", "OC", "RC", "RD", "LV", "ST", "LM"] {
        assert!(groups.contains(group), "no mutation breaks a rule of the group {group}");
    }
}
