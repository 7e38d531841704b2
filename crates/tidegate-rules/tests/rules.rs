//! The generated file has the rules of the documents, and the parser finds each mistake in them.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{collections::BTreeSet, path::Path};

use tidegate_rules::{Documents, Id, check, listed, text};

/// Invented ids are written with `~`, because another test looks for ids that are not rules.
fn ids(text: &str) -> String {
    text.replace('~', "-")
}

fn documents(spec: &str, implementation: &str) -> Documents {
    let mut documents = Documents::default();
    documents.add("SPEC.md", &ids(spec));
    documents.add("docs/IMPLEMENTATION.md", &ids(implementation));
    documents
}

const SPEC: &str = "Such as **ZZ~9**.\n\n- **ZA~1** (MUST, both) One thing. *Its reason. It\n  goes on.*\n\
                    - **ZA~10** (MAY, pusher) This sentence has more than sixty characters, with the number\n  \
                    10. Another one.\n- **Bold.** No.\n- **ZA~2** (SHOULD, puller) Two:\n  - a list\n";
const RETIRED: &str = "No id is used twice. Retired ids: ZA~3, ZA~4, ZA~5, ZA~6, ZA~7, ZA~8, ZA~9.\n";

#[test]
fn the_generated_file_has_the_rules_of_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    check(root).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn the_list_is_sorted_and_says_how_each_rule_begins() {
    let list = text(&documents(SPEC, RETIRED), &BTreeSet::new()).unwrap();
    let variants = list.split_once("pub enum Rule {\n").unwrap().1.split_once("}\n").unwrap().0;
    let expected = "    /// **ZA~1** (MUST, both; SPEC.md). One thing.\n    Za1,\n    \
                    /// **ZA~2** (SHOULD, puller; SPEC.md). Two\n    Za2,\n    \
                    /// **ZA~10** (MAY, pusher; SPEC.md). This sentence has more than sixty characters, with the \
                    number 10.\n    Za10,\n";
    assert_eq!(variants, ids(expected));
    assert!(list.contains(&ids("Self::Za2 => (\"ZA~2\", SPEC, Level::Should, PULLER),\n")), "{list}");
    assert!(list.contains("        Self::Za1,\n        Self::Za2,\n        Self::Za10,\n    ];"), "{list}");
    assert!(list.lines().all(|line| line.chars().count() <= 120), "{list}");
    assert_eq!(listed(&list).len(), 3);
}

#[test]
fn each_mistake_in_the_documents_is_named() {
    for (more, expected) in [
        ("- **ZA~1** (MAY, puller) Again.", "ZA~1 is defined more than once: in SPEC.md and in docs/IMPL"),
        ("- **ZA~3** (MAY, puller) Again.", "ZA~3 is retired, but docs/IMPLEMENTATION.md defines it"),
        ("- **ZB~1** (MUST, connector) Who?", "ZB~1 has no level and role"),
        ("- **ZB~2** (MAY, both) Two.", "ZB~1 is neither defined nor retired"),
    ] {
        let wrong = documents(SPEC, &format!("{RETIRED}{more}"));
        let error = text(&wrong, &BTreeSet::new()).unwrap_err();
        assert!(error.starts_with(&ids(expected)) && error.lines().count() == 1, "{error}");
        assert_eq!(wrong.problems(), [error]);
    }
    assert!(text(&documents("", ""), &BTreeSet::new()).is_err());
}

#[test]
fn a_rule_is_retired_when_it_is_removed() {
    let before = listed(
        &text(&documents(SPEC, &format!("{RETIRED}- **ZB~1** (MAY, both) Gone.")), &BTreeSet::new()).unwrap(),
    );
    let error = text(&documents(SPEC, RETIRED), &before).unwrap_err();
    assert_eq!(error, ids("ZB~1 is no longer defined: add it to the retired ids in docs/IMPLEMENTATION.md"));
    assert!(text(&documents(SPEC, &RETIRED.replace("ZA~9.", "ZA~9, ZB~1.")), &before).is_ok());
}

#[test]
fn an_id_has_one_form_in_documents_and_one_in_code() {
    let id = Id::from_text(&ids("ZA~12")).unwrap();
    assert_eq!((id.to_string(), id.variant()), (ids("ZA~12"), "Za12".to_owned()));
    assert_eq!(Id::from_variant("Za12"), Some(id));
    for text in ["", "ZA", "ZA~", "ZA~0", "ZA~01", "ZAB~1", "Za~1", "ZA~1a", "UTF~8", "ZA~99999999999"] {
        assert_eq!(Id::from_text(&ids(text)), None, "{text}");
    }
    for name in ["", "Za", "Za0", "Za01", "ZA1", "za1", "Zab1", "Za1b", "é1"] {
        assert_eq!(Id::from_variant(name), None, "{name}");
    }
}
