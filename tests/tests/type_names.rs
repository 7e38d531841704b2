//! The name of a public type of the libraries means nothing else in the workspace.

#![allow(clippy::unwrap_used, missing_docs)] // a test may stop at once

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The sources of the libraries, whose public types have names of their own.
const LIBRARIES: [&str; 2] = ["crates/tidegate/src/", "crates/tidegate-proto/src/"];

/// Names that have another meaning too, where, and why.
const EXCEPTIONS: [(&str, &str, &str); 17] = [
    ("Accepted", "tests/src/vectors/accepted.rs", "a vector whose frame is accepted"),
    ("Connection", "tests/src/vectors/run/connection.rs", "the raw connection of a vector's script"),
    ("Event", "tests/src/model/seen.rs", "what a model has seen; it does not use the crate of the driver"),
    ("Events", "crates/tidegate/src/events.rs", "the async form of the type in `blocking`"),
    ("Message", "tests/src/simulation/check/account/message.rs", "the account of a message"),
    ("Peer", "comparison/src/peers/mod.rs", "another library, which is not a peer of a link"),
    ("Peer", "tests/src/vectors/run/peer.rs", "the peer that a vector's script drives"),
    ("Pull", "crates/tidegate/src/pull/mod.rs", "the async form of the type in `blocking`"),
    ("Puller", "tests/src/simulation/check/account/message.rs", "the number of a puller in an account"),
    ("Puller", "tests/src/simulation/scenario.rs", "a puller as a scenario describes it"),
    ("Push", "crates/tidegate/src/push/mod.rs", "the async form of the type in `blocking`"),
    ("Pusher", "tests/src/simulation/scenario.rs", "a pusher as a scenario describes it"),
    ("Receipt", "crates/tidegate/src/push/receipt.rs", "the async form of the type in `blocking`"),
    ("Rejections", "crates/tidegate/src/push/rejections.rs", "the async form of the type in `blocking`"),
    ("Rule", "crates/tidegate-rules/src/list.rs", "a rule of the documents; the public type is made from it"),
    ("Tls", "crates/tidegate/src/no_tls.rs", "stands for the real type if the feature is off"),
    ("Verdict", "tests/src/simulation/history.rs", "a verdict without its texts"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Appends the Rust files below a directory.
fn find_sources(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            find_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

/// The name of a type that a line defines outside of other items, and whether it is public.
fn defined(line: &str) -> Option<(&str, bool)> {
    let (is_public, rest) = match line.strip_prefix("pub ") {
        Some(rest) => (true, rest),
        None => {
            (false, line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(line, |it| it.1))
        }
    };
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some((&name[..end], is_public))
}

/// The definitions of each type that is public in a library, if there are several: name and path of all but these.
fn duplicates(sources: &[(String, String)]) -> BTreeSet<(String, String)> {
    let mut types = BTreeMap::<&str, Vec<(&str, bool)>>::new();
    for (path, text) in sources {
        for (name, is_public) in text.lines().filter_map(defined) {
            let of_library = is_public && LIBRARIES.iter().any(|library| path.starts_with(library));
            types.entry(name).or_default().push((path, of_library));
        }
    }
    let mut found = BTreeSet::new();
    for (name, mut places) in types {
        let Some(first) = places.iter().position(|(_, of_library)| *of_library) else { continue };
        places.remove(first);
        found.extend(places.into_iter().map(|(path, _)| (name.to_owned(), path.to_owned())));
    }
    found
}

#[test]
fn a_public_type_of_a_library_has_a_name_of_its_own() {
    let mut paths = Vec::new();
    for directory in ["crates", "tests", "examples", "comparison"] {
        find_sources(&root().join(directory), &mut paths);
    }
    paths.sort();
    let sources: Vec<_> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            (name.to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(sources.len() > 100, "{} files were read", sources.len());
    let expected: BTreeSet<_> =
        EXCEPTIONS.iter().map(|(name, path, _)| ((*name).to_owned(), (*path).to_owned())).collect();
    let found = duplicates(&sources);
    let new: Vec<_> = found.difference(&expected).collect();
    assert!(new.is_empty(), "choose other names, or list them in EXCEPTIONS: {new:?}");
    let old: Vec<_> = expected.difference(&found).collect();
    assert!(old.is_empty(), "no exceptions any more: {old:?}");
}

#[test]
fn a_second_type_with_the_name_of_a_public_one_is_found() {
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let found =
        |text| duplicates(&[source("crates/tidegate/src/a.rs", "pub struct End {}\n"), source("t.rs", text)]);
    for text in ["struct End;", "pub(crate) enum End {", "pub type End<T> = T;", "trait End {}"] {
        assert_eq!(found(text), BTreeSet::from([("End".to_owned(), "t.rs".to_owned())]), "{text}");
    }
    for text in ["    struct End;", "struct Ending;", "// struct End;", "use crate::End;"] {
        assert!(found(text).is_empty(), "{text}");
    }
    assert!(duplicates(&[source("a.rs", "pub struct Line;"), source("b.rs", "struct Line;")]).is_empty());
}
