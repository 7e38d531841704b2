//! Every rule of SPEC.md and docs/IMPLEMENTATION.md is named by code and by a test, and the check finds each kind of
//! gap.

use std::path::Path;

use tidegate_rules::Documents;
use tidegate_tests::spec::{Findings, Source, Sources, check, read, split};

#[test]
fn every_rule_is_named_by_code_and_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let findings = check(&read(root).unwrap());
    assert!(findings.is_clean(), "\n{findings}");
}

/// Invented ids are written with `~` in this file, and their variants as `R~`, or the test above would find them here.
fn ids(text: &str) -> String {
    text.replace("R~", "Rule::").replace('~', "-")
}

fn sources(spec: &str, code: &str, tests: &str) -> Sources {
    let source = |text| vec![Source { path: "a.rs".into(), text: ids(text) }];
    Sources { documents: documents(spec), code: source(code), tests: source(tests), other: Vec::new() }
}

fn documents(spec: &str) -> Documents {
    let mut documents = Documents::default();
    documents.add("SPEC.md", &ids(spec));
    documents
}

const SPEC: &str = "Such as **ZZ~9**.\n\n- **ZA~1** (MUST, both) One.\n  **ZA~3** is no item.\n\
                    - **ZA~2** (MAY, pusher) Two.\n- **Bold.** No.";

#[test]
fn a_clean_tree_is_clean() {
    let findings =
        check(&sources(SPEC, "// ZA~1, and (ZA~2)", "\"ZA~1: \" // ZA~2: UTF-8, X-1, ZAB-3, Z~1, za~4"));
    assert_eq!(findings, Findings { rules: 2, ..Findings::default() });
    assert!(findings.is_clean());
}

#[test]
fn a_rule_without_code_is_found() {
    let findings = check(&sources(SPEC, "// ZA~1", "// ZA~1 ZA~2"));
    assert_eq!(findings.without_code, [ids("ZA~2")]);
    assert!(findings.without_test.is_empty() && !findings.is_clean());
    assert!(findings.to_string().contains(&ids("ZA~2 is named by no code")), "{findings}");
}

#[test]
fn a_rule_without_a_test_is_found() {
    let findings = check(&sources(SPEC, "// ZA~1 ZA~2", "// ZA~2 ZA~12"));
    assert_eq!(findings.without_test, [ids("ZA~1")]);
    assert!(findings.without_code.is_empty() && !findings.is_clean());
}

#[test]
fn an_unknown_id_is_found_wherever_it_is() {
    let clean = sources(SPEC, "// ZA~1 ZA~2", "// ZA~1 ZA~2");
    let stray = Source { path: "b.rs".into(), text: ids("// ZA~1\n// see ZA~7, ZA~7") };
    for put in [
        |sources: &mut Sources, stray| sources.code.push(stray),
        |sources: &mut Sources, stray| sources.tests.push(stray),
        |sources: &mut Sources, stray| sources.other.push(stray),
    ] {
        let mut sources = clean.clone();
        put(&mut sources, stray.clone());
        let findings = check(&sources);
        assert_eq!(findings.unknown, [ids("ZA~7 (b.rs:2)")]);
        assert!(!findings.is_clean());
    }
}

#[test]
fn a_rule_that_is_defined_twice_is_found() {
    let spec = format!("{SPEC}\n- **ZA~1** (MAY, puller) Again.");
    let findings = check(&sources(&spec, "// ZA~1 ZA~2", "// ZA~1 ZA~2"));
    assert_eq!(findings.ambiguous, [ids("ZA~1 is defined more than once: in SPEC.md and in SPEC.md")]);
    assert!(!findings.is_clean());
}

#[test]
fn a_rule_without_a_level_or_a_role_is_found() {
    for tag in ["", "(MUST) ", "(MUST, connector) ", "(must, both) ", "(MAY, both)"] {
        let spec = format!("{SPEC}\n- **ZA~3** {tag}Something.");
        let findings = check(&sources(&spec, "// ZA~1 ZA~2 ZA~3", "// ZA~1 ZA~2 ZA~3"));
        assert_eq!(findings.ambiguous, [ids("ZA~3 has no level and role, such as (MUST, pusher)")], "{tag}");
        assert!(!findings.is_clean());
    }
}

#[test]
fn a_variant_of_rule_names_its_rule() {
    let findings = check(&sources(SPEC, "R~Za1, (tidegate::R~Za2)", "[R~Za1] R~Za2"));
    assert!(findings.is_clean(), "{findings}");
    let findings = check(&sources(SPEC, "Za1 R~Za12 R~Za", "Rules::Za1 R~Za2"));
    assert_eq!(findings.without_code, [ids("ZA~1"), ids("ZA~2")]);
    assert_eq!((findings.without_test, findings.unknown), (vec![ids("ZA~1")], vec![ids("ZA~12 (a.rs:1)")]));
}

#[test]
fn an_id_in_a_string_of_the_code_is_found() {
    let named = "// ZA~1 ZA~2\n";
    for (code, tests, found) in [
        ("f(\"ZA~1\")", "", vec!["ZA~1 (a.rs:2)"]),
        ("// \"ZA~1\"\n f(r#\"of\n ZA~2: x\"#)", "", vec!["ZA~2 (a.rs:4)"]),
        ("", "f(b\"ZA~1\", \"ZA~2\")", vec!["ZA~1 (a.rs:2)", "ZA~2 (a.rs:2)"]),
        ("/* \"ZA~1\" */ '\"'; // ZA~1", "assert!(x, \"ZA~1: text\")", vec![]),
    ] {
        let mut sources = sources(SPEC, &format!("{named}{code}"), &format!("{named}{tests}"));
        let findings = check(&sources);
        assert_eq!(findings.in_strings, found.into_iter().map(ids).collect::<Vec<_>>(), "{code} {tests}");
        sources.code[0].path = "crates/xtask/src/args.rs".into();
        sources.tests[0].path = "docs/example.md".into();
        assert!(check(&sources).in_strings.is_empty(), "{code} {tests}");
    }
}

#[test]
fn a_specification_without_rules_is_not_clean() {
    assert!(!check(&sources("* **ZA~1** In another form of list.", "", "")).is_clean());
}

#[test]
fn files_are_sorted_by_kind() {
    const MIXED: &str = "// ZA~1\n#[cfg(test)]\nmod tests {\n    // ZA~2\n}\n";
    for (path, code, tests) in [
        ("crates/tidegate/src/push.rs", "ZA~1", "ZA~2"),
        ("crates/tidegate-proto/src/wire/tests.rs", "", "ZA~1 ZA~2"),
        ("crates/tidegate-cli/src/pull/tests/exec.rs", "", "ZA~1 ZA~2"),
        ("crates/tidegate/tests/tcp.rs", "", "ZA~1 ZA~2"),
        ("tests/tests/daemons.rs", "", "ZA~1 ZA~2"),
        ("examples/python/test_link.py", "", "ZA~1 ZA~2"),
        ("examples/python/link.py", "", ""),
        ("crates/xtask/src/main.rs", "", ""),
        ("crates/tidegate-proto/src/rule/mod.rs", "ZA~1", "ZA~2"),
        ("crates/tidegate-proto/src/rule/list.rs", "", ""),
        ("crates/tidegate-rules/src/list.rs", "", ""),
        ("tests/src/spec.rs", "", ""),
        ("proto/tidegate/v1/tidegate.proto", "", ""),
        ("README.md", "", ""),
    ] {
        let mut sources = Sources { documents: documents(SPEC), ..Sources::default() };
        let parts: Vec<&str> = path.split('/').collect();
        sources.sort(&parts, ids(MIXED));
        let findings = check(&sources);
        for (owned, missing) in [(code, &findings.without_code), (tests, &findings.without_test)] {
            for id in ["ZA~1", "ZA~2"] {
                assert_eq!(!missing.contains(&ids(id)), owned.contains(id), "{path}: {id}: {findings}");
            }
        }
        assert!(findings.unknown.is_empty(), "{path}: {findings}");
    }
}

#[test]
fn only_code_compiled_for_tests_counts_as_a_test() {
    let text = r####"
/// kept: "#[cfg(test)]" /* this */
const A: &str = "kept #[cfg(test)] mod x { \" { ";
const B: &str = r##"kept " "# { #[cfg(test)]"##;
const C: [char; 4] = ['{', '"', '\'', '\\']; /* kept /* { #[cfg(test)] */ { */
#[cfg(test)]
use super::{only_1, only_2};
fn kept<'a>(for_r: &'a str) -> &'a [u8; 1] { br"\" }
#[cfg(test)]
#[allow(dead_code, reason = "only_3 ; }")]
fn only_4(x: [u8; 3]) -> [u8; 3] { if x[0] == b'}' { x } else { x /* only_5 } */ } }
struct kept { x: u8 }
#[cfg(test)]
mod only_6;
fn kept() {}
#[cfg(test)]
mod only_7 {
    // only_8: it's }
    fn only_9() { let _ = "}"; let _ = '}'; let _ = r"\"; { } }
    #[cfg(test)]
    mod only_10 { }
    // only_11
}
// kept
"####;
    let (code, tests) = split(text);
    assert_eq!((code.matches("kept").count(), code.matches("only").count()), (8, 0), "{code}");
    assert_eq!((tests.matches("kept").count(), tests.matches("only").count()), (0, 11), "{tests}");
    for half in [code, tests] {
        assert_eq!(half.lines().count(), text.lines().count());
    }
}

#[test]
fn a_file_compiled_only_for_tests_counts_as_a_test() {
    let (code, tests) = split("//! ZA\n#![cfg(test)]\nfn a() {}\n");
    assert_eq!(code.trim(), "");
    assert!(tests.contains("ZA") && tests.contains("fn a"));
}
